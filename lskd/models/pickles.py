"""PyTorch's files and other pickles, read as data: nothing that they name is imported, nothing is called.

To open a pickle is to run what it says. Python's ``pickle`` lets a subclass decide what a name stands for: here tensors
are built, every other thing becomes an :class:`Inert`, which keeps attributes and items and does nothing.
"""

from __future__ import annotations

import pickle
import re
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from lskd.errors import LskdError

LEGACY = 0x1950A86A20F9469CFC6C  # the first object of a file from before PyTorch 1.6
STORAGES = {
    **{"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128, "Untyped": torch.uint8},
}
# What pickles call to make plain values, beside classes of packages. Any other call is something to be run.
MAKERS = re.compile(
    r"argparse\.Namespace|_codecs\.encode|copyreg\.\w+|collections\.\w+|datetime\.\w+|decimal\.\w+|functools\.partial"
    r"|fractions\.Fraction|pathlib\.(_local\.)?\w+|types\.SimpleNamespace|uuid\.UUID|zoneinfo\.\w+(\._unpickle)?"
    r"|builtins\.(bool|bytearray|bytes|complex|dict|float|frozenset|int|list|object|range|set|slice|str|tuple)"
    r"|numpy\.(_?core\.(multiarray|numeric)\.(scalar|_reconstruct|_frombuffer)|dtype|ndarray|random\._pickle\.\w+)"
    r"|\w+(\.\w+)*\.__pyx_unpickle_\w+"
    r"|torch\.(device|Size|serialization\._get_layout|_utils\._rebuild_\w+|_tensor\._rebuild_\w+)"
)


class CheckpointError(LskdError, ValueError):
    """A file of weights that is damaged, refused, or not for this network."""


def some(names: list[str], most: int = 4) -> str:
    """The first few of many, for a message."""
    return "; ".join(names[:most]) + ("; ..." if len(names) > most else "")


def read_pickle(path: Path) -> Any:
    """Tensors of a PyTorch file or a plain pickle in their nesting, beside plain values and :class:`Inert`.

    Raises:
        CheckpointError: it is damaged, or to open it in the usual way would run something, which is named.
    """
    try:
        if zipfile.is_zipfile(path):
            return _zip(path)
        with path.open("rb") as stream:
            return _stream(stream, path.stat().st_size)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle fails in many ways: UnpicklingError, EOFError, KeyError, ...
        reason = " ".join(f"{type(error).__name__} {error}".split())[:160]
        raise CheckpointError(f"{path}: damaged or truncated, or no PyTorch file ({reason}); get it again") from None


class _Maker(type):
    """The type of :class:`Inert`'s subclasses, one for every name in a pickle: calling one is what REDUCE does."""

    path: str = ""

    def __call__(cls, *args: Any) -> Any:
        last = cls.path.rpartition(".")[2]
        of_package = cls.path.partition(".")[0] not in sys.stdlib_module_names and last[:1].isupper()
        if not of_package and not MAKERS.fullmatch(cls.path):
            given = ", ".join(_shown(a) for a in args)
            raise CheckpointError(
                f"refused: to open it is to run {ascii(cls.path)[1:-1]}({given[:120]}). Nothing was run; weights need "
                "nothing run, so take them from somebody you trust, as a state dict alone or as safetensors"
            )
        return cls.__new__(cls)  # type: ignore[call-overload]


class Inert(dict[Any, Any], metaclass=_Maker):
    """Stands for an object of any other class: its attributes and items, and nothing that it does."""

    def __new__(cls, *args: Any, **keywords: Any) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.update(part)

    def append(self, *items: Any) -> None:
        """Items of lists, deques and sets are not kept: weights have names."""

    extend = add = append
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


def _inert(path: str) -> type[Inert]:
    made = _Maker(path.rpartition(".")[2], (Inert,), {})
    made.path = path
    return made  # type: ignore[return-value]


def _shown(value: Any) -> str:
    return ascii(value) if isinstance(value, str | bytes | int | float | None) else type(value).__name__


class _Reader(pickle.Unpickler):
    """A pickle of ``size`` bytes at most; ``storage`` gives the values that lie beside it."""

    def __init__(self, stream: IO[bytes], storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        super().__init__(stream, encoding="latin-1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        # Names of Python 2, which pickles of PyTorch's protocol use.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        path = f"{module}.{name}"
        if path.startswith("torch.") and (dtype := STORAGES.get(name.removesuffix("Storage"))):
            return dtype
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        return BUILDERS.get(path, lambda: _inert(path))()

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # a network saved as an object: its class, and the source of that as text
            return pid[1]
        kind, dtype, key, _, count, *view = pid
        if kind == "storage" and isinstance(dtype, _Maker):  # of quantised tensors
            return dtype()
        if kind != "storage" or any(view) or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown storage {_shown(pid)}")
        return self._storage(str(key), dtype, int(count))


def _zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        content = next((name for name in names if name.endswith("/data.pkl")), None)
        if content is None or "constants.pkl" in {name.rpartition("/")[2] for name in names}:
            what = "a zip archive without PyTorch's data.pkl" if content is None else "a TorchScript program"
            raise CheckpointError(f"no weights but {what} ({some(names)}); save the network's state dict")
        root = content.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise CheckpointError("its numbers are big-endian; save it again as safetensors")
        storages: dict[str, Tensor] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            if key not in storages:
                storages[key] = _values(archive.read(f"{root}data/{key}"), dtype, count)
            return storages[key]

        return _Reader(BytesIO(archive.read(content)), storage).load()


def _stream(stream: IO[bytes], size: int) -> Any:
    """A plain pickle, or the pickles in a row and the values after them that PyTorch wrote until 1.5."""
    storages: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if not 0 <= count * dtype.itemsize <= size:
            raise EOFError(f"{count} values in {size} bytes")
        return storages.setdefault(key, torch.empty(count, dtype=dtype))

    def reader() -> Any:
        return _Reader(stream, storage).load()

    content = reader()
    if not isinstance(content, int) or content != LEGACY:
        return content
    reader()  # version of the format
    if reader().get("little_endian") is not True:
        raise CheckpointError("its numbers are big-endian; save it again as safetensors")
    content = reader()
    for key in reader():
        count = int.from_bytes(stream.read(8), "little")
        values = storages[str(key)]
        if count != len(values):
            raise EOFError(f"storage {key} has {count} values, expected {len(values)}")
        values.copy_(_values(stream.read(count * values.element_size()), values.dtype, count))
    return content


def _values(data: bytes, dtype: torch.dtype, count: int) -> Tensor:
    if len(data) != count * dtype.itemsize:
        raise EOFError(f"{len(data)} bytes, expected {count * dtype.itemsize}")
    return torch.frombuffer(bytearray(data), dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


# What tensors are made by, and how a pickle reaches what has no name of its own; made anew for every mention, so that
# nothing a file does to them lasts.
BUILDERS: dict[str, Callable[[], Any]] = {
    "torch._utils._rebuild_tensor": lambda: lambda *given: _tensor(*given),
    "torch._utils._rebuild_tensor_v2": lambda: lambda *given: _tensor(*given),
    "torch._utils._rebuild_tensor_v3": lambda: lambda storage, *given: _tensor(storage.view(given[5]), *given),
    "torch._utils._rebuild_parameter": lambda: lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda: lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": lambda: lambda maker, kind, given, state: maker(*given),
    "torch.storage._load_from_bytes": lambda: lambda data: _stream(BytesIO(data), len(data)),
    "builtins.getattr": lambda: lambda owner, name: _inert(f"{getattr(owner, 'path', type(owner).__name__)}.{name}"),
}
