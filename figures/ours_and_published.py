"""Our runs of a pair beside what is published for it, every length of training in columns of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures.networks import Networks, load
from figures.table import Table, interval
from lskd.errors import LskdError
from lskd.evidence import TEACHER
from lskd.files import differences, visible
from lskd.objectives import METHODS
from lskd.records import computed_with, load_record
from paper.gains import PUBLISHED_EPOCHS, provenance
from paper.members import order, pairs
from paper.published import find
from paper.statistics import EPOCHS, by_seed, settings_of, summarize
from paper.store import shared_settings
from paper.text import counted, data_name, written


def records_of(folder: Path | str, recipe: str = "") -> list[tuple[Path, dict[str, Any]]]:
    """Records of a recipe, by default of all, in a folder of the store, by length of training, seed and members."""
    found = [(path, load_record(path)) for path in visible(Path(folder), "*.json")]
    kept = [(path, record) for path, record in found if recipe in ("", record["name"])]
    if not kept:
        names = ", ".join(sorted({record["name"] for _, record in found})) or "no records"
        raise LskdError(f"{folder}: no record{recipe and f' of recipe {recipe!r}'}; there are {names}")
    first = order({name for _, record in kept for name in record["members"]}).index
    return sorted(kept, key=lambda p: (p[1]["config"]["epochs"], p[1]["seed"], min(map(first, p[1]["members"]))))


def committed(folder: Path | str, recipe: str = "") -> Networks:
    """Evidence of the teacher and of the longest training's first run that has packs, a method without and with LS.

    The teacher's pack is ``teacher.evidence.npz`` in that folder (`lskd evidence collect --recipe RECIPE`).

    Raises:
        LskdError: no record, or none with packs.
    """
    found = records_of(folder, recipe)
    kept = [(p, r["config"]["epochs"]) for p, r in found if p.with_suffix("").is_dir() and pairs(r["members"])]
    if not kept:
        raise LskdError(
            f"{folder}: no evidence beside the records of {recipe!r} that have a method without and with LS; "
            "`lskd results add --evidence RUN` puts it there"
        )
    longest = max(epochs for _, epochs in kept)
    return load(Path(folder) / TEACHER, next(path for path, epochs in kept if epochs == longest))


def accuracy_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A row a method and setting: what is published for it, and our last and best epochs at each length of training.

    A published number stands only where temperature and weight are those of the row. Runs that differ in data, teacher
    or schedule are columns apart, and the caption says in what.
    """
    first = records[0]
    teacher, student, dataset = first["teacher"]["network"], first["config"]["student"], first["config"]["dataset"]
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for record in sorted(records, key=lambda r: r["config"]["epochs"]):
        runs.setdefault(json.dumps(_shared(record), sort_keys=True), []).append(record)
    rows: dict[_Row, dict[str, dict[int, Mapping[str, Any]]]] = {}  # members by run and seed
    for name in order({name for record in records for name in record["members"]}):
        for length, group in runs.items():
            for record in group:
                if by_seed([record], name):
                    member = record["members"][name]
                    rows.setdefault(_key(member), {}).setdefault(length, {})[record["seed"]] = member
    columns, words = [], []
    for group in runs.values():
        epochs, with_ = group[0]["config"]["epochs"], computed_with(group[0])
        like = next(r for r in records if (r["config"]["epochs"], computed_with(r)) == (epochs, with_))
        other = [f"{key.removeprefix('config.')} {b}" for key, _, b in differences(_shared(like), _shared(group[0]))]
        columns += [f"{epochs} epochs, {epoch}" for epoch in EPOCHS]
        n = counted(len({r["seed"] for r in group}), "seed")
        words.append(f"{counted(epochs, 'epoch')}: {', '.join([f'n = {n}', with_, *other])}")
    body = []
    for key in sorted(rows, key=lambda key: key[:2]):
        some = next(iter(next(iter(rows[key].values())).values()))
        body.append([*key[2:], *(_published(dataset, teacher, student, some, metric) for metric in METRICS)])
        for length, group in runs.items():
            one = len({record["seed"] for record in group}) == 1  # which the caption says
            for epoch in EPOCHS:
                found = [member[epoch]["test_accuracy"] for member in rows[key].get(length, {}).values()]
                body[-1].append(f"{found[0]:.2f}" if one and found else interval(summarize(found)) if found else "")
    short = sorted({r["config"]["epochs"] for r in records if r["config"]["epochs"] < PUBLISHED_EPOCHS})
    caption = (
        f'<b class="lskd-overview">{teacher} → {student} on {data_name(dataset)}.</b> Test accuracy in percent; ± is a '
        "95 % t-interval. "
        f"{'; '.join(words)}. "
        f"The teacher has {first['teacher']['test_accuracy']:.2f} %. Published columns are {PUBLISHED_EPOCHS} epochs."
    )
    if short:
        caption += f" <b>Short runs ({', '.join(map(str, short))} of {PUBLISHED_EPOCHS} epochs) say nothing about the "
        caption += "level of the paper's numbers.</b>"
    caption = " ".join(filter(None, (caption, *(provenance(group) for group in runs.values()))))
    return Table(["method", "T", "weight", "paper, best", "its log, last", *columns], body, caption)


METRICS = ("top1_test", "top1_test_last_epoch")
_METHODS = [*METHODS]
_Row = tuple[int, bool, str, str, str]


def _shared(record: Mapping[str, Any]) -> dict[str, Any]:
    """What runs of a column have in common, whatever their recipe is called and wherever their teacher lay."""
    found = shared_settings(record)
    return {**found, "config": {key: v for key, v in found["config"].items() if key not in ("name", "teacher")}}


def _key(member: Mapping[str, Any]) -> _Row:
    """What a row is: method, settings that are not usual, temperature and weight, whatever a recipe calls it."""
    settings, usual = settings_of(member), settings_of({**member, "settings": {}})
    t, weight = (f"{v:g}" if (v := member["settings"].get(key)) is not None else "–" for key in ROW)
    more = [f", {k} {written(v)}" for k, v in settings.items() if k not in ROW and usual.get(k) != v]
    title = METHODS[member["method"]].title + " + LS" * member["standardize"] + "".join(more)
    return _METHODS.index(member["method"]), member["standardize"], title, t, weight


ROW = ("temperature", "kd_weight")


def _published(dataset: str, teacher: str, student: str, member: Mapping[str, Any], metric: str) -> str:
    """A published number of these networks and method at these settings, as far as the source tells them."""
    method, settings = member["method"], member["settings"]
    of = {"dataset": dataset, "teacher": "" if method == "plain" else teacher, "student": student, "method": method}
    found = find(**of, metric=metric, standardize=member["standardize"])
    told = ((n, [{getattr(n, key), settings.get(key)} for key in ROW]) for n in found)
    at = [n for n, pairs in told if all(None in pair or len(pair) == 1 for pair in pairs)]
    return f"{at[0].value:.2f}" if at and not settings.get("effective_weight") else ""
