"""Strong views (protocol 3.1): two RandAugment operations, then one cutout, as batched uint8 tensor operations.

Every operation gives the bytes that Pillow gives (its RGB images, nearest resampling, black fill), so a view
does not depend on who made it. That is possible without Pillow because it works on small integers: tables of
256 entries, 16.16 fixed-point positions, float32 blends with one rounding a step. Where Pillow computes in
float64 (look-up tables, positions), so do these functions; products and sums are separate operations, because
a fused one would round once where Pillow rounds twice.

Functions take uint8 ``[n, 3, H, W]`` on any device and one value per image, float64 ``[n]``, and treat images
independently of each other: a view is the same in every batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd.data.draws import StrongDraws

CUTOUT_COLOUR = (125, 123, 114)
CUTOUT_LARGEST = 0.5  # side, as a fraction of the image's shorter side
# Values a CPU works on at once: below what PyTorch shares between threads, and small enough for a core's cache.
# Threads would meet after every one of some ten tiny steps, which costs more than they gain (measured on two busy
# cores: 20 times), and memory traffic is less.
CPU_PIECE = 32_000


@dataclass(frozen=True)
class Operation:
    """One of the 14: its name, the range its value is drawn from, and its function."""

    name: str
    low: float
    high: float
    apply: Callable[[Tensor, Tensor], Tensor]


def strong_view(images: Tensor, draws: StrongDraws) -> Tensor:
    """Apply to every image its two operations and its cutout.

    Images that share an operation are processed together; ``draws`` stay on the CPU, so that grouping them
    asks nothing of the device that holds the images.

    Args:
        images: uint8 ``[n, 3, H, W]``, cropped and mirrored already.
        draws: of the n positions, see :func:`lskd.data.draws.epoch_strong`.
    """
    if images.dtype != torch.uint8 or len(images) != len(draws.operation):
        raise ValueError(
            f"strong_view: images are {images.dtype} {tuple(images.shape)}, with draws for {len(draws.operation)}; "
            "expected uint8 [n, 3, H, W] and n draws"
        )
    piece = max(1, CPU_PIECE // images.shape[1:].numel()) if images.device.type == "cpu" else max(1, len(images))
    out = torch.cat(images.split(piece))  # a copy; every row below is read and written by one operation a stage
    for stage in range(draws.operation.shape[1]):
        for number in draws.operation[:, stage].unique().tolist():
            operation = OPERATIONS[number]
            if operation.name == "Identity":
                continue
            for rows in (draws.operation[:, stage] == number).nonzero()[:, 0].split(piece):
                value = operation.low + (operation.high - operation.low) * draws.amount[rows, stage]
                here = rows.to(images.device)
                out.index_copy_(0, here, operation.apply(out.index_select(0, here), value.to(images.device)))
    height, width = images.shape[2:]
    extent = torch.tensor([CUTOUT_LARGEST * min(height, width), width, height], dtype=torch.float64)
    boxes = (draws.cutout * extent).to(images.device)
    parts = zip(out.split(piece), boxes.split(piece), strict=True)
    return torch.cat([cutout(part, *box.unbind(dim=1)) for part, box in parts])


def cutout(images: Tensor, side: Tensor, centre_x: Tensor, centre_y: Tensor) -> Tensor:
    """Paint one grey box into every image; side and centre in pixels, float64 ``[n]`` each.

    The corner is moved inside the image first and the box then keeps its side; its last row and column are
    painted too, so a side of 16 covers 17 x 17 pixels (protocol 3.1). A side of 0 paints nothing.
    """
    height, width = images.shape[2:]

    def inside(centre: Tensor, size: int) -> Tensor:
        first = (centre - side / 2).clamp_min(0).trunc()
        last = (first + side).clamp_max(size).trunc()
        pixel = torch.arange(size, device=images.device)
        return (pixel >= first[:, None]) & (pixel <= last[:, None])

    box = inside(centre_y, height)[:, None, :, None] & inside(centre_x, width)[:, None, None, :]
    colour = torch.tensor(CUTOUT_COLOUR, dtype=torch.uint8, device=images.device).view(1, 3, 1, 1)
    return torch.where(box & (side > 0)[:, None, None, None], colour, images)


# Look-up tables: a new value for each of the 256 old ones, by image and channel.


def _auto_contrast(images: Tensor, value: Tensor) -> Tensor:
    flat = images.flatten(2)
    low, high = flat.amin(2, keepdim=True).double(), flat.amax(2, keepdim=True).double()
    scale = torch.full_like(low, 255.0) / (high - low).clamp_min(1)
    offset = -low * scale
    level = torch.arange(256, dtype=torch.float64, device=images.device)
    stretched = ((level * scale) + offset).clamp(0, 255).to(torch.uint8)
    table = torch.where(high > low, stretched, level.to(torch.uint8))
    return table.gather(2, flat.long()).view_as(images)


def _equalize(images: Tensor, value: Tensor) -> Tensor:
    flat = images.flatten(2).long()
    histogram = torch.zeros(*flat.shape[:2], 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(2, flat, torch.ones_like(flat))
    last = histogram.gather(2, flat.amax(2, keepdim=True))
    # An image of one colour has step 0, like one with too few other pixels: both stay as they are.
    step = (flat.shape[2] - last) // 255
    below = histogram.cumsum(2) - histogram
    level = torch.arange(256, device=images.device)
    spread = ((step // 2 + below) // step.clamp_min(1)).clamp_max(255)
    table = torch.where(step > 0, spread, level).to(torch.uint8)
    return table.gather(2, flat).view_as(images)


def _posterize(images: Tensor, value: Tensor) -> Tensor:
    mask = -(2 ** (8 - value.long())) & 255
    return images & mask.to(torch.uint8)[:, None, None, None]


# Blends between a degenerate image (factor 0) and the image itself (factor 1).


def _blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Pillow's interpolation: float32, truncated; ``degenerate`` is any integer type, broadcastable."""
    base = degenerate.float()
    change = images.float() - base
    return (base + change * factor.float()[:, None, None, None]).to(torch.uint8)


def _luma(images: Tensor) -> Tensor:
    """Pillow's grey, int32 ``[n, 1, H, W]``: ITU-R 601-2 in 16-bit fixed point, rounded."""
    red, green, blue = images.int().split(1, dim=1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _contrast(images: Tensor, value: Tensor) -> Tensor:
    total = _luma(images).sum(dim=(1, 2, 3), keepdim=True)
    mean = (total.double() / (images.shape[2] * images.shape[3]) + 0.5).int()
    return _blend(mean, images, value)


def _sharpness(images: Tensor, value: Tensor) -> Tensor:
    """Degenerate: a 3 x 3 mean whose centre counts 5 of 13; pixels of the border stay."""
    x = images.int()
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * x[:, :, 1:-1, 1:-1]
    smooth = x.clone()
    # Rounding to the nearest; thirteenths never lie half-way, so integers say the same as Pillow's float32.
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26
    return _blend(smooth, images, value)


# Warps: for every pixel the position it is taken from, black where that lies outside.


def _gather(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pixels at ``row``, ``column``, integers broadcastable to ``[n, H, W]``."""
    height, width = images.shape[2:]
    valid = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = torch.where(valid, row * width + column, height * width)
    padded = F.pad(images.flatten(2), (0, 1))  # one black pixel behind the last
    index = source.flatten(1)[:, None].expand(-1, images.shape[1], -1).long()
    return padded.gather(2, index).view_as(images)


def _affine(images: Tensor, matrix: tuple[Tensor, ...]) -> Tensor:
    """Output pixel (x, y) comes from ``(a x + b y + c, d x + e y + f)``; coefficients float64 ``[n]``."""
    a, b, c, d, e, f = matrix
    x = torch.arange(images.shape[3], device=images.device)
    y = torch.arange(images.shape[2], device=images.device)[:, None]

    def fixed(v: Tensor) -> Tensor:
        return (v * 65536.0 + 0.5).floor().long()[:, None, None]

    column = fixed(c + a * 0.5 + b * 0.5) + fixed(a) * x + fixed(b) * y
    row = fixed(f + d * 0.5 + e * 0.5) + fixed(d) * x + fixed(e) * y
    return _gather(images, row >> 16, column >> 16)


def _rotate(images: Tensor, value: Tensor) -> Tensor:
    """Counter-clockwise by degrees, around the centre."""
    angle = -(torch.remainder(value, 360.0) * (math.pi / 180.0))
    cos, sin = angle.cos(), angle.sin()
    x, y = images.shape[3] / 2, images.shape[2] / 2
    return _affine(images, (cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y))


def _shear(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _affine(images, (one, x, zero, y, one, zero))


def _shifted(offset: Tensor, size: int) -> Tensor:
    """Where ``size`` pixels come from, int64 ``[n, size]``: Pillow adds 1.0 from pixel to pixel, rounding each time."""
    positions = [offset + 0.5]
    for _ in range(size - 1):
        positions.append(positions[-1] + 1.0)
    return torch.stack(positions, dim=1).floor().long()


def _translate(images: Tensor, value: Tensor, *, along_rows: bool) -> Tensor:
    size = images.shape[3 if along_rows else 2]
    other = torch.arange(images.shape[2 if along_rows else 3], device=images.device)
    shifted = _shifted(value * size, size)
    return _gather(images, *((other[:, None], shifted[:, None]) if along_rows else (shifted[:, :, None], other)))


OPERATIONS: tuple[Operation, ...] = (
    Operation("AutoContrast", 0.0, 1.0, _auto_contrast),
    Operation("Brightness", 0.05, 0.95, lambda x, v: _blend(torch.zeros_like(x[:1, :1]), x, v)),
    Operation("Color", 0.05, 0.95, lambda x, v: _blend(_luma(x), x, v)),
    Operation("Contrast", 0.05, 0.95, _contrast),
    Operation("Equalize", 0.0, 1.0, _equalize),
    Operation("Identity", 0.0, 1.0, lambda x, v: x),
    Operation("Posterize", 4.0, 8.0, _posterize),
    Operation("Rotate", -30.0, 30.0, _rotate),
    Operation("Sharpness", 0.05, 0.95, _sharpness),
    Operation("ShearX", -0.3, 0.3, lambda x, v: _shear(x, v, torch.zeros_like(v))),
    Operation("ShearY", -0.3, 0.3, lambda x, v: _shear(x, torch.zeros_like(v), v)),
    Operation("Solarize", 0.0, 256.0, lambda x, v: torch.where(x < v[:, None, None, None], x, 255 - x)),
    Operation("TranslateX", -0.3, 0.3, partial(_translate, along_rows=True)),
    Operation("TranslateY", -0.3, 0.3, partial(_translate, along_rows=False)),
)
