"""Answers of the audit's exercises, from the losses and the published numbers."""

from __future__ import annotations

import math

from torch import Tensor

from book.exercises.model import Answer
from lskd.losses import kd_loss
from paper import published
from paper.toy import random_logits

LITERATURE, RELEASED = (4.0, 0.9), (2.0, 9.0)  # temperature and weight of plain KD (protocol 1.2)


def answers() -> dict[str, Answer]:
    """By exercise."""
    base, classes, weight = 2.0, 10, 12.0
    equal = base * math.sqrt(classes / (classes - 1))
    student, teacher = (random_logits(64, classes, seed=seed) for seed in (1, 2))
    code = kd_loss(student, teacher, temperature=base, standardize=True).item()
    paper = kd_loss(student, teacher, temperature=equal, standardize=True, correction=0).item()
    theirs, ours = (t * w for t, w in (LITERATURE, RELEASED))
    squares = RELEASED[1] * RELEASED[0] ** 2 / (LITERATURE[1] * LITERATURE[0] ** 2)
    value = {n.variant: n.value for n in published.find(source="Table 4") if n.kd_weight == weight}
    raw, centred = value["KD, raw logits"], value["KD, logits minus mean"]
    losses = [kd_loss(f(student), f(teacher), temperature=base).item() for f in (lambda x: x, _centred)]
    difference = abs(losses[0] - losses[1])
    return {
        "base": Answer(
            right=equal,
            tolerance=0.02,
            near={"inverse": base**2 / equal, "same": base, "unrooted": base * classes / (classes - 1)},
            shown={"hundred": base * math.sqrt(100 / 99), "code": code, "paper": paper},
        ),
        "pull": Answer(
            right=ours / theirs,
            tolerance=0.05,
            near={"weights": RELEASED[1] / LITERATURE[1], "squares": squares},
            shown={"theirs": theirs, "ours": ours},
        ),
        "columns": Answer(
            right="chance" if difference < 1e-9 else "information",
            shown={
                "weight": weight,
                "raw": raw,
                "centred": centred,
                "difference": "0" if difference == 0 else f"{difference:.0e}".replace("-", "−"),
                "apart": abs(raw - centred),
            },
        ),
    }


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)
