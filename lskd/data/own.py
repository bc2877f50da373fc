"""The reader's own data: any pair of map-style data sets, such as torchvision's, read once into uint8 tensors."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lskd.data.dataset import Dataset, channel_statistics
from lskd.errors import LskdError
from lskd.own_code import load_function

__all__ = ["assemble", "from_items", "own", "pixels"]

MANY_CLASSES = 20  # beyond this, classes are not coloured one by one


def own(name: str, **options: Any) -> Dataset:
    """The data set that ``module:function`` makes when called with ``options``.

    The function returns a :class:`Dataset`, or two map-style data sets, training and test, whose items are an
    image (Pillow, or a uint8 array [H, W, 3] or [H, W]) and a class number.

    Raises:
        LskdError: no such function, an option that it does not take, or another result.
    """
    function = load_function(name)
    try:
        inspect.signature(function).bind(**options)
    except TypeError as error:
        raise LskdError(f"data set {name!r}: {error}; it is called as {_called(function)}") from None
    made = function(**options)
    if isinstance(made, Dataset):
        return made
    if isinstance(made, tuple) and len(made) == 2:
        return from_items(name, *made)
    raise LskdError(
        f"data set {name!r} returned {type(made).__name__}; expected an lskd.data.Dataset or a pair (training, test)"
    )


def from_items(
    name: str,
    train: Any,
    test: Any,
    *,
    size: int | None = None,
    pad: int = 4,
    flip: bool = True,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Two map-style data sets, such as ``torchvision.datasets.CIFAR10``, as tensors.

    Args:
        name: of the data set.
        train, test: have a length and items (image, class number).
        size: height and width of all images, see :func:`pixels`; None keeps them, which have to be equal then.
        pad, flip: the weak views that keep a label.
        class_names: one a class; by default ``train.classes``, or the numbers.

    Raises:
        LskdError: an image that cannot be used, images of different sizes.
    """
    parts = [_tensors(f"{name}, {split}", items, size) for split, items in (("training", train), ("test", test))]
    names = class_names or getattr(train, "classes", None)
    if names is None:
        names = [str(k) for k in range(1 + max(int(labels.max()) for _, labels in parts))]
    return assemble(name, *parts, class_names=names, pad=pad, flip=flip)


def assemble(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    class_names: Sequence[str],
    pad: int,
    flip: bool,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset:
    """A data set of (uint8 images [n, 3, H, W], int64 labels [n]); statistics of the training images by default."""
    measured = channel_statistics(train[0])
    a, b = (tuple(float(v) for v in given or found) for given, found in zip((mean, std), measured, strict=True))
    if len(a) != 3 or len(b) != 3 or min(b) <= 0:
        raise LskdError(f"{name}: mean {list(a)}, std {list(b)}; expected three numbers each, deviations above 0")
    few = len(class_names) <= MANY_CLASSES
    return Dataset(
        name=name,
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
        class_names=tuple(str(n) for n in class_names),
        superclass=torch.arange(len(class_names)) if few else torch.zeros(len(class_names), dtype=torch.int64),
        superclass_names=tuple(str(n) for n in class_names) if few else ("all classes",),
        mean=(a[0], a[1], a[2]),
        std=(b[0], b[1], b[2]),
        pad=pad,
        flip=flip,
    )


def pixels(image: Any, size: int | None) -> np.ndarray:
    """An image as uint8 ``[H, W, 3]``: grey levels threefold, transparency dropped.

    With a ``size``, the shorter side is resized to it (bicubic) and the middle cut out, as one does for a test set.
    """
    from PIL import Image

    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    picture = picture.convert("RGB")
    if size is not None and picture.size != (size, size):
        scale = size / min(picture.size)
        width, height = (max(size, round(side * scale)) for side in picture.size)
        left, top = (width - size) // 2, (height - size) // 2
        picture = picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    return np.asarray(picture)


def _tensors(place: str, items: Any, size: int | None) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for i in range(len(items)):
        image, label = items[i]
        try:
            images.append(pixels(image, size))
        except (TypeError, ValueError, AttributeError) as error:
            found = type(image).__name__
            raise LskdError(
                f"{place} item {i}: {found} is no image ({error}); expected Pillow or a uint8 array"
            ) from None
        labels.append(int(label))
        if images[-1].shape != images[0].shape:
            (a, b), (c, d) = images[0].shape[:2], images[-1].shape[:2]
            raise LskdError(f"{place} item {i} is {c} x {d}, the first {a} x {b}; give a size")
    if not images:
        raise LskdError(f"{place}: no items")
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def _called(function: Any) -> str:
    return f"{function.__name__}{inspect.signature(function)}"
