"""What a picture is: every depth, mode and orientation is scaled, applied or refused by name; nothing is clipped."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lskd.data import load_dataset
from lskd.data.pixels import fitted, read_rgb, rgb
from lskd.errors import LskdError

RAMP = np.arange(256).reshape(16, 16)
BLACK = Image.new("RGB", (9, 9))


def grey(image: Any, bits: int | None = None) -> np.ndarray:
    out = np.asarray(rgb(image, bits))
    assert (out == out[..., :1]).all()
    return out[..., 0]


def saved(image: Image.Image, ending: str = "png", **options: Any) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "TIFF" if ending == "tif" else ending.upper(), **options)
    return Image.open(io.BytesIO(stream.getvalue()))


def deep_colours(high: int) -> Image.Image:
    """A PNG of one pixel with 16 bits a colour, whose upper 8 are ``high``."""
    content = (1, 1, 16, 2, 0, 0, 0), zlib.compress(bytes([0, *[high, 255] * 3])), b""
    pieces = zip((b"IHDR", b"IDAT", b"IEND"), (struct.pack(">IIBBBBB", *content[0]), *content[1:]), strict=True)
    chunks = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in pieces]
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)))


@pytest.mark.parametrize(
    ("image", "bits"),
    [
        (RAMP.astype(np.uint8), None),
        (RAMP.astype(np.float32) / 255, None),
        (torch.tensor(RAMP / 255, dtype=torch.float64), None),
        (torch.tensor(RAMP / 255).to(torch.float16), None),
        ((RAMP * 257).astype(np.uint16), None),
        (np.rint(RAMP / 255 * 4095).astype(np.uint16), 12),
        (RAMP.astype(np.int64), 8),
        (np.rint(RAMP / 255 * 1023).astype(np.int16), 10),
        (Image.fromarray((RAMP * 257).astype(np.uint16)), None),
        (Image.fromarray((RAMP * 257).astype(np.int32)), None),
        (Image.fromarray(RAMP.astype(np.float32) / 255), None),
        (saved(Image.fromarray((RAMP * 257).astype(np.uint16))), None),
        (saved(Image.fromarray((RAMP * 257).astype(np.uint16)), "tif"), None),
        (saved(Image.fromarray(np.rint(RAMP / 255 * 4095).astype(np.uint16)), "tif"), 12),
    ],
)
def test_a_ramp_keeps_its_256_levels_at_any_depth(image: Any, bits: int | None) -> None:
    assert np.array_equal(grey(image, bits), RAMP)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RAMP.astype(np.uint16) * 16, "uint16 values from 0 to 4,080 leave open how many bits are in use; say so"),
        (RAMP, "int64 values from 0 to 255 leave open"),
        (RAMP.astype(np.int8), "int8 values from -128 to 127; 16 bits hold 0 to 65,535"),
        (RAMP / 127.5 - 1, "float64 values from -1 to 1; expected 0 to 1"),
        (RAMP.astype(np.float32), "float32 values from 0 to 255; expected 0 to 1, or uint8"),
        (np.full((4, 4), np.nan), "values from nan to nan; expected 0 to 1"),
        (np.zeros((6, 6, 2), np.uint8), r"its shape is \[6, 6, 2\]; expected \[H, W\], or 1, 3 or 4 channels"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"its shape is \[2, 3, 4, 4\]"),
        (np.zeros((0, 4), np.uint8), "its shape is"),
        ("a.png", "str is no image"),
        ({"a": 1}, "dict is no image"),
        (Image.fromarray((RAMP * 70000).astype(np.int32)), "int32 values from 0 to 17,850,000; 16 bits hold"),
        (Image.fromarray(RAMP.astype(np.float32)), "float32 values"),
        (deep_colours(15), "of 16 bits a colour only the lower are in use"),
    ],
)
def test_what_has_no_meaning_is_refused(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rgb(image)


def test_bits_bound_the_values() -> None:
    assert [np.asarray(rgb(deep_colours(level), 16)).tolist() for level in (200, 15)] == [[[[200] * 3]], [[[15] * 3]]]
    with pytest.raises(ValueError, match="of 16 bits a colour"):
        rgb(deep_colours(200), 12)
    with pytest.raises(ValueError, match="uint16 values from 0 to 5,000; 12 bits hold 0 to 4,095"):
        rgb(np.array([[0, 5000]], dtype=np.uint16), 12)


sides = st.integers(5, 9)
colours = st.builds(
    lambda height, width, seed: np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8),
    *(sides, sides, st.integers(0, 10**6)),
)


@given(colours)
def test_channels_may_come_first_or_last_and_as_floats(image: np.ndarray) -> None:
    first = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    for given_image in (image, first, torch.from_numpy(image), torch.from_numpy(first), torch.from_numpy(first) / 255):
        assert np.array_equal(fitted(rgb(given_image), None), image)


@given(colours, st.integers(0, 255))
def test_transparency_is_laid_on_white(image: np.ndarray, alpha: int) -> None:
    layer = np.full((*image.shape[:2], 1), alpha, np.uint8)
    wanted = 255 + (image.astype(float) - 255) * alpha / 255
    for given_image in (np.concatenate([image, layer], -1), Image.fromarray(np.concatenate([image, layer], -1))):
        assert np.abs(np.asarray(rgb(given_image)) - wanted).max() <= 1
    faint = Image.merge("LA", [Image.fromarray(image[..., 0]), Image.fromarray(layer[..., 0])])
    assert np.abs(np.asarray(rgb(faint)) - wanted[..., :1]).max() <= 1


def test_a_palette_with_a_transparent_colour_is_laid_on_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert np.asarray(rgb(image))[0, 0].tolist() == [0, 0, 255]
    assert np.asarray(rgb(saved(image, transparency=1)))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("ending", ["jpeg", "png", "tif", "webp"])
def test_orientation_is_applied(ending: str) -> None:
    image = Image.new("RGB", (20, 10))
    image.paste((250, 250, 250), (0, 0, 10, 10))  # the left half is bright
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise: the left becomes the top
    out = np.asarray(rgb(saved(image, ending, exif=exif)))
    assert out.shape == (20, 10, 3)
    assert out[:8].min() > 200
    assert out[12:].max() < 50


def test_print_colours_are_converted() -> None:
    assert np.asarray(rgb(Image.new("CMYK", (2, 2), (0, 255, 255, 0))))[0, 0].tolist() == [255, 0, 0]


def files(root: Path, name: str) -> Path:
    """Two classes in both parts; where one more image of the second belongs."""
    for part in ("train", "test"):
        for number, label in enumerate(("ant", "bee")):
            (root / part / label).mkdir(parents=True)
            Image.new("RGB", (9, 9), (90 * number, 30, 60)).save(root / part / label / "0.png")
    return root / "train" / "bee" / name


def cut(file: Path) -> None:
    Image.effect_noise((64, 64), 99).save(file)
    file.write_bytes(file.read_bytes()[:-1000])


@pytest.mark.parametrize("reader", ["folder", "imagenet"])
@pytest.mark.parametrize(
    ("write", "name", "message"),
    [
        (Image.fromarray(RAMP.astype(np.uint16) * 16).save, "dark.png", "leave open how many bits are in use"),
        (Image.fromarray(RAMP.astype(np.float32)).save, "float.tif", "expected 0 to 1"),
        (cut, "cut.png", "truncated"),
        (lambda file: file.write_text("text"), "text.png", "its content is no picture"),
        (partial(BLACK.save, save_all=True, append_images=[BLACK]), "pages.tif", "it holds 2 pictures; expected one"),
        (Image.new("L", (200, 200)).save, "bomb.png", "exceeds limit of 30000 pixels"),
    ],
)
def test_a_file_that_is_no_picture_is_named(
    reader: str, write: Any, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(files(tmp_path, name))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)
    with pytest.raises(LskdError, match=rf"(?s){name}: cannot be read as an image \(.*{message}.*\); repair, convert"):
        load_dataset(reader, path=str(tmp_path), size=8, test="test").train_images[:]


def test_depth_is_an_option_of_both_readers(tmp_path: Path) -> None:
    file = files(tmp_path, "white.png")
    Image.fromarray(np.full((9, 9), 4095, np.uint16)).save(file)
    for reader in ("folder", "imagenet"):
        data = load_dataset(reader, path=str(tmp_path), size=8, test="test", bits=12)
        assert data.train_images[2:][0].unique().tolist() == [255]
    assert np.asarray(read_rgb(file, 12)).min() == 255
