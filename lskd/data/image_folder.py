"""Images in folders, one folder a class: read once into uint8 tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lskd.checked import Natural
from lskd.data.dataset import Bits, Dataset, DataSource, Mean, Side, Std
from lskd.data.inventory import find_images
from lskd.data.own import from_items


def folder(
    *,
    path: str,
    size: Side = 32,
    train: str = "train",
    test: str = "test",
    pad: Natural = 4,
    flip: bool = True,
    mean: Mean | None = None,
    std: Std | None = None,
    bits: Bits | None = None,
) -> Dataset:
    """``PATH/train/CLASS/*.png`` and ``PATH/test/CLASS/*.png``; classes are numbered by name.

    Args:
        path: the folder that holds both parts.
        size: height and width; the shorter side is resized to it and the middle cut out.
        train, test: the folders of the parts.
        pad, flip: the weak views that keep a label: zero padding of the random crops, and mirroring or not.
        mean, std: of the three channels, what images are normalised with; by default those of the training images.
        bits: in use, of pictures with more than 8, see :func:`lskd.data.pixels.rgb`.

    Raises:
        FileNotFoundError: the folder of a part is not there.
        LskdError: see :func:`lskd.data.inventory.find_images`; a file that is no image; more than memory holds.
    """
    root = Path(path).expanduser()
    names, *parts, lines = find_images(root, train, test)
    items = [list(zip(map(Path, part.paths), part.labels, strict=True)) for part in parts]
    kept: dict[str, Any] = {"size": size, "pad": pad, "flip": flip, "bits": bits, "mean": mean, "std": std}
    return from_items(root.absolute().name, *items, class_names=list(names), inventory=lines, **kept)


SOURCE = DataSource(folder, "images in folders", packages={"PIL": "pillow"})
