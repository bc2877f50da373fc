"""Our runs of a pair beside what is published for it, every length of training in columns of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures.networks import Networks, load
from figures.table import Table, interval
from lskd.errors import LskdError
from lskd.files import visible
from lskd.objectives import METHODS
from lskd.records import computed_with, load_record
from paper.gains import PUBLISHED_EPOCHS, trainers
from paper.members import order
from paper.published import find
from paper.statistics import accuracies, summarize
from paper.text import counted, data_name

TEACHER_PACK = "teacher.evidence.npz"


def records_of(folder: Path | str, recipe: str = "") -> list[tuple[Path, dict[str, Any]]]:
    """Records of a recipe, by default of all, in a folder of the store, by length of training and seed."""
    found = [(path, load_record(path)) for path in visible(Path(folder), "*.json")]
    kept = [(path, record) for path, record in found if recipe in ("", record["name"])]
    if not kept:
        names = ", ".join(sorted({record["name"] for _, record in found})) or "no records"
        raise LskdError(f"{folder}: no record of recipe {recipe!r}; there are {names}")
    return sorted(kept, key=lambda pair: (pair[1]["config"]["epochs"], pair[1]["seed"]))


def committed(folder: Path | str, recipe: str = "") -> Networks:
    """Evidence of the first seed whose packs are kept, of the longest training, and of the teacher.

    The teacher's pack is ``teacher.evidence.npz`` in that folder (`lskd evidence collect --recipe RECIPE`).

    Raises:
        LskdError: no record, or none with packs.
    """
    found = records_of(folder, recipe)
    kept = [(path, record["config"]["epochs"]) for path, record in found if path.with_suffix("").is_dir()]
    if not kept:
        raise LskdError(
            f"{folder}: no evidence beside the records of {recipe!r}; `lskd results add --evidence RUN` puts it there"
        )
    longest = max(epochs for _, epochs in kept)
    return load(Path(folder) / TEACHER_PACK, next(path for path, epochs in kept if epochs == longest))


def pairs(store: Path | str) -> list[Table]:
    """:func:`accuracy_table` of every pair of networks that a store has runs of on CIFAR-100."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in visible(Path(store), "**/*.json"):
        record = load_record(path)
        if record["config"]["dataset"] == "cifar100" and record.get("teacher"):
            found.setdefault((record["teacher"]["network"], record["config"]["student"]), []).append(record)
    return [accuracy_table(records) for _, records in sorted(found.items())]


def accuracy_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A row a method and setting: what is published for it, and our last and best epochs at each length of training.

    A published number stands only where temperature and weight are those of the row.
    """
    first = records[0]
    teacher, student, dataset = first["teacher"]["network"], first["config"]["student"], first["config"]["dataset"]
    runs: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for record in sorted(records, key=lambda r: r["config"]["epochs"]):
        runs.setdefault((record["config"]["epochs"], computed_with(record)), []).append(record)
    members = {name: member for record in records for name, member in record["members"].items()}
    rows: dict[tuple[str, str, str], dict[tuple[int, str] | None, list[str]]] = {}  # None: what is published
    for name in order(members):
        for length, group in runs.items():
            own = accuracies(group)
            own = own[own["member"] == name]
            if own.empty:
                continue
            member = next(r["members"][name] for r in group if name in r["members"])
            key, ends = _key(member), [own[epoch].tolist() for epoch in ("last", "best")]
            rows.setdefault(key, {None: [_published(dataset, teacher, student, member, m) for m in METRICS]})
            one = len({record["seed"] for record in group}) == 1  # which the caption says
            rows[key][length] = [f"{found[0]:.2f}" if one else interval(summarize(found)) for found in ends]
    columns = [f"{epochs} epochs, {epoch}" for epochs, _ in runs for epoch in ("last", "best")]
    body = [
        [*key, *(cell for length in (None, *runs) for cell in rows[key].get(length, ["", ""]))]
        for key in sorted(rows, key=lambda key: (_METHODS.index(key[0].removesuffix(" + LS")), " + LS" in key[0]))
    ]
    short = [epochs for epochs, _ in runs if epochs < PUBLISHED_EPOCHS]
    words = "; ".join(
        f"{counted(epochs, 'epoch')}: n = {counted(len({r['seed'] for r in group}), 'seed')}, {with_}"
        for (epochs, with_), group in runs.items()
    )
    caption = (
        f"{teacher} → {student} on {data_name(dataset)}, test accuracy in percent; ± is a 95 % t-interval. {words}. "
        f"The teacher has {first['teacher']['test_accuracy']:.2f} %. Published columns are {PUBLISHED_EPOCHS} epochs."
    )
    if short:
        caption += f" <b>Short runs ({', '.join(map(str, short))} of {PUBLISHED_EPOCHS} epochs) say nothing about the "
        caption += "level of the paper's numbers.</b>"
    caption = " ".join(filter(None, (caption, *(trainers(group) for group in runs.values()))))
    return Table(["method", "T", "weight", "paper, best", "its log, last", *columns], body, caption)


METRICS = ("top1_test", "top1_test_last_epoch")
_METHODS = [objective.title for objective in METHODS.values()]


def _key(member: Mapping[str, Any]) -> tuple[str, str, str]:
    """What a row is: method, temperature and weight, whatever a recipe calls it."""
    settings = member["settings"]
    t, weight = (f"{settings[key]:g}" if key in settings else "–" for key in ("temperature", "kd_weight"))
    return METHODS[member["method"]].title + " + LS" * member["standardize"], t, weight


def _published(dataset: str, teacher: str, student: str, member: Mapping[str, Any], metric: str) -> str:
    method, settings = member["method"], member["settings"]
    of = {"dataset": dataset, "teacher": teacher, "student": student, "method": method, "metric": metric}
    found = find(**of, standardize=member["standardize"])
    at = [n for n in found if (n.temperature, n.kd_weight) == (settings.get("temperature"), settings.get("kd_weight"))]
    return f"{at[0].value:.2f}" if at else ""
