"""The reader's own data: any pair of map-style data sets, such as torchvision's, read once into uint8 tensors."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lskd.checked import Natural, arguments
from lskd.data.dataset import Bits, Dataset, Mean, Side, Std, channel_statistics
from lskd.data.inventory import check_labels, class_number, summary
from lskd.data.memory import require_memory
from lskd.errors import LskdError
from lskd.own_code import load_function

MANY_CLASSES = 20  # beyond this, classes are not coloured one by one
PAIR_OPTIONS = ("size", "pad", "flip", "bits", "class_names")  # of from_items, where a function lacks them
PAIR = "an lskd.data.Dataset or a pair (training, test)"
IMAGE_KEYS = ("image", "img", "pixel_values")
LABEL_KEYS = ("label", "labels", "target", "class", "fine_label", "coarse_label")


def own(name: str, **options: Any) -> Dataset:
    """The data set that ``module:function`` makes when called with ``options``.

    The function returns a :class:`Dataset`, or two map-style data sets, training and test, see :func:`from_items`,
    whose options can be given too.

    Raises:
        LskdError: no such function, an option that neither has, or another result.
    """
    theirs, ours = own_options(name, options)
    made = load_function(name)(**theirs)
    if isinstance(made, tuple | list) and len(made) == 2:
        made = from_items(name, *made, **ours)
    elif not isinstance(made, Dataset) or ours:
        raise LskdError(
            f"data set {name!r} returned {_kind(made)}; expected "
            + (f"a pair (training, test), to which {', '.join(ours)} belongs" if ours else PAIR)
        )
    check_labels(name, made.train_labels, made.test_labels, made.class_names)
    parts = ("training", made.train_labels), ("test", made.test_labels)
    lines = tuple(summary(f"{name}, {split}", labels, made.class_names) for split, labels in parts)
    return dataclasses.replace(made, inventory=made.inventory or lines)


def own_options(name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``options`` checked: what the function takes, and what :func:`from_items` does with the pair it returns."""
    function = load_function(name)
    taken = inspect.signature(function).parameters
    ours = {k: v for k, v in options.items() if k in PAIR_OPTIONS and k not in taken}
    theirs = {k: v for k, v in options.items() if k not in ours}
    whole = arguments(from_items, {"name": name, "train": None, "test": None, **ours}, f"data set {name!r}")
    return arguments(function, theirs, f"data set {name!r}"), {k: whole[k] for k in ours}


def from_items(
    name: str,
    train: Any,
    test: Any,
    *,
    size: Side | None = None,
    pad: Natural = 4,
    flip: bool = True,
    bits: Bits | None = None,
    class_names: list[str] | None = None,
    mean: Mean | None = None,
    std: Std | None = None,
    inventory: tuple[str, ...] = (),
) -> Dataset:
    """Two map-style data sets, such as ``torchvision.datasets.CIFAR10``, as tensors.

    Args:
        name: of the data set.
        train, test: have a length and items: (image, class number), or dictionaries with one of each under a usual
            name. Images are a :class:`~pathlib.Path`, or what :func:`lskd.data.pixels.rgb` takes.
        size: height and width of all images, see :func:`lskd.data.pixels.fitted`; None keeps them, if they are equal.
        pad, flip: the weak views that keep a label.
        bits: in use, of images with more than 8.
        class_names: one a class; by default ``train.classes``, or the numbers.
        mean, std, inventory: of the :class:`Dataset`.

    Raises:
        LskdError: an item that cannot be used, images of different sizes, labels that leave a class out; more than
            memory holds.
    """
    from lskd.data.pixels import fitted, read_rgb, rgb

    def read(split: str, items: Any, i: int) -> tuple[np.ndarray, int]:
        found = items[i]
        try:
            image, label = _pair(found)
            image = read_rgb(image, bits) if isinstance(image, Path) else rgb(image, bits)
            return fitted(image, size), class_number(label)
        except ValueError as error:
            raise LskdError(f"{name}: {split} item {i}: {error}") from None

    parts = {"training": train, "test": test}
    for split, items in parts.items():
        usable = hasattr(items, "__len__") and hasattr(items, "__getitem__") and not isinstance(items, Mapping)
        if not usable or not len(items):
            found = "empty" if usable else _kind(items)
            raise LskdError(f"{name}: the {split} data are {found}; expected a length and items, such as a list has")
    height, width = (size, size) if size else read("training", train, 0)[0].shape[:2]
    count = len(train) + len(test)
    # Both parts, and the training part once more, with the padding of views.
    room = 3 * (count * height * width + len(train) * (height + 2 * pad) * (width + 2 * pad))
    advice = 'take a smaller data.size, or for files in folders dataset = "imagenet", which reads when it needs'
    require_memory(f"{name}: {count:,} images of {height} x {width}", room, advice)
    tensors = []
    for split, items in parts.items():
        images = torch.from_numpy(np.empty((len(items), 3, height, width), np.uint8))  # NumPy's, which says MemoryError
        labels = torch.empty(len(items), dtype=torch.int64)
        for i in range(len(items)):
            image, labels[i] = read(split, items, i)
            if image.shape[:2] != (height, width):
                sizes = f"{image.shape[0]} x {image.shape[1]}, the first {height} x {width}"
                raise LskdError(f"{name}: {split} item {i} is {sizes}; for one size: data.size={min(height, width)}")
            images[i] = torch.from_numpy(image).permute(2, 0, 1)
        tensors.append((images, labels))
    said = [getattr(items, "classes", None) for items in (train, test)]
    first, second = ([str(n) for n in names] if isinstance(names, Sequence) else [] for names in said)
    for k, (one, other) in enumerate(zip(first, second, strict=False)):  # torchvision numbers each part's folders
        if one != other:
            raise LskdError(f"{name}: class {k} is {one!r} in training and {other!r} in test data; number both alike")
    names = check_labels(name, tensors[0][1], tensors[1][1], class_names if class_names is not None else first or None)
    measured, few = channel_statistics(tensors[0][0]), len(names) <= MANY_CLASSES
    if std is None and 0 in measured[1]:
        raise LskdError(f"{name}: all pixels of a channel are equal in training; look at how the images are stored")
    return Dataset(
        name,
        *tensors[0],
        *tensors[1],
        class_names=tuple(map(str, names)),
        superclass=torch.arange(len(names)) if few else torch.zeros(len(names), dtype=torch.int64),
        superclass_names=tuple(map(str, names)) if few else ("all classes",),
        mean=mean or measured[0],
        std=std or measured[1],
        pad=pad,
        flip=flip,
        inventory=inventory,
    )


def _pair(item: Any) -> tuple[Any, Any]:
    """Image and label of an item."""
    if isinstance(item, Mapping):
        images, labels = ([key for key in item if key in keys] for keys in (IMAGE_KEYS, LABEL_KEYS))
        if len(images) == len(labels) == 1:
            return item[images[0]], item[labels[0]]
        raise ValueError(
            f"it is a {_kind(item)}; expected one of {', '.join(IMAGE_KEYS)} and one of "
            f"{', '.join(LABEL_KEYS)}, or pairs (image, class number), which say what is meant"
        )
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise ValueError(f"it is a {_kind(item)}; expected a pair (image, class number)")


def _kind(value: Any) -> str:
    """ "tuple of 3", "dict of img, label", or the name of another type."""
    inside = ""
    if isinstance(value, Mapping):
        inside = f" of {', '.join(map(str, value))}"
    elif isinstance(value, tuple | list):
        inside = f" of {len(value)}"
    return type(value).__name__ + inside
