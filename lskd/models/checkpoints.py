"""Weights on disk: own files out, own and published files in, nothing that could run code.

An own file is in the safetensors format with a digest of its tensors in the header. It is written here, not by the
safetensors package, because that orders a header's metadata by chance: equal weights have to give equal files. The
order being fixed, a file is whole exactly when its header is the one that its tensors would be given.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lskd.errors import LskdError
from lskd.files import atomic_path

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint", "state_digest"]

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# Two marks, so that one damaged byte cannot make an own file look like somebody else's.
MARKS = (b'"lskd_sha256":', b'"writer":"lskd"')
NESTINGS = ("model", "state_dict", "model_state", "student")
WRAPPERS = ("module.", "_orig_mod.")  # data parallel, torch.compile
SHOWN = 4


class CheckpointError(LskdError, ValueError):
    """A file of weights that is damaged, refused, or not for this network."""


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (hexadecimal) over names, types, shapes and values of tensors, whatever their order and memory layout."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = _plain(state[name])
        total.update(json.dumps([name, _dtype(name, tensor), list(tensor.shape)]).encode() + b"\n")
        total.update(_bytes(tensor))
    return total.hexdigest()


def save_checkpoint(model_or_state: nn.Module | Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Write weights as a self-verifying safetensors file, whole or not at all; equal weights give equal bytes.

    Args:
        model_or_state: a network, or its state dict.
        path: ends in ``.safetensors``.

    Raises:
        ValueError: another ending, or a tensor of a type that the format has no name for.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path}: weights are written as .safetensors; choose that ending")
    state = model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state
    tensors = {name: _plain(tensor) for name, tensor in state.items()}
    header = _header(tensors)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header)
        for name in _file_order(tensors):
            stream.write(_bytes(tensors[name]))


def load_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load weights into ``model``, which stays as it was when the file does not fit.

    Accepts ``.safetensors`` and the published ``.pth`` files: state dicts, plain or under ``model``, ``state_dict`` or
    ``model_state``, with or without a data-parallel prefix, and whole distillers, of which the student is taken. A
    ``.pth`` is read with ``weights_only=True``: tensors and plain values, nothing else.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: (a ValueError) damaged or truncated; holds something other than weights; names or shapes are
            not those of the network, in which case the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    state = _unwrap(loaded, path)
    expected = model.state_dict()
    # BatchNorm's step counters do not exist in files of early PyTorch, and are not used at a fixed momentum.
    if not any(name.endswith("num_batches_tracked") for name in state):
        counters = {name: tensor for name, tensor in expected.items() if name.endswith("num_batches_tracked")}
        state = {**state, **{name: torch.zeros_like(tensor) for name, tensor in counters.items()}}
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    misshapen = [
        f"{name} is {list(state[name].shape)}, expected {list(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(found.values()):
        parts = [f"{len(names)} {kind} ({_some(names)})" for kind, names in found.items() if names]
        raise CheckpointError(
            f"{path}: not weights of this {type(model).__name__} with {len(expected)} entries: {', '.join(parts)}; "
            "create the network and the number of classes that the file was saved from"
        )
    model.load_state_dict(state)


def _some(names: list[str]) -> str:
    return "; ".join(names[:SHOWN]) + ("; ..." if len(names) > SHOWN else "")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged or truncated, or not safetensors ({error}); get it again") from None
    with path.open("rb") as stream:
        start = stream.read(8)
        header = start + stream.read(struct.unpack("<Q", start)[0])
    if any(mark in header for mark in MARKS) and header != _header(state):
        raise CheckpointError(f"{path}: its sha256 differs from the one it was saved with (file damaged); get it again")
    return state


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles; they are refused below, or harmless
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Of PyTorch's message only the reason is kept: the rest explains how to load the file unsafely.
        _, _, reason = " ".join(str(error).split()).rpartition("WeightsUnpickler error: ")
        for advice in (". Please use", " Check the documentation"):
            reason = reason.partition(advice)[0]
        raise CheckpointError(
            f"{path}: refused, because it is damaged or holds more than tensors and plain values, and loading that "
            f"could run code ({reason[:160]}); save the state dict alone, or get the file again"
        ) from None
    except Exception as error:  # a damaged archive fails in many ways: RuntimeError, EOFError, KeyError, ...
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path}: damaged or truncated, or not a PyTorch file ({reason}); get it again") from None


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict inside the nestings that published files have."""
    while isinstance(loaded, Mapping):
        nested = [key for key in NESTINGS if isinstance(loaded.get(key), Mapping)]
        if not nested:
            break
        loaded = loaded[nested[0]]
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{path}: holds {type(loaded).__name__}, expected a dictionary of tensors")
    strange = [f"{name} ({type(value).__name__})" for name, value in loaded.items() if not isinstance(value, Tensor)]
    if strange or not all(isinstance(name, str) for name in loaded):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, found {_some(strange) or 'unnamed entries'}")
    state = dict(loaded)
    while True:
        if prefix := next((p for p in WRAPPERS if all(name.startswith(p) for name in state)), None):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        elif students := {name: tensor for name, tensor in state.items() if name.startswith("student.")}:
            state = {name.removeprefix("student."): tensor for name, tensor in students.items()}
        else:
            return state


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _dtype(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{name} is {tensor.dtype}; expected one of {', '.join(map(str, DTYPES))}")
    return DTYPES[tensor.dtype]


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU, without NumPy, which torch does not bring."""
    size = tensor.numel() * tensor.element_size()
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr()) if size else b"").cast("B")


def _file_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Widest types first, so that every tensor starts at a multiple of its element size; then by name."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    """Everything before the tensors: length (8 bytes, little endian), JSON, spaces up to a multiple of 8."""
    digest = state_digest(tensors)
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", "writer": "lskd", "lskd_sha256": digest}}
    end = 0
    for name in _file_order(tensors):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _dtype(name, tensor), "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
