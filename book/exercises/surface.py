"""Answers of the exercises on temperature and weight, from the committed sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from book.exercises.model import Answer
from book.exercises.results_table import largest_of
from figures.temperature_and_weight import cells, summary

MARGIN = 1.0  # points: accuracies that lose about the same


def answers(sweep: Sequence[Mapping[str, Any]], sd: float) -> dict[str, Answer]:
    """By exercise.

    Args:
        sweep: records of the sweep.
        sd: standard deviation of a single run from seed to seed, in points.
    """
    frame = cells(sweep)
    found = summary(frame)
    temperature = 2.0 if 2.0 in set(frame["temperature"]) else float(frame["temperature"].iloc[0])
    row = frame[frame["temperature"] == temperature].sort_values("weight").set_index("weight")
    start = 9.0 if 9.0 in row.index else float(row.index[-1])
    low = float(row.index[0])
    change = {side: float(row[side][low] - row[side][start]) for side in ("without", "with")}
    gain = {side: float(row[side].iloc[-1] - row[side].iloc[0]) for side in ("without", "with")}
    apart = change["with"] - change["without"]
    best = largest_of(len(frame))
    return {
        "weight": Answer(
            right="equal" if abs(apart) < MARGIN else "with" if apart < 0 else "without",
            shown={"margin": MARGIN, "temperature": temperature, "low": low, **change},
        ),
        "lucky": Answer(
            right=best, tolerance=0.1, near={"one": 1.0}, shown={"settings": len(frame), "sd": sd, "points": best * sd}
        ),
        "playground": Answer(
            right=gain["with"],
            tolerance=0.1,
            near={"without": gain["without"], "spread": found["spread_with"]},
            shown={"temperature": temperature},
            scope={"sweep": sweep},
        ),
    }
