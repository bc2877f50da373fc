"""Where data lie, and how a large file is fetched: progress, resume, checksum, errors that say what to do.

What downloads: ``lskd data get``, and what trains a recipe whose data set is not there. No notebook, no test.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from lskd.errors import LskdError
from lskd.files import told_by

ATTEMPTS = 4  # transfers that break off without having brought anything new
TIMEOUT = 30.0  # seconds without a byte


def data_root(variable: str = "LSKD_DATA") -> Path:
    """Where data sets lie: what the variable names, or ``~/.cache/lskd``."""
    return Path(told_by(variable) or "~/.cache/lskd").expanduser()


def fetch(url: str, path: Path, *, md5: str | None, advice: str = "") -> Path:
    """Bring ``url`` to ``path``, whole and with the right checksum, or not at all.

    What has arrived stays in ``<path>.part``; the next call asks the server for the rest (HTTP Range). A server
    that cannot do that sends everything again. A file that is there with the right checksum is left alone.

    Args:
        url: an address, or a file's path.
        md5: hexadecimal, of the whole file; guards against damage, not against malice. None: not known, a file of the
            length that the server says is whole.
        advice: what to do without a network, the end of the error.

    Raises:
        LskdError: the server cannot be reached or refuses, the transfer breaks off again and again, or what it
            sends is another file.
    """
    part = path.with_name(f"{path.name}.part")
    url = url if "://" in url else Path(url).expanduser().resolve().as_uri()
    if path.is_dir():
        raise LskdError(f"{path}: a folder, where a file is to be downloaded; move it away")
    if path.exists():
        if md5 is None or (found := _md5(path)) == md5:
            return path
        advice = f"the {path.name} in {path.parent} is another file or damaged (md5 {found}, not {md5}); {advice}"
    path.parent.mkdir(parents=True, exist_ok=True)
    started_empty, idle, broken = not part.exists(), 0, "closed by the server"
    while True:
        before = _size(part)
        try:
            whole = _transfer(url, part)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # not "there is nothing after what you have"
                raise LskdError(f"{url}: the server says {error.code} {error.reason}; {advice}") from None
            whole = True
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if _size(part) == 0:
                raise LskdError(f"{url}: cannot be reached ({reason}); {advice}") from None
            whole, broken = False, str(reason)
        if whole:
            if md5 in (None, _md5(part)):
                part.replace(path)
                return path
            found = f"md5 {_md5(part)} of {_size(part)} bytes"
            part.unlink()
            if started_empty:
                raise LskdError(f"{url}: what arrived has {found}, expected {md5}: another file, or a damaged one")
            started_empty = True  # an older beginning may be of another file: once more from the start
            continue
        idle = idle + 1 if _size(part) <= before else 0
        if idle >= ATTEMPTS:
            raise LskdError(
                f"{url}: the transfer keeps breaking off ({broken}), {_size(part):,} bytes are in {part}; the same "
                "command goes on from there"
            )


def _transfer(url: str, part: Path) -> bool:
    """Add to ``part`` what one connection brings; whether that was all of it."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "lskd"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not resumed:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        with (
            part.open("ab" if resumed else "wb") as out,
            tqdm.wrapattr(out, "write", total, initial=have, desc=part.stem) as counted,
        ):
            shutil.copyfileobj(response, counted)
    return total is None or _size(part) >= total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
