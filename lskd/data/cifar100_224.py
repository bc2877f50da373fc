"""CIFAR-100 as vision transformers see it: enlarged to 224 x 224, strongly augmented (protocol 3.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from torch import Tensor

from lskd.data.cifar100 import cifar100
from lskd.data.dataset import Dataset
from lskd.data.imagenet import MEAN, STD
from lskd.data.lazy_images import PictureDataset, pictures
from lskd.data.random_crop import random_box
from lskd.errors import LskdError

__all__ = ["cifar100_224", "enlarged"]


def cifar100_224(
    *,
    size: int = 224,
    train_size: int | None = None,
    test_size: int | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Dataset:
    """The images of :func:`lskd.data.cifar100.cifar100`, made ``size`` x ``size``.

    Args:
        size: height and width; the teacher of the vision transformers is trained at 32.
        train_size, test_size: keep only the first so many images (for quick trials).
        mean, std: of the three channels, ImageNet's by default.

    Raises:
        FileNotFoundError: CIFAR-100 is not there.
    """
    return enlarged(cifar100(train_size=train_size, test_size=test_size), size=size, mean=mean, std=std)


def enlarged(base: Dataset, *, size: int, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Dataset:
    """A data set in memory as one of larger images.

    A training view is a random part, enlarged bicubically, mirrored or not, two operations of RandAugment,
    normalised, one box erased perhaps. Images without chance are resized bilinearly.

    Raises:
        LskdError: a size below 8, or statistics that are not three numbers each.
    """
    from PIL import Image

    from lskd.data.randaugment_increasing import erase, randaugment

    if size < 8 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise LskdError(
            f"{base.name} at size {size}, mean {list(mean)}, std {list(std)}; expected a side from 8, and three "
            "numbers each, deviations above 0"
        )
    shift, scale = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (mean, std))
    square = (size, size)

    def picture(image: Tensor) -> Image.Image:
        return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())

    def tensor(image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    def plain(images: Tensor, i: int) -> Tensor:
        return tensor(picture(images[i]).resize(square, Image.Resampling.BILINEAR))

    def view(index: int, number: int) -> Tensor:
        draw = Random(number)
        image = picture(base.train_images[index])
        left, top, width, height = random_box(*image.size, draw)
        image = image.crop((left, top, left + width, top + height)).resize(square, Image.Resampling.BICUBIC)
        if draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return erase((tensor(randaugment(image, draw)).float() / 255 - shift) / scale, draw)

    return PictureDataset(
        name=f"{base.name}_{size}",
        train_images=pictures(lambda i: plain(base.train_images, i), len(base.train_images), size),
        train_labels=base.train_labels,
        test_images=pictures(lambda i: plain(base.test_images, i), len(base.test_images), size),
        test_labels=base.test_labels,
        class_names=base.class_names,
        superclass=base.superclass,
        superclass_names=base.superclass_names,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        pad=0,
        flip=True,
        view=view,
        fingerprint=hashlib.sha256(repr((base.digest, size, tuple(mean), tuple(std))).encode()).hexdigest(),
    )
