"""Answers of the exercises on the Z-score, from its definition and from this run's logits."""

from __future__ import annotations

import math
from typing import Any

import torch

from book.exercises.model import Answer
from figures.networks import Networks
from lskd.losses import kd_loss, standardize
from paper.toy import TOY, gradient, random_logits


def answers(networks: Networks) -> dict[str, Answer]:
    """By exercise."""
    row = torch.tensor(TOY["teacher"], dtype=torch.float64)
    s = row.std().item()
    classes, base = 10, 2.0
    apart = torch.zeros(1, classes, dtype=torch.float64)
    apart[0, 0] = 1.0
    largest = {k: standardize(apart, correction=k).max().item() for k in (0, 1)}

    member = networks.methods[0][0] if networks.methods else next(iter(networks.students))
    x, v = (torch.from_numpy(networks.packs[name].logits[:1]).double() for name in (member, "teacher"))
    slope, after = (gradient(lambda z: kd_loss(z, v, temperature=2.0, standardize=True), a * x) for a in (1, 10))
    length = slope.norm().item()

    five = torch.tensor([[1.0, 2.0, 3.0, 4.0, 10.0]], dtype=torch.float64)
    return {
        "temperature": Answer(
            right=base * s,
            tolerance=0.02,
            near={"population": base * row.std(correction=0).item(), "base": base, "divided": base / s},
            shown={"deviation": s},
        ),
        "bound": Answer(right=largest[0], tolerance=0.03, near={"bessel": largest[1], "root": math.sqrt(classes)}),
        "gradient": Answer(
            right=after.norm().item() / length,
            tolerance=0.005,
            near={"same": 1.0, "larger": 10.0},
            shown={
                "student": f"{networks.look(member).label} student",
                "length": length,
                "after": after.norm().item(),
                "shift": _tiny(slope.sum().item()),
                "stretch": _tiny((slope * x).sum().item()),
            },
        ),
        "three_lines": Answer(
            right=standardize(five).max().item(),
            tolerance=0.01,
            near={
                "population": standardize(five, correction=0).max().item(),
                "uncentred": (five / five.std()).max().item(),
                "variance": ((five - five.mean()) / five.var()).max().item(),
            },
            judge=judge,
        ),
    }


def judge(function: Any) -> str:
    """What is wrong with somebody's ``standardize``; "" if nothing."""
    logits = random_logits(8, 5, seed=0) + 2
    try:
        found = function(logits)
    except Exception as error:  # whatever a reader's function may do
        return f"It stops on logits of shape {tuple(logits.shape)}: {type(error).__name__}: {error}"
    if not isinstance(found, torch.Tensor) or found.shape != logits.shape:
        what = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
        return f"It has to return a tensor of shape {tuple(logits.shape)}; it returned {what}."
    forms = {
        "": standardize(logits),
        "It divides by K, as the paper's formula does; the released code divides by K − 1.": standardize(
            logits, correction=0
        ),
        "It takes mean and deviation over the whole batch; every row has its own: dim=-1, keepdim=True.": (
            (logits - logits.mean()) / logits.std()
        ),
        "It takes mean and deviation over the batch, class by class; give dim=-1, the classes.": (
            (logits - logits.mean(dim=0)) / logits.std(dim=0)
        ),
        "It does not subtract the mean.": logits / logits.std(dim=-1, keepdim=True),
        "It does not divide by the deviation.": logits - logits.mean(dim=-1, keepdim=True),
    }
    for said, expected in forms.items():
        if torch.allclose(found.double(), expected, atol=1e-5):
            return said
    return "Its rows are not Z-scores: each should have mean 0 and, with K − 1, deviation 1."


def _tiny(x: float) -> str:
    """A number that is zero but for rounding."""
    return "0" if x == 0 else f"{x:.0e}".replace("e-0", "e-").replace("-", "−")
