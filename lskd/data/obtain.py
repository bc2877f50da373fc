"""Bring CIFAR-100 to this machine, through torchvision's address, checksums and extraction.

Two things download: ``lskd data get cifar100``, and ``lskd train`` of a recipe on CIFAR-100 where there is no copy.
Nothing else does, neither a notebook nor a test nor `make book`.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from lskd.data.cifar100 import data_root, find
from lskd.data.download import fetch
from lskd.errors import LskdError
from lskd.files import locked
from lskd.torchvision import import_torchvision

__all__ = ["ensure", "get_cifar100"]

MIRROR = "LSKD_MIRROR"


def ensure(dataset: str) -> None:
    """Download a recipe's data set if it is one that can be, and there is no copy."""
    if dataset == "cifar100" and find(data_root()) is None:
        get_cifar100()


def get_cifar100(out: Path | str | None = None, *, mirror: str | None = None, progress: bool = True) -> Path:
    """Download and extract CIFAR-100 (161 MiB), unless there is a copy; goes on where an earlier call stopped.

    Args:
        out: the folder, by default that which :func:`lskd.data.cifar100.data_root` names.
        mirror: address of the archive, or of a folder with it, instead of that of its authors; ``LSKD_MIRROR``
            does the same. ``file:///...`` works too.

    Returns:
        The one file, or the folder of extracted files, that the data set is read from.

    Raises:
        LskdError: no torchvision, no network (says what to do then), or another file than expected.
    """
    root = Path(out).expanduser() if out is not None else data_root()
    if (found := find(root)) is not None:
        return found
    official = _official()
    url = mirror or os.environ.get(MIRROR) or official.url
    if not url.endswith(".tar.gz"):
        url = f"{url.rstrip('/')}/{official.filename}"
    root.mkdir(parents=True, exist_ok=True)
    with locked(root, doing="downloading"):
        advice = (
            f"try a mirror (lskd data get cifar100 --mirror URL), or put {official.filename} from elsewhere into "
            f"{root} and call again, or set LSKD_DATA to a folder that holds cifar100.npz or {official.base_folder}"
        )
        archive = fetch(url, root / official.filename, md5=official.tgz_md5, advice=advice, progress=progress)
        utils: Any = importlib.import_module("torchvision.datasets.utils")
        utils.extract_archive(os.fspath(archive), os.fspath(root))
        for file, digest in (
            *official.train_list,
            *official.test_list,
            (official.meta["filename"], official.meta["md5"]),
        ):
            if not utils.check_integrity(os.fspath(root / official.base_folder / file), digest):
                raise LskdError(
                    f"{root / official.base_folder / file}: not the file that {archive.name} should hold (md5 is not "
                    f"{digest}); delete the folder and call again"
                )
        archive.unlink()
    found = find(root)
    assert found is not None
    return found


def _official() -> Any:
    """torchvision's own description of the data set: address, checksums, names of files."""
    try:
        import_torchvision()
    except ImportError:
        raise LskdError(
            "downloading CIFAR-100 needs torchvision, which is not installed; pip install --no-deps the release that "
            "pairs with your torch (torchvision 0.28.0 with torch 2.13.0), or bring cifar100.npz from elsewhere and "
            "set LSKD_DATA to its folder"
        ) from None
    return importlib.import_module("torchvision.datasets").CIFAR100
