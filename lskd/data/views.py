"""Weak augmentation as an index: a view of an image is a number, and a batch of views is one gather.

Zero padding by ``pad``, a crop of the original size and an optional mirror have exactly
``(2 pad + 1)² · 2`` outcomes (162 for CIFAR's pad 4). Nothing here draws random numbers; which view an
image gets is decided by :mod:`lskd.data.draws`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from lskd.data.dataset import Dataset


def view_count(*, pad: int = 4, flip: bool = True) -> int:
    """Number of distinct weak views: positions of the crop, twice if mirrored too."""
    return (2 * pad + 1) ** 2 * (2 if flip else 1)


def weak_view(images_uint8: Tensor, view: Tensor, *, pad: int = 4) -> Tensor:
    """The given view of every image (protocol 3.1, weak): :class:`Views` for a batch in a training loop of one's own.

    Args:
        images_uint8: uint8 ``[batch, 3, H, W]``.
        view: int64 ``[batch]``, ``flip · (2 pad + 1)² + top · (2 pad + 1) + left``; for pad 4
            ``flip · 81 + top · 9 + left``. ``top = left = pad`` is the image itself.

    Returns:
        uint8 ``[batch, 3, H, W]``.

    Raises:
        ValueError: images or views of another type or shape; on a CPU also a view that there is none of.
    """
    if not isinstance(view, Tensor):
        raise ValueError(f"weak_view: view is {type(view).__name__}; expected an int64 tensor, one view an image")
    if view.dtype != torch.int64 or view.shape != images_uint8.shape[:1]:
        found = f"{view.dtype} {list(view.shape)} for images {list(images_uint8.shape)}"
        raise ValueError(f"weak_view: view is {found}; expected int64 {list(images_uint8.shape[:1])}, one an image")
    return Views(images_uint8, pad=pad, flip=True)(torch.arange(len(images_uint8), device=view.device), view)


class Views:
    """All weak views of a set of images, held on the images' device; calling it gathers a batch."""

    def __init__(self, images: Tensor, *, pad: int, flip: bool) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(f"views: images are {images.dtype} {tuple(images.shape)}; expected uint8 [n, 3, H, W]")
        self.side = 2 * pad + 1
        self.count = view_count(pad=pad, flip=flip)
        height, width = images.shape[2:]
        padded = F.pad(images, (pad, pad, pad, pad))
        # A strided window [n, top, left, 3, H, W] over the padded set: no view is stored.
        self._windows = padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)

    def __call__(self, index: Tensor, view: Tensor) -> Tensor:
        """uint8 ``[batch, 3, H, W]``: view ``view[i]`` of image ``index[i]``, both int64 ``[batch]``."""
        if view.device.type == "cpu" and view.numel() and not 0 <= int(view.min()) <= int(view.max()) < self.count:
            raise ValueError(f"views: indices {int(view.min())}..{int(view.max())}; there are 0..{self.count - 1}")
        position, mirrored = view % self.side**2, view >= self.side**2
        row, column = position // self.side, position % self.side
        if view.device.type != "cpu" or not len(view):
            batch = self._windows[index, row, column]
            return torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        # One small copy an image: a gather is shared between threads, and their meeting costs more than so little work.
        places = zip(index.tolist(), row.tolist(), column.tolist(), mirrored.tolist(), strict=True)
        crops = [self._windows[i, r, c].flip(-1) if m else self._windows[i, r, c] for i, r, c, m in places]
        return torch.stack(crops)


def normalize(images: Tensor, dataset: Dataset) -> Tensor:
    """uint8 ``[batch, 3, H, W]`` to float32, scaled to [0, 1], then mean 0 and deviation 1 by channel."""
    return Normalize(dataset, images.device)(images)


class Normalize:
    """:func:`normalize` with its constants on the device, for who calls it often."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(dataset.mean, device=device).view(shape)
        self._std = torch.tensor(dataset.std, device=device).view(shape)

    def __call__(self, images: Tensor) -> Tensor:
        x = images.to(torch.float32, memory_format=torch.channels_last)
        return x.div_(255).sub_(self._mean).div_(self._std)
