"""Weights of a file into a network: found in whatever nesting they lie, taken only when there is one way to mean it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lskd.errors import LskdError
from lskd.models.pickles import CheckpointError, some
from lskd.models.weight_files import read_weights
from lskd.torchvision import import_torchvision

# Parts of names that wrappers put in: data parallel, torch.compile, fully sharded, activation checkpoints.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
COUNTER = "num_batches_tracked"  # of steps, in BatchNorm
COUNTED = ("total_ops", "total_params")  # what profilers leave in every layer
AVERAGED = re.compile(r"(?<![a-z])(ema|swa|averaged?|avg|shadow)(?![a-z])", re.IGNORECASE)  # in the place of a copy


@dataclass(frozen=True)
class _Found:
    """Tensors of a file by the network's names, and where they lie."""

    place: str
    state: dict[str, Tensor]


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
    if not file.exists() and "#" in file.name:
        name, _, chosen = file.name.partition("#")
        file = file.with_name(name)
    content = read_weights(file)
    expected = model.state_dict()
    found = _choose([f for place, state in _states(content) for f in _fits(place, state, expected)], chosen, file)
    if found is None:
        raise CheckpointError(f"{file}: {_what_it_is(content, expected, type(model).__name__)}")
    _check_values(found.state, model, file)
    # BatchNorm's step counters do not exist in files of early PyTorch, and are not used at a fixed momentum.
    missing = {name: torch.zeros_like(expected[name]) for name in expected if name not in found.state}
    model.load_state_dict({**found.state, **missing})
    return found.place


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


def _states(content: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every dictionary of tensors, and every network that was saved as an object, with its place; outer ones first."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen = set()  # what lies in two places, or in itself, is one thing
    for place, value in waiting:
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        inside = value if isinstance(value, Mapping) else dict(enumerate(value))
        if tensors := {k: v for k, v in inside.items() if isinstance(k, str) and isinstance(v, Tensor)}:
            yield place, tensors
        if "_modules" in inside:
            yield place, dict(_object_state(inside, "", 0))
        else:
            waiting += [((*place, str(key)), part) for key, part in inside.items()]


def _object_state(module: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """The state dict of a network that was saved as an object."""
    part = {key: module.get(key) or {} for key in ("_parameters", "_buffers", "_modules")}
    for name, value in {**part["_parameters"], **part["_buffers"]}.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
    for name, child in part["_modules"].items():
        if isinstance(child, Mapping) and depth < 50:
            yield from _object_state(child, f"{prefix}{name}.", depth + 1)


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _fits(place: tuple[str, ...], state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[_Found]:
    """Ways to give exactly the network's names to tensors of ``state`` by leaving out a prefix and wrappers' marks."""
    seen = set()
    for plain in (str, _bare):
        names = {plain(name): name for name in expected}
        keys = {plain(key): key for key in state if key in expected or key.rpartition(".")[2] not in COUNTED}
        if len(names) < len(expected) or len(keys) < sum(plain(k) in keys for k in state):
            continue
        for prefix in _prefixes(keys, names):
            own = {key.removeprefix(prefix): old for key, old in keys.items() if key.startswith(prefix)}
            counted = any(name.endswith(COUNTER) for name in own)  # a file has all step counters or none
            needed = {name for name in names if counted or not name.endswith(COUNTER)}
            if own.keys() == needed and (chosen := frozenset(own.values())) not in seen:
                seen.add(chosen)
                label = ".".join(part for part in (*place, prefix.strip("./:_")) if part)
                yield _Found(label, {names[name]: state[old] for name, old in own.items()})


def _prefixes(keys: Iterable[str], names: Iterable[str]) -> list[str]:
    """What may stand before the network's names: nothing, or something that ends in a mark between words."""
    longest = max((name for name in names if not name.endswith(COUNTER)), key=len, default="")
    before = {key.removesuffix(longest) for key in keys if key.endswith(longest)}
    return sorted(prefix for prefix in before if not prefix or not prefix[-1].isalnum())


def _choose(found: list[_Found], chosen: str | None, file: Path) -> _Found | None:
    """The one that is meant."""
    listed = some([f"{file}#{f.place}" for f in found if f.place], 12)
    if chosen is not None:
        if not (named := [f for f in found if f.place == chosen]):
            raise CheckpointError(f"{file}: no weights of this network under {chosen!r}; there are {listed or 'none'}")
        return named[0]
    averaged = [f for f in found if AVERAGED.search(f.place)]
    plain = [f for f in found if f not in averaged]
    first = [f for f in plain if "teacher" not in f.place] or plain or averaged
    if any(not torch.equal(f.state[key], first[0].state[key]) for f in first[1:] for key in f.state):
        raise CheckpointError(f"{file}: has weights of this network more than once; choose one: {listed}")
    if plain and averaged:
        others = some([f"{file}#{f.place}" for f in averaged])
        warnings.warn(
            f"{file}: took {first[0].place or 'what is at the top'}; averaged ones are {others}", stacklevel=3
        )
    return first[0] if first else None


def _check_values(state: Mapping[str, Tensor], model: nn.Module, file: Path) -> None:
    """Shapes and types are the network's, and parameters are numbers."""
    expected = model.state_dict()
    shapes = {n: (list(t.shape), list(expected[n].shape)) for n, t in state.items() if t.shape != expected[n].shape}
    heads = {(a[0], b[0]) if a and b and a[1:] == b[1:] else None for a, b in shapes.values()}
    described = some([f"{name} is {a}, expected {b}" for name, (a, b) in shapes.items()])
    if len(heads) == 1 and (head := heads.pop()) is not None:
        theirs, ours = head
        raise CheckpointError(
            f"{file}: its network tells {theirs} classes apart, this one {ours} ({described}). In a recipe the classes "
            "are the data's, and a teacher has to know the same ones: set teacher.recipe to the recipe that trains it, "
            f"in place of teacher.checkpoint. In Python, give create_model num_classes={theirs}"
        )
    if shapes:
        raise CheckpointError(
            f"{file}: not weights of this {type(model).__name__}: {len(shapes)} of {len(state)} have another shape "
            f"({described}); create the network that the file was saved from"
        )
    kinds = [
        f"{name} is {tensor.dtype}, expected {expected[name].dtype}".replace("torch.", "")
        for name, tensor in state.items()
        if expected[name].is_complex() != tensor.is_complex()
        or (expected[name].is_floating_point() and not tensor.is_floating_point())
    ]
    if kinds:
        raise CheckpointError(f"{file}: not numbers of the right kind ({some(kinds)}); save them as they were trained")
    finite = {n: torch.isfinite(t.to(expected[n])).all() for n, t in state.items()}  # as it will be used
    spoilt = [n for n in finite if not finite[n] and torch.isfinite(expected[n]).all()]
    if spoilt:
        raise CheckpointError(
            f"{file}: values that are not finite (NaN or infinite) in {len(spoilt)} of {len(state)} "
            f"({some(spoilt)}); its training diverged, take an earlier file"
        )


def _kind(value: Any) -> str:
    return getattr(type(value), "path", type(value).__name__)


def _what_it_is(content: Any, expected: Mapping[str, Tensor], network: str) -> str:
    """Why no weights of the network were found, in words."""
    top = content if isinstance(content, Mapping) else {}
    beside = [f"{k} ({_kind(v)})" for k, v in top.items() if not isinstance(v, Tensor) and k != "_metadata"]
    listed = f"; found {some(beside, 8)}" if beside else ""
    states = [{_bare(k): v for k, v in state.items()} for _, state in _states(content)]
    if not states:
        advice = "save a network's state_dict(); of arrays torch.from_numpy() makes tensors"
        return f"holds {_kind(content)}, expected a dictionary of tensors{listed}; {advice}"
    ways = [(state, prefix) for state in states for prefix in {"", *_prefixes(state, expected)}]
    state, prefix = max(ways, key=lambda way: len({k.removeprefix(way[1]) for k in way[0]} & expected.keys()))
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    parts = {"missing": [n for n in expected if n not in own], "unexpected": [n for n in own if n not in expected]}
    told = ", ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in parts.items() if names)
    return (
        f"not weights of this {network} with {len(expected)} entries: {told}; create the network that the file was "
        f"saved from{listed}"
    )
