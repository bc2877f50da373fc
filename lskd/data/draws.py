"""Every random draw of a run as a pure function of (seed, epoch, position).

No generator is carried from step to step: a resumed run needs no generator state, and two methods trained
with one seed see the same batches and the same views. Draws are made on the CPU, so that a run on a GPU
sees the same ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


def seed_for(seed: int, *labels: object) -> int:
    """A 63-bit seed for one purpose, independent of every other purpose of the same run seed."""
    text = "/".join(str(part) for part in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """Order in which the images 0..size-1 are visited in an epoch, int64 ``[size]``."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch)))


def epoch_views(seed: int, epoch: int, size: int, count: int, *, stream: str = "weak") -> Tensor:
    """View index of every position of an epoch, int64 ``[size]``, uniform over ``count`` views."""
    generator = torch.Generator().manual_seed(seed_for(seed, "views", stream, epoch))
    return torch.randint(count, (size,), generator=generator)


def epoch_drops(seed: int, epoch: int, size: int, columns: int) -> Tensor:
    """Numbers in [0, 1) that decide which residual branches every position drops, float32 ``[size, columns]``."""
    return torch.rand(size, columns, generator=torch.Generator().manual_seed(seed_for(seed, "drop path", epoch)))


@dataclass(frozen=True)
class StrongDraws:
    """What decides the strong views of n positions, on the CPU.

    Attributes:
        operation: int64 ``[n, 2]``, numbers of the operations in the order they are applied.
        amount: float64 ``[n, 2]`` in [0, 1), where in its range an operation's value lies.
        cutout: float64 ``[n, 3]`` in [0, 1): side of the box, and the column and row of its centre.
    """

    operation: Tensor
    amount: Tensor
    cutout: Tensor

    def __getitem__(self, rows: slice) -> StrongDraws:
        return StrongDraws(self.operation[rows], self.amount[rows], self.cutout[rows])


def epoch_strong(seed: int, epoch: int, size: int) -> StrongDraws:
    """Operations of the 14, drawn uniformly with replacement, amounts and boxes of every position of an epoch."""
    generator = torch.Generator().manual_seed(seed_for(seed, "randaugment", epoch))
    return StrongDraws(
        operation=torch.randint(14, (size, 2), generator=generator),
        amount=torch.rand(size, 2, generator=generator, dtype=torch.float64),
        cutout=torch.rand(size, 3, generator=generator, dtype=torch.float64),
    )
