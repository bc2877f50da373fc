"""What logit standardisation adds to KD: what was run here, what is published, and what of that was replicated.

A gain is KD + LS minus KD without LS in points, seed by seed, against one baseline; which one decides most of the
number, so a gain always names it. Everything is read from a folder of records and from :mod:`paper.published`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pandas as pd

from lskd.records import computed_with, trainer_of
from paper import published
from paper.members import order
from paper.statistics import ENOUGH_SEEDS, Mean, at_epoch, settings_of, summarize
from paper.store import STORE, Group, groups
from paper.tables import Entry
from paper.text import counted, data_name, duration, signed

TABLES_1_2 = "released README (= paper Tables 1-2"
PUBLISHED_EPOCHS = 240  # of the paper's CIFAR-100 runs
LITERATURE = (4.0, 0.9)  # temperature and weight of the KD that the paper's tables quote
BASELINES = {
    "same": "KD at the same temperature and weight",
    "effective": "KD at the effective weight (divided by both deviations of the logits)",
    "literature": "KD of the literature (T 4, weight 0.9)",
    "best": "each at its own best setting",
}


@dataclass(frozen=True)
class Gain:
    """KD + LS minus one baseline.

    Attributes:
        experiment: what was trained: data, pair and length; or where the numbers are printed.
        baseline: a key of :data:`BASELINES`.
        values: points, one a seed; of published numbers one a pair of networks.
        seeds, paths: of the runs, in the order of ``values``; empty for published numbers.
        epoch: "last" or "best".
        note: what a reader has to know to read it.
        record: the quickest of the runs; None for published numbers.
    """

    experiment: str
    baseline: str
    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    epoch: str = "last"
    dataset: str = "cifar100"
    epochs: int = PUBLISHED_EPOCHS
    note: str = ""
    record: Mapping[str, Any] | None = None
    paths: tuple[Path, ...] = ()

    @property
    def mean(self) -> Mean:
        return summarize(self.values)

    @property
    def decided(self) -> bool:
        """Whether there are enough seeds and their interval leaves zero out."""
        return bool(self.seeds) and (self.mean.low > 0 or self.mean.high < 0)

    @property
    def text(self) -> str:
        """ "−0.52 points (n = 10 seeds, 95 % −0.96 to −0.08)"; below three seeds without an interval."""
        mean = self.mean
        words = counted(mean.n, "seed") + ", "
        words += f"95 % {signed(mean.low)} to {signed(mean.high)}" if mean.n >= ENOUGH_SEEDS else "no interval"
        return f"{signed(mean.mean)} points (n = {words})"


# --- run here --------------------------------------------------------------------------------------------------------


def measured(store: Path | str = STORE) -> list[Gain]:
    """Every gain of LS over KD at the last epoch that a store's records hold, by data set and length of training.

    An experiment with one KD + LS is compared with KD at the same settings, at the effective weight and at the
    literature's, where it has them; one with several, a sweep, at the best setting of each side.
    """
    every = [gain for group in groups(store) for gain in _of(group)]
    # What two cohorts of equal students have is one result.
    found = {(g.experiment, g.baseline, g.seeds, g.values): g for g in reversed(every)}.values()
    rank = {"digit_pairs": 0, "cifar100": 2}
    return sorted(
        found,
        key=lambda g: (rank.get(g.dataset, 1), g.dataset, g.epochs, g.experiment, [*BASELINES].index(g.baseline)),
    )


def _of(group: Group) -> Iterator[Gain]:
    members = {
        name: member
        for record in group.records
        for name, member in record["members"].items()
        if member["method"] == "kd"
    }
    values = {name: at_epoch(group.records, name) for name in order(members)}
    standard, plain = (
        [name for name, found in values.items() if found and members[name]["standardize"] == ls] for ls in (True, False)
    )
    if not standard or not plain:
        return
    note = ""
    if len(standard) > 1:
        best = [max(names, key=lambda name: fmean(values[name].values())) for names in (standard, plain)]
        compared = {(best[0], best[1]): "best"}
        note = f"{counted(len(standard), 'setting')} with LS, {len(plain)} without; the best of many is lucky too"
    else:
        compared = {(standard[0], name): _baseline(members[name], members[standard[0]]) for name in plain}
    config, precision = group.config, computed_with(group.records[0]).partition(", ")[2]
    experiment = (
        f"{data_name(config['dataset'])}, {group.networks.replace('->', '→')}, {counted(config['epochs'], 'epoch')}"
        + (f", {precision}" if precision != "float32" else "")
    )
    for (ls, name), baseline in compared.items():
        change = {seed: value - values[name][seed] for seed, value in values[ls].items() if seed in values[name]}
        if not baseline or not change:
            continue
        both = {ls, name}
        used = [run for run in group.runs if run[1]["seed"] in change and both & run[1]["members"].keys()]
        yield Gain(
            experiment,
            baseline,
            tuple(change.values()),
            tuple(change),
            dataset=config["dataset"],
            epochs=config["epochs"],
            note=note,
            record=min((run for _, run in used), key=lambda run: run["wall_seconds"]),
            paths=tuple(path for path, _ in used),
        )


def _baseline(plain: Mapping[str, Any], ls: Mapping[str, Any]) -> str:
    """Which of :data:`BASELINES` a member without LS is to one with it; empty: none."""
    settings = settings_of(plain)
    if settings["effective_weight"]:
        return "effective"
    if settings == settings_of(ls):
        return "same"
    return "literature" if (settings["temperature"], settings["kd_weight"]) == LITERATURE else ""


def provenance(records: Sequence[Mapping[str, Any]]) -> str:
    """A sentence where records of several trainers are averaged, with the seeds of each, and one where units for bf16
    were emulated for a part of a run; else nothing."""
    seeds: dict[str, set[int]] = {}
    emulated = []
    for record in records:
        seeds.setdefault(trainer_of(record), set()).add(record["seed"])
        for start, end in record.get("launch", {}).get("emulated_steps", ()):
            emulated.append(f"{start:,} to {'the end' if end is None else f'{end:,}'} of seed {record['seed']}")
    told = f"bf16 was emulated in steps {', '.join(emulated)}." if emulated else ""
    return " ".join(filter(None, (_averaged(seeds), told)))


def _averaged(seeds: Mapping[str, set[int]]) -> str:
    if len(seeds) < 2:
        return ""
    listed = "; ".join(
        f"trainer {name}: seed{'s' * (len(given) > 1)} {', '.join(map(str, sorted(given)))}"
        for name, given in sorted(seeds.items())
    )
    n = sum(map(len, seeds.values()))
    return (
        f"{counted(n, 'seed')} of {len(seeds)} trainers ({listed}), versions that round differently: a mean mixes them."
    )


# --- published -------------------------------------------------------------------------------------------------------


def table_4() -> dict[str, float]:
    """The paper's Table 4 read two ways, in points: ``same``, both at the ``weight`` of the paper's method, and
    ``best``, each side at the best of its own ``weights``.

    Softmax does not see the mean, so both columns without the division by the deviation count as KD, and both with it
    as KD + LS; at equal weight the columns that carry the names of the paper's methods are compared.
    """
    numbers = published.find(source="paper Table 4")
    first = numbers[0]
    (method,) = published.find(
        teacher=first.teacher, student=first.student, method="kd", standardize=True, source=TABLES_1_2
    )
    at = {n.variant: n.value for n in numbers if n.kd_weight == method.kd_weight}
    best = {ls: max(n.value for n in numbers if n.standardize == ls) for ls in (False, True)}
    return {
        "weight": method.kd_weight or math.nan,
        "weights": len({n.kd_weight for n in numbers}),
        "same": at["KD, z-score"] - at["KD, raw logits"],
        "best": best[True] - best[False],
    }


def printed() -> list[Gain]:
    """Gains of LS over KD as published: Tables 1 and 2, the released logs' last epochs, Table 4."""

    def by_pair(**fields: Any) -> dict[tuple[str, str], float]:
        return {(n.teacher, n.student): n.value for n in published.find(method="kd", **fields)}

    plain, ls = (by_pair(standardize=on, metric="top1_test", source=TABLES_1_2) for on in (False, True))
    logs = by_pair(dataset="cifar100", standardize=True, metric="top1_test_last_epoch", source="log file")
    quoted = "KD quoted from earlier work, one run or a mean of few"
    out = []
    for name, values, epoch in (("the paper's Tables 1 and 2", ls, "best"), ("the released logs", logs, "last")):
        change = tuple(value - plain[pair] for pair, value in values.items())
        words = f"{name}, {counted(len(change), 'pair')}"
        out.append(Gain(words, "literature", change, epoch=epoch, note=quoted))
    four = table_4()
    weights = f"resnet32x4 → resnet8x4, KD at weight {four['weight']:g} each"
    for baseline, note in (("same", weights), ("best", f"the best of {four['weights']} weights each")):
        out.append(Gain("the paper's Table 4", baseline, (four[baseline],), epoch="best", note=note))
    return out


# --- in words --------------------------------------------------------------------------------------------------------


def frame(gains: list[Gain]) -> pd.DataFrame:
    """A row a gain: what it compares, n, mean and interval."""
    return pd.DataFrame(
        [
            {
                "experiment": gain.experiment,
                "baseline": BASELINES[gain.baseline],
                "epoch": gain.epoch,
                "n": gain.mean.n,
                "of": "seeds" if gain.seeds else "published values",
                "mean": gain.mean.mean,
                "median": median(gain.values),
                "low": gain.mean.low if gain.seeds else None,
                "high": gain.mean.high if gain.seeds else None,
                "values": "; ".join(f"{v:.2f}" for v in gain.values),
                "note": gain.note,
            }
            for gain in gains
        ]
    )


def sentences(gains: list[Gain], published_ones: list[Gain]) -> list[str]:
    """What is known, what is not, and why, by rule from what there is."""
    out = []
    for dataset in dict.fromkeys(gain.dataset for gain in gains):
        own = [gain for gain in gains if gain.dataset == dataset and gain.baseline != "best"]
        if not own:
            continue
        longest = [g for g in own if g.epochs == max(g.epochs for g in own)]
        told = []
        for experiment, some in groupby(longest, key=lambda g: g.experiment):
            parts = [f"{g.text} over {BASELINES[g.baseline]}{_verdict(g)}" for g in some]
            told.append(f"**{experiment}**, KD + LS minus KD: {'; '.join(parts)}.")
        out.append(" ".join(told))
    quoted, logged, same, best = published_ones
    out += [
        f"**Published, over the literature's KD:** a median of {signed(median(quoted.values))} points over "
        f"{counted(len(quoted.values), 'pair')} ({sum(v > 0 for v in quoted.values)} of them above zero), and at the "
        f"last epoch of the released logs {signed(median(logged.values))}. These are differences between one group's "
        "runs and values quoted from another's, at other temperatures and weights.",
        f"**The baseline decides much of it:** in the paper's Table 4 LS gains {signed(same.mean.mean)} points when "
        f"both sides have weight {table_4()['weight']:g}, and {signed(best.mean.mean)} when each has the best of its "
        "own weights.",
    ]
    full = [len(g.seeds) for g in gains if g.dataset == "cifar100" and g.epochs >= PUBLISHED_EPOCHS]
    so_far = f"has {counted(max(full), 'seed')} so far" if full else "was not run"
    several = f"whether any of it holds over several seeds at the paper's full length, which {so_far}; "
    out.append(
        "**Not known:** "
        + several * (max(full, default=0) < ENOUGH_SEEDS)
        + "whether LS is more than a weight that adapts to the size of the logits, beyond the rows above; anything "
        "about networks and data that are not in the picture."
    )
    return out


def _verdict(gain: Gain) -> str:
    if len(gain.seeds) < ENOUGH_SEEDS:
        return ", too few to say what another seed would do"
    if not gain.decided:
        return ": the interval includes zero"
    return ": LS helps" if gain.mean.low > 0 else ": LS costs accuracy"


def cost(gain: Gain) -> str:
    """What the runs behind a gain cost, as recorded: time of the quickest seed, students, device."""
    record = gain.record or {}
    return (
        f"{duration(record['wall_seconds'])} for {counted(len(record['members']), 'student')} at once "
        f"on {record['device']['name']}" + f", the quickest of {len(gain.seeds)} seeds" * (len(gain.seeds) > 1)
    )


# --- replicated or not -----------------------------------------------------------------------------------------------

HEADINGS = ("claim", "published", "run here", "replicated?")
CLAIMS = {  # baseline: what the paper's tables say of LS beside it
    "literature": "KD + LS is above the KD that the tables quote",
    "same": "KD + LS is above KD at the same settings",
    "best": "KD + LS is above KD, each at its best setting",
}


def replicated(
    measured: Sequence[Gain], printed: Sequence[Gain], tables: Mapping[int, Sequence[Entry]]
) -> list[tuple[str, str, str, str]]:
    """Rows under :data:`HEADINGS`: gains of LS over KD first, one a longest experiment, then each table cell by cell.

    Args:
        measured, printed: of :func:`measured` and :func:`printed`.
        tables: of :func:`paper.tables.entries`, by their number.
    """
    rows = []
    for baseline, claim in CLAIMS.items():
        said = next(gain for gain in printed if gain.baseline == baseline)
        points = f"{signed(median(said.values))} points ({said.experiment})"
        own = [gain for gain in measured if gain.baseline == baseline]
        for dataset in dict.fromkeys(["cifar100", *(gain.dataset for gain in own)]):
            most = max((g.epochs for g in own if g.dataset == dataset), default=0)
            for longest in (*(g for g in own if (g.dataset, g.epochs) == (dataset, most)), *[None] * (not most)):
                ours = f"{longest.experiment}: {longest.text}" if longest else "–"
                rows.append((claim, points, ours, _replicated(longest)))
    return rows + [_table_row(number, found) for number, found in tables.items()]


def _replicated(gain: Gain | None) -> str:
    if gain is None:
        return "not run"
    above = gain.mean.mean > 0
    if gain.decided and gain.dataset == "cifar100" and gain.epochs >= PUBLISHED_EPOCHS:
        return "yes" if above else "no, the contrary"
    found = f"{'above' if above else 'below'} zero" if gain.decided else "zero is inside"
    found = found if len(gain.seeds) >= ENOUGH_SEEDS else counted(len(gain.seeds), "seed")
    length = f"{gain.epochs} of {PUBLISHED_EPOCHS} epochs" if gain.dataset == "cifar100" else "on other data"
    return f"open: {found}, {length}"


def _table_row(number: int, entries: Sequence[Entry]) -> tuple[str, str, str, str]:
    """How many of a table's cells were run, and how many of these have the published value in their interval."""
    ran = [entry for entry in entries if entry.ours]
    sure = [entry for entry in ran if entry.ours and not entry.ours["few"]]
    inside = sum(e.ours["best"]["low"] <= e.published <= e.ours["best"]["high"] for e in sure if e.ours)
    verdict = f"{inside} of {len(sure)} within our interval" if sure else "open: too few seeds" if ran else "not run"
    return f"Table {number}", counted(len(entries), "cell"), counted(len(ran), "cell"), verdict
