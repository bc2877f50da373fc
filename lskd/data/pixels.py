"""What a picture is: files, Pillow's images, arrays and tensors, all as 8-bit RGB; scaled or refused, never clipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from lskd.data.dataset import Bits
from lskd.errors import LskdError

ORIENTATION = 0x0112  # of EXIF
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_rgb(file: str | Path, bits: Bits | None = None) -> Image.Image:
    """The picture in a file, see :func:`rgb`.

    Raises:
        LskdError: it cannot be read, or cannot be RGB; names the file.
    """
    try:
        with Image.open(file) as image:
            return rgb(image, bits)
    except PermissionError:
        raise
    except UNREADABLE as error:
        reason = "its content is no picture" if isinstance(error, UnidentifiedImageError) else error
        raise LskdError(f"{file}: cannot be read as an image ({reason}); repair, convert or remove it") from None


def rgb(image: Any, bits: Bits | None = None) -> Image.Image:
    """A picture in RGB: grey levels threefold, turned as its EXIF says, transparent parts laid on white.

    Args:
        image: Pillow's, or an array or tensor [H, W], [H, W, C] or [C, H, W] of 1, 3 or 4 channels: uint8, floats in
            0..1, booleans, or integers of more bits.
        bits: in use, of more than 8; None: all 16, unless no value needs more than 12.

    Raises:
        ValueError: something else, in a few words.
    """
    if not isinstance(image, Image.Image):
        return rgb(Image.fromarray(_levels(_channels_last(image), bits)))
    deep = ";16" in str(getattr(image, "tile", "")) and image.mode[0] != "I"  # colours, of which Pillow drops 8 bits
    if deep and bits != 16 and (bits or np.asarray(image.convert("RGB")).max() < 16):
        raise ValueError("of 16 bits a colour only the lower are in use; save it with 8, or give bits=16 if it is dark")
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1  # a phone's, with previews
    if frames > 1:
        raise ValueError(f"it holds {frames} pictures; expected one")
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # more than 8 bits, or floats
        values = np.asarray(image)
        if image.mode == "I" and values.min() >= 0 and values.max() < 1 << 16:
            values = values.astype(np.uint16)
        return rgb(values, bits)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    return image.convert("RGB")


def fitted(image: Image.Image, size: int | None) -> np.ndarray:
    """An RGB picture as uint8 ``[H, W, 3]``; the shorter side made ``size`` (bicubic) and the middle cut out."""
    if size is not None and image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    return np.array(image)


def _channels_last(image: Any) -> np.ndarray:
    """An array of a kind that Pillow knows: [H, W], [H, W, 3] or [H, W, 4]."""
    tensor = isinstance(image, torch.Tensor)
    if tensor:
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image
    values = np.asarray(image)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{type(image).__name__} is no image; expected Pillow's, an array or a tensor")
    if values.ndim == 3:
        first, last = (values.shape[axis] in (1, 3, 4) for axis in (0, -1))
        if first and (tensor or not last):
            values = np.moveaxis(values, 0, -1)
    if values.size == 0 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in (1, 3, 4)):
        raise ValueError(f"its shape is {list(np.shape(image))}; expected [H, W], or 1, 3 or 4 channels first or last")
    return values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values


def _levels(values: np.ndarray, bits: int | None) -> np.ndarray:
    """Any range of values as uint8."""
    if values.dtype == np.uint8:
        return values
    low, high = values.min().item(), values.max().item()
    shown = ".4g" if values.dtype.kind == "f" else ","
    found = f"{values.dtype} values from {low:{shown}} to {high:{shown}}"
    if values.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{found}; expected 0 to 1, or uint8: images before they are normalised")
        return np.rint(values * 255.0).astype(np.uint8)
    if values.dtype == bool:
        return values * np.uint8(255)
    top = (1 << (bits or 16)) - 1
    if low < 0 or high > top:
        raise ValueError(f"{found}; {bits or 16} bits hold 0 to {top:,}")
    if bits is None and not (values.dtype == np.uint16 and high >= 1 << 12):
        raise ValueError(f"{found} leave open how many bits are in use; say so: bits = 8, 12 or 16, or give uint8")
    return ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
