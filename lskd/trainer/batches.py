"""The batches of a run, as pure functions of (seed, epoch, position): any of them can be made again at any time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lskd.data.dataset import Dataset
from lskd.data.draws import StrongDraws, epoch_order, epoch_strong, epoch_views
from lskd.data.randaugment import strong_view
from lskd.data.views import Normalize, Views

__all__ = ["Batch", "Batches", "Draw"]

AHEAD = 1024  # strong views made at once: operations are shared by some 70 images then, not by four


@dataclass(frozen=True)
class Draw:
    """What decides a batch of n images, on the device.

    Attributes:
        epoch: from 1. step: of the whole run, from 0; a scalar tensor inside a CUDA graph.
        index, view: int64 ``[n]``, which image and which weak view of it.
        strong: uint8 ``[n, 3, H, W]``, the strong views; None when nobody needs them.
    """

    epoch: int
    step: int | Tensor
    index: Tensor
    view: Tensor
    strong: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """One batch of n images; a :class:`Draw` carried out.

    Attributes:
        epoch, step, index, view: see there.
        inputs: float32 ``[n, 3, H, W]``, the weak views, normalised.
        target: int64 ``[n]``.
        strong: like ``inputs``, the strong views; None when nobody needs them.
    """

    epoch: int
    step: int | Tensor
    index: Tensor
    view: Tensor
    inputs: Tensor
    target: Tensor
    strong: Tensor | None = None


class Batches:
    """Batches of ``size`` training images; the last of an epoch is smaller when the size does not divide them."""

    def __init__(self, dataset: Dataset, *, seed: int, size: int, device: torch.device) -> None:
        self.dataset = dataset
        self.seed = seed
        self.size = size
        self.device = device
        self.views = Views(dataset.train_images.to(device), pad=dataset.pad, flip=dataset.flip)
        self._normalize = Normalize(dataset, device)
        self.labels = dataset.train_labels.to(device)
        self.per_epoch = math.ceil(len(self.labels) / size)

    def epoch(self, epoch: int, first: int = 0, *, strong: Callable[[], bool] = lambda: False) -> Iterator[Batch]:
        """Batches ``first``, ``first + 1``, ... of an epoch; ``strong`` is asked whether strong views are needed."""
        return map(self.load, self.draws(epoch, first, strong=strong))

    def load(self, draw: Draw) -> Batch:
        """Gather and normalise; on a GPU nothing here waits for it."""
        return Batch(
            epoch=draw.epoch,
            step=draw.step,
            index=draw.index,
            view=draw.view,
            inputs=self._normalize(self.views(draw.index, draw.view)),
            target=self.labels[draw.index],
            strong=None if draw.strong is None else self._normalize(draw.strong),
        )

    def draws(self, epoch: int, first: int = 0, *, strong: Callable[[], bool] = lambda: False) -> Iterator[Draw]:
        """What :meth:`epoch` is made from."""
        total = len(self.labels)
        order = epoch_order(self.seed, epoch, total).to(self.device)
        views = epoch_views(self.seed, epoch, total, self.views.count).to(self.device)
        draws: tuple[Tensor, StrongDraws] | None = None
        made, made_from = None, 0
        for number in range(first, self.per_epoch):
            start, end = number * self.size, min((number + 1) * self.size, total)
            images = None
            if strong():
                if draws is None:
                    crops = epoch_views(self.seed, epoch, total, self.views.count, stream="strong")
                    draws = crops.to(self.device), epoch_strong(self.seed, epoch, total)
                if made is None or end > made_from + len(made):
                    rows = slice(start, start + max(1, AHEAD // self.size) * self.size)
                    # A crop and mirror of their own, then the rest.
                    made = strong_view(self.views(order[rows], draws[0][rows]), draws[1][rows])
                    made_from = start
                images = made[start - made_from : end - made_from]
            step = (epoch - 1) * self.per_epoch + number
            yield Draw(epoch=epoch, step=step, index=order[start:end], view=views[start:end], strong=images)
