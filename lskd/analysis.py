"""Statistics and tables from records and evidence: pure functions, no drawing.

Accuracies are percent. A number from fewer than three seeds carries no interval and is marked wherever it appears.
Intervals are 95 % Student t-intervals of a mean over seeds, unless a name says otherwise.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lskd.errors import LskdError
from lskd.evidence import Evidence
from lskd.objectives import METHODS as METHOD_CLASSES
from lskd.records import computed_with, load_record, without_places
from lskd.trainer.schedule import step_learning_rate

__all__ = [
    "ENOUGH_SEEDS",
    "Mean",
    "accuracies",
    "aggregate",
    "binomial_error",
    "differences",
    "gap_matrix",
    "gap_statistics",
    "label",
    "logit_statistics",
    "mean_decay",
    "members_of",
    "order",
    "paired_error",
    "pairs",
    "protocol",
    "results",
    "settings_of",
    "summarize",
    "z_scores",
]

ENOUGH_SEEDS = 3
METHODS = {"plain": "student alone", "kd": "KD", "ctkd": "CTKD", "dkd": "DKD", "mlkd": "MLKD"}
SUFFIX = "_ls"  # a member and its standardised twin: "kd", "kd_ls"
LITERATURE = "_literature"  # without LS at the settings of the literature, where "kd" has those of "kd_ls"
LIKE = "_like_for_like"  # without LS at the settings of "kd_ls", where "kd" has those of the literature
EPOCHS = ("last", "best")
SELECTED = "selected"  # by images that were held out of the training set, in records of runs that held some out


# --- names -----------------------------------------------------------------------------------------------------------


def label(member: str, *, method: str = "", standardize: bool | None = None) -> str:
    """What readers call a member: ``"kd_ls"`` is "KD + LS". Other names keep their own: "KD + LS (kd_t4_ls)"."""
    if member == "teacher":
        return "teacher"
    stem, ls = member.removesuffix(SUFFIX), member.endswith(SUFFIX) if standardize is None else standardize
    if member == "alone" or (method or stem) == "plain":
        return METHODS["plain"]
    family = method or stem.removesuffix(LIKE).removesuffix(LITERATURE)
    name = METHODS.get(family, family.upper()) + (" + LS" if ls else "")
    for suffix, words in ((LIKE, "like for like"), (LITERATURE, "literature")):
        if stem == f"{family}{suffix}":
            return f"{name}, {words}"
    return name if stem in ("", method, *METHODS) else f"{name} ({member})"


def order(members: Iterable[str]) -> list[str]:
    """Teacher, student alone, then methods in the order of the paper's figures, each without LS before with LS."""
    ranks = ["teacher", "alone", *METHODS]

    def rank(member: str) -> tuple[int, str, bool]:
        stem = member.removesuffix(SUFFIX)
        near = next((i for i, r in enumerate(ranks) if stem == r or stem.startswith(f"{r}_")), len(ranks))
        return near, stem, member.endswith(SUFFIX)

    return sorted(members, key=rank)


def pairs(members: Iterable[str]) -> list[tuple[str, str]]:
    """Members that differ by standardisation: ``("kd", "kd_ls")``, in the order of :func:`order`.

    Where a recipe also has ``"kd_like_for_like"``, it is another partner of ``"kd_ls"``.
    """
    names = set(members)
    return [(m, twin) for m in order(names) if (twin := m.removesuffix(LIKE) + SUFFIX) in names]


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


# --- records ---------------------------------------------------------------------------------------------------------


def aggregate(folder: Path | str) -> dict[str, list[dict[str, Any]]]:
    """Read every record of a folder, grouped by recipe, sorted by seed. No folder: no groups.

    Records of one recipe may hold different members, but must agree in all that members share, in the settings
    of each member they have in common, in the data and in the teacher's weights.

    Raises:
        LskdError: records of one recipe differ in one of these, or a member was run twice with one seed.
    """
    groups: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for path in sorted(Path(folder).glob("*.json")):
        record = load_record(path)
        groups.setdefault(record["name"], []).append((path, record))
    for found in groups.values():
        for i, (path, record) in enumerate(found):
            for other_path, other in found[:i]:
                _check_alike(other_path, other, path, record)
        found.sort(key=lambda item: item[1]["seed"])
    return {name: [record for _, record in found] for name, found in sorted(groups.items())}


def _check_alike(first_path: Path, first: dict[str, Any], second_path: Path, second: dict[str, Any]) -> None:
    names = f"{first_path.name} and {second_path.name}"
    common = set(first["members"]) & set(second["members"])
    unlike = []
    for key, a, b in differences(protocol(first, common), protocol(second, common)):
        unlike.append(f"{key}: {a!r} in the first, {b!r} in the second")
    if unlike:
        raise LskdError(
            f"{names} are not runs of one experiment and cannot be averaged: {'; '.join(unlike[:6])}. "
            "Keep them in different folders, or under different recipe names"
        )
    if first["seed"] == second["seed"] and common:
        raise LskdError(
            f"{names} both hold seed {first['seed']} of {', '.join(order(common))}; one run counts once, remove one"
        )


def protocol(record: Mapping[str, Any], members: set[str]) -> dict[str, Any]:
    """All that has to be equal between records that are averaged."""
    config = {k: v for k, v in without_places(record["config"]).items() if k != "members"}
    settings = {m: record["config"].get("members", {}).get(m) for m in members}
    teacher = record.get("teacher") or {}
    return {
        "config": config,
        "members": settings,
        "dataset": record["dataset"],
        "teacher": {k: teacher.get(k) for k in ("network", "digest")},
        "computed_with": computed_with(record),
    }


def differences(a: Any, b: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Where two nested tables differ: dotted key, value in the first, value in the second."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = [*a, *(k for k in b if k not in a)]
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{place}.{k}" if place else str(k))]
    return [] if a == b else [(place, a, b)]


def members_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all members with a result, in order."""
    return order({name for record in records for name, m in record["members"].items() if m.get("last")})


def accuracies(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a run: member, method, standardize, label, seed, last, best, last_epoch, best_epoch.

    And ``selected`` where a record has it, NaN in rows of others: nothing was held out of their training set.
    A member that stopped early (its record says why) has no accuracy and no row.
    """
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
        records: runs of one experiment, see :func:`aggregate`.
        epoch: "last"; or "best" as the papers report, which is chosen on the test set and so is optimistic; or
            "selected" on images held out of the training set: rows only of members whose records have that.

    Raises:
        ValueError: another ``epoch``.
    """
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


# --- logits ----------------------------------------------------------------------------------------------------------


def z_scores(logits: np.ndarray) -> np.ndarray:
    """Standardised rows, float64, by the function that training uses (K - 1 form)."""
    import torch

    from lskd.losses import standardize

    return standardize(torch.from_numpy(np.asarray(logits, dtype=np.float64))).numpy()


def logit_statistics(networks: Mapping[str, Evidence]) -> pd.DataFrame:
    """One row a network, over its n test images (protocol section 7, the table of Fig. 5).

    Columns: label, network, n, test_accuracy [%], mean_of_means, mean_of_std, mean_of_range, all in logits;
    ``spread_of_std`` (sd over images); ``standardized_std``, the population standard deviation after
    standardisation, over the stored whole rows: sqrt((K-1)/K) for any network, because the Z-score divides by the
    K-1 form.
    """
    rows = []
    for name, e in networks.items():
        rows.append(
            {
                "member": name,
                "label": _label(name, e),
                "network": e.meta.get("network", ""),
                "n": len(e.label),
                "test_accuracy": 100 * float(e.correct.mean()),
                "mean_of_means": float(e.logit_mean.mean(dtype=np.float64)),
                "mean_of_std": float(e.logit_std.mean(dtype=np.float64)),
                "spread_of_std": float(e.logit_std.std(dtype=np.float64)),
                "mean_of_range": float(e.logit_range.mean(dtype=np.float64)),
                "standardized_std": float(z_scores(e.logits).std(axis=-1).mean()),
            }
        )
    return pd.DataFrame(rows)


def _label(member: str, e: Evidence) -> str:
    return label(member, method=e.meta.get("method", ""), standardize=e.meta.get("standardize"))


def gap_matrix(teacher: Evidence, student: Evidence, *, standardized: bool) -> np.ndarray:
    """|student - teacher| of class-mean logits, float64 ``[K, K]``, diagonal set to 0 (Fig. 3, second row).

    Rows are true classes. Taken from raw logits or from Z-scores.

    Raises:
        ValueError: the packs are of different test sets.
    """
    if not np.array_equal(teacher.label, student.label):
        raise ValueError("gap_matrix: teacher and student were measured on different test sets")
    field = "class_mean_z" if standardized else "class_mean_logits"
    gap = np.abs(getattr(student, field).astype(np.float64) - getattr(teacher, field))
    np.fill_diagonal(gap, 0.0)
    return gap


def gap_statistics(teacher: Evidence, students: Mapping[str, Evidence]) -> pd.DataFrame:
    """Mean and largest gap of every student, raw and standardised.

    Columns: member, label, kind ("raw", "standardised"), mean (the paper's: the K zeros of the diagonal count),
    mean_off_diagonal, max, and the place of the largest as row (true class) and column.
    """
    rows = []
    for name, student in students.items():
        for kind in ("raw", "standardised"):
            gap = gap_matrix(teacher, student, standardized=kind == "standardised")
            classes = len(gap)
            row, column = np.unravel_index(int(gap.argmax()), gap.shape)
            rows.append(
                {
                    "member": name,
                    "label": _label(name, student),
                    "kind": kind,
                    "mean": float(gap.mean()),
                    "mean_off_diagonal": float(gap.sum() / (classes * (classes - 1))),
                    "max": float(gap.max()),
                    "row": str(student.class_names[row]),
                    "column": str(student.class_names[column]),
                }
            )
    return pd.DataFrame(rows)


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
