"""Answers of the exercises on temperature, from the losses and from this run's logits."""

from __future__ import annotations

import math

import torch

from book.exercises.model import Answer
from figures.networks import Networks
from lskd.losses import kd_loss
from paper.toy import TOY, gradient


def answers(networks: Networks) -> dict[str, Answer]:
    """By exercise."""
    apart = 4.0
    member = networks.methods[0][0] if networks.methods else next(iter(networks.students))
    student, teacher = (torch.from_numpy(networks.packs[name].logits).double() for name in (member, "teacher"))

    def length(t: float) -> float:
        """Mean over rows of the gradient's length, the factor T² included."""
        pushes = gradient(lambda x: kd_loss(x, teacher, temperature=t) * len(x), student)
        return pushes.norm(dim=-1).mean().item()

    kept = length(40.0) / length(20.0)
    faded = kept / 4  # what the forgotten factor takes
    levels = {"same": 1.0, "half": 0.5, "quarter": 0.25}
    v, z = (torch.tensor([TOY[name]], dtype=torch.float64) for name in ("teacher", "s2"))
    limit = (z - v).var(correction=0).item() / 2
    return {
        "odds": Answer(
            right=math.exp(apart / 4),
            tolerance=0.05,
            near={"divided": math.exp(apart) / 4, "same": math.exp(apart)},
            shown={"apart": apart},
        ),
        "shared": Answer(right=1 / 4, tolerance=0.01, near={"inverse": 4.0, "equal": 1.0}),
        "fade": Answer(
            right=min(levels, key=lambda name: abs(math.log(levels[name] / faded))),
            shown={
                "student": f"{networks.look(member).label} student",
                "rows": len(student),
                "measured": faded,
                "kept": kept,
            },
        ),
        "limit": Answer(
            right=limit,
            tolerance=0.01,
            near={"unhalved": 2 * limit, "bessel": (z - v).var().item() / 2},
            shown={"computed": kd_loss(z, v, temperature=1000.0).item()},
        ),
    }
