"""Learning rates of the paper's runs (protocol section 2)."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["step_learning_rate"]


def step_learning_rate(base: float, epoch: int, milestones: Sequence[int], *, decay: float = 0.1) -> float:
    """Rate of epoch 1, 2, ...: ``base · decay^n`` with n milestones strictly below the epoch.

    Milestones 150, 180, 210 lower the rate in epochs 151, 181 and 211.
    """
    if epoch < 1:
        raise ValueError(f"step_learning_rate: epoch {epoch}; epochs count from 1")
    return float(base * decay ** sum(m < epoch for m in milestones))
