"""Files that are either whole or not there.

Everything the project writes and later reads goes through here: content is written beside its final name,
flushed to the disk and renamed, so a kill or a power cut at any moment leaves the previous file or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lskd.errors import LskdError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``path`` to write to: renamed to ``path`` when the block ends well, removed when it does not.

    Who can read the folder can read the file.

    The temporary name keeps the suffix, because some writers choose their format by it (``np.savez`` appends
    ``.npz`` otherwise). Missing parent folders are made.

    Raises:
        FileNotFoundError: the block ended without having written the file.
        OSError: of the system, also where a writer in another language says so in words; names the file.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.stem}.{secrets.token_hex(6)}.tmp{final.suffix}")
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"{final}: nothing was written to its temporary file {temporary.name}")
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        with contextlib.suppress(OSError):  # a disk without modes; safetensors writes for its owner alone
            temporary.chmod(temporary.stat().st_mode | final.parent.stat().st_mode & 0o444)
        temporary.replace(final)
        sync_folder(final.parent)
    except Exception as error:
        if getattr(error, "filename", None) not in (None, temporary, os.fspath(temporary)):
            raise  # of a file that was read
        code = error.errno if isinstance(error, OSError) else re.search(r"os error (\d+)", str(error))
        if number := int(code[1]) if isinstance(code, re.Match) else code:
            raise OSError(number, os.strerror(number), os.fspath(final)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) to ``path`` in one step."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write ``obj`` as JSON in one step, keys in their order, one space of indent, a newline at the end.

    Raises:
        LskdError: a value that JSON cannot hold. NaN and infinities are refused too, because other readers
            reject them; the message names the place.
    """
    try:
        text = json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise LskdError(f"{path}: cannot be written as JSON: {next(_unsuitable(obj), error)}") from None
    atomic_write(path, text + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        LskdError: the file is damaged. A missing file is a FileNotFoundError.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise LskdError(f"{path}: not valid JSON ({error}); delete it and make it again") from None


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file, also one that begins with a byte order mark, as some editors write.

    Raises:
        LskdError: not UTF-8, or not TOML. A missing file is a FileNotFoundError.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LskdError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise LskdError(f"{path}: not valid TOML ({error})") from None


def read_arrays(path: Path, advice: str, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Arrays of a NumPy archive, by default all.

    Raises:
        ValueError: damaged, which its checksums find, or not of numbers and text; ends in ``advice``.
    """
    import numpy as np

    try:
        with path.open("rb") as handle, np.load(handle) as stored:
            return {name: stored[name] for name in names or stored.files}
    except PermissionError:
        raise
    except Exception as error:  # any way in which a damaged zip can fail to read
        why = "no NumPy archive, or one of objects" if isinstance(error, ValueError) else error
        raise ValueError(f"{path}: cannot be read ({why}); {advice}") from None


def visible(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder by pattern, sorted; not what systems and editors hide: ``._x``, ``.ipynb_checkpoints``."""
    found = ((path, path.relative_to(folder).parts) for path in folder.glob(pattern))
    return sorted(path for path, parts in found if not any(part.startswith(".") for part in parts))


def _unsuitable(obj: Any, place: str = "value") -> Iterator[str]:
    """The places in ``obj`` that JSON cannot hold, in words."""
    if isinstance(obj, dict | list | tuple):
        for key, value in obj.items() if isinstance(obj, dict) else enumerate(obj):
            if not isinstance(key, str | int | float | bool | None):
                yield f"{place} has the key {key!r} of type {type(key).__name__}; keys are strings"
            yield from _unsuitable(value, f"{place}[{key!r}]")
    elif isinstance(obj, float) and not math.isfinite(obj):
        yield f"{place} is {obj}; write None or a string instead"
    elif not isinstance(obj, str | int | float | bool | None):
        yield f"{place} is of type {type(obj).__name__}; expected a string, number, boolean, None, list or dictionary"


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` last through a power cut; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def locked(folder: Path, *, doing: str = "training", wait: bool = False) -> Iterator[None]:
    """Hold the folder against other processes; the lock goes with the process, however it ends.

    Args:
        wait: until another process lets go of it, instead of raising.

    Raises:
        LskdError: another process holds it.
        OSError: the disk has no locks; names the folder.
    """
    from filelock import FileLock, Timeout  # comes with PyTorch

    lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise LskdError(f"{folder}: another process is {doing} here; wait for it or choose another folder") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(folder)) from None
    try:
        yield
    finally:
        lock.release()


def told_by(variable: str) -> str:
    """An environment variable without the quotes and spaces that `.env` files and shells leave; "" if it is unset."""
    return os.environ.get(variable, "").strip("\"' \t\r\n")


def say_sizes(paths: Iterable[Path]) -> None:
    """Print files that were written, with their sizes."""
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def short(path: Path) -> Path:
    """Relative to the folder in which the command was given, when it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def claim(
    path: Path,
    about: Mapping[str, Any],
    *,
    kind: str = "run",
    part: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda about: about,
) -> None:
    """Write what the folder holds to ``path``, or compare with what is written there, in the ``part`` that counts.

    Raises:
        LskdError: it holds something else; shows the first dozen of differences.
    """
    about = json.loads(json.dumps(about))
    if not path.exists():
        write_json(path, about)
        return
    lines = [f"  {key}: {a!r} there, {b!r} now" for key, a, b in differences(part(read_json(path)), part(about))]
    if lines:
        raise LskdError(
            f"{path.parent} holds another {kind}; choose another folder or delete this one:\n" + "\n".join(lines[:12])
        )


def differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Places where two JSON values differ, as dotted keys with both values, in the order of the keys."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if key != "identity":
                yield from differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else key)
    elif a != b:
        yield prefix, a, b


def append_line(path: Path, value: Any) -> None:
    """Add one JSON value to a file of lines, on the disk when this returns."""
    with path.open("a+b") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":  # a kill in the middle of an earlier line: it stays a line of its own
                stream.write(b"\n")
        stream.write(json.dumps(value).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path) -> list[Any]:
    """Whole lines of such a file; what a kill left half is left out. A missing file has none."""
    found = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
