"""Answers of the exercises on the data, from the data set and from the code that makes views."""

from __future__ import annotations

import numpy as np
import torch

from book.exercises.model import Answer
from lskd.data import Dataset
from lskd.data.views import Views


def answers(dataset: Dataset) -> dict[str, Answer]:
    """By exercise."""
    group = float(np.bincount(dataset.superclass.numpy()).mean())
    digit = 19 / 20
    photograph = Views(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), pad=4, flip=True)
    own = Views(dataset.train_images[:1], pad=dataset.pad, flip=dataset.flip)
    places = round((photograph.count / 2) ** 0.5)
    return {
        "tens": Answer(
            right=100 / group,
            tolerance=0.1,
            near={"blind": 100 / dataset.classes, "half": 50.0},
            shown={"group": group, "times": dataset.classes / group},
        ),
        "digits": Answer(
            right=100 * digit**2, tolerance=0.1, near={"single": 100 * digit, "subtract": 100 * (1 - 2 * (1 - digit))}
        ),
        "views": Answer(
            right=float(photograph.count),
            tolerance=0.5,
            whole=True,
            near={"unmirrored": photograph.count / 2, "eight": 2.0 * (places - 1) ** 2},
            shown={"places": places, "own": own.count, "pad": dataset.pad},
        ),
    }
