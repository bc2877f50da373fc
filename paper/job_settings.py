"""What a reader asks of the tables' workflow: one checked file of ``workflow/tables/`` and changes to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lskd.errors import LskdError

__all__ = ["TABLES", "Wanted", "load"]

TABLES = (1, 2, 3, 4, 5, "vit")


@dataclass(frozen=True)
class Wanted:
    """Which cells to train, and how jobs are carried out; the keys of ``workflow/tables/paper.yaml``.

    ``pairs`` is None for all; ``memory_mb`` and ``minutes`` are limits that a job declares to a cluster.
    """

    name: str
    tables: tuple[int | str, ...]
    pairs: tuple[str, ...] | None
    members: str
    seeds: tuple[int, ...]
    rehearsal: bool
    settings: dict[str, Any]
    device: str
    teacher_logits: str
    table_dtype: str
    runs: str
    folder: str
    store: str
    threads: int
    memory_mb: int
    minutes: int

    def json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def load(name: str, changes: Mapping[str, Any] | None = None, *, root: Path) -> Wanted:
    """Read ``workflow/tables/NAME.yaml`` and change it.

    Raises:
        LskdError: no such file, an unknown key, a value of the wrong kind, or changed recipes outside a rehearsal.
    """
    place = root / "workflow" / "tables"
    known = sorted(path.stem for path in place.glob("*.yaml"))
    if not known:
        raise LskdError(f"{root}: no workflow/tables; call this in a checkout of the project")
    if name not in known:
        raise LskdError(f"unknown plan {name!r}; workflow/tables has {', '.join(known)}")
    raw = yaml.safe_load((place / f"{name}.yaml").read_text(encoding="utf-8"))
    fields = [f.name for f in dataclasses.fields(Wanted) if f.name != "name"]
    for key, value in (changes or {}).items():
        head, dot, rest = key.partition(".")
        if head == "settings" and dot:
            raw["settings"] = {**(raw.get("settings") or {}), rest: value}
        elif key in fields:
            raw[key] = value
        else:
            hint = "; a recipe's setting is settings.KEY, in a rehearsal" if head in ("epochs", "batch_size") else ""
            raise LskdError(f"plan {name}: unknown key {key!r}{hint}. There are {', '.join(fields)}")
    unknown, missing = [k for k in raw if k not in fields], [k for k in fields if k not in raw]
    if unknown or missing:
        raise LskdError(
            f"plan {name}: unknown keys {unknown}, missing keys {missing}; compare workflow/tables/paper.yaml"
        )
    wanted = Wanted(name=name, **_checked(name, raw))
    if not wanted.rehearsal and wanted.settings:
        changed = ", ".join(f"{k}={v!r}" for k, v in wanted.settings.items())
        raise LskdError(
            f"plan {name}: settings {changed} change the recipes, so that its runs are no cells of the paper's tables. "
            "Leave them out, or make it a rehearsal: --set rehearsal=true with a folder, runs and store of its own"
        )
    if wanted.rehearsal and _inside(root / wanted.store, root / "results"):
        raise LskdError(
            f"plan {name}: a rehearsal's numbers mean nothing, and the book reads its store, {wanted.store!r}; "
            "give another, such as build/rehearsal/results"
        )
    return wanted


def _checked(name: str, raw: dict[str, Any]) -> dict[str, Any]:
    def wrong(key: str, expected: str) -> LskdError:
        return LskdError(f"plan {name}: {key} is {raw[key]!r}; expected {expected}")

    raw = {key: _numbers(value) for key, value in raw.items()}
    out = dict(raw)
    tables = raw["tables"] if isinstance(raw["tables"], list) else [raw["tables"]]
    if not tables or any(isinstance(t, bool) or t not in TABLES for t in tables):
        raise wrong("tables", f"some of {', '.join(map(str, TABLES))}")
    out["tables"] = tuple(t for t in TABLES if t in tables)
    pairs = [raw["pairs"]] if isinstance(raw["pairs"], str) else raw["pairs"]
    if not isinstance(pairs, list) or not pairs or not all(isinstance(p, str) for p in pairs):
        raise wrong("pairs", "all, or a list of pairs and networks")
    out["pairs"] = None if pairs == ["all"] else tuple(pairs)
    seeds = raw["seeds"]
    seeds = list(range(seeds)) if type(seeds) is int else seeds
    if not isinstance(seeds, list) or not seeds or any(type(s) is not int or s < 0 for s in seeds):
        raise wrong("seeds", "how many, such as 3, or a list of seeds from 0")
    out["seeds"] = tuple(sorted(set(seeds)))
    for key, choices in (
        ("members", ("printed", "all")),
        ("teacher_logits", ("auto", "table", "live")),
        ("table_dtype", ("float32", "float16")),
        ("rehearsal", (True, False)),
    ):
        if raw[key] not in choices or type(raw[key]) is not type(choices[0]):
            raise wrong(key, " or ".join(str(c).lower() for c in choices))
    out["settings"] = raw["settings"] or {}
    if not isinstance(out["settings"], dict):
        raise wrong("settings", "keys and values")
    for key in ("device", "runs", "folder", "store"):
        if not isinstance(raw[key], str) or not raw[key]:
            raise wrong(key, "a name")
    for key in ("threads", "memory_mb", "minutes"):
        if type(raw[key]) is not int or raw[key] < 1:
            raise wrong(key, "a whole number")
    return out


def _numbers(value: Any) -> Any:
    """Lists as Snakemake's ``--config tables=[1,2]`` gives them, of strings, to lists of numbers."""
    if isinstance(value, list):
        return [int(item) if isinstance(item, str) and item.strip().isdecimal() else item for item in value]
    return value


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
