"""Data sets: uint8 images on any device or made when needed, views as indices, no worker processes.

A new data set is a module here with a :class:`DataSource`, and a line in ``DATASETS``.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from lskd.checked import Natural, arguments, convert
from lskd.data import cifar100, cifar100_224, digit_pairs, image_folder, imagenet
from lskd.data.dataset import Dataset, DataSource
from lskd.data.held_out import hold_out
from lskd.data.own import own, own_options
from lskd.errors import LskdError, hint
from lskd.own_code import is_external

__all__ = ["DATASETS", "DataSource", "Dataset", "check_options", "data_source", "download_if_missing", "load_dataset"]

DATASETS: dict[str, DataSource] = {
    "digit_pairs": digit_pairs.SOURCE,
    "cifar100": cifar100.SOURCE,
    "cifar100_224": cifar100_224.SOURCE,
    "imagenet": imagenet.SOURCE,
    "folder": image_folder.SOURCE,
}


def data_source(name: str) -> DataSource:
    """What is known of a data set.

    Raises:
        LskdError: there is none of this name. Another number in it, as in CIFAR-10, is no slip and suggests none.
    """
    if name in DATASETS:
        return DATASETS[name]
    meant = [known for known in DATASETS if re.findall(r"\d+", known) == re.findall(r"\d+", name)]
    raise LskdError(f"unknown data set {name!r}{hint(name, DATASETS, among=meant)}; one's own is file.py:function")


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a data set, each as its declared type, without loading anything.

    Raises:
        LskdError, ValueError: no such data set or option, one that is missing, a value of another type.
    """
    rest = dict(options)
    held = {"holdout": convert(rest.pop("holdout", 0), Natural, f"data set {name!r}: holdout")}
    if is_external(name):
        theirs, ours = own_options(name, rest)
        return theirs | ours | held
    return arguments(data_source(name).load, rest, f"data set {name!r}") | held


def load_dataset(name: str, **options: Any) -> Dataset:
    """Load a data set by its recipe name, or one's own by ``file.py:function``, see :func:`lskd.data.own.own`.

    Says on stderr what was found and left out, where that depends on the reader's files. Every data set in memory has
    the option ``holdout``, see :func:`lskd.data.held_out.hold_out`.

    Raises:
        LskdError, ValueError: see :func:`check_options`; data that cannot be meant, or that memory cannot hold.
        FileNotFoundError: the data are not there.
    """
    chosen = check_options(name, options)
    held = chosen.pop("holdout")
    try:
        dataset = own(name, **chosen) if is_external(name) else data_source(name).load(**chosen)
    except ModuleNotFoundError:
        if is_external(name) or not (missing := data_source(name).missing()):
            raise
        raise LskdError(f"data set {name!r} needs {missing[0]}, which is not installed; pip install it") from None
    for line in dataset.inventory:
        _say(line)
    return hold_out(dataset, held)


def download_if_missing(name: str) -> None:
    """Bring a data set to this machine if it is one that can be downloaded, and there is no copy."""
    if name in DATASETS and (get := DATASETS[name].get) is not None:
        get(None, None)


@functools.cache
def _say(line: str) -> None:
    """Once a process, and by the first of several that train together."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)
