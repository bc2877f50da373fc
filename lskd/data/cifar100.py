"""CIFAR-100 (Krizhevsky 2009), read from one file or from the files of the official archive; downloaded when asked."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lskd.checked import Count, Natural
from lskd.data.dataset import Dataset, DataSource, Mean, Std
from lskd.data.download import data_root, fetch
from lskd.data.inventory import summary
from lskd.errors import LskdError
from lskd.files import atomic_write, locked, read_arrays, told_by

ONE_FILE = "cifar100.npz"
EXTRACTED = "cifar-100-python"
ADDRESS = "https://www.cs.toronto.edu/~kriz"
ARCHIVE, ARCHIVE_MD5 = "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
MIRROR = "LSKD_MIRROR"
# MD5 of the archive's files, the same that torchvision has; they are pickles, so nothing else is ever opened.
MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}

# Protocol 3.1: the statistics that the released code, and the code before it, normalises with.
MEAN = (0.5071, 0.4867, 0.4408)
STD = (0.2675, 0.2565, 0.2761)

SUPERCLASSES: dict[str, str] = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}


def find(root: Path) -> Path | None:
    """The copy in a folder: its ``cifar100.npz``, or its folder of extracted files when all three are there."""
    if (root / ONE_FILE).is_file():
        return root / ONE_FILE
    return root / EXTRACTED if all((root / EXTRACTED / name).is_file() for name in MD5) else None


def cifar100(
    *,
    pad: Natural = 4,
    train_size: Count | None = None,
    test_size: Count | None = None,
    mean: Mean = MEAN,
    std: Std = STD,
) -> Dataset:
    """The official split: 50,000 training and 10,000 test images of 32 x 32.

    Args:
        pad: zero padding of the random crops; views are mirrored too.
        train_size, test_size: keep only so many images, evenly spaced in their order (for quick trials).
        mean, std: of the three channels, what images are normalised with: those that the teacher was trained with.

    Two layouts are read, ``cifar100.npz`` (arrays ``train_images`` uint8 [n, 32, 32, 3], ``train_labels``, the same
    for ``test``, ``class_names``) and ``cifar-100-python``, the extracted archive, as torchvision leaves it. Training
    images are in the official order, test images in the order of classes, official within a class, so both
    layouts are the same data with the same digest.

    Raises:
        ValueError: a file is damaged.
        LskdError: more images than there are.
        FileNotFoundError: neither layout is in :func:`lskd.data.download.data_root`; :func:`get` brings it there.
    """
    root = data_root()
    found = find(root)
    if found is None:
        brought = f", which extracts the {ARCHIVE} that is there" if (root / ARCHIVE).is_file() else ""
        raise FileNotFoundError(
            f"CIFAR-100: {root} holds neither {ONE_FILE} nor {EXTRACTED}; get it with `lskd data get cifar100`{brought}"
            f", or set LSKD_DATA to a folder that holds {ONE_FILE} or {EXTRACTED}"
        )
    arrays = _arrays(found)
    names = tuple(str(n) for n in arrays["class_names"])
    group_of = {fine: i for i, members in enumerate(SUPERCLASSES.values()) for fine in members.split()}

    tensors: dict[str, Any] = {}
    lines = []
    for split, size in (("train", train_size), ("test", test_size)):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if size is not None:
            if size > len(labels):
                raise LskdError(f"cifar100: {split}_size is {size:,}; there are {len(labels):,} images")
            rows = np.arange(size) * len(labels) // size  # the order is that of classes in the test part
            lines.append(summary(f"cifar100, {split}", labels[rows], names, len(labels)))
            images, labels = images[rows], labels[rows]
        tensors[f"{split}_images"] = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        tensors[f"{split}_labels"] = torch.from_numpy(labels.astype(np.int64))
    return Dataset(
        name="cifar100",
        **tensors,
        class_names=names,
        superclass=torch.tensor([group_of[n] for n in names]),
        superclass_names=tuple(SUPERCLASSES),
        mean=mean,
        std=std,
        pad=pad,
        flip=True,
        inventory=tuple(lines),
    )


def get(out: Path | str | None = None, mirror: str | None = None) -> Path:
    """Download and extract CIFAR-100 (161 MiB), unless there is a copy; goes on where an earlier call stopped.

    Of several processes that call it, one downloads and the others wait.

    Args:
        out: the folder, by default that which :func:`lskd.data.download.data_root` names.
        mirror: address of the archive, or of a folder with it, instead of that of its authors; ``LSKD_MIRROR``
            does the same. ``file:///...`` works too.

    Returns:
        The one file, or the folder of extracted files, that the data set is read from.

    Raises:
        LskdError: no network (says what to do then), another file than expected, a folder that cannot be made.
        ValueError: the copy that is there is damaged.
    """
    root = Path(out).expanduser() if out is not None else data_root()
    if (found := find(root)) is not None:
        _arrays(found)
        return found
    url = mirror or told_by(MIRROR) or ADDRESS
    if not url.endswith(".tar.gz"):
        url = f"{url.rstrip('/')}/{ARCHIVE}"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LskdError(f"{root}: no folder can be made there ({error.strerror}); LSKD_DATA names another") from None
    with locked(root, doing="downloading", wait=True):
        if (found := find(root)) is None:
            advice = (
                f"try a mirror (lskd data get cifar100 --mirror URL), or put {ARCHIVE} from elsewhere into {root} and "
                f"call again, or set LSKD_DATA to a folder that holds {ONE_FILE} or {EXTRACTED}"
            )
            archive = fetch(url, root / ARCHIVE, md5=ARCHIVE_MD5, advice=advice)
            with tarfile.open(archive) as tar:
                for name in MD5:
                    if (stream := tar.extractfile(f"{EXTRACTED}/{name}")) is not None:
                        atomic_write(root / EXTRACTED / name, stream.read())
            archive.unlink()
            found = find(root)
    assert found is not None
    return found


def _arrays(found: Path) -> dict[str, np.ndarray]:
    return _one_file(found) if found.suffix == ".npz" else _extracted(found)


def _one_file(path: Path) -> dict[str, np.ndarray]:
    names = ("train_images", "train_labels", "test_images", "test_labels", "class_names")
    arrays = read_arrays(path, "delete it and bring it anew", names)
    named = sorted(name for group in SUPERCLASSES.values() for name in group.split())
    if [str(name) for name in arrays["class_names"]] != named:
        raise ValueError(f"{path}: class_names are not those of CIFAR-100 in order, {', '.join(named[:3])}, ...")
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            raise ValueError(f"{path}: {split}_images are {images.dtype} {images.shape}; expected uint8 [n, 32, 32, 3]")
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{path}: {split}_labels are {labels.dtype} {labels.shape}; expected integers [{len(images)}]"
            )
    return arrays


def _extracted(folder: Path) -> dict[str, np.ndarray]:
    out = {"class_names": np.array(_unpickled(folder / "meta")["fine_label_names"])}
    for split in ("train", "test"):
        content = _unpickled(folder / split)
        labels = np.array(content["fine_labels"], dtype=np.int64)
        images = np.asarray(content["data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        order = np.argsort(labels, kind="stable") if split == "test" else slice(None)
        out |= {f"{split}_images": images[order], f"{split}_labels": labels[order]}
    return out


def _unpickled(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != MD5[path.name]:
        raise ValueError(
            f"{path}: md5 is {found}, that of the official file is {MD5[path.name]} (file damaged, or another one); "
            f"delete {path.parent} and call `lskd data get cifar100`"
        )
    loaded: dict[str, Any] = pickle.loads(content, encoding="latin1")
    return loaded


SOURCE = DataSource(cifar100, "CIFAR-100", 50_000, 10_000, 100, views=162, get=get)
