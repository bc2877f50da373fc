"""CIFAR-100 (Krizhevsky 2009), read from the folder that ``LSKD_DATA`` names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lskd.data.dataset import Dataset

__all__ = ["cifar100"]

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


def cifar100(
    *,
    pad: int = 4,
    train_size: int | None = None,
    test_size: int | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Dataset:
    """The official split: 50,000 training and 10,000 test images of 32 x 32.

    Args:
        pad: zero padding of the random crops; views are mirrored too.
        train_size, test_size: keep only the first so many images (for quick trials).
        mean, std: of the three channels, what images are normalised with: those that the teacher was trained with.

    Raises:
        ValueError: ``mean`` or ``std`` are not three numbers.
        FileNotFoundError: ``LSKD_DATA`` is not set, or names no folder with ``cifar100.npz`` in it (arrays
            ``train_images`` uint8 [n, 32, 32, 3], ``train_labels``, the same for ``test``, ``class_names``).
    """
    for key, values in (("mean", mean), ("std", std)):
        if len(values) != 3 or not all(isinstance(v, float) and v > 0 for v in values):
            raise ValueError(f"CIFAR-100: {key} is {values!r}; expected three positive numbers, one a channel")
    folder = os.environ.get("LSKD_DATA")
    path = Path(folder or ".") / "cifar100.npz"
    if not folder or not path.is_file():
        raise FileNotFoundError(
            f"CIFAR-100: LSKD_DATA is {folder!r} and {path} does not exist; "
            "set LSKD_DATA to a folder that holds cifar100.npz"
        )
    with np.load(path) as stored:
        arrays = {k: stored[k] for k in ("train_images", "train_labels", "test_images", "test_labels", "class_names")}
    names = tuple(str(n) for n in arrays["class_names"])
    group_of = {fine: i for i, members in enumerate(SUPERCLASSES.values()) for fine in members.split()}

    def images(split: str, size: int | None) -> torch.Tensor:
        return torch.from_numpy(arrays[f"{split}_images"][:size].transpose(0, 3, 1, 2).copy())

    return Dataset(
        name="cifar100",
        train_images=images("train", train_size),
        train_labels=torch.from_numpy(arrays["train_labels"][:train_size].astype(np.int64)),
        test_images=images("test", test_size),
        test_labels=torch.from_numpy(arrays["test_labels"][:test_size].astype(np.int64)),
        class_names=names,
        superclass=torch.tensor([group_of[n] for n in names]),
        superclass_names=tuple(SUPERCLASSES),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        pad=pad,
        flip=True,
    )
