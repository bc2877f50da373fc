"""Functions of the reader's own code by name: "package.module:function", or "folder/file.py:function".

Recipes take such a name as a data set or as a network. The content of the file that defines the function belongs
to a run's configuration, so a changed file is another run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from lskd.errors import LskdError, hint

_SEEN: dict[Any, str] = {}  # of each function, the digest of its file when it was first asked for


def is_external(name: str) -> bool:
    """Whether a name means a function of the reader's own code."""
    return ":" in name


def load_function(name: str) -> Callable[..., Any]:
    """The function that ``module:function`` names; modules are also looked for in the current folder.

    Raises:
        LskdError: no such module, file or function, names the nearest; no Python.
    """
    place, _, function = name.rpartition(":")
    try:
        module = _from_file(place, name) if place.endswith(".py") else _from_path(place, name)
    except SyntaxError as error:
        raise LskdError(f"{name!r}: {place} is no Python that can be read: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        own = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise LskdError(f"{name!r}: {place} has no function {function!r}{hint(function, own)}")
    return found


def source_digest(name: str) -> str:
    """SHA-256 of the file in which the function is written; files that it imports are not followed.

    Raises:
        LskdError: there is no such file, or it was changed since this was first asked and Python has the old code.
    """
    function = load_function(name)
    file = inspect.getsourcefile(inspect.unwrap(function))
    if file is None:
        raise LskdError(f"{name!r}: its source file cannot be found; give a function that is written in a .py file")
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    if _SEEN.setdefault(inspect.unwrap(function), digest) != digest:
        raise LskdError(
            f"{name!r}: {file} was changed since it was imported, and Python still has the old code; start Python again"
        )
    return digest


def _from_path(module: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    absent = LskdError(
        f"{name!r}: there is no module {module!r} on Python's path or in {here}; "
        "expected package.module:function or folder/file.py:function"
    )
    if not all(map(str.isidentifier, module.split("."))):
        raise absent
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there and needs another that is not
        raise absent from None
    finally:
        if added:
            sys.path.remove(here)


def _from_file(place: str, name: str) -> ModuleType:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise LskdError(f"{name!r}: no such file {path}; expected a path from the working folder, or a whole one")
    return _executed(path, hashlib.sha256(path.read_bytes()).hexdigest())


@functools.cache
def _executed(path: Path, digest: str) -> ModuleType:
    """The module of a file, executed once for each content."""
    spec = importlib.util.spec_from_file_location(f"lskd_external_{path.stem}_{digest[:12]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look there
    spec.loader.exec_module(module)
    return module
