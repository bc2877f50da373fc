"""Statistics and tables from records and evidence: pure functions, no drawing.

Accuracies are percent. A number from fewer than three seeds carries no interval and is marked wherever it appears.
Intervals are 95 % Student t-intervals of a mean over seeds, unless a name says otherwise.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lskd.errors import LskdError, nearest
from lskd.evidence import Evidence
from lskd.objectives import METHODS as METHOD_CLASSES
from lskd.records import trainer_of
from lskd.trainer.optimization import step_learning_rate
from paper.members import SUFFIX, label, members_of, order, pairs
from paper.store import Group, differences

if TYPE_CHECKING:  # a machine that trains and files its records may have no pandas
    import pandas as pd

ENOUGH_SEEDS = 3
EPOCHS = ("last", "best")
SELECTED = "selected"  # by images that were held out of the training set, in records of runs that held some out


# --- uncertainty -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mean:
    """A mean over n seeds; ``sd`` is NaN below two seeds, ``low`` and ``high`` below :data:`ENOUGH_SEEDS`."""

    n: int
    mean: float
    sd: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def summarize(values: Sequence[float], *, level: float = 0.95) -> Mean:
    """Mean, standard deviation (n - 1) and t-interval of a mean.

    Raises:
        ValueError: there are no values.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise ValueError("summarize: no values; a mean needs at least one")
    mean, sd = float(x.mean()), float(x.std(ddof=1)) if x.size > 1 else math.nan
    half = math.nan
    if x.size >= ENOUGH_SEEDS:
        half = float(stats.t.ppf((1 + level) / 2, x.size - 1)) * sd / math.sqrt(x.size)
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


def accuracies(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a run: member, method, standardize, label, seed, last, best, last_epoch, best_epoch.

    And ``selected`` where a record has it, NaN in rows of others: nothing was held out of their training set.
    A member that stopped early (its record says why) has no accuracy and no row.
    """
    import pandas as pd

    rows = []
    for record in records:
        for name, member in record["members"].items():
            if not member.get("last") or member.get("failure"):
                continue
            rows.append(
                {
                    "member": name,
                    "method": member["method"],
                    "standardize": member["standardize"],
                    "label": label(name, method=member["method"], standardize=member["standardize"]),
                    "seed": record["seed"],
                    **{epoch: member[epoch]["test_accuracy"] for epoch in EPOCHS},
                    **{f"{epoch}_epoch": member[epoch]["epoch"] for epoch in EPOCHS},
                    SELECTED: member.get(SELECTED, {}).get("test_accuracy", math.nan),
                }
            )
    columns = ["member", "method", "standardize", "label", "seed", *EPOCHS, *(f"{e}_epoch" for e in EPOCHS), SELECTED]
    frame = pd.DataFrame(rows, columns=columns)
    frame = frame.drop(columns=SELECTED) if frame[SELECTED].isna().all() else frame
    rank = {name: i for i, name in enumerate(order(set(frame["member"])))}
    keys = pd.DataFrame({"rank": frame["member"].map(rank), "seed": frame["seed"]})
    return frame.loc[keys.sort_values(["rank", "seed"]).index].reset_index(drop=True)


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
    frame = accuracies(records)
    if epoch not in frame:
        return pd.DataFrame()
    frame = frame.dropna(subset=[epoch])
    by_member: dict[str, pd.Series] = {
        str(name): group.set_index("seed")[epoch] for name, group in frame.groupby("member", sort=False)
    }
    labels = dict(zip(frame["member"], frame["label"], strict=True))
    twins = dict(pairs(by_member))
    rows = []
    for member in (m for m in by_member if m not in twins.values()):
        row: dict[str, Any] = {"member": member, "label": labels[member], "settings": ""}
        parts: dict[str, Mean | None] = {"without": None, "with": None, "difference": None}
        if member in twins:
            twin = twins[member]
            change = (by_member[twin] - by_member[member]).dropna()  # aligned by seed
            parts["with"] = summarize(by_member[twin].to_list())
            parts["difference"] = summarize(change.to_list()) if len(change) else None
            row["settings"] = _changed_settings(records, member, twin)
        parts["with" if member.endswith(SUFFIX) else "without"] = summarize(by_member[member].to_list())
        for part, value in parts.items():
            row[f"{part}_n"] = value.n if value else 0
            row |= {f"{part}_{k}": getattr(value, k) if value else math.nan for k in ("mean", "sd", "low", "high")}
        row["few"] = any(value is not None and value.n < ENOUGH_SEEDS for value in parts.values())
        rows.append(row)
    return pd.DataFrame(rows)


def _changed_settings(records: Sequence[Mapping[str, Any]], first: str, second: str) -> str:
    """Settings besides ``standardize`` in which two members differ, as written in the recipe."""
    for record in records:
        members = record["members"]
        if first in members and second in members:
            a, b = (settings_of(members[m]) for m in (first, second))
            parts = (f"{k} {_plain(x)} → {_plain(y)}" for k, x, y in differences(a, b))
            return ", ".join(parts)
    return ""


def settings_of(member: Mapping[str, Any]) -> dict[str, Any]:
    """A member's settings with its objective's defaults, without ``standardize``."""
    known = inspect.signature(METHOD_CLASSES[member["method"]]).parameters if member["method"] in METHOD_CLASSES else {}
    defaults = {k: p.default for k, p in known.items() if p.default is not inspect.Parameter.empty}
    return {k: v for k, v in (defaults | member["settings"]).items() if k != "standardize"}


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def mean_decay(config: Mapping[str, Any], *, train_size: int) -> float:
    """Share of the logits' initial mean over classes that is left at the end of training.

    Cross-entropy and all distillation losses here have gradients that sum to zero over classes, so the class-mean
    row of the last layer moves by weight decay alone: ``v <- momentum v + decay w``, ``w <- w - rate v`` from
    v = 0 (SGD as PyTorch computes it). The factor is exact and the same for every member.

    Args:
        config: a record's ``config``.
        train_size: images an epoch; the last, smaller batch counts as a step.
    """
    steps = math.ceil(train_size / config["batch_size"])
    w, v = 1.0, 0.0
    for epoch in range(1, config["epochs"] + 1):
        rate = step_learning_rate(config["learning_rate"], epoch, config["milestones"], decay=config["decay"])
        for _ in range(steps):
            v = config["momentum"] * v + config["weight_decay"] * w
            w -= rate * v
    return w


def rows(group: Group) -> list[dict[str, Any]]:
    """A row a member: n, seeds, trainers, and of last and best epoch: values by seed, mean, sd, low, high, in percent.

    ``selected`` is the same for the epoch that was chosen on a held-out part of the training set, where there was one;
    ``last_top5`` and ``best_top5`` are shares among the five largest logits at those epochs, where they were measured.

    ``low`` and ``high`` are a 95 % t-interval of the mean; None, and ``few`` True, below three seeds.
    """
    frame = accuracies(group.records)
    out = []
    for member in members_of(group.records):
        own = frame[frame["member"] == member]
        row: dict[str, Any] = {
            "member": member,
            "label": own["label"].iloc[0],
            "method": own["method"].iloc[0],
            "standardize": bool(own["standardize"].iloc[0]),
            "seeds": own["seed"].tolist(),
            "trainers": sorted({trainer_of(r) for r in group.records if member in r["members"]}),
        }
        values = {epoch: own[epoch].tolist() for epoch in ("last", "best")}
        values |= {f"{epoch}_top5": found for epoch in ("last", "best") if (found := _top5(group, member, epoch))}
        chosen = _selected(group, member)
        values |= {"selected": list(chosen.values())} if set(chosen) == set(row["seeds"]) else {}
        out.append(row | _statistics(values) | {"values": values})
    return out


def _top5(group: Group, member: str, epoch: str) -> list[float]:
    """By seed, in the order of records; empty unless every run measured it."""
    runs = [r["members"][member] for r in group.records if member in r["members"]]
    found = [m[epoch].get("test_top5") for m in runs if m.get(epoch) and not m.get("failure")]
    return [] if None in found else [float(value) for value in found if value is not None]


def _selected(group: Group, member: str) -> dict[int, float]:
    """Test accuracy by seed of the epoch that was selected on a held-out part of the training set, where one was."""
    found = ((record["seed"], record["members"].get(member, {})) for record in group.records)
    return {seed: m["selected"]["test_accuracy"] for seed, m in found if m.get("selected") and not m.get("failure")}


def compare(first: Group, member: str, second: Group, other: str) -> dict[str, Any]:
    """``other`` of ``second`` minus ``member`` of ``first``, seed by seed over the seeds that both have.

    Also says what else differs than the members' names (``differs``): the protocol or the settings.

    Raises:
        LskdError: a member that a group does not have, or no common seed.
    """
    values = []
    for group, name in ((first, member), (second, other)):
        frame = accuracies(group.records)
        if name not in set(frame["member"]):
            near = "".join(f"; did you mean {n!r}?" for n in nearest(name, frame["member"].unique()))
            raise LskdError(f"{group.name}: no results of a member {name!r}{near}")
        values.append(frame[frame["member"] == name].set_index("seed"))
    seeds = sorted(set(values[0].index) & set(values[1].index))
    if not seeds:
        raise LskdError(f"{member!r} and {other!r} have no seed in common; paired differences need equal seeds")
    changes = {e: (values[1].loc[seeds, e] - values[0].loc[seeds, e]).tolist() for e in ("last", "best")}
    chosen = _selected(first, member), _selected(second, other)
    if all(seed in each for seed in seeds for each in chosen):
        changes["selected"] = [chosen[1][seed] - chosen[0][seed] for seed in seeds]
    settings = differences(_settings(first, member), _settings(second, other))
    differing = differences(first.key, second.key) + settings
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


def _settings(group: Group, member: str) -> dict[str, Any]:
    """Method, standardisation and all settings, those left at their defaults too."""
    found = next(r["members"][member] for r in group.records if member in r["members"])
    return {"method": found["method"], "standardize": found["standardize"], **settings_of(found)}
