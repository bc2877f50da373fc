"""Every random draw of a run as a pure function of (seed, epoch, position).

No generator is carried from step to step: a resumed run needs no generator state, and two methods trained
with one seed see the same batches and the same views. Draws are made on the CPU, so that a run on a GPU
sees the same ones.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

__all__ = ["derive", "epoch_order", "epoch_views"]


def derive(seed: int, *labels: object) -> int:
    """A 63-bit seed for one purpose, independent of every other purpose of the same run seed."""
    text = "/".join(str(part) for part in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """Order in which the images 0..size-1 are visited in an epoch, int64 ``[size]``."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))


def epoch_views(seed: int, epoch: int, size: int, count: int, *, stream: str = "weak") -> Tensor:
    """View index of every position of an epoch, int64 ``[size]``, uniform over ``count`` views."""
    generator = torch.Generator().manual_seed(derive(seed, "views", stream, epoch))
    return torch.randint(count, (size,), generator=generator)
