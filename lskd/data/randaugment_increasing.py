"""The augmentation of the vision transformers (protocol 3.3): ``rand-m9-mstd0.5-inc1`` and random erasing.

RandAugment in the spelling of timm: 2 of 15 operations, each applied with probability 1/2, at a magnitude of about 9
of 10, and "increasing": a larger magnitude always changes an image more. Then one box of an image may be replaced by
noise. Images are Pillow's until they are normalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

LAYERS = 2
PROBABILITY = 0.5  # of each operation that was drawn
MAGNITUDE, SPREAD, LARGEST = 9.0, 0.5, 10.0
FILL = (124, 116, 104)  # ImageNet's mean colour
DEGREES = 30.0
SHEAR = 0.3
SHIFT = 0.45  # of the image's side
ENHANCE = 0.9
ADDED = 110

ERASED = 0.25  # of the images
AREA = (0.02, 1 / 3)
ASPECT = (0.3, 1 / 0.3)
ATTEMPTS = 10

# Of an image and a strength in [0, 1], negative for the other direction of those that have two.
Operation = Callable[[Image.Image, float], Image.Image]


def randaugment(image: Image.Image, draw: Random) -> Image.Image:
    """Two operations, drawn with replacement."""
    for _ in range(LAYERS):
        name = draw.choice(NAMES)
        if draw.random() > PROBABILITY:
            continue
        strength = max(0.0, min(draw.gauss(MAGNITUDE, SPREAD), LARGEST)) / LARGEST
        image = OPERATIONS[name](image, -strength if draw.random() > 0.5 else strength)
    return image


def erase(image: Tensor, draw: Random) -> Tensor:
    """With probability 1/4 put normal noise into a box of a normalised image, float32 ``[3, H, W]``, in place."""
    if draw.random() > ERASED:
        return image
    height, width = image.shape[1:]
    for _ in range(ATTEMPTS):
        area = draw.uniform(*AREA) * height * width
        aspect = math.exp(draw.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = draw.randint(0, height - h), draw.randint(0, width - w)
            generator = torch.Generator().manual_seed(draw.getrandbits(63))
            image[:, top : top + h, left : left + w] = torch.randn(3, h, w, generator=generator)
            break
    return image


def _warp(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=FILL)


def _rotate(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(strength * DEGREES, Image.Resampling.BICUBIC, fillcolor=FILL)


def _posterize(image: Image.Image, strength: float) -> Image.Image:
    """Keep the upper bits of a level: at full strength none, which Pillow's own function refuses in later versions."""
    mask = -(2 ** (8 - (4 - int(abs(strength) * 4)))) & 255
    return image.point([level & mask for level in range(256)] * 3)


def _solarize(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.solarize(image, 256 - min(256, int(abs(strength) * 256)))


def _solarize_add(image: Image.Image, strength: float) -> Image.Image:
    """Brighten the darker half of the levels."""
    added = min(128, int(abs(strength) * ADDED))
    table = [min(255, level + added) if level < 128 else level for level in range(256)]
    return image.point(table * 3)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, strength: kind(image).enhance(max(0.1, 1 + ENHANCE * strength))


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Rotate": _rotate,
    "PosterizeIncreasing": _posterize,
    "SolarizeIncreasing": _solarize,
    "SolarizeAdd": _solarize_add,
    "ColorIncreasing": _enhanced(ImageEnhance.Color),
    "ContrastIncreasing": _enhanced(ImageEnhance.Contrast),
    "BrightnessIncreasing": _enhanced(ImageEnhance.Brightness),
    "SharpnessIncreasing": _enhanced(ImageEnhance.Sharpness),
    "ShearX": lambda image, strength: _warp(image, 1, strength * SHEAR, 0, 0, 1, 0),
    "ShearY": lambda image, strength: _warp(image, 1, 0, 0, strength * SHEAR, 1, 0),
    "TranslateXRel": lambda image, strength: _warp(image, 1, 0, strength * SHIFT * image.width, 0, 1, 0),
    "TranslateYRel": lambda image, strength: _warp(image, 1, 0, 0, 0, 1, strength * SHIFT * image.height),
}
NAMES = tuple(OPERATIONS)
