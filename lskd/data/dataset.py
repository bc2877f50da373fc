"""What the trainer, the evidence and the figures know about a data set."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lskd.data.lazy_images import PictureViews
    from lskd.data.views import Views


@dataclass(frozen=True)
class Dataset:
    """Images and labels of a classification problem, whole, in memory.

    Attributes:
        name: as in recipes.
        train_images, test_images: uint8 ``[n, 3, H, W]``.
        train_labels, test_labels: int64 ``[n]``.
        class_names: one per class.
        superclass: int64 ``[classes]``, the group that a class belongs to, for colours and orders in figures.
        superclass_names: one per group.
        mean, std: per channel, of images scaled to [0, 1].
        pad, flip: the weak views that keep a label: zero padding around the image, and mirroring or not.
        held_images, held_labels: a part of the training set that is not trained on, or None
            (:mod:`lskd.data.held_out`).
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    superclass: Tensor
    superclass_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pad: int
    flip: bool
    held_images: Tensor | None = field(default=None, kw_only=True)
    held_labels: Tensor | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
                raise ValueError(
                    f"{self.name}: {split} images are {images.dtype} {tuple(images.shape)}; expected uint8 [n, 3, H, W]"
                )
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                raise ValueError(
                    f"{self.name}: {split} labels are {labels.dtype} {tuple(labels.shape)}; "
                    f"expected int64 [{len(images)}]"
                )
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
                raise ValueError(f"{self.name}: {split} labels leave 0..{self.classes - 1}")

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def view_count(self) -> int | None:
        """Number of weak views of an image; None when there are too many for a table."""
        from lskd.data.views import view_count

        return view_count(pad=self.pad, flip=self.flip)

    def views(self, device: torch.device) -> Views | PictureViews:
        """What makes batches of views of the training images, on a device."""
        from lskd.data.views import Views

        return Views(self.train_images.to(device), pad=self.pad, flip=self.flip)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of one image as networks see it: 3, height, width."""
        return 3, self.test_images.shape[2], self.test_images.shape[3]

    @functools.cached_property
    def digest(self) -> str:
        """sha256 over images, labels, class names and normalisation: what a result depends on."""
        sha = hashlib.sha256()
        for part in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha.update(str((part.dtype, tuple(part.shape))).encode())
            sha.update(part.contiguous().cpu().numpy().tobytes())
        sha.update(repr((self.class_names, self.mean, self.std, self.pad, self.flip)).encode())
        if self.held_images is not None:
            sha.update(self.held_images.contiguous().cpu().numpy().tobytes())
        return sha.hexdigest()


def channel_statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per channel of uint8 images, on the scale [0, 1], rounded to four places."""
    x = images.double() / 255
    mean, std = x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3), correction=0)
    a, b = ([round(v, 4) for v in t.tolist()] for t in (mean, std))
    return (a[0], a[1], a[2]), (b[0], b[1], b[2])
