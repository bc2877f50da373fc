"""How fast a run was, and what share of the machine's arithmetic that is."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from lskd.errors import LskdError
from lskd.models import model_info
from lskd.own_code import is_external
from lskd.recipes import Recipe

SIZE = {"cpu": 1024, "cuda": 8192}  # of the matrices: large enough to keep the device busy


def product_rate(device: torch.device, *, dtype: torch.dtype = torch.float32, size: int | None = None) -> float:
    """Multiply-adds a second of a square matrix product, median of twelve: what the device could do at best."""
    size = size or SIZE.get(device.type, 1024)
    a, b = (torch.full((size, size), 0.5, device=device, dtype=dtype) for _ in range(2))  # no draw, no zeros
    times = []
    for _ in range(12):
        start = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return size**3 / statistics.median(times)


def speed(
    recipe: Recipe, *, images: int, side: int, classes: int, seconds: float, live: bool, device: torch.device
) -> dict[str, Any]:
    """For a record.

    Args:
        images: training images that passed, over all epochs. side: of an image, in pixels.
        seconds: of the whole run, data, tests and checkpoints included.
        live: whether the teacher saw every batch.
        device: where it ran; its matrix products are measured now.

    Returns:
        ``student_images_per_s``; ``multiply_adds_per_s`` of a matrix product in float32 (tf32 where it is switched
        on); ``share`` of it that training alone took, None for networks whose cost is not counted: one's own, and
        any on images of another size than it is made for.
    """
    rate = images * len(recipe.members) / seconds
    best = product_rate(device)
    work = _multiply_adds(recipe.student, side, classes)
    if work is not None:
        work *= 3  # forward, and twice as much backward
        taught = _multiply_adds(recipe.teacher.network, side, classes) if live and recipe.teacher else 0
        work = None if taught is None else work + taught / len(recipe.members)
    share = None if work is None else rate * work / best
    return {"student_images_per_s": rate, "multiply_adds_per_s": best, "share": share}


def _multiply_adds(network: str, side: int, classes: int) -> float | None:
    if is_external(network):
        return None
    try:
        info = model_info(network, classes)
    except LskdError:
        return None
    return info.multiply_adds if info.input_size == side else None
