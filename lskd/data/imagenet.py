"""ImageNet, or any large set of images in folders a class, decoded when needed (protocol 3.2). Needs torchvision."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from lskd.data.cifar100 import data_root
from lskd.data.dataset import Dataset
from lskd.data.lazy_images import PictureDataset, pictures
from lskd.data.random_crop import random_box
from lskd.errors import LskdError

__all__ = ["MEAN", "STD", "imagenet"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def imagenet(
    *,
    path: str | None = None,
    train: str = "train",
    test: str = "val",
    size: int = 224,
    resize: int | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Dataset:
    """``PATH/train/CLASS/*.JPEG`` and ``PATH/val/CLASS/*.JPEG``; classes are numbered by name.

    A training view is a random part (8 to 100 % of the area, ratios 3/4 to 4/3), resized bilinearly to the size and
    mirrored or not. A test image has its shorter side resized, and the middle cut out.

    Args:
        path: the folder that holds both parts; by default ``imagenet`` in the folder that ``LSKD_DATA`` names.
        train, test: the folders of the parts.
        size: height and width that networks see.
        resize: the shorter side of a test image before the cut; by default 8/7 of ``size``, 256 for 224.
        mean, std: of the three channels.

    The digest is over names, sizes in bytes and classes of the files, not over their content.

    Raises:
        FileNotFoundError: no such folder.
        LskdError: test classes other than the training classes; later, a file that is no image.
        ImportError: torchvision is not installed.
    """
    from lskd.torchvision import import_torchvision

    import_torchvision()
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.v2 import functional as to

    root = data_root() / "imagenet" if path is None else Path(path).expanduser()
    for part in (train, test):
        if not (root / part).is_dir():
            raise FileNotFoundError(
                f"{root / part}: no such folder; expected one folder a class in it. Put ImageNet there, or say where "
                "it is: --set data.path=FOLDER, or LSKD_DATA for the folder that holds `imagenet`"
            )
    if size < 8 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise LskdError(f"imagenet: size {size}, mean {list(mean)}, std {list(std)}; expected 8 or more, three numbers")
    parts = [ImageFolder(str(root / part)) for part in (train, test)]
    if parts[0].classes != parts[1].classes:
        odd = sorted(set(parts[0].classes) ^ set(parts[1].classes))
        raise LskdError(
            f"{root}: {train} and {test} differ in {len(odd)} classes ({', '.join(odd[:4])}); make them equal"
        )
    shorter = round(size * 8 / 7) if resize is None else resize

    def decoded(folder: ImageFolder, i: int) -> Any:
        file = folder.samples[i][0]
        try:
            return folder.loader(file)
        except (OSError, ValueError, SyntaxError) as error:
            raise LskdError(f"{file}: cannot be read as an image ({error}); repair or remove it") from None

    def plain(folder: ImageFolder, i: int) -> Tensor:
        image = to.resize(decoded(folder, i), [shorter], antialias=True)
        return to.pil_to_tensor(to.center_crop(image, [size, size]))

    def view(index: int, number: int) -> Tensor:
        draw = Random(number)
        image = decoded(parts[0], index)
        left, top, width, height = random_box(image.width, image.height, draw)
        image = to.resized_crop(image, top, left, height, width, [size, size], antialias=True)
        return to.pil_to_tensor(to.horizontal_flip(image) if draw.random() < 0.5 else image)

    labels = [torch.tensor(part.targets, dtype=torch.int64) for part in parts]
    names = tuple(parts[0].classes)
    return PictureDataset(
        name="imagenet",
        train_images=pictures(lambda i: plain(parts[0], i), len(parts[0]), size),
        train_labels=labels[0],
        test_images=pictures(lambda i: plain(parts[1], i), len(parts[1]), size),
        test_labels=labels[1],
        class_names=names,
        superclass=torch.zeros(len(names), dtype=torch.int64),
        superclass_names=("all classes",),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        pad=0,
        flip=True,
        view=view,
        fingerprint=_fingerprint(root, parts, (size, shorter, tuple(mean), tuple(std))),
    )


def _fingerprint(root: Path, parts: Sequence[Any], settings: tuple[Any, ...]) -> str:
    total = hashlib.sha256(repr(settings).encode())
    for part in parts:
        for file, label in part.samples:
            found = Path(file)
            total.update(f"{found.relative_to(root).as_posix()}\0{found.stat().st_size}\0{label}\n".encode())
    return total.hexdigest()
