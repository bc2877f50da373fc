"""Answers of the toy case's exercises, from the losses of its students."""

from __future__ import annotations

import torch
from torch import Tensor

from book.exercises.model import Answer
from lskd.losses import kd_loss
from paper.toy import TOY


def answers() -> dict[str, Answer]:
    """By exercise."""
    rows = {name: torch.tensor([row], dtype=torch.float64) for name, row in TOY.items()}
    rows["s3"] = 2 * rows["teacher"]
    students = ("s1", "s2", "s3")
    plain = {name: _loss(rows, name) for name in students}
    fair = {f"{name}_ls": _loss(rows, name, standardize=True) for name in students}
    hot = {name: _loss(rows, name, temperature=8.0) for name in students}
    teacher, student = (rows[name].std().item() for name in ("teacher", "s2"))
    loud = "zero" if plain["s3"] < 1e-6 else "less_than_wrong" if plain["s3"] < plain["s1"] else "more_than_wrong"
    equal = abs(hot["s1"] - hot["s2"]) < 0.01
    shown = {name: abs(value) for name, value in (plain | fair).items()}
    return {
        "loud": Answer(right=loud, shown=shown),
        "content": Answer(
            right=teacher / student,
            tolerance=0.2,
            near={"inverse": student / teacher},
            shown={"teacher": teacher, "student": student},
        ),
        "temperature": Answer(
            right="equal" if equal else "first" if hot["s1"] < hot["s2"] else "second",
            shown=shown | {"hot1": hot["s1"], "hot2": hot["s2"]},
        ),
    }


def _loss(rows: dict[str, Tensor], student: str, *, temperature: float = 1.0, standardize: bool = False) -> float:
    loss = kd_loss(rows[student], rows["teacher"], temperature=temperature, standardize=standardize)
    return loss.item()
