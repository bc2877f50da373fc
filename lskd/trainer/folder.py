"""A folder belongs to one thing and to one process at a time: claim, lock, sessions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from lskd.files import read_json, write_json


def claim(
    path: Path,
    about: Mapping[str, Any],
    *,
    kind: str = "run",
    part: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda about: about,
) -> None:
    """Write what the folder holds to ``path``, or compare with what is written there, in the ``part`` that counts.

    Raises:
        LskdError: it holds something else; shows every difference.
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
    """Places where two JSON values differ, as dotted keys with both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
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
