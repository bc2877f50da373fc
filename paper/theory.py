"""Small computations behind the chapters on temperature and Z-score: what a spread costs, what a bound allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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


def z_score_bounds(classes: int, *, correction: int = 1) -> tuple[float, float]:
    """The largest that a Z-score can be, and the furthest that two of a row can be apart."""
    factor = 1.0 if correction else math.sqrt(classes / (classes - 1))
    return factor * (classes - 1) / math.sqrt(classes), factor * math.sqrt(2 * (classes - 1))


def largest_probability(classes: int, temperature: float, *, correction: int = 1) -> float:
    """The most that any row of logits can give a class after standardisation: one class apart, all others equal."""
    factor = 1.0 if correction else math.sqrt(classes / (classes - 1))
    return 1 / (1 + (classes - 1) * math.exp(-factor * math.sqrt(classes) / temperature))


def opposite_signs_loss(temperature: float) -> float:
    """The standardised loss between two rows of two classes that disagree; it is zero between rows that agree."""
    apart = math.sqrt(2) / temperature
    return temperature**2 * apart * math.tanh(apart / 2)
