"""Finished runs as files that travel: archives of at most 16 MB, each whole by itself, checked before anything is kept.

An archive is a zip file with the run's record, some of its files, and ``manifest.json``, which has the SHA-256 of
each. A file that is too large for one archive is cut; its parts may arrive in any order. Equal runs give equal
archives, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lskd import evidence
from lskd.errors import LskdError
from lskd.files import atomic_path, atomic_write
from lskd.records import SCHEMA, load_record
from lskd.records import identity as identity_of

__all__ = ["LIMIT", "Imported", "bring", "export"]

FORMAT, VERSION = "lskd-run", 1
LIMIT = 16_000_000  # bytes of an archive
ROOM = 100_000  # for the manifest and the zip's own headers
MANIFEST, RECORD, SUMS = "manifest.json", "record.json", "SHA256SUMS"
_SAFE = re.compile(r"[\w+-][\w.+-]*")


@dataclass
class Imported:
    """Where the files of one archive went; ``waiting`` names files of which parts are still missing."""

    record: Path
    new: bool
    files: list[Path] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


# --- out -------------------------------------------------------------------------------------------------------------


def export(
    runs: Mapping[str, Path], out: Path | str, *, weights: bool = False, full: bool = False, limit: int = LIMIT
) -> list[Path]:
    """Write the archives of finished runs, and ``SHA256SUMS`` for ``sha256sum -c``.

    Args:
        runs: run folders by name; the name goes into that of the archives, ``/`` as ``.``.
        out: a folder; archives of the same runs in it are replaced.
        weights: the final weights too.
        full: evidence with all features, in seconds; otherwise compact, which takes a minute or two for a network
            of CIFAR-100 and happens at the other end then. What was compacted before is not compacted again.
        limit: bytes of an archive.
    """
    out, made = Path(out), []
    out.mkdir(parents=True, exist_ok=True)
    for name, folder in runs.items():
        record = load_record(folder)
        files = _files(folder, record, weights=weights, full=full)
        text = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
        groups = list(_groups(files, limit - len(text) - ROOM))
        for number, group in enumerate(groups, start=1):
            path = out / f"{name.replace('/', '.')}-{record['identity'][:8]}-{number}of{len(groups)}.zip"
            _write(path, name, record, text, group)
            made.append(path)
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(made))
    atomic_write(out / SUMS, "".join(lines))
    return made


def _files(folder: Path, record: Mapping[str, Any], *, weights: bool, full: bool) -> list[Path]:
    packs = [folder / m["evidence"]["file"] for m in record["members"].values() if m.get("evidence")]
    if not full:
        from paper.compact_evidence import compact_run

        packs = compact_run(folder, folder / "compact")
    kept = [folder / m["weights"]["file"] for m in record["members"].values() if m.get("weights")] if weights else []
    return [*packs, *kept]


@dataclass(frozen=True)
class _Part:
    file: str
    content: bytes
    number: int
    of: int
    whole: str  # sha256 of the file


def _groups(files: list[Path], room: int) -> Iterator[list[_Part]]:
    """Files and parts of files, as many together as there is room for; one group at least."""
    if room < ROOM:
        raise LskdError(f"export: archives of that size have no room beside the record; allow {3 * ROOM:,} bytes more")
    group: list[_Part] = []
    for path in files:
        content = path.read_bytes()
        whole = hashlib.sha256(content).hexdigest()
        pieces = [content[i : i + room] for i in range(0, len(content), room)]
        for number, piece in enumerate(pieces, start=1):
            if group and sum(len(p.content) for p in group) + len(piece) > room:
                yield group
                group = []
            group.append(_Part(path.name, piece, number, len(pieces), whole))
    yield group


def _write(path: Path, name: str, record: Mapping[str, Any], text: bytes, group: list[_Part]) -> None:
    contents = {RECORD: text, **{_entry(p): p.content for p in group}}
    about = {_entry(p): {"file": p.file, "part": [p.number, p.of], "whole_sha256": p.whole} for p in group}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "task": name,
        "identity": record["identity"],
        "files": {
            entry: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), **about.get(entry, {})}
            for entry, content in contents.items()
        },
    }
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in ((MANIFEST, json.dumps(manifest, indent=1).encode()), *contents.items()):
            info = zipfile.ZipInfo(entry)  # of 1980, whatever the day
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, content)


def _entry(part: _Part) -> str:
    return part.file if part.of == 1 else f"{part.file}.part-{part.number}-of-{part.of}"


# --- in --------------------------------------------------------------------------------------------------------------


def bring(path: Path | str, *, store: Path | str = "results", weights: Path | str = "build/weights") -> Imported:
    """Take one archive in: its record into the store, evidence beside it (compact), weights into ``weights``.

    Everything is checked first; an archive that is refused leaves no trace. The same archive twice changes nothing.

    Raises:
        LskdError: names the archive and what is wrong with it: damaged, of something else, a record that is not
            what its identity says, evidence of other weights, or a result that contradicts one in the store.
    """
    path = Path(path)
    manifest, contents = _read(path)
    record = _record(path, manifest, contents.pop(RECORD))
    known = {
        m[kind]["file"]: (kind, name, m)
        for name, m in record["members"].items()
        for kind in ("evidence", "weights")
        if m.get(kind)
    }
    parts = {}
    for entry, content in contents.items():
        about = manifest["files"][entry]
        if about.get("file") not in known or not _SAFE.fullmatch(str(about["file"])):
            raise LskdError(f"{path}: holds {entry}, of which its record knows nothing; nothing was imported")
        number, of = about["part"]
        parts[entry] = _Part(about["file"], content, number, of, about["whole_sha256"])
        if of == 1:
            _check(path, parts[entry].file, content, *known[about["file"]], record)

    from paper import store as results  # it needs more than a machine that trains may have

    with tempfile.TemporaryDirectory() as folder:
        atomic_write(Path(folder) / RECORD, json.dumps(record, ensure_ascii=False))
        stored, new = results.add(folder, store)
    done = Imported(stored, new)
    own = Path(weights) / stored.relative_to(store).with_suffix("")
    for part in parts.values():
        whole = part.content if part.of == 1 else _assembled(path, part, own / ".parts")
        if whole is None:
            if part.file not in done.waiting:
                done.waiting.append(part.file)
            continue
        done.waiting = [name for name in done.waiting if name != part.file]
        kind, name, member = known[part.file]
        if part.of > 1:
            _check(path, part.file, whole, kind, name, member, record)
        target = (stored.with_suffix("") if kind == "evidence" else own) / part.file
        _keep(target, whole, kind)
        done.files.append(target)
    return done


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and contents, whole."""
    if not path.is_file():
        raise LskdError(f"{path}: no such archive")
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {entry: archive.read(entry) for entry in archive.namelist()}
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise LskdError(f"{path}: damaged, or no archive ({error}); copy it again") from None
    try:
        manifest = json.loads(contents.pop(MANIFEST))
        kind, version = manifest["format"], manifest["version"]
        listed = {entry: (about["sha256"], about["size"]) for entry, about in manifest["files"].items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        raise LskdError(f"{path}: not an archive of a run; `lskd campaign export` makes those") from None
    if (kind, version) != (FORMAT, VERSION):
        raise LskdError(f"{path}: is {kind} {version}; this version reads {FORMAT} {VERSION}")
    for entry in sorted({*listed, *contents}):
        content = contents.get(entry)
        if content is None or entry not in listed:
            raise LskdError(
                f"{path}: {entry} is {'missing' if content is None else 'not in its manifest'}; copy it again"
            )
        if (hashlib.sha256(content).hexdigest(), len(content)) != listed[entry]:
            raise LskdError(f"{path}: {entry} differs from its manifest (damaged); copy the archive again")
    if RECORD not in contents:
        raise LskdError(f"{path}: not an archive of a run, it has no record")
    return manifest, contents


def _record(path: Path, manifest: Mapping[str, Any], text: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(text)
        schema, identity = record["schema"], record["identity"]
        found = identity_of(record)
    except (ValueError, KeyError, TypeError):
        raise LskdError(f"{path}: its record is none; nothing was imported") from None
    if schema != SCHEMA:
        raise LskdError(f"{path}: its record has schema {schema!r}; this version reads schema {SCHEMA}")
    if found != identity or identity != manifest.get("identity"):
        raise LskdError(
            f"{path}: its record says it is run {identity[:12]}, but configuration, seed, data, teacher and trainer "
            f"give {found[:12]}; the record was changed, nothing was imported"
        )
    return record


def _check(
    path: Path, file: str, content: bytes, kind: str, name: str, member: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    """Evidence and weights are those of the record's member."""
    expected = member["weights"]["digest"]
    if kind == "weights":
        from safetensors.torch import load

        from lskd.models import state_digest

        found = state_digest(load(content))
    else:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / file
            copy.write_bytes(content)
            try:
                meta = evidence.load(copy).meta
            except ValueError as error:
                raise LskdError(f"{path}: {str(error).partition(': ')[2] or error} ({file})") from None
        found = meta.get("weights_digest", "")
        if meta.get("dataset_digest") != record["dataset"]["digest"]:
            raise LskdError(f"{path}: {file} was measured on other data than the record's; nothing was imported")
    if found != expected:
        raise LskdError(
            f"{path}: {file} belongs to weights {found[:12]}, the record's {name} has {expected[:12]}; nothing was "
            "imported"
        )


def _assembled(path: Path, part: _Part, folder: Path) -> bytes | None:
    """Keep a part; the whole file when it was the last that was missing."""
    places = [folder / f"{part.whole[:16]}-{n}-of-{part.of}" for n in range(1, part.of + 1)]
    atomic_write(places[part.number - 1], part.content)
    if not all(place.is_file() for place in places):
        return None
    whole = b"".join(place.read_bytes() for place in places)
    for place in places:
        place.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
    if hashlib.sha256(whole).hexdigest() != part.whole:
        raise LskdError(
            f"{path}: the {part.of} parts of {part.file} do not make the file they were cut from; import all again"
        )
    return whole


def _keep(target: Path, content: bytes, kind: str) -> None:
    """Write a file; evidence becomes compact, and is not made again where it is the same already."""
    if target.is_file() and target.read_bytes() == content:
        return
    if kind == "weights":
        atomic_write(target, content)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / target.name
        copy.write_bytes(content)
        pack = evidence.load(copy)
    if pack.compact:
        atomic_write(target, content)
        return
    from paper.compact_evidence import compact

    if target.is_file():
        meta = evidence.load(target).meta
        if {k: v for k, v in meta.items() if k != "embedding"} == pack.meta:
            return
    evidence.save(compact(pack), target)
