"""Images of random numbers, for what is timed: no speed depends on what an image shows. Needs torch alone."""

from __future__ import annotations

import torch

from lskd.data.cifar100 import MEAN, STD
from lskd.data.dataset import Dataset

__all__ = ["data"]


def data(images: int, classes: int = 100) -> Dataset:
    """So many images ``[images, 3, 32, 32]`` with random labels; the first 512 are the test set, too."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(classes, (images,), generator=generator)
    names = tuple(f"class {i}" for i in range(classes))
    group = torch.zeros(classes, dtype=torch.int64)
    return Dataset("random", pixels, labels, pixels[:512], labels[:512], names, group, ("all",), MEAN, STD, 4, True)
