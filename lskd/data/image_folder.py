"""Images in folders, one folder a class: read once into uint8 tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from lskd.checked import Natural
from lskd.data.dataset import Bits, Dataset, DataSource, Mean, Side, Std
from lskd.data.inventory import ImageFiles, find_images
from lskd.data.own import assemble, require_room, stack


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
    from lskd.data.pixels import fitted, read_rgb

    root = Path(path).expanduser()
    names, trained, tested, lines = find_images(root, train, test)
    require_room(str(root), len(trained.paths), len(tested.paths), (size, size), pad)

    def read(part: ImageFiles) -> tuple[Tensor, Tensor]:
        def one(i: int) -> tuple[np.ndarray, int]:
            return fitted(read_rgb(part.paths[i], bits), size), part.labels[i]

        return stack(str(part.place), len(part.paths), (size, size), one)

    parts = read(trained), read(tested)
    return assemble(root.name, *parts, class_names=names, pad=pad, flip=flip, mean=mean, std=std, inventory=lines)


SOURCE = DataSource(folder, "images in folders", packages={"PIL": "pillow"})
