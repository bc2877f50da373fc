"""A part of the training set that is not trained on, to choose an epoch without looking at the test set.

Which images it takes depends on the data alone, never on a run's seed: all students of a recipe, and their teacher,
leave the same images out.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from lskd.data.dataset import Dataset

LABEL = "held-out part"


def hold_out(dataset: Dataset, count: int) -> Dataset:
    """The data set without ``count`` of its training images, which become its held-out part.

    Equally many of every class are taken, to within one; which classes give one more is drawn too.

    Args:
        dataset: with its images in memory.
        count: how many images; 0 gives the data set back.

    Raises:
        ValueError: a count that leaves a class without images, or images that are made when needed.
    """
    if count == 0:
        return dataset
    if dataset.view is not None:
        raise ValueError(
            f"{dataset.name}: holdout is {count}; images must be in memory, and these are made when needed"
        )
    labels = dataset.train_labels.numpy()
    draws = np.random.default_rng(list(f"{LABEL} {dataset.digest}".encode()))
    share, more = divmod(count, dataset.classes)
    wanted = np.full(dataset.classes, share)
    wanted[draws.permutation(dataset.classes)[:more]] += 1
    have = np.bincount(labels, minlength=dataset.classes)
    short = int(np.argmax(wanted - have))
    if wanted[short] >= have[short]:
        raise ValueError(
            f"{dataset.name}: holdout is {count}, which takes {wanted[short]} of the {have[short]} training images "
            f"of class {dataset.class_names[short]!r}; some have to stay"
        )
    taken = np.zeros(len(labels), dtype=bool)
    for label, number in enumerate(wanted):
        taken[draws.permutation(np.flatnonzero(labels == label))[:number]] = True
    held = torch.from_numpy(taken)
    return dataclasses.replace(
        dataset,
        train_images=dataset.train_images[~held],
        train_labels=dataset.train_labels[~held],
        held_images=dataset.train_images[held],
        held_labels=dataset.train_labels[held],
    )
