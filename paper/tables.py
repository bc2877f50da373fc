"""The cells of the paper's Tables 1 to 5: what is published, what the released logs say, and what was run here.

A run counts for a cell when it is that cell: its networks, method, settings and schedule, on the whole data set, to the
last epoch, whatever its recipe is called and whoever trained the teacher, which ``ours`` names. Anything else is out,
and :func:`left_out` says what and why. A cell that was not run has no number; nobody else's takes its place.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lskd.data import DATASETS
from lskd.data.cifar100 import MEAN, STD
from lskd.errors import LskdError
from lskd.files import differences
from lskd.models.registry import find
from lskd.recipes import load_recipe
from lskd.records import without_places
from paper import published
from paper.cells import Cell, cells, numbers
from paper.published import Number
from paper.statistics import by_seed, rows, settings_of
from paper.store import STORE, Group, groups

if TYPE_CHECKING:
    import pandas as pd

TABLES = {  # what each table is about, and where its numbers are printed
    1: ("CIFAR-100, teacher and student of different architectures", "released README (= paper Tables 1-2"),
    2: ("CIFAR-100, teacher and student of one architecture", "released README (= paper Tables 1-2"),
    3: ("ImageNet", "paper Table 3 "),
    4: (
        "CIFAR-100, resnet32x4 -> resnet8x4, KD: weight of the distillation loss, and parts of the Z-score",
        "Table 4 ",
    ),
    5: ("CIFAR-100, six teachers of wrn_16_2", "paper Table 5 "),
}
METHODS = ("plain", "kd", "ctkd", "dkd", "mlkd")  # rows of other methods are not this project's
TRAINED_ALONE = ("cifar100",)  # the networks of ImageNet come trained, with torchvision or with earlier work
VARIANTS = {"raw logits": "raw", "logits minus mean": "minus_mean", "logits over std": "over_std", "z-score": "z"}


@dataclass(frozen=True)
class Entry:
    """One cell of a table. Accuracies are percent.

    Attributes:
        cell: the recipe's member.
        published: as printed in the paper.
        log_best, log_last: of every released run of this cell at its settings; mostly one, often none.
        ours: the row of :func:`paper.statistics.rows`, and ``teacher``, the record's; None when the cell was not run.
    """

    cell: Cell
    published: float
    log_best: tuple[float, ...]
    log_last: tuple[float, ...]
    ours: dict[str, Any] | None


@dataclass(frozen=True)
class LeftOut:
    """A run of a table's recipe that is in no table, and why."""

    path: Path
    recipe: str
    member: str
    reason: str


# --- the tables' cells -----------------------------------------------------------------------------------------------


def entries(table: int, store: Path | str = STORE) -> list[Entry]:
    """The cells of a paper table, in the order in which they are printed, networks alone first; see :func:`printed`."""
    return entries_of(printed(table), store)


def entries_of(chosen: Iterable[Cell], store: Path | str = STORE) -> list[Entry]:
    """The same of any cells, also those that no numbered table prints; without those that have no published value."""
    chosen = [cell for cell in chosen if cell.published is not None]
    ours, out = _ours(store, chosen)[0], []
    for cell in chosen:
        best, last = (_logged(cell, f"top1_test_{epoch}_epoch") for epoch in ("best", "last"))
        out.append(Entry(cell, float(cell.published or 0), best, last, ours.get((cell.recipe, cell.member))))
    return out


@functools.cache
def printed(table: int) -> tuple[Cell, ...]:
    """The cells of a paper table, in the order in which they are printed.

    Raises:
        LskdError: there is no such table, or a printed number belongs to no cell.
    """
    if table not in TABLES:
        raise LskdError(f"there is no table {table!r}; there are {', '.join(map(str, TABLES))}")
    found = [n for n in published.find(source=TABLES[table][1]) if n.metric in ("top1_test", "top1_val")]
    found = [n for n in found if n.method in METHODS and (n.method != "plain" or n.dataset in TRAINED_ALONE)]
    if table in (1, 2):  # printed together in the source; the first has teachers of another architecture
        found = [n for n in found if (find(n.teacher)[0].name == find(n.student)[0].name) == (table == 2)]
        networks = dict.fromkeys([n.teacher for n in found] + [n.student for n in found])
        alone = {n.student: n for n in published.find(source="paper Tables 1-2 ", method="plain")}
        found = [*(alone[name] for name in networks if name in alone), *found]
    if table != 4:  # which lists weights and columns in order already
        pairs = list(dict.fromkeys((n.teacher, n.student) for n in found))
        found.sort(key=lambda n: (pairs.index((n.teacher, n.student)), METHODS.index(n.method), n.standardize))
        found.sort(key=lambda n: n.method != "plain")
    return tuple(map(_cell, found))


def _cell(number: Number) -> Cell:
    """The one member that a printed number belongs to."""
    member = "alone" if number.method == "plain" else number.method + "_ls" * number.standardize
    recipe = None
    if number.variant:
        weight = f"{number.kd_weight:g}".replace(".", "p")
        recipe, member = "cifar100/table-4", f"weight_{weight}_{VARIANTS[number.variant.removeprefix('KD, ')]}"
    wanted = (number.dataset, number.teacher or None, number.student, member)
    found = [
        c
        for c in cells()
        if (c.dataset, c.teacher, c.student, c.member) == wanted
        and c.recipe.startswith(f"{c.dataset}/")
        and recipe in (None, c.recipe)
    ]
    if len(found) != 1:
        words = f"{number.teacher} -> {number.student}, {member}, {number.value} ({number.source})"
        raise LskdError(f"{words}: {len(found)} recipes have this cell; expected one")
    return found[0]


def _logged(cell: Cell, metric: str) -> tuple[float, ...]:
    """Values of the released logs at a cell's networks, method and settings, by run."""
    if cell.member.startswith("weight_") and not cell.member.endswith("_z"):
        return ()  # the logs are of the whole Z-score
    found = numbers(cell, metric=metric, source="log file")
    known = ((n, (n.temperature, cell.temperature), (n.kd_weight, cell.kd_weight)) for n in found)
    return tuple(n.value for n, *given in known if all(None in pair or pair[0] == pair[1] for pair in given))


# --- what was run here -----------------------------------------------------------------------------------------------


def left_out(store: Path | str = STORE) -> list[LeftOut]:
    """Runs of the tables' recipes that no table shows, with the reason; other recipes' runs are not mentioned."""
    return _ours(store)[1]


def _ours(store: Path | str, more: Iterable[Cell] = ()) -> tuple[dict[tuple[str, str], dict[str, Any]], list[LeftOut]]:
    """Statistics by (recipe, member), from the experiment with most seeds; and what stays out.

    Of the cells of all tables, and ``more``.
    """
    if not Path(store).is_dir():
        raise LskdError(f"{store}: no such folder of records; ours are in results, `lskd results add` begins one")
    every = [*(cell for table in TABLES for cell in printed(table)), *more]
    known = {(cell.recipe, cell.member): content(_config(cell.recipe), cell.member) for cell in every}
    shown: dict[tuple[str, str], tuple[dict[str, Any], list[LeftOut]]] = {}
    out: list[LeftOut] = []
    for group in groups(store):
        if group.name in {recipe for recipe, _ in known}:
            mine = {m: (group.name, m) for m in group.settings if (group.name, m) in known}
        else:  # another recipe may be a cell by content
            config = {**group.config, "members": group.settings}
            found = {m: content(config, m) for m in group.settings}
            mine = {m: next(c for c in known if known[c] == found[m]) for m in found if found[m] in known.values()}
        for member, cell in sorted(mine.items()):
            kept = Group(group.name, group.key)
            for path, record in group.runs:
                if member not in record["members"]:
                    continue
                reason = (_unlike if cell[0] == group.name else _part)(record, member)
                if reason:
                    out.append(LeftOut(path, group.name, member, reason))
                else:
                    kept.runs.append((path, {**record, "members": {member: record["members"][member]}}))
            if not kept.runs:
                continue
            row = {**rows(kept)[0], "teacher": kept.runs[0][1].get("teacher") if cell[1] != "alone" else None}
            others = [
                LeftOut(p, group.name, member, "not averaged: another teacher, data or precision") for p, _ in kept.runs
            ]
            before = shown.get(cell)
            if before is None or _rank(row) > _rank(before[0]):
                shown[cell] = row, others
                out += before[1] if before else []
            else:
                out += others
    return {key: row for key, (row, _) in shown.items()}, sorted(out, key=lambda o: (str(o.path), o.member))


def _rank(row: Mapping[str, Any]) -> tuple[bool, int]:
    """Which of two experiments fills a cell: one with a published teacher, then one of more seeds."""
    return bool((row["teacher"] or {}).get("checkpoint")), row["n"]


def _unlike(record: Mapping[str, Any], member: str) -> str:
    """Why a run of a table's recipe is not the cell of its name; empty when it is, whoever trained its teacher."""
    recipe = content(_config(record["name"]), member)
    found = list(differences(recipe, content(record["config"], member)))
    if found:
        return "; ".join(f"{key} is {other!r}, {own!r} in the recipe" for key, own, other in found[:3])
    return _part(record, member)


@functools.cache
def _config(recipe: str) -> dict[str, Any]:
    return load_recipe(recipe, for_training=False).config()


def content(config: Mapping[str, Any], member: str) -> dict[str, Any]:
    """What makes a run a cell: networks, method, settings, schedule, data; not names, nor who trained its teacher,
    nor the last digit of what CIFAR-100 is normalised with, in which published teachers differ."""
    config, settings = without_places(config), dict(config["members"][member])
    kept = {key: value for key, value in config.items() if key not in ("members", "name", "teacher")}
    usual = {"mean": MEAN, "std": STD}
    data = kept.get("data", {}).items()
    kept["data"] = {k: value for k, value in data if k not in usual or math.dist(value, usual[k]) > 1e-3}
    method, standardize = settings.pop("method"), settings.pop("standardize", False)
    source = (config.get("teacher") or {}) if method != "plain" else {}
    teacher = {"teacher": source.get("network"), "teacher.settings": source.get("settings") or {}}
    own = settings_of({"method": method, "settings": settings})
    return {**kept, **teacher, "method": method, "standardize": standardize, "settings": own}


def _part(record: Mapping[str, Any], member: str) -> str:
    """Why a run is not the whole of what its configuration says; empty when it is."""
    data, config = record["dataset"], record["config"]
    size = (data["classes"], data["train_size"], data["test_size"])
    source = DATASETS[config["dataset"]]
    if size != (whole := (source.classes, source.train, source.test)):
        own, all_of_it = (f"{c} classes, {a:,} and {b:,} images" for c, a, b in (size, whole))
        return f"it is of {own}; the data set has {all_of_it}"
    if not by_seed([record], member):
        return "it stopped early"
    if (last := record["members"][member]["last"]["epoch"]) != config["epochs"]:
        return f"it has {last} epochs of {config['epochs']}"
    return ""


# --- as data ---------------------------------------------------------------------------------------------------------


def frame(table: list[Entry]) -> pd.DataFrame:
    """A row a cell with everything that is known of it, empty where nothing is.

    ``best_*`` and ``last_*`` are ours: mean and 95 % t-interval over ``n`` seeds, at the best and at the last epoch;
    ``best_top5_*`` and ``last_top5_*`` the same of the five largest logits, for ImageNet.
    ``difference*`` are ours at the best epoch minus published; the published value counts as exact. ``few`` is True
    below three seeds. ``obstacles`` say why what is installed cannot run a cell, which then has no ``command``.
    """
    import pandas as pd

    out = []
    for entry in table:
        cell, ours = entry.cell, entry.ours
        row: dict[str, Any] = {
            "cell": cell.name,
            **{key: getattr(cell, key) for key in ("recipe", "member", "dataset", "teacher", "student", "method")},
            **{key: getattr(cell, key) for key in ("standardize", "temperature", "kd_weight")},
            "published": entry.published,
            "published_top5": cell.published_top5,
            "log_best": "; ".join(f"{v:.2f}" for v in entry.log_best),
            "log_last": "; ".join(f"{v:.2f}" for v in entry.log_last),
            "n": ours["n"] if ours else 0,
            "few": ours["few"] if ours else None,
            "seeds": "; ".join(map(str, ours["seeds"])) if ours else "",
        }
        for part in ("best", "best_top5", "last", "last_top5"):
            found = (ours or {}).get(part, {})
            row |= {f"{part}_{k}": found.get(k) for k in ("mean", "sd", "low", "high")}
        for key in ("mean", "low", "high"):
            value = row[f"best_{key}"]
            row[f"difference_{key}"] = None if value is None else value - entry.published
        out.append(row | {"command": cell.command, "obstacles": "; ".join(cell.obstacles)})
    return pd.DataFrame(out)
