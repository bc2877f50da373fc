"""ImageNet, or any large set of images in folders a class, decoded when needed (protocol 3.2)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lskd.data.dataset import Bits, Dataset, DataSource, Mean, Side, Std
from lskd.data.download import data_root
from lskd.data.inventory import ImageFiles, find_images
from lskd.data.lazy_images import pictures, random_box
from lskd.errors import LskdError

if TYPE_CHECKING:
    from PIL import Image


MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def imagenet(
    *,
    path: str | None = None,
    train: str = "train",
    test: str = "val",
    size: Side = 224,
    resize: Side | None = None,
    mean: Mean = MEAN,
    std: Std = STD,
    bits: Bits | None = None,
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
        bits: in use, of pictures with more than 8, see :func:`lskd.data.pixels.rgb`.

    The digest is over names, sizes in bytes and classes of the files, not over their content.

    Raises:
        FileNotFoundError: the folder of a part is not there.
        LskdError: see :func:`lskd.data.inventory.find_images`; later, a file that is no image.
    """
    from PIL import Image

    from lskd.data.pixels import read_rgb

    root = data_root() / "imagenet" if path is None else Path(path).expanduser()
    shorter = round(size * 8 / 7) if resize is None else resize
    if shorter < size:
        raise LskdError(f"imagenet: resize is {shorter}, size {size}; expected no less than what is cut out")
    names, trained, tested, lines = find_images(root, train, test)
    settings = size, shorter, mean, std, *([bits] if bits else [])

    def plain(file: str) -> Tensor:
        image = read_rgb(file, bits)
        sides = [int(shorter * side / min(image.size)) for side in image.size]
        left, top = (round((side - size) / 2) for side in sides)
        resized = image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR)
        return to_tensor(resized.crop((left, top, left + size, top + size)))

    def view(index: int, number: int) -> Tensor:
        draw = Random(number)
        image = read_rgb(trained.paths[index], bits)
        left, top, width, height = random_box(image.width, image.height, draw)
        image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
        return to_tensor(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else image)

    return Dataset(
        name="imagenet",
        train_images=pictures(lambda i: plain(trained.paths[i]), len(trained.paths), size),
        train_labels=torch.tensor(trained.labels),
        test_images=pictures(lambda i: plain(tested.paths[i]), len(tested.paths), size),
        test_labels=torch.tensor(tested.labels),
        class_names=names,
        superclass=torch.zeros(len(names), dtype=torch.int64),
        superclass_names=("all classes",),
        mean=mean,
        std=std,
        pad=0,
        flip=True,
        view=view,
        fingerprint=_fingerprint(settings, (train, trained), (test, tested)),
        inventory=lines,
    )


def to_tensor(image: Image.Image) -> Tensor:
    """uint8 ``[3, H, W]`` of an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _fingerprint(settings: tuple[object, ...], *parts: tuple[str, ImageFiles]) -> str:
    total = hashlib.sha256(repr(settings).encode())
    for folder, part in parts:
        for file, size, label in zip(part.paths, part.sizes, part.labels, strict=True):
            name = Path(folder, Path(file).relative_to(part.place)).as_posix()
            total.update(f"{name}\0{size}\0{label}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


SOURCE = DataSource(imagenet, "ImageNet", 1_281_167, 50_000, 1000, packages={"PIL": "pillow"})
