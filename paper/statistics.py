"""Statistics and tables from records and evidence: pure functions, no drawing.

Accuracies are percent. A number from fewer than three seeds carries no interval and is marked wherever it appears.
Intervals are 95 % Student t-intervals of a mean over seeds, unless a name says otherwise.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lskd.errors import LskdError, nearest
from lskd.evidence import Evidence
from lskd.files import differences
from lskd.objectives import METHODS as METHOD_CLASSES
from lskd.records import trainer_of
from lskd.trainer.optimization import step_learning_rate
from paper.members import SUFFIX, label, members_of, pairs
from paper.store import Group
from paper.text import written

if TYPE_CHECKING:  # a machine that trains and files its records may have no pandas
    import pandas as pd

ENOUGH_SEEDS = 3
EPOCHS = ("last", "best")
SELECTED = "selected"  # by images that were held out of the training set, in records of runs that held some out


@dataclass(frozen=True)
class Mean:
    """A mean over n seeds, NaN without any; so is ``sd`` below two, ``low`` and ``high`` below :data:`ENOUGH_SEEDS`."""

    n: int
    mean: float
    sd: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def summarize(values: Sequence[float]) -> Mean:
    """Mean, standard deviation (n - 1) and 95 % t-interval of a mean."""
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    mean, sd = float(x.mean()) if x.size else math.nan, float(x.std(ddof=1)) if x.size > 1 else math.nan
    half = math.nan
    if x.size >= ENOUGH_SEEDS:
        half = float(stats.t.ppf(0.975, x.size - 1)) * sd / math.sqrt(x.size)
    return Mean(int(x.size), mean, sd, mean - half, mean + half)


def binomial_error(accuracy: float, n: int) -> float:
    """Standard error, in points, of an accuracy in percent measured on n test images.

    It is what a fresh test set of that size would change; it says nothing of another seed.
    """
    p = accuracy / 100
    return 100 * math.sqrt(max(p * (1 - p), 0.0) / n)


def paired_error(first: Evidence, second: Evidence) -> tuple[float, float]:
    """Accuracy of ``second`` minus ``first`` in points, and its standard error on the same test images.

    Images that both get right, or both wrong, say nothing; the error counts those on which they differ
    (as in McNemar's test).

    Raises:
        ValueError: the packs are of different test sets.
    """
    if not np.array_equal(first.label, second.label):
        raise ValueError("paired_error: the two packs have different test labels; compare networks on one test set")
    change = second.correct.astype(np.float64) - first.correct
    return 100 * float(change.mean()), 100 * float(change.std() / math.sqrt(change.size))


def by_seed(records: Iterable[Mapping[str, Any]], member: str) -> dict[int, dict[str, float]]:
    """Test accuracies of a member by seed, then by epoch (:func:`_by_epoch`), of the runs that did not stop early."""
    found = ((record["seed"], _by_epoch(record["members"].get(member, {}))) for record in records)
    return {seed: values for seed, values in found if values}


def at_epoch(records: Iterable[Mapping[str, Any]], member: str, epoch: str = "last") -> dict[int, float]:
    """Test accuracy of a member at one epoch, by seed, in the order of seeds, where it was measured."""
    return {seed: found[epoch] for seed, found in sorted(by_seed(records, member).items()) if epoch in found}


def _by_epoch(member: Mapping[str, Any]) -> dict[str, float]:
    """``last`` and ``best``; where they were measured, ``last_top5`` and ``best_top5``, the shares among the five
    largest logits, and ``selected``, by an epoch that was chosen on images held out of the training set."""
    if not member.get("last") or member.get("failure"):
        return {}
    found = {epoch: member[epoch]["test_accuracy"] for epoch in EPOCHS}
    found |= {f"{epoch}_top5": member[epoch]["test_top5"] for epoch in EPOCHS if "test_top5" in member[epoch]}
    return found | ({SELECTED: member[SELECTED]["test_accuracy"]} if member.get(SELECTED) else {})


def accuracies(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a run: member, method, standardize, label, seed, last, best, last_epoch, best_epoch.

    And ``selected`` where a record has it, NaN in rows of others: nothing was held out of their training set.
    A member that stopped early (its record says why) has no accuracy and no row.
    """
    import pandas as pd

    rows = [
        {
            "member": name,
            "method": member["method"],
            "standardize": member["standardize"],
            "label": _label(name, member),
            "seed": record["seed"],
            **{epoch: found[epoch] for epoch in EPOCHS},
            **{f"{epoch}_epoch": member[epoch]["epoch"] for epoch in EPOCHS},
            SELECTED: found.get(SELECTED, math.nan),
        }
        for name in members_of(records)
        for record in sorted(records, key=lambda record: record["seed"])
        if (found := _by_epoch(member := record["members"].get(name, {})))
    ]
    columns = ["member", "method", "standardize", "label", "seed", *EPOCHS, *(f"{e}_epoch" for e in EPOCHS), SELECTED]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.drop(columns=SELECTED) if frame[SELECTED].isna().all() else frame


def results(records: Sequence[Mapping[str, Any]], *, epoch: str = "last") -> pd.DataFrame:
    """The results table: one row a method, columns ``without_*``, ``with_*`` (LS) and ``difference_*``.

    Each of the three has ``n``, ``mean``, ``sd``, ``low``, ``high`` (see :class:`Mean`); the difference is taken
    seed by seed over the seeds that both have, so what the seeds share cancels. ``settings`` names what differs
    between the two members besides standardisation; empty means like for like. ``few`` is True where any n is
    below :data:`ENOUGH_SEEDS`.

    Args:
        records: runs of one experiment, see :func:`paper.store.aggregate`.
        epoch: "last"; or "best" as the papers report, which is chosen on the test set and so is optimistic; or
            "selected" on images held out of the training set: rows only of members whose records have that.

    Raises:
        ValueError: another ``epoch``.
    """
    import pandas as pd

    if epoch not in (*EPOCHS, SELECTED):
        raise ValueError(f"results: epoch is {epoch!r}; expected one of {', '.join((*EPOCHS, SELECTED))}")
    table = {name: at_epoch(records, name, epoch) for name in members_of(records)}
    twins = dict(pairs(name for name, values in table.items() if values))
    rows = []
    for member, values in table.items():
        if not values or member in twins.values():
            continue
        twin = twins.get(member, "")
        off, on = ({}, values) if member.endswith(SUFFIX) else (values, table.get(twin, {}))
        parts = {"without": off, "with": on, "difference": {seed: on[seed] - off[seed] for seed in off if seed in on}}
        row: dict[str, Any] = {"member": member, "label": _label(member, _first(records, member))}
        row["settings"] = _changed_settings(records, member, twin)
        for part, by in parts.items():
            row |= {f"{part}_{key}": value for key, value in vars(summarize(list(by.values()))).items()}
        rows.append(row | {"few": any(0 < len(by) < ENOUGH_SEEDS for by in parts.values())})
    return pd.DataFrame(rows)


def _label(name: str, member: Mapping[str, Any]) -> str:
    return label(name, method=member["method"], standardize=member["standardize"])


def _first(records: Iterable[Mapping[str, Any]], member: str) -> dict[str, Any]:
    """What the first record that has a member says of it."""
    return next(record["members"][member] for record in records if member in record["members"])


def _changed_settings(records: Sequence[Mapping[str, Any]], first: str, second: str) -> str:
    """Settings besides ``standardize`` in which two members of one run differ, as written in the recipe."""
    both = [record["members"] for record in records if {first, second} <= record["members"].keys()]
    changed = differences(settings_of(both[0][first]), settings_of(both[0][second])) if both else []
    return ", ".join(f"{key} {written(a)} → {written(b)}" for key, a, b in changed)


def settings_of(member: Mapping[str, Any]) -> dict[str, Any]:
    """A member's settings with its objective's defaults, without ``standardize``."""
    method = member["method"]
    settings = (_defaults(method) if method in METHOD_CLASSES else {}) | member["settings"]
    return {k: v for k, v in settings.items() if k != "standardize"}


@functools.cache  # asked for every member of every record
def _defaults(method: str) -> dict[str, Any]:
    known = inspect.signature(METHOD_CLASSES[method]).parameters
    return {k: p.default for k, p in known.items() if p.default is not inspect.Parameter.empty}


def mean_decay(config: Mapping[str, Any], *, train_size: int) -> float:
    """Share of the logits' initial mean over classes that is left at the end of training.

    Cross-entropy and all distillation losses here but LumiNet's, which standardises classes over the batch, have
    gradients that sum to zero over classes, so the class-mean row of the last layer moves by weight decay alone:
    ``v <- momentum v + decay w``, ``w <- w - rate v`` from v = 0 (SGD as PyTorch computes it). The factor
    is exact and the same for every such member.

    Args:
        config: a record's ``config``; of another optimiser or schedule the factor is NaN.
        train_size: images an epoch; the last, smaller batch counts as a step where there is one.
    """
    how = config.get("optimization", {})
    if how.keys() - {"drop_last_batch"}:
        return math.nan
    steps = (math.floor if how.get("drop_last_batch") else math.ceil)(train_size / config["batch_size"])
    w, v = 1.0, 0.0
    for epoch in range(1, config["epochs"] + 1):
        rate = step_learning_rate(config["learning_rate"], epoch, config["milestones"], decay=config["decay"])
        for _ in range(steps):
            v = config["momentum"] * v + config["weight_decay"] * w
            w -= rate * v
    return w


def rows(group: Group) -> list[dict[str, Any]]:
    """A row a member: n, seeds, trainers, and of last and best epoch: values by seed, mean, sd, low, high, in percent.

    ``selected``, ``last_top5`` and ``best_top5`` are the same where every run has them, see :func:`_by_epoch`.
    ``low`` and ``high`` are a 95 % t-interval of the mean; None, and ``few`` True, below three seeds.
    """
    out = []
    for member in members_of(group.records):
        runs = by_seed(group.records, member)
        if not runs:
            continue
        first = _first(group.records, member)
        row: dict[str, Any] = {
            "member": member,
            "label": _label(member, first),
            "method": first["method"],
            "standardize": first["standardize"],
            "seeds": list(runs),
            "trainers": sorted({trainer_of(r) for r in group.records if member in r["members"]}),
        }
        values = _lists(runs.values())
        out.append(row | _statistics(values) | {"values": values})
    return out


def _lists(runs: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """By epoch what all runs have of it."""
    runs = list(runs)
    return {epoch: [run[epoch] for run in runs] for epoch in runs[0] if all(epoch in run for run in runs)}


def compare(first: Group, member: str, second: Group, other: str) -> dict[str, Any]:
    """``other`` of ``second`` minus ``member`` of ``first``, seed by seed over the seeds that both have.

    Also says what else differs than the members' names (``differs``): the protocol or the settings.

    Raises:
        LskdError: a member that a group does not have, or no common seed.
    """
    sides = ((first, member), (second, other))
    found = [by_seed(group.records, name) for group, name in sides]
    for (group, name), values in zip(sides, found, strict=True):
        if not values:
            near = "".join(f"; did you mean {n!r}?" for n in nearest(name, members_of(group.records)))
            raise LskdError(f"{group.name}: no results of a member {name!r}{near}")
    a, b = found
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise LskdError(f"{member!r} and {other!r} have no seed in common; paired differences need equal seeds")
    changes = _lists({e: b[s][e] - a[s][e] for e in (*EPOCHS, SELECTED) if e in a[s] and e in b[s]} for s in seeds)
    about = []
    for group, name in sides:
        used = [r for r in group.records if r["seed"] in seeds and name in r["members"]]
        told = used[0]["members"][name]
        own = {"method": told["method"], "standardize": told["standardize"], **settings_of(told)}
        about.append({"trainers": sorted({trainer_of(r) for r in used}), **own})
    differing = [*differences(first.key, second.key), *differences(about[0], about[1])]
    return {"seeds": seeds, **_statistics(changes), "differs": {k: [a, b] for k, a, b in differing}}


def _statistics(values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """n, few, and mean, sd, low, high of every list; what cannot be said is None."""
    out: dict[str, Any] = {}
    for name, given in values.items():
        found = summarize(given)
        numbers = {k: getattr(found, k) for k in ("mean", "sd", "low", "high")}
        out |= {"n": found.n, "few": numbers["low"] != numbers["low"]}
        out[name] = {k: None if v != v else v for k, v in numbers.items()}
    return out
