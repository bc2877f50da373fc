"""Data sets: uint8 images on any device or made when needed, views as indices, no worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lskd.data.cifar100 import cifar100
from lskd.data.cifar100_224 import cifar100_224
from lskd.data.dataset import Dataset
from lskd.data.digit_pairs import digit_pairs
from lskd.data.held_out import hold_out
from lskd.data.image_folder import folder
from lskd.data.imagenet import imagenet
from lskd.data.own import own
from lskd.errors import check_keywords, pick
from lskd.own_code import is_external

__all__ = ["DATASETS", "Dataset", "load_dataset"]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digit_pairs": digit_pairs,
    "cifar100": cifar100,
    "cifar100_224": cifar100_224,
    "imagenet": imagenet,
    "folder": folder,
}


def load_dataset(name: str, **options: Any) -> Dataset:
    """Load a data set by its recipe name, refusing options that it does not have.

    A name with a colon is a function of one's own, see :func:`lskd.data.own.own`. Every data set in memory has the
    option ``holdout``, see :func:`lskd.data.held_out.hold_out`.

    Raises:
        ValueError: unknown data set or option; names the nearest valid one.
    """
    held = options.pop("holdout", 0)
    if is_external(name):
        return hold_out(own(name, **options), held)
    load = pick("data set", name, DATASETS)
    check_keywords(f"data set {name!r}", "option", load, options)
    return hold_out(load(**options), held)
