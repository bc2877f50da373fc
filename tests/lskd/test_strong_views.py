"""Strong views: operations as published, draws that are functions of seed, epoch and position."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from test_data import GOLDEN
from torch import Tensor

from lskd.data.draws import StrongDraws, epoch_strong
from lskd.data.randaugment import OPERATIONS, cutout, strong_view

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def to_batch(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]


def to_image(batch: Tensor) -> np.ndarray:
    return batch[0].permute(1, 2, 0).numpy()


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_operations_equal_the_stored_results() -> None:
    g = np.load(GOLDEN / "augment_ops.npz")
    image, seen = to_batch(g["image"]), set()
    for key in g.files:
        name, _, value = key.partition("|")
        if name in BY_NAME:
            np.testing.assert_array_equal(to_image(BY_NAME[name].apply(image, double(float(value)))), g[key], key)
            seen.add(name)
        elif name == "CutoutAbs":
            x, y, side = (float(v) for v in re.findall(r"=([\d.]+)", value))
            found = cutout(image, double(side), double(x), double(y))
            np.testing.assert_array_equal(to_image(found), g[key], key)
            seen.add(name)
    assert seen == {*BY_NAME, "CutoutAbs"}
    assert len(BY_NAME) == 14


def pillow_operations() -> dict[str, Callable]:
    """The 14 operations by Pillow itself, from the definitions of protocol 3.1."""

    def affine(*matrix: float) -> Callable:
        return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix)

    return {
        "AutoContrast": lambda image, v: ImageOps.autocontrast(image),
        "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
        "Color": lambda image, v: ImageEnhance.Color(image).enhance(v),
        "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
        "Equalize": lambda image, v: ImageOps.equalize(image),
        "Identity": lambda image, v: image,
        "Posterize": lambda image, v: ImageOps.posterize(image, int(v)),
        "Rotate": lambda image, v: image.rotate(v),
        "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
        "ShearX": lambda image, v: affine(1, v, 0, 0, 1, 0)(image),
        "ShearY": lambda image, v: affine(1, 0, 0, v, 1, 0)(image),
        "Solarize": lambda image, v: ImageOps.solarize(image, v),
        "TranslateX": lambda image, v: affine(1, 0, v * image.size[0], 0, 1, 0)(image),
        "TranslateY": lambda image, v: affine(1, 0, 0, 0, 1, v * image.size[1])(image),
    }


def pictures(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    """Noise, smooth and flat images, few colours, one colour: what histograms and borders find difficult."""
    shape = (height, width, 3)
    slope = np.linspace(0, 255, height)[:, None, None] * rng.random((1, width, 3))
    return [
        rng.integers(0, 256, shape, dtype=np.uint8),
        slope.astype(np.uint8),
        rng.integers(100, 104, shape, dtype=np.uint8),
        np.full(shape, rng.integers(256), dtype=np.uint8),
        (255 * (rng.random(shape) < 0.02)).astype(np.uint8),
        np.clip(rng.normal(128, 20, shape), 0, 255).astype(np.uint8),
    ]


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_operations_equal_pillow(name: str) -> None:
    operation, reference = BY_NAME[name], pillow_operations()[name]
    rng = np.random.default_rng(sorted(BY_NAME).index(name))
    special = {"Solarize": [0.0, 1.0, 128.0, 255.5, 256.0], "Posterize": [4.0, 4.999, 5.0, 7.999]}
    for height, width in ((32, 32), (16, 16), (20, 31)):
        images = [image for _ in range(4) for image in pictures(rng, height, width)]
        grid = np.linspace(operation.low, operation.high, 13)[: 12 if name == "Posterize" else 13]
        drawn = operation.low + (operation.high - operation.low) * rng.random(30)
        values = [*grid, 0.0 if operation.low <= 0 else operation.low, *special.get(name, []), *drawn]
        chosen = [images[i % len(images)] for i in range(len(values))]
        batch = torch.cat([to_batch(image) for image in chosen])
        found = operation.apply(batch, double(*values)).permute(0, 2, 3, 1).numpy()
        for image, value, mine in zip(chosen, values, found, strict=True):
            theirs = np.asarray(reference(Image.fromarray(image), float(value)))
            np.testing.assert_array_equal(mine, theirs, f"{name} {value} of {height} x {width}")


def test_cutout_equals_pillow() -> None:
    rng = np.random.default_rng(5)
    n, height, width = 300, 24, 32
    side, x, y = 16 * rng.random(n), width * rng.random(n), height * rng.random(n)
    side[:3], x[:3], y[:3] = (0.0, 16.0, 16.0), (3.0, 0.0, width - 1e-9), (3.0, 0.0, height - 1e-9)
    images = torch.full((n, 3, height, width), 7, dtype=torch.uint8)
    found = cutout(images, *(torch.from_numpy(v) for v in (side, x, y))).permute(0, 2, 3, 1).numpy()
    for i in range(n):
        expected = Image.fromarray(np.full((height, width, 3), 7, dtype=np.uint8))
        if side[i] > 0:
            left, top = int(max(0, x[i] - side[i] / 2)), int(max(0, y[i] - side[i] / 2))
            box = (left, top, min(width, left + side[i]), min(height, top + side[i]))
            ImageDraw.Draw(expected).rectangle(box, (125, 123, 114))
        np.testing.assert_array_equal(found[i], np.asarray(expected), str((side[i], x[i], y[i])))


def test_a_view_is_its_operations_in_order_then_the_box() -> None:
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    names = [operation.name for operation in OPERATIONS]
    first, second = names.index("Solarize"), names.index("TranslateX")
    draws = StrongDraws(
        operation=torch.tensor([[first, second], [second, first], [first, first]]),
        amount=double(*[0.5] * 4, 0.25, 0.25).view(3, 2) + 0.1,
        cutout=double(*[0.5, 0.25, 0.75] * 3).view(3, 3),
    )
    found = strong_view(images, draws)
    for i, image in enumerate(images):
        for number, amount in zip(draws.operation[i].tolist(), draws.amount[i], strict=True):
            low, high = OPERATIONS[number].low, OPERATIONS[number].high
            image = OPERATIONS[number].apply(image[None], (low + (high - low) * amount)[None])[0]
        assert torch.equal(found[i], cutout(image[None], double(8.0), double(8.0), double(24.0))[0])
    assert not torch.equal(found[0], found[1])


def test_a_view_is_the_same_in_every_batch_and_leaves_its_image_alone() -> None:
    images = torch.randint(0, 256, (150, 3, 16, 16), dtype=torch.uint8)
    before = images.clone()
    draws = epoch_strong(3, 2, 150)
    whole = strong_view(images, draws)
    parts = [strong_view(images[s], draws[s]) for s in (slice(0, 1), slice(1, 97), slice(97, 150))]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(images, before)
    with pytest.raises(ValueError, match="expected uint8"):
        strong_view(images.float(), draws)


def test_strong_draws_are_uniform_and_the_mean_box_covers_what_the_protocol_says() -> None:
    many = epoch_strong(0, 1, 50_000)
    for stage in range(2):
        counts = torch.bincount(many.operation[:, stage], minlength=14)
        assert counts.min() > 3300
        assert counts.max() < 3850
    assert torch.equal(many[10:12].amount, many.amount[10:12])
    for part in (many.amount, many.cutout):
        assert ((part >= 0) & (part < 1)).all()
        torch.testing.assert_close(part.mean(0), torch.full_like(part[0], 0.5), atol=0.01, rtol=0)
    boxes, images = many.cutout[:20_000] * double(16.0, 32.0, 32.0), torch.zeros(20_000, 3, 32, 32, dtype=torch.uint8)
    covered = (cutout(images, *boxes.unbind(1))[:, 0] > 0).double().mean()
    assert 0.080 < float(covered) < 0.084  # protocol 3.1: 8.2 %
