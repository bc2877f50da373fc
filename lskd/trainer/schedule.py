"""Learning rates of the paper's runs (protocol section 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def step_learning_rate(base: float, epoch: int, milestones: Sequence[int], *, decay: float = 0.1) -> float:
    """Rate of epoch 1, 2, ...: ``base · decay^n`` with n milestones strictly below the epoch.

    Milestones 150, 180, 210 lower the rate in epochs 151, 181 and 211.
    """
    if epoch < 1:
        raise ValueError(f"step_learning_rate: epoch {epoch}; epochs count from 1")
    return float(base * decay ** sum(m < epoch for m in milestones))


def cosine_learning_rate(
    base: float, epoch: int, *, epochs: int, minimum: float = 0.0, warmup: int = 0, warmup_start: float = 0.0
) -> float:
    """Rate of epoch 1, 2, ...: half a cosine from ``base`` to ``minimum`` in ``epochs``, as for vision transformers.

    The first ``warmup`` epochs rise linearly from ``warmup_start`` towards ``base`` instead; the cosine does not wait
    for them, so the rate drops a little where it sets in (protocol 4.4).
    """
    if epoch < 1:
        raise ValueError(f"cosine_learning_rate: epoch {epoch}; epochs count from 1")
    if not 0 <= warmup <= epochs:
        raise ValueError(f"cosine_learning_rate: warmup {warmup}; expected 0 to {epochs} epochs")
    done = epoch - 1
    if done < warmup:
        return float(warmup_start + done * (base - warmup_start) / warmup)
    return float(minimum + 0.5 * (base - minimum) * (1 + math.cos(math.pi * min(done, epochs) / epochs)))
