"""Weights of a file into a network: found in whatever nesting they lie, taken only when there is one way to mean it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lskd.errors import LskdError
from lskd.models.pickles import CheckpointError, some
from lskd.models.weight_files import read_weights
from lskd.torchvision import import_torchvision

# What wrappers put into names: data parallel, torch.compile, fully sharded, activation checkpoints.
WRAPPED = re.compile(r"((?<=[.\0])|^)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
LEVEL = "\0"  # between the keys of a nesting
COUNTER = "num_batches_tracked"  # of steps, in BatchNorm
COUNTED = ("total_ops", "total_params", "n_averaged")  # what profilers leave in every layer, and averaging at the top
AVERAGED = re.compile(r"(?<![a-z])(ema|swa|averaged?|avg|shadow)(?![a-z])", re.IGNORECASE)  # in the place of a copy
T = TypeVar("T")


def load_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> str:
    """Load weights into ``model``, which stays as it was when the file does not fit.

    A file may be safetensors or any of PyTorch's; nothing in it is run. The weights may lie under any key, beside
    anything, and their names may have a prefix or the marks of a wrapper: they are taken when what is left are exactly
    the network's names. Where a file has them more than once, a student is preferred to its teacher and plain weights
    to averaged ones, with a warning; any other choice is the caller's: ``FILE#KEY``, as the message lists the keys.

    Returns:
        The key under which the weights were found, dots between levels; empty at the top.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: (a ValueError) damaged, or no weights; would run code; names, shapes or types are not those
            of the network, or values are not finite, in which case the message says which.
    """
    file, chosen = Path(path).expanduser(), None
    if not file.exists() and "#" in file.name[1:]:
        name, _, chosen = file.name.partition("#")
        file = file.with_name(name)
    content, expected = read_weights(file), model.state_dict()
    tensors, names = _unwrapped(dict(_tensors(content))), _unwrapped({name: name for name in expected})
    found = _fitting(tensors, names)
    place = _choose(found, chosen, file)
    if place is None:
        raise CheckpointError(f"{file}: {_what_it_is(content, tensors, names, type(model).__name__)}")
    _check_values(found[place], expected, type(model).__name__, file)
    # BatchNorm's step counters do not exist in files of early PyTorch, and are not used at a fixed momentum.
    missing = {name: torch.zeros_like(expected[name]) for name in expected if name not in found[place]}
    model.load_state_dict({**found[place], **missing})
    return place


def load_torchvision(network: nn.Module, name: str, weights: str) -> None:
    """Put torchvision's weights into an ImageNet ResNet, from torch's cache of downloads or the network.

    Args:
        network: of 1000 classes.
        name: its name, such as "imagenet/ResNet34".
        weights: such as "IMAGENET1K_V1", the files that the paper's teachers are.

    Raises:
        LskdError: not such a network, no such weights, or they are neither in the cache nor to be had.
        ImportError: torchvision, which knows their addresses, is not installed.
    """
    if not name.startswith("imagenet/ResNet"):
        raise LskdError(f"torchvision:{weights}: torchvision's weights are for ImageNet ResNets, not for this network")
    resnet = name.removeprefix("imagenet/").lower()
    choices = {w.name: w for w in import_torchvision().models.get_model_weights(resnet)}
    if weights not in choices:
        raise LskdError(f"torchvision:{weights}: {resnet} has {', '.join(choices)}")
    try:
        network.load_state_dict(choices[weights].get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise LskdError(
            f"torchvision:{weights}: the weights of {resnet} are not in the cache and cannot be used from "
            f"{choices[weights].url} ({error}); put that file into {torch.hub.get_dir()}/checkpoints, or name a copy "
            "of it with --set teacher.checkpoint=FILE"
        ) from None


def _tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a nesting, outer ones first; its name is all keys that lead to it."""
    waiting = [("", content)]
    seen = set()  # what lies in two places, or in itself, is one thing
    for name, value in waiting:
        if isinstance(value, Tensor) and name:
            yield name, value
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            inside, mark = value if isinstance(value, Mapping) else dict(enumerate(value)), LEVEL
            if "_modules" in inside:  # a network that was saved as an object; its parts may have two names
                parts = (inside.get(part) or {} for part in ("_parameters", "_buffers", "_modules"))
                inside, mark = {key: part for members in parts for key, part in members.items()}, "."
            else:
                seen.add(id(value))
            waiting += [(f"{name}{mark if name else ''}{key}", part) for key, part in inside.items()]


def _unwrapped(state: Mapping[str, T]) -> dict[str, T]:
    """With names without wrappers' marks, unless two of them would be one."""
    bare = {WRAPPED.sub("", name): value for name, value in state.items()}
    return bare if len(bare) == len(state) else dict(state)


def _prefixes(tensors: Iterable[str], names: Iterable[str]) -> list[str]:
    """What may stand before the network's names: nothing, or something that ends in a mark between words."""
    longest = max((name for name in names if not name.endswith(COUNTER)), key=len, default="")
    before = [key.removesuffix(longest) for key in tensors if key.endswith(longest)]
    return [prefix for prefix in before if not prefix[-1:].isalnum()]


def _below(tensors: Mapping[str, Tensor], prefix: str, names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of one level whose names begin with a prefix, by the rest of their names."""
    rests = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    kept = (key for key in rests if LEVEL not in key and (key in names or key.rpartition(".")[2] not in COUNTED))
    return {key: rests[key] for key in kept}


def _fitting(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """Tensors under exactly the network's names, by the place where they lie."""
    found = {}
    for prefix in _prefixes(tensors, names):
        below = _below(tensors, prefix, names)
        counted = any(name.endswith(COUNTER) for name in below)  # a file has all step counters or none
        if below.keys() == {name for name in names if counted or not name.endswith(COUNTER)}:
            place = prefix.replace(LEVEL, ".").rstrip("./:_")
            place += "." * (place in found)  # names "model.*" beside what lies under "model"
            found[place] = {names[name]: value for name, value in below.items()}
    return found


def _choose(found: Mapping[str, dict[str, Tensor]], chosen: str | None, file: Path) -> str | None:
    """The place that is meant."""
    listed = some([f"{file}#{place}" for place in found], 12)
    if chosen is not None:
        chosen = chosen if chosen in found else WRAPPED.sub("", f"{chosen}.").rstrip(".")
        if chosen not in found:
            raise CheckpointError(f"{file}: no weights of this network under {chosen!r}; there are {listed or 'none'}")
        return chosen
    averaged = [place for place in found if AVERAGED.search(place)]
    plain = [place for place in found if place not in averaged]
    if not found:
        return None
    first, *others = [place for place in plain if "teacher" not in place] or plain or averaged
    if any(
        not torch.equal(found[other].get(key, value), value) for other in others for key, value in found[first].items()
    ):
        raise CheckpointError(f"{file}: has weights of this network more than once; choose one: {listed}")
    if plain and averaged:
        copies = some([f"{file}#{place}" for place in averaged])
        warnings.warn(f"{file}: took {first or 'what is at the top'}; averaged ones are {copies}", stacklevel=3)
    return first


def _check_values(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], network: str, file: Path) -> None:
    """Shapes and types are the network's, and parameters are numbers."""
    pairs = {name: (tensor, expected[name]) for name, tensor in state.items()}
    other = {
        name: (a, b)
        for name, (a, b) in pairs.items()
        if a.shape != b.shape or (b.is_floating_point() and not a.is_floating_point())
    }
    described = some([f"{name} is {_form(a)}, expected {_form(b)}" for name, (a, b) in other.items()])
    heads = {(*a.shape[:1], *b.shape[:1]) if a.shape[1:] == b.shape[1:] else () for a, b in other.values()}
    if len(heads) == 1 and len(head := heads.pop()) == 2 and head[0] != head[1]:
        raise CheckpointError(
            f"{file}: its network tells {head[0]} classes apart, this one {head[1]} ({described}). In a recipe the "
            "classes are the data's, and a teacher has to know the same ones: set teacher.recipe to the recipe that "
            f"trains it, in place of teacher.checkpoint. In Python, give create_model num_classes={head[0]}"
        )
    if other:
        raise CheckpointError(
            f"{file}: not weights of this {network}: {len(other)} of {len(state)} have another shape or type "
            f"({described}); create the network that the file was saved from, or save weights as they were trained"
        )
    spoilt = [n for n, (a, b) in pairs.items() if not a.to(b).isfinite().all() and b.isfinite().all()]  # as it is used
    if spoilt:
        raise CheckpointError(
            f"{file}: values that are not finite (NaN or infinite) in {len(spoilt)} of {len(state)} "
            f"({some(spoilt)}); its training diverged, take an earlier file"
        )


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _kind(value: Any) -> str:
    return getattr(type(value), "path", type(value).__name__)


def _what_it_is(content: Any, tensors: Mapping[str, Tensor], names: Mapping[str, str], network: str) -> str:
    """Why no weights of the network were found, in words."""
    top = content if isinstance(content, Mapping) else {}
    beside = [f"{k} ({_kind(v)})" for k, v in top.items() if not isinstance(v, Tensor) and k != "_metadata"]
    listed = f"; found {some(beside, 8)}" if beside else ""
    if not tensors:
        advice = "save a network's state_dict(); of arrays torch.from_numpy() makes tensors"
        return f"holds {_kind(content)}, expected a dictionary of tensors{listed}; {advice}"
    places = [*(key[: key.rfind(LEVEL) + 1] for key in tensors), *_prefixes(tensors, names)]
    ways = [_below(tensors, place, names) for place in dict.fromkeys(places)]
    own = max(ways, key=lambda way: len(way.keys() & names.keys()))
    parts = {"missing": [n for n in names if n not in own], "unexpected": [n for n in own if n not in names]}
    told = ", ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in parts.items() if names)
    return (
        f"not weights of this {network} with {len(names)} entries: {told}; create the network that the file was "
        f"saved from{listed}"
    )
