"""What the trainer, the evidence and the figures know about a data set."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
import torch
from torch import Tensor

from lskd.checked import convert
from lskd.data.lazy_images import PictureViews
from lskd.data.views import Views, view_count

# Types of options that several data sets have; means and deviations are of images scaled to [0, 1].
Side = Annotated[int, msgspec.Meta(ge=8)]
_Level = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Deviation = Annotated[float, msgspec.Meta(gt=0, le=1)]
# How many bits of a picture with more than 8 are in use: 12 where a camera or a scanner gives 0 to 4,095.
Bits = Annotated[int, msgspec.Meta(ge=8, le=16)]
Mean: TypeAlias = tuple[_Level, _Level, _Level]
Std: TypeAlias = tuple[_Deviation, _Deviation, _Deviation]

PIECE = 1 << 22  # values that statistics and digests are computed from at once


@dataclass(frozen=True)
class Dataset:
    """Images and labels of a classification problem.

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
        inventory: what was found and what was left out, a line a part, where that is not known beforehand.
        view: where images are made when they are needed, from an image's position and the number of a view to uint8
            ``[3, H, W]``, or to float32 that is normalised already; ``train_images`` and ``test_images``, without
            chance, are :func:`lskd.data.lazy_images.pictures` then, and ``fingerprint`` stands for them in the digest.
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
    inventory: tuple[str, ...] = field(default=(), kw_only=True, compare=False)
    view: Callable[[int, int], Tensor] | None = field(default=None, kw_only=True)
    fingerprint: str | None = field(default=None, kw_only=True)

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
            if not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
                found = f"{int(labels.min())}..{int(labels.max())}" if len(labels) else "no images"
                raise ValueError(f"{self.name}: {split} labels are {found}; expected 0..{self.classes - 1}")
        for kind, form in (("mean", Mean), ("std", Std)):  # arrays and tensors too
            given = np.asarray(getattr(self, kind)).tolist()
            object.__setattr__(self, kind, convert(given, form, f"{self.name}: of images scaled to [0, 1], {kind}"))
        made = not all(isinstance(images, Tensor) for images in (self.train_images, self.test_images))
        if made and self.fingerprint is None:
            raise ValueError(
                f"{self.name}: images are made when needed; expected a fingerprint of them, for the digest"
            )
        sides = [tuple(images.shape[2:]) for images in (self.train_images, self.test_images)]
        if sides[0] != sides[1]:
            raise ValueError(f"{self.name}: training images are {sides[0]}, test images {sides[1]}; expected one size")

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def view_count(self) -> int | None:
        """Number of weak views of an image; None when there are too many for a table."""
        return view_count(pad=self.pad, flip=self.flip) if self.view is None else None

    def views(self, device: torch.device) -> Views | PictureViews:
        """What makes batches of views of the training images, on a device."""
        if self.view is not None:
            return PictureViews(self.view, device)
        return Views(self.train_images.to(device), pad=self.pad, flip=self.flip)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of one image as networks see it: 3, height, width."""
        return 3, self.test_images.shape[2], self.test_images.shape[3]

    @functools.cached_property
    def digest(self) -> str:
        """sha256 over images, labels, class names and normalisation: what a result depends on."""
        if self.fingerprint is not None:
            return self.fingerprint
        sha = hashlib.sha256()
        for part in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha.update(str((part.dtype, tuple(part.shape))).encode())
            sha.update(part.contiguous().cpu().numpy().data)
        sha.update(repr((self.class_names, self.mean, self.std, self.pad, self.flip)).encode())
        if self.held_images is not None:
            sha.update(self.held_images.contiguous().cpu().numpy().data)
        return sha.hexdigest()


@dataclass(frozen=True)
class DataSource:
    """A data set that recipes name: how it is loaded, and what is known of it before.

    Attributes:
        load: makes the :class:`Dataset`; its keywords, with their types, are the options of a recipe's ``[data]``.
        title: as its makers write it.
        train, test, classes: how many images and classes the whole has; None where the reader's files decide.
        views: how many weak views an image has; None when there are too many for a table.
        packages: what loading imports beside the trainer's packages, by name for Python and for pip.
        get: downloads it into a folder (None: where it is looked for) from a mirror (None: its authors' server).
    """

    load: Callable[..., Dataset]
    title: str
    train: int | None = None
    test: int | None = None
    classes: int | None = None
    views: int | None = None
    packages: dict[str, str] = field(default_factory=dict)
    get: Callable[[Path | None, str | None], Path] | None = None

    def missing(self) -> list[str]:
        """Packages that loading needs and that are not installed."""
        return [package for module, package in self.packages.items() if util.find_spec(module) is None]


def channel_statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per channel of uint8 images, on the scale [0, 1], rounded to four places."""
    counts = torch.zeros(3, 256, dtype=torch.float64)
    for part in images.split(max(1, PIECE // images[0].numel())):
        for channel in range(3):
            counts[channel] += torch.bincount(part[:, channel].flatten(), minlength=256)
    level, share = torch.arange(256, dtype=torch.float64) / 255, counts / counts.sum(1, keepdim=True)
    mean = share @ level
    std = (share * (level - mean[:, None]).square()).sum(1).sqrt()
    a, b = ([round(v, 4) for v in t.tolist()] for t in (mean, std))
    return (a[0], a[1], a[2]), (b[0], b[1], b[2])
