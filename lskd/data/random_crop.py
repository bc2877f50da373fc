"""Random crops of another size: which part of an image is enlarged or reduced to the network's (protocol 3.2, 3.3)."""

from __future__ import annotations

import math
from random import Random

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10

Box = tuple[int, int, int, int]  # left, top, width, height


def random_box(
    width: int, height: int, draw: Random, *, scale: tuple[float, float] = SCALE, ratio: tuple[float, float] = RATIO
) -> Box:
    """A part of an image: its area uniform, its ratio of width to height log-uniform, as torchvision draws it.

    A part that does not fit is drawn again, ten times; then the middle with the nearest ratio that is allowed.
    """
    for _ in range(ATTEMPTS):
        area = width * height * draw.uniform(*scale)
        aspect = math.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return draw.randint(0, width - w), draw.randint(0, height - h), w, h
    whole = width / height
    w, h = width, height
    if whole < ratio[0]:
        h = round(w / ratio[0])
    elif whole > ratio[1]:
        w = round(h * ratio[1])
    return (width - w) // 2, (height - h) // 2, w, h
