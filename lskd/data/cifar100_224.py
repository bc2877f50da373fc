"""CIFAR-100 as vision transformers see it: enlarged to 224 x 224, strongly augmented (protocol 3.3)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from lskd.checked import Count
from lskd.data import cifar100
from lskd.data.dataset import Dataset, DataSource, Mean, Side, Std
from lskd.data.imagenet import MEAN, STD, to_tensor
from lskd.data.lazy_images import pictures, random_box


def cifar100_224(
    *,
    size: Side = 224,
    train_size: Count | None = None,
    test_size: Count | None = None,
    mean: Mean = MEAN,
    std: Std = STD,
) -> Dataset:
    """The images of :func:`lskd.data.cifar100.cifar100`, made ``size`` x ``size``.

    Args:
        size: height and width; the teacher of the vision transformers is trained at 32.
        train_size, test_size: keep only so many images, evenly spaced in their order (for quick trials).
        mean, std: of the three channels, ImageNet's by default.

    Raises:
        FileNotFoundError: CIFAR-100 is not there.
    """
    return enlarged(cifar100.cifar100(train_size=train_size, test_size=test_size), size=size, mean=mean, std=std)


def enlarged(base: Dataset, *, size: Side, mean: Mean = MEAN, std: Std = STD) -> Dataset:
    """A data set in memory as one of larger images.

    A training view is a random part, enlarged bicubically, mirrored or not, two operations of RandAugment,
    normalised, one box erased perhaps. Images without chance are resized bilinearly.
    """
    from PIL import Image

    from lskd.data.randaugment_increasing import erase, randaugment

    shift, scale = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (mean, std))
    square = (size, size)

    def picture(image: Tensor) -> Image.Image:
        return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())

    def plain(images: Tensor, i: int) -> Tensor:
        return to_tensor(picture(images[i]).resize(square, Image.Resampling.BILINEAR))

    def view(index: int, number: int) -> Tensor:
        draw = Random(number)
        image = picture(base.train_images[index])
        left, top, width, height = random_box(*image.size, draw)
        image = image.crop((left, top, left + width, top + height)).resize(square, Image.Resampling.BICUBIC)
        if draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return erase((to_tensor(randaugment(image, draw)).float() / 255 - shift) / scale, draw)

    return replace(
        base,
        name=f"{base.name}_{size}",
        train_images=pictures(lambda i: plain(base.train_images, i), len(base.train_images), size),
        test_images=pictures(lambda i: plain(base.test_images, i), len(base.test_images), size),
        mean=mean,
        std=std,
        pad=0,
        flip=True,
        view=view,
        fingerprint=hashlib.sha256(repr((base.digest, size, mean, std)).encode()).hexdigest(),
    )


SOURCE = DataSource(
    cifar100_224, "CIFAR-100 (224x224)", 50_000, 10_000, 100, packages={"PIL": "pillow"}, get=cifar100.get
)
