"""Small computations behind the chapters on temperature and Z-score: what a spread costs, what a bound allows."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from lskd.losses import kd_loss, standardize
from paper.toy import gradient


def best_spread(
    student: Tensor, teacher: Tensor, *, temperature: float, steps: int = 121
) -> tuple[Tensor, Tensor, Tensor]:
    """How much of the plain KD loss is due to the student's spread alone, row by row.

    Every student row is stretched by the factor between 1/10 and 10 that makes its loss smallest.

    Args:
        student, teacher: logits ``[n, classes]``.
        steps: factors tried, evenly on a logarithmic scale; an odd number, so that 1 is among them.

    Returns:
        ``(plain, best, factor)``, each ``[n]``: the loss as it is, after stretching, and the factor.
    """
    factors = torch.logspace(-1, 1, steps, dtype=torch.float64)
    log_p = torch.log_softmax(teacher.double() / temperature, dim=-1)

    def loss(factor: Tensor | float) -> Tensor:
        log_q = torch.log_softmax(factor * student.double() / temperature, dim=-1)
        return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1)

    losses = torch.stack([loss(factor) for factor in factors])
    best, place = losses.min(dim=0)
    return loss(1.0), best, factors[place]


def largest_probability(classes: int, temperature: float, *, correction: int = 1) -> float:
    """The most that any row of logits can give a class after standardisation: one class apart, all others equal."""
    factor = 1.0 if correction else math.sqrt(classes / (classes - 1))
    return 1 / (1 + (classes - 1) * math.exp(-factor * math.sqrt(classes) / temperature))


def opposite_signs_loss(temperature: float, *, correction: int = 1) -> float:
    """The standardised loss between two rows of two classes that disagree; it is zero between rows that agree."""
    apart = (math.sqrt(2) if correction else 2.0) / temperature
    return temperature**2 * apart * math.tanh(apart / 2)


def constant_rows(spreads: tuple[float, ...] = (10.0, 1.0, 1e-3, 1e-6, 1e-9, 0.0)) -> pd.DataFrame:
    """What a vanishing spread does to the Z-score and to the gradient of the standardised loss.

    Returns:
        One row a standard deviation of the student's logits: ``deviation``; ``z``, the deviation of the Z-score;
        ``gradient``, its length as this package computes it; ``literal``, as (x - mean) / (deviation + 1e-7) does.
    """
    generator = torch.Generator().manual_seed(0)
    shape = standardize(torch.randn(1, 100, generator=generator, dtype=torch.float64), eps=0.0)
    teacher = torch.randn(1, 100, generator=generator, dtype=torch.float64)

    def literal(x: Tensor) -> Tensor:
        centred = x - x.mean()
        # The root's slope is infinite at zero; the released code's autograd takes zero there, as clamp does here.
        return centred / ((centred.square().sum() / (x.numel() - 1)).clamp_min(1e-300).sqrt() + 1e-7)

    def pulls(form: Callable[[Tensor], Tensor]) -> list[float]:
        def loss(x: Tensor) -> Tensor:
            return kd_loss(form(x), standardize(teacher), temperature=2.0)

        return [float(gradient(loss, spread * shape).norm()) for spread in spreads]

    z = [float(standardize(spread * shape).std()) for spread in spreads]
    return pd.DataFrame({"deviation": spreads, "z": z, "gradient": pulls(standardize), "literal": pulls(literal)})
