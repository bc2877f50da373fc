"""Images that are made when they are needed: files to decode, or pictures too large to keep as one tensor.

A view is still an index, one of 2^62: it seeds everything that chance decides about the view, so a batch is a pure
function of (image, view) here too, whoever makes it and in whatever order. Worker threads make images ahead of the
training; Pillow and PyTorch compute without Python's lock.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import cast

import torch
from torch import Tensor

VIEWS = 1 << 62
SCALE, RATIO, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of random parts: area, width to height, tries
Box = tuple[int, int, int, int]  # left, top, width, height


class Pictures:
    """n images as trainer and evidence use a tensor of them: length, shape, slices, a device.

    Args:
        make: from a position to uint8 ``[3, side, side]``; called in several threads.
        count: n.
        side: height and width.
    """

    dtype = torch.uint8
    ndim = 4

    def __init__(
        self, make: Callable[[int], Tensor], count: int, side: int, *, device: torch.device | str = "cpu"
    ) -> None:
        self.make = make
        self.shape = torch.Size((count, 3, side, side))
        self.device = torch.device(device)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        return started(self.make, range(len(self))[rows])().to(self.device)

    def to(self, device: torch.device | str) -> Pictures:
        """The same images, handed out on another device."""
        return Pictures(self.make, len(self), self.shape[2], device=device)


def pictures(make: Callable[[int], Tensor], count: int, side: int) -> Tensor:
    """:class:`Pictures`, in the place of a data set's tensor."""
    return cast(Tensor, Pictures(make, count, side))


class PictureViews:
    """Views of a data set's training images, as :class:`lskd.data.views.Views` has them, made by worker threads."""

    count = VIEWS

    def __init__(self, view: Callable[[int, int], Tensor], device: torch.device) -> None:
        self._view = view
        self._device = device

    def start(self, index: Tensor, view: Tensor) -> Callable[[], Tensor]:
        """Begin a batch; the call that is returned waits for it, ``[batch, 3, H, W]`` on the device."""
        pairs = list(zip(index.tolist(), view.tolist(), strict=True))
        wait = started(lambda i: self._view(*pairs[i]), range(len(pairs)))

        def finished() -> Tensor:
            images = wait()
            if self._device.type == "cuda":
                images = images.pin_memory()
            return images.to(self._device, non_blocking=True)

        return finished

    def __call__(self, index: Tensor, view: Tensor) -> Tensor:
        return self.start(index, view)()


def workers() -> int:
    """Threads that make images: this process's share of the processors."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, processors // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers(), "picture", initializer=torch.set_num_threads, initargs=(1,))


if hasattr(os, "register_at_fork"):  # the threads stay with the parent, a loader's worker would wait for ever
    os.register_at_fork(after_in_child=_pool.cache_clear)


def started(make: Callable[[int], Tensor], positions: Sequence[int]) -> Callable[[], Tensor]:
    """Have images made, in order of being asked for; the call that is returned waits and stacks them."""
    futures: list[Future[Tensor]] = [_pool().submit(make, i) for i in positions]
    return lambda: torch.stack([future.result() for future in futures])


def random_box(width: int, height: int, draw: Random) -> Box:
    """A part of an image (protocol 3.2, 3.3): area uniform, ratio of sides log-uniform, as torchvision draws it.

    A part that does not fit is drawn again, ten times; then the middle with the nearest ratio that is allowed.
    """
    for _ in range(ATTEMPTS):
        area = width * height * draw.uniform(*SCALE)
        aspect = math.exp(draw.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return draw.randint(0, width - w), draw.randint(0, height - h), w, h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (width - w) // 2, (height - h) // 2, w, h
