"""Hold committed records, and the tables and figures drawn from them, to what they say of themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from book.readme import NAME, PICTURES, RECORDS, blocks, draw, fill
from lskd import evidence
from lskd.errors import LskdError
from lskd.files import read_json, sha256_file, visible
from lskd.records import identity as identity_of
from lskd.records import load_record, summarize
from paper.store import STORE, content_digest, groups


@dataclass
class Report:
    """What was checked, what is wrong, and what could not be checked; lines of text."""

    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(store: Path | str = STORE, root: Path | str = ".") -> Report:
    """Check every digest of a store, and draw again every table and figure that the repository has of its records.

    Args:
        store: the records.
        root: the repository, for ``figures/`` and the README.
    """
    report, root = Report(), Path(root)
    paths = visible(Path(store), "**/*.json")
    if not paths:
        raise LskdError(f"{Path(store).absolute()}: no records there; call this in a checkout, or name another --store")
    packs = 0
    records = {path: record for path in paths if (record := _record(path, report))}
    for path, record in records.items():
        for pack in visible(path.with_suffix(""), "*.npz"):
            packs += 1
            report.problems += _pack(pack, record)
    for pack in visible(Path(store), f"**/{evidence.TEACHER}"):
        found = [_pack(pack, record) for path, record in records.items() if path.parent == pack.parent]
        packs += bool(found)
        if found and all(found):  # it is the teacher of no record there
            report.problems += found[0]
    report.checked.append(f"{len(paths)} records, {packs} evidence packs")
    try:
        groups(store)
    except LskdError as error:
        report.problems.append(str(error))
    sidecars = visible(root / "figures", "**/*.json")
    for sidecar in sidecars:
        report.problems += _sidecar(sidecar, root)
    report.checked.append(f"{len(sidecars)} figures: their inputs and files")
    drawn = [root / RECORDS, root / PICTURES, root / "README.md"]
    if all(path.exists() for path in drawn) and not report.problems:
        report.problems += _redrawn(root, report)
        report.checked.append("the README's table and figure, drawn again from the records")
    return report


def _record(path: Path, report: Report) -> dict[str, Any] | None:
    try:
        record = load_record(path)
        report.problems += [f"{path}: {problem}" for problem in _problems(record)]
    except LskdError as error:
        report.problems.append(str(error))
        return None
    if "store" not in record:
        report.notes.append(f"{path}: put there by hand, without a digest of its content")
    return record


def _problems(record: dict[str, Any]) -> Iterator[str]:
    if (identity := identity_of(record)) != (told := record.get("identity", "")):
        found = f"configuration, seed, data, teacher and trainer give {identity[:12]}"
        yield f"its identity is {told[:12]}, but its {found}"
    if "store" in record and record["store"].get("sha256") != content_digest(record):
        yield "its content differs from its SHA-256: it was changed after it was stored"
    for name, member in record["members"].items():
        if {**member, **summarize(member["epochs"])} != member:
            yield f"{name}: its last or best epoch is not what its epochs give"


def _pack(path: Path, record: dict[str, Any]) -> list[str]:
    try:
        evidence.load_of(record, path)
    except (LskdError, ValueError) as error:
        return [str(error)]
    return []


def _sidecar(path: Path, root: Path) -> Iterator[str]:
    sidecar = read_json(path)
    for item in sidecar.get("inputs", []):
        file = root / item["file"]
        if not file.is_file():
            yield f"{path}: was drawn from {item['file']}, which is not there"
        elif sha256_file(file) != item["sha256"]:
            yield f"{path}: {item['file']} has changed since this figure was drawn; draw it again"
    for name, digest in sidecar.get("files", {}).items():
        file = path.with_name(name)
        if not file.is_file() or sha256_file(file) != digest:
            yield f"{file}: missing, or not the file that was drawn"


def _redrawn(root: Path, report: Report) -> Iterator[str]:
    readme = (root / "README.md").read_text(encoding="utf-8")
    if fill(readme, blocks(root)) != readme:
        yield "README.md: its measured parts differ from the records; run lskd book readme"
    stored = root / PICTURES
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(root, folder)
        data, sidecar = f"{NAME}.csv", read_json(stored / f"{NAME}.json")
        if (drawn.folder / data).read_bytes() != (stored / data).read_bytes():
            yield f"{stored / data}: drawn again, its numbers differ"
        here = {m: getattr(import_module(m), "__version__", None) for m in sidecar["versions"]}
        if here != sidecar["versions"]:
            report.notes.append(f"{stored}: drawn with other versions ({sidecar['versions']}); pictures not compared")
            return
        for picture in (f"{NAME}.svg", f"{NAME}-narrow.svg"):
            if (drawn.folder / picture).read_bytes() != (stored / picture).read_bytes():
                yield f"{stored / picture}: drawn again, it differs; run lskd book readme"
