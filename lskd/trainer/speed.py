"""How fast a run was, and what share of the machine's arithmetic that is."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from typing import Any

import torch

from lskd.data.dataset import Dataset
from lskd.errors import LskdError
from lskd.models import model_info
from lskd.own_code import is_external
from lskd.recipes import Recipe

SIZE = {"cpu": 1024, "cuda": 8192}  # of the matrices: large enough to keep the device busy


def product_rate(device: torch.device, *, size: int | None = None) -> float:
    """Multiply-adds a second of a square product in float32, median of twelve: what the device could do at best."""
    size = size or SIZE.get(device.type, 1024)
    a, b = (torch.full((size, size), 0.5, device=device) for _ in range(2))  # no draw, no zeros
    times = []
    for _ in range(12):
        start = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return size**3 / statistics.median(times)


def speed(
    recipe: Recipe, dataset: Dataset, *, epochs: int, seconds: float, live: bool, device: torch.device | None
) -> dict[str, Any]:
    """For a record.

    Args:
        epochs: sum over members; one that stopped has fewer.
        seconds: of the whole run, data, tests and checkpoints included.
        live: whether the teacher saw every batch.
        device: where it ran; its matrix products are measured now. None: not all of it ran on one.

    Returns:
        ``student_images_per_s``; ``multiply_adds_per_s`` of a matrix product in float32 (tf32 where it is switched
        on); ``share`` of it that training alone took. None are both without a device, and the share for networks whose
        cost is not counted: one's own, and any on images of another size than it is made for.
    """
    rate = epochs * len(dataset.train_labels) / seconds
    best = None if device is None else product_rate(device)
    student = _multiply_adds(recipe.student, dataset)
    teacher = _multiply_adds(recipe.teacher.network, dataset) if live and recipe.teacher else 0
    # Of a student forward, and twice as much backward.
    share = rate * (3 * student + teacher / len(recipe.members)) / (best or math.nan)
    return {"student_images_per_s": rate, "multiply_adds_per_s": best, "share": None if math.isnan(share) else share}


def _multiply_adds(network: str, dataset: Dataset) -> float:
    """Of one image; NaN where it is not known."""
    with contextlib.suppress(LskdError):
        info = None if is_external(network) else model_info(network, dataset.classes)
        if info is not None and info.input_size == dataset.image_shape[1]:
            return info.multiply_adds
    return math.nan
