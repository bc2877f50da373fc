"""Digit pairs: 100 classes "00" to "99" from real handwritten digits, two side by side.

The originals are the 1,797 digits that ship with scikit-learn (UCI Optical Recognition of Handwritten
Digits, 8 x 8 pixels). Each image takes two of them, rotated, scaled and shifted a little, in two bright
colours on a dark coloured ground with noise. Classes have relations to learn (37 is near 31 and 97), so
that a teacher's logits carry more than its label. No download is needed.

A fifth of the originals, chosen once per seed and digit, appear in test images only.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta

from lskd.checked import Natural
from lskd.data.dataset import Dataset, DataSource, channel_statistics
from lskd.data.download import data_root
from lskd.data.memory import require_memory
from lskd.files import atomic_path, read_arrays

VERSION = 1  # part of the cache key: raise it when the recipe of an image changes
TEST_FRACTION = 0.2
# Largest angle in degrees, relative change of a digit's size, shift as a fraction of its natural size.
ROTATION, SCALE, SHIFT = 20.0, 0.25, 0.25
CLASSES = 100
Size = Annotated[int, Meta(ge=CLASSES)]  # one image a class
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def digit_pairs(
    *,
    train_size: Size = 10_000,
    test_size: Size = 2_000,
    resolution: Annotated[int, Meta(ge=8, multiple_of=2)] = 16,
    noise: Annotated[float, Meta(ge=0)] = 0.1,
    pad: Natural = 1,
    data_seed: Natural = 0,
) -> Dataset:
    """Generate the data set, or read it from the cache, ``$LSKD_CACHE`` or ``~/.cache/lskd``.

    Args:
        train_size, test_size: number of images; classes are balanced to within one image.
        resolution: height and width in pixels; a digit's natural size is half of it.
        noise: standard deviation of Gaussian noise on the scale [0, 1].
        pad: zero padding of the weak views (random crops); digits are never mirrored.
        data_seed: seed of everything random here; independent of a run's seed.
    """
    images = f"digit_pairs: {train_size + test_size:,} images of {resolution} x {resolution}"
    largest = 4 * 8 * 3 * max(train_size, test_size) * resolution**2  # float64, and what is computed on the way
    require_memory(images, largest, "take a smaller data.train_size, data.test_size or data.resolution")
    sizes = train_size, test_size
    settings = (VERSION, *sizes, resolution, ROTATION, SCALE, SHIFT, noise, data_seed)
    key = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
    path = data_root("LSKD_CACHE") / f"digit_pairs-{key}.npz"
    arrays = _cached(path, lambda: generate(sizes, resolution, noise, data_seed))
    tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in ARRAYS}
    mean, std = channel_statistics(tensors["train_images"])
    return Dataset(
        name="digit_pairs",
        **tensors,
        class_names=tuple(f"{i:02d}" for i in range(100)),
        superclass=torch.arange(100) // 10,
        superclass_names=tuple(f"{i}x" for i in range(10)),
        mean=mean,
        std=std,
        pad=pad,
        flip=False,
    )


def generate(sizes: tuple[int, int], resolution: int, noise: float, seed: int) -> dict[str, np.ndarray]:
    """All arrays of the data set; ``*_originals`` [n, 2] are the indices of the two digits of an image."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    originals, digit_of = digits.images / 16.0, digits.target
    rng = np.random.default_rng(seed)
    pools: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(digit_of == digit))
        cut = round(TEST_FRACTION * len(members))
        pools["test"].append(members[:cut])
        pools["train"].append(members[cut:])
    out: dict[str, np.ndarray] = {}
    for split, size in zip(("train", "test"), sizes, strict=True):
        labels = rng.permutation(np.arange(size) % 100)
        chosen = np.empty((size, 2), dtype=np.int64)
        for side, digit_wanted in enumerate((labels // 10, labels % 10)):
            for digit in range(10):
                rows = np.flatnonzero(digit_wanted == digit)
                chosen[rows, side] = rng.choice(pools[split][digit], size=len(rows))
        out[f"{split}_images"] = _draw(originals, chosen, resolution, noise, rng)
        out[f"{split}_labels"] = labels.astype(np.int64)
        out[f"{split}_originals"] = chosen
    return out


def _draw(
    originals: np.ndarray, chosen: np.ndarray, resolution: int, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Render pairs of originals, uint8 ``[n, 3, resolution, resolution]``."""
    n = len(chosen)
    ground = rng.uniform(0.0, 0.45, size=(n, 3, 1, 1))
    image = np.broadcast_to(ground, (n, 3, resolution, resolution)).copy()
    natural = resolution / 2
    pixel = np.arange(resolution) + 0.5
    for side in range(2):
        angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION, size=n))
        size = natural * (1 + rng.uniform(-SCALE, SCALE, size=n))
        centre_x = natural * (side + 0.5 + rng.uniform(-SHIFT, SHIFT, size=n))
        centre_y = resolution / 2 + natural * rng.uniform(-SHIFT, SHIFT, size=n)
        # From a pixel of the image back to a position in the 8 x 8 original.
        dx = (pixel[None, None, :] - centre_x[:, None, None]) / size[:, None, None]
        dy = (pixel[None, :, None] - centre_y[:, None, None]) / size[:, None, None]
        cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        column = 8 * (0.5 + cos * dx + sin * dy) - 0.5
        row = 8 * (0.5 - sin * dx + cos * dy) - 0.5
        ink = _bilinear(originals[chosen[:, side]], row, column)[:, None]
        colour = rng.uniform(0.55, 1.0, size=(n, 3, 1, 1))
        image = image * (1 - ink) + colour * ink
    image += noise * rng.standard_normal(image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _bilinear(source: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Sample ``source`` [n, 8, 8] at fractional positions [n, h, w]; zero outside."""
    padded = np.pad(source, ((0, 0), (2, 2), (2, 2)))
    last = padded.shape[1] - 2
    row, column = np.clip(row + 2, 0, last), np.clip(column + 2, 0, last)
    r, c = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    fr, fc = row - r, column - c
    n = np.arange(len(source))[:, None, None]
    top = padded[n, r, c] * (1 - fc) + padded[n, r, c + 1] * fc
    bottom = padded[n, r + 1, c] * (1 - fc) + padded[n, r + 1, c + 1] * fc
    return top * (1 - fr) + bottom * fr


def _cached(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, np.ndarray]:
    if path.exists():
        try:
            return read_arrays(path, "made again", ARRAYS)
        except ValueError as error:
            warnings.warn(str(error), stacklevel=3)
    arrays = make()
    with atomic_path(path) as temporary, temporary.open("wb") as out:
        np.savez(out, **arrays)
    return arrays


SOURCE = DataSource(digit_pairs, "digit pairs", 10_000, 2_000, CLASSES, views=9, packages={"sklearn": "scikit-learn"})
