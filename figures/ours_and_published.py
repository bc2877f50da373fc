"""Our runs of a pair beside what is published for it, however short they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures.networks import Networks, load
from figures.table import Table
from lskd.errors import LskdError
from lskd.records import load_record
from paper.members import label, members_of, order
from paper.published import find
from paper.statistics import accuracies, summarize
from paper.text import counted, data_name

__all__ = ["PUBLISHED_EPOCHS", "accuracy_table", "committed", "records_of", "short_runs"]

PUBLISHED_EPOCHS = 240
TEACHER_PACK = "teacher.evidence.npz"


def records_of(folder: Path | str, recipe: str) -> list[tuple[Path, dict[str, Any]]]:
    """Records of a recipe in a folder of the store, by seed."""
    found = [(path, load_record(path)) for path in sorted(Path(folder).glob("*.json"))]
    kept = [(path, record) for path, record in found if record["name"] == recipe]
    if not kept:
        names = ", ".join(sorted({record["name"] for _, record in found})) or "no records"
        raise LskdError(f"{folder}: no record of recipe {recipe!r}; there are {names}")
    return sorted(kept, key=lambda pair: pair[1]["seed"])


def committed(folder: Path | str, recipe: str) -> Networks:
    """Evidence of the first seed of a recipe whose packs are kept, and of the teacher, from a folder of the store.

    The teacher's pack is ``teacher.evidence.npz`` in that folder (`lskd evidence collect --recipe RECIPE`).

    Raises:
        LskdError: no record, or none with packs.
    """
    for path, _ in records_of(folder, recipe):
        if path.with_suffix("").is_dir():
            return load(Path(folder) / TEACHER_PACK, path)
    raise LskdError(
        f"{folder}: no evidence beside the records of {recipe!r}; `lskd results add --evidence RUN` puts it there"
    )


def short_runs(store: Path | str) -> list[Table]:
    """A table for every recipe of CIFAR-100 whose committed runs are shorter than the published ones."""
    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(Path(store).glob("**/*.json")):
        record = load_record(path)
        if record["config"]["dataset"] == "cifar100" and record["config"]["epochs"] < PUBLISHED_EPOCHS:
            by_recipe.setdefault(record["name"], []).append(record)
    return [accuracy_table(records) for _, records in sorted(by_recipe.items()) if records[0].get("teacher")]


def accuracy_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A row a member: its settings, what is published at these settings, and our last and best epochs.

    A published number stands only where temperature and weight are those of the member; ``–`` elsewhere.
    """
    first = records[0]
    teacher, student = first["teacher"]["network"], first["config"]["student"]
    dataset, epochs = first["config"]["dataset"], first["config"]["epochs"]
    frame = accuracies(records)
    rows = []
    for name in order(members_of(records)):
        member = next(r["members"][name] for r in records if name in r["members"])
        settings, own = member["settings"], frame[frame["member"] == name]
        published = {
            metric: _published(dataset, teacher, student, member, metric)
            for metric in ("top1_test", "top1_test_last_epoch")
        }
        ours = [_mean(own[epoch].tolist()) for epoch in ("last", "best")]
        what = label(name, method=member["method"], standardize=member["standardize"])
        values = [f"{settings[key]:g}" if key in settings else "–" for key in ("temperature", "kd_weight")]
        rows.append([what.partition(" (")[0], *values, *published.values(), *ours])
    headings = ["method", "T", "weight", "paper, best", "its log, last", "ours, last", "ours, best"]
    n = len({r["seed"] for r in records})
    short = (
        f" <b>Ours are short runs: {epochs} epochs instead of {PUBLISHED_EPOCHS}, so their level says nothing about "
        "the paper's numbers.</b>"
        if epochs < PUBLISHED_EPOCHS
        else ""
    )
    place = f"{teacher} → {student} on {data_name(dataset)}"
    return Table(
        headings,
        rows,
        f"{place}, test accuracy in percent; n = {counted(n, 'seed')}. "
        f"The published columns are {PUBLISHED_EPOCHS} epochs.{short}",
    )


def _published(dataset: str, teacher: str, student: str, member: Mapping[str, Any], metric: str) -> str:
    method, settings = member["method"], member["settings"]
    found = find(
        dataset=dataset,
        teacher=teacher,
        student=student,
        method=method,
        standardize=member["standardize"],
        metric=metric,
    )
    at = [n for n in found if (n.temperature, n.kd_weight) == (settings.get("temperature"), settings.get("kd_weight"))]
    return f"{at[0].value:.2f}" if at else "–"


def _mean(values: Sequence[float]) -> str:
    found = summarize(values)
    interval = f" ± {found.high - found.mean:.2f}" if found.high == found.high else ""
    return f"{found.mean:.2f}{interval}"
