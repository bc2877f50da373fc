"""Answers of the exercises on accuracies, from committed records and from what chance does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats
from scipy.integrate import quad

from book.exercises.model import Answer
from paper.statistics import binomial_error, results


def answers(tested: int, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Answer | None]:
    """By exercise.

    Args:
        tested: test images.
        groups: records of several seeds, by recipe; "paired" is left out where there are none.
    """
    share, sd = 0.9, 0.3
    needed = share * (1 - share) / 0.001**2
    best = largest_of(10)
    return {
        "images": Answer(
            right=needed,
            tolerance=100.0,
            near={"percent": needed / 100, "square": math.sqrt(needed)},
            shown={
                "tested": tested,
                "own_times": needed / tested,
                "cifar_times": needed / 10_000,
                "own": binomial_error(100 * share, tested),
                "cifar": binomial_error(100 * share, 10_000),
            },
        ),
        "paired": _paired(groups),
        "best": Answer(right=sd * best, tolerance=0.06, near={"nothing": 0.0, "once": sd}, shown={"deviations": best}),
    }


def _paired(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Answer | None:
    rows = [row for group in groups.values() for row in results(group).to_dict("records")]
    rows = [row for row in rows if row["difference_n"] >= 3]
    if not rows:
        return None
    row = rows[0]
    independent = math.hypot(row["without_sd"], row["with_sd"])
    ratio = row["difference_sd"] / independent
    return Answer(
        right="smaller" if ratio < 0.9 else "same" if ratio < 1.1 else "larger",
        shown={
            "first": row["label"],
            "second": f"{row['label']} + LS",
            "a": row["without_sd"],
            "b": row["with_sd"],
            "independent": independent,
            "paired": row["difference_sd"],
            "n": row["difference_n"],
            "more": 1 / ratio**2,
        },
    )


def largest_of(n: int) -> float:
    """Expected largest of n standard normal numbers."""
    return float(quad(lambda x: x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1), -10, 10)[0])
