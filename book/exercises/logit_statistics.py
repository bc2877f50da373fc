"""Answers of the exercises on the spread of logits, from this run's evidence."""

from __future__ import annotations

import math

import numpy as np

from book.exercises.model import Answer, one_digit
from figures.networks import Networks
from paper.logits import z_scores


def answers(networks: Networks) -> dict[str, Answer]:
    """By exercise."""
    member = networks.methods[0][1] if networks.methods else next(iter(networks.students))
    pack, student = networks.packs[member], f"{networks.look(member).label} student"
    rows = pack.logits.astype(np.float64)
    quiet = rows / 7 + 3
    same = float((rows.argmax(-1) == quiet.argmax(-1)).mean())
    standard = [float(z_scores(x).std(axis=-1).mean()) for x in (rows, quiet)]
    kept = same == 1 and math.isclose(*standard, rel_tol=1e-5)
    moved = not math.isclose(rows.std(), quiet.std(), rel_tol=1e-3)
    mean_range = float(pack.logit_range.mean())
    return {
        "quiet": Answer(
            right="spread" if kept and moved else "all" if moved else "nothing",
            shown={
                "student": student,
                "same": 100 * same,
                "before": rows.std(axis=-1).mean(),
                "after": quiet.std(axis=-1).mean(),
                "standard": standard[1],
            },
        ),
        "thousand": Answer(
            right=_constant(1000),
            tolerance=0.0001,
            near={"hundred": _constant(100), "inverse": 1 / _constant(1000)},
            shown={"ten": _constant(10), "two": _constant(2)},
        ),
        "range": Answer(
            right=mean_range,
            tolerance=one_digit(max(0.02, 0.005 * mean_range)),
            near={
                "deviation": float(pack.logit_std.mean()),
                "overall": float(pack.logit_max.max() - pack.logit_min.min()),
                "teacher": float(networks.teacher.logit_range.mean()),
            },
            shown={"file": networks.files[member].name, "loud": student},
            scope={"students": networks.files[member].parent},
        ),
    }


def _constant(classes: int) -> float:
    """Population deviation of a Z-score that was made with K - 1."""
    return math.sqrt((classes - 1) / classes)
