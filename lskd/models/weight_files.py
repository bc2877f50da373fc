"""Files of weights: own ones written, any read by its content, whatever its ending.

Own files are safetensors with a digest of the tensors as their one remark: of several the package decides the order by
chance, and equal weights have to give equal files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lskd.files import atomic_path
from lskd.models.pickles import CheckpointError, read_pickle, some

DIGEST = "lskd_sha256"


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (hexadecimal) over names, types, shapes and values of tensors, whatever their order and memory layout."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        kind = re.sub(r"(bf|[fiuc])[a-z]*(?=\d)", r"\1", dtype).upper()  # as safetensors has it: F32, BF16, BOOL
        total.update(json.dumps([name, kind, list(tensor.shape)]).encode() + b"\n")
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def plain_tensors(state: Mapping[str, Any], *, of: str = "weights") -> dict[str, Tensor]:
    """Copies that a safetensors file can hold: on the CPU, contiguous, none sharing memory with another.

    Raises:
        CheckpointError: something that such a file has no form for; names it, and ``of`` says whose it is.
    """
    from safetensors.torch import save

    out = {}
    for name, value in state.items():
        kind = type(value).__name__
        if isinstance(value, Tensor):
            kind += f" ({value.layout}, {value.dtype}, {value.device.type})"
            with suppress(KeyError):  # a type that safetensors has not
                if value.layout == torch.strided and not value.is_meta:
                    save({name: torch.empty(0, dtype=value.dtype)})
                    out[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
                    continue
        raise CheckpointError(
            f"{of}: {name} is {kind.replace('torch.', '')}, which a file of weights cannot hold; make it a buffer of "
            "real numbers, or leave it out of the state dict"
        )
    return out


def save_checkpoint(model_or_state: nn.Module | Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Write weights as a self-verifying safetensors file, whole or not at all; equal weights give equal bytes.

    Args:
        model_or_state: a network, or its state dict.
        path: ends in ``.safetensors``.

    Raises:
        CheckpointError: another ending, or something that the format cannot hold.
    """
    from safetensors.torch import save_file

    if Path(path).suffix != ".safetensors":
        raise CheckpointError(f"{path}: weights are written as .safetensors; choose that ending")
    state = model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state
    tensors = plain_tensors(state, of=str(path))
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={DIGEST: state_digest(tensors)})


def read_weights(path: Path) -> Any:
    """Tensors of a file in the nesting that it has: dictionaries, lists, tensors, plain values, :class:`Inert`.

    Raises:
        FileNotFoundError: no such file. CheckpointError: damaged, no file of weights, or one that would run code.
    """
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.is_file())
        raise CheckpointError(f"{path}: a folder; name a file of weights in it ({some(inside) or 'it has no files'})")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    with path.open("rb") as stream:
        is_safetensors = stream.read(9)[4:] == b"\0\0\0\0{"  # the end of a header's length, and the header
    return _safetensors(path) if is_safetensors else read_pickle(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            digest = (file.metadata() or {}).get(DIGEST)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged or truncated, or not safetensors ({error}); get it again") from None
    if digest is not None and digest != state_digest(state):
        raise CheckpointError(f"{path}: its sha256 differs from the one it was saved with (file damaged); get it again")
    return state
