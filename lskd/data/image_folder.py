"""Images in folders, one folder a class, as torchvision's ImageFolder reads them: read once into uint8 tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lskd.data.dataset import Dataset
from lskd.data.own import assemble, pixels
from lskd.errors import LskdError, nearest

__all__ = ["folder"]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def folder(
    *,
    path: str,
    size: int = 32,
    train: str = "train",
    test: str = "test",
    pad: int = 4,
    flip: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset:
    """``PATH/train/CLASS/*.png`` and ``PATH/test/CLASS/*.png``; classes are numbered by name.

    Args:
        path: the folder that holds both parts.
        size: height and width; the shorter side is resized to it and the middle cut out.
        train, test: the folders of the parts.
        pad, flip: the weak views that keep a label: zero padding of the random crops, and mirroring or not.
        mean, std: of the three channels, what images are normalised with; by default those of the training images.

    Raises:
        LskdError: a missing folder, a class without images or in the test part alone, a file that is no image.
    """
    root = Path(path).expanduser()
    if size < 8:
        raise LskdError(f"folder: size is {size}; expected at least 8")
    classes = _classes(root / train)
    known = {name: number for number, name in enumerate(classes)}
    for name in _classes(root / test):
        if name not in known:
            near = nearest(name, classes)
            raise LskdError(f"{root / test / name}: no such class in {root / train}; did you mean {near[0]!r}?")
    parts = [_read(root / part, known, size) for part in (train, test)]
    return assemble(root.name, *parts, class_names=classes, pad=pad, flip=flip, mean=mean, std=std)


def _classes(place: Path) -> list[str]:
    if not place.is_dir():
        raise LskdError(f"{place}: no such folder; expected one folder a class in it")
    found = sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise LskdError(f"{place}: no folders in it; expected one folder a class")
    return found


def _read(place: Path, classes: dict[str, int], size: int) -> tuple[Tensor, Tensor]:
    from PIL import Image

    images, labels = [], []
    for name, number in classes.items():
        files = sorted(f for f in (place / name).rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
        if not files and (place / name).is_dir():
            raise LskdError(f"{place / name}: no images in it; expected files ending in {', '.join(ENDINGS)}")
        for file in files:
            try:
                with Image.open(file) as image:
                    images.append(pixels(image, size))
            except (OSError, ValueError, SyntaxError) as error:
                raise LskdError(f"{file}: cannot be read as an image ({error}); repair or remove it") from None
            labels.append(number)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)
