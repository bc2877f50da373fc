"""PyTorch's files and other pickles, read as data: nothing that they name is imported, nothing is called.

To open a pickle is to run what it says. Python's ``pickle`` lets a subclass decide what a name stands for: here tensors
are built, every other thing becomes an :class:`Inert`, which keeps attributes and items and does nothing.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor

from lskd.errors import LskdError

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
# What pickles call to make plain values, beside classes of packages. Any other call is something to be run.
MAKERS = re.compile(
    r"argparse\.Namespace|copyreg\.\w+|collections\.\w+|datetime\.\w+|decimal\.\w+|functools\.partial"
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
        with path.open("rb") as stream:
            return _read(stream)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle fails in many ways: UnpicklingError, EOFError, KeyError, ...
        reason = " ".join(f"{type(error).__name__} {error}".split())[:160]
        with path.open("rb") as stream:
            beginning = stream.read(60)
        raise CheckpointError(
            f"{path}: damaged, or no file of torch.save or safetensors: it begins with {beginning!r} ({reason}). Get "
            "it again: the file itself, no page about it, no Git LFS pointer; unpack an archive, and name a file in it"
        ) from None


class _Maker(type):
    """The type of :class:`Inert`'s subclasses, one for every name in a pickle: calling one is what REDUCE does."""

    path: str = ""

    def __call__(cls, *args: Any) -> Any:
        last = cls.path.rpartition(".")[2]
        of_package = cls.path.partition(".")[0] not in sys.stdlib_module_names and last[:1].isupper()
        if not of_package and not MAKERS.fullmatch(cls.path):
            cls.refuse(*args)
        return cls.__new__(cls)  # type: ignore[call-overload]

    def refuse(cls, *args: Any) -> None:
        given = ", ".join(
            ascii(a) if isinstance(a, str | bytes | int | float | None) else type(a).__name__ for a in args
        )
        raise CheckpointError(
            f"refused: to open it is to run {ascii(cls.path)[1:-1]}({given[:120]}). Nothing was run; weights need "
            "nothing run, so take them from somebody you trust, as a state dict alone or as safetensors"
        )


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

    def __call__(self, *args: Any) -> None:
        """An object that is called, such as ``functools.partial(os.system, ...)``."""
        type(self).refuse(*args)

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


def _inert(path: str) -> _Maker:
    return _Maker(path.rpartition(".")[2], (Inert,), {"path": path})


class Unpickler(pickle.Unpickler):
    """Python's, where the names in a pickle stand for what is built here."""

    def find_class(self, module: str, name: str) -> Any:
        # Names of Python 2, which pickles of PyTorch's protocol use.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        return BUILDERS.get(path := f"{module}.{name}", lambda: _inert(path))()


def load(stream: IO[bytes], **options: Any) -> Any:
    """As ``pickle.load``."""
    return Unpickler(stream, **options).load()


def _read(stream: IO[bytes]) -> Any:
    """A plain pickle, or a file of :func:`torch.load`, to which this module is Python's ``pickle``."""
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise CheckpointError("a TorchScript program, expected weights alone; save the network's state dict")
            if damaged := archive.testzip():
                raise EOFError(f"{damaged} has another checksum")
    else:
        stream.seek(0)
        content = load(stream, encoding="latin-1")
        if not isinstance(content, int) or content != torch.serialization.MAGIC_NUMBER:  # of PyTorch until 1.5
            return content
    stream.seek(0)
    with warnings.catch_warnings():  # that nothing is known of a class's source
        warnings.simplefilter("ignore")
        forced = os.environ.pop(FORCED, None)  # PyTorch's own reader, beside which it refuses this one: as safe
        try:
            module = sys.modules[__name__]
            return torch.load(stream, "cpu", pickle_module=module, weights_only=False, encoding="latin-1")
        finally:
            os.environ |= {FORCED: forced} if forced else {}


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty(0, dtype=dtype or storage.dtype).set_(storage._untyped_storage, offset, size, stride)


# What tensors are made by, and how a pickle reaches what has no name of its own; made anew for every mention, so that
# nothing a file does to them lasts.
BUILDERS: dict[str, Callable[[], Any]] = {
    "torch.storage.UntypedStorage": lambda: SimpleNamespace(dtype=torch.uint8),
    "torch._utils._rebuild_tensor": lambda: lambda *given: _tensor(*given),
    "torch._utils._rebuild_tensor_v2": lambda: lambda *given: _tensor(*given),
    "torch._utils._rebuild_tensor_v3": lambda: lambda *given: _tensor(*given, dtype=given[6]),
    "torch._utils._rebuild_parameter": lambda: lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda: lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": lambda: lambda maker, kind, given, state: maker(*given),
    "torch.storage._load_from_bytes": lambda: lambda data: _read(BytesIO(data)),
    "_codecs.encode": lambda: lambda text, _: text.encode("latin-1"),  # bytes of protocol 2
    "builtins.getattr": lambda: lambda owner, name: _inert(f"{getattr(owner, 'path', type(owner).__name__)}.{name}"),
}
