"""The batches of a run, as pure functions of (seed, epoch, position): any of them can be made again at any time."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from lskd.data.dataset import Dataset
from lskd.data.draws import StrongDraws, epoch_drops, epoch_order, epoch_strong, epoch_views
from lskd.data.lazy_images import PictureViews
from lskd.data.randaugment import strong_view
from lskd.data.views import Normalize
from lskd.errors import LskdError
from lskd.trainer.distributed import ALONE, World

PREFETCH = 3  # batches that worker threads make before they are needed
AHEAD = 1024  # strong views made at once: operations are shared by some 70 images then, not by four


@dataclass(frozen=True)
class BatchIndex:
    """What decides a batch of n images, on the device.

    Attributes:
        epoch: from 1. step: of the whole run, from 0; a scalar tensor inside a CUDA graph.
        index, view: int64 ``[n]``, which image and which weak view of it.
        images: ``[n, 3, H, W]``, the weak views where worker threads make them, uint8 or normalised; None where a
            gather from tensors makes them.
        strong: uint8 ``[n, 3, H, W]``, the strong views; None when nobody needs them.
        drops: float32 ``[n, columns]`` in [0, 1), which residual branches of each image are dropped; None for
            networks without drop path.
        scale: what a batch mean is multiplied with before processes are averaged, so that every image counts alike.
        taught: float32 ``[n, classes]``, the teacher's logits of the weak views where a table on the host has them.
    """

    epoch: int
    step: int | Tensor
    index: Tensor
    view: Tensor
    images: Tensor | None = None
    strong: Tensor | None = None
    drops: Tensor | None = None
    scale: float = 1.0
    taught: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Batch(BatchIndex):
    """A :class:`BatchIndex` carried out; its strong views are normalised, float32 ``[n, 3, H, W]``.

    Attributes:
        inputs: float32 ``[n, 3, H, W]``, the weak views, normalised.
        target: int64 ``[n]``.
    """

    inputs: Tensor
    target: Tensor


@dataclass(eq=False, repr=False)
class Batches:
    """Batches of ``size`` training images; the last of an epoch is smaller when the size does not divide them.

    Attributes:
        drop_last: leave that smaller batch out.
        columns: numbers for drop path that every position of an epoch gets.
        world: the processes that share every batch; this one makes its part.
    """

    dataset: Dataset
    _: KW_ONLY
    seed: int
    size: int
    device: torch.device
    drop_last: bool = False
    columns: int = 0
    world: World = ALONE

    def __post_init__(self) -> None:
        self.views = self.dataset.views(self.device)
        self._normalize = Normalize(self.dataset, self.device)
        self.labels = self.dataset.train_labels.to(self.device)
        total, size = len(self.labels), self.size
        self.per_epoch = total // size if self.drop_last else math.ceil(total / size)
        if self.per_epoch == 0:
            raise LskdError(f"batch_size is {size} and there are {total} training images: no whole batch")
        smallest = size if self.drop_last else (total - 1) % size + 1
        if smallest < self.world.size:
            raise LskdError(
                f"the last batch of an epoch has {smallest} images for {self.world.size} processes; choose another "
                "batch_size, or optimization.drop_last_batch"
            )

    def whole(self, epoch: int, number: int) -> dict[str, Tensor]:
        """Numbers, views and labels of the images of a batch as all processes have it together."""
        total, rows = len(self.labels), self._rows(number)
        index = epoch_order(self.seed, epoch, total)[rows]
        view = epoch_views(self.seed, epoch, total, self.views.count)[rows]
        return {"index": index, "view": view, "label": self.labels.cpu()[index]}

    def load(self, draw: BatchIndex) -> Batch:
        """Gather and normalise; on a GPU nothing here waits for it."""
        images = self.views(draw.index, draw.view) if draw.images is None else draw.images
        if not images.is_floating_point():
            images = self._normalize(images)
        made = {
            "inputs": images.contiguous(memory_format=torch.channels_last),
            "target": self.labels[draw.index],
            "strong": None if draw.strong is None else self._normalize(draw.strong),
            "images": None,
        }
        return Batch(**vars(draw) | made)

    def draws(self, epoch: int, first: int = 0, *, strong: Callable[[], bool] = lambda: False) -> Iterator[BatchIndex]:
        """Batches ``first``, ``first + 1``, ... of an epoch; ``strong`` is asked whether strong views are needed."""
        total = len(self.labels)
        order = epoch_order(self.seed, epoch, total)
        views = epoch_views(self.seed, epoch, total, self.views.count)
        drops = epoch_drops(self.seed, epoch, total, self.columns).to(self.device) if self.columns else None
        images = self._ahead(order, views, range(first, self.per_epoch))
        order, views = order.to(self.device), views.to(self.device)
        extra = self._strong(epoch, order)
        for number in range(first, self.per_epoch):
            rows, whole = self._own(number), self._rows(number)
            yield BatchIndex(
                epoch=epoch,
                step=(epoch - 1) * self.per_epoch + number,
                index=order[rows],
                view=views[rows],
                images=next(images, None),
                strong=extra(number) if strong() else None,
                drops=None if drops is None else drops[rows],
                scale=self.world.size * (rows.stop - rows.start) / (whole.stop - whole.start),
            )

    def _rows(self, number: int, count: int = 1) -> slice:
        """Positions of an epoch that make up ``count`` batches."""
        return slice(number * self.size, min((number + count) * self.size, len(self.labels)))

    def _own(self, number: int) -> slice:
        """Those of a batch that this process makes."""
        return self.world.shard(self._rows(number))

    def _ahead(self, order: Tensor, views: Tensor, numbers: range) -> Iterator[Tensor]:
        """Images of batch after batch, some of which are being made while one waits for the first."""
        if not isinstance(self.views, PictureViews):
            return
        waiting: deque[Callable[[], Tensor]] = deque()
        for number in numbers:
            while len(waiting) < PREFETCH and (next_one := number + len(waiting)) < numbers.stop:
                rows = self._own(next_one)
                waiting.append(self.views.start(order[rows], views[rows]))
            yield waiting.popleft()()

    def _strong(self, epoch: int, order: Tensor) -> Callable[[int], Tensor]:
        """Strong views of a batch, of which several are made at once; batches are asked for in order."""
        several = self.world.size == 1 and not isinstance(self.views, PictureViews)
        together = max(1, AHEAD // self.size) if several else 1

        @functools.cache
        def draws() -> tuple[Tensor, StrongDraws]:
            total = len(self.labels)
            crops = epoch_views(self.seed, epoch, total, self.views.count, stream="strong")
            return crops.to(self.device), epoch_strong(self.seed, epoch, total)

        @functools.lru_cache(maxsize=1)
        def made(start: int, stop: int) -> Tensor:
            rows, (crops, rest) = slice(start, stop), draws()
            # A crop and mirror of their own, then the rest.
            return strong_view(self.views(order[rows], crops[rows]), rest[rows])

        def images(number: int) -> Tensor:
            own = self._own(number)
            whole = self._rows(number - number % together, together) if several else own
            return made(whole.start, whole.stop)[own.start - whole.start : own.stop - whole.start]

        return images
