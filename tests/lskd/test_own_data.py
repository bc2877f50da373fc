"""One's own data: trees of files, labels, pictures of any kind."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lskd.data import Dataset, load_dataset
from lskd.data.inventory import check_labels, class_number, find_images
from lskd.data.pixels import fitted, read_rgb, rgb
from lskd.errors import LskdError

IMAGES = ("B.JPEG", "a.png", "c.tif", "g.png/a.png", "sub/a.png", "sub/deep/c.tif")  # in the order they are read
HIDDEN = (".d.png", "._e.png", ".ipynb_checkpoints/a.png", "__MACOSX/a.png", "sub/@eaDir/a.png")
OTHERS = ("notes.txt", "Thumbs.db", "README", "sub/f.png~")


def test_a_tree_gives_its_images_in_order_and_counts_the_rest(tmp_path: Path) -> None:
    written = [f"{k}/{name}" for k in ("train/k0", "train/k1", "test/k1") for name in IMAGES + HIDDEN + OTHERS]
    for name in (*written, "train/.hidden/a.png", "train/beside.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names, trained, tested, lines = find_images(tmp_path, "train", "test")
    assert names == ("k0", "k1")
    assert trained.paths == [str(tmp_path / "train" / k / path) for k in names for path in IMAGES]
    assert trained.labels == [0] * 6 + [1] * 6
    assert tested.paths == [str(tmp_path / "test" / "k1" / path) for path in IMAGES]
    hidden = ".hidden, k0/._e.png, k0/.d.png, k0/.ipynb_checkpoints, ..."
    assert lines[0] == (
        f"{tmp_path / 'train'}: 12 images, 6 of each of 2 classes; left out: 11 hidden ({hidden}), 1 beside the "
        "classes (beside.png), 2 without an ending (k0/README, k1/README), 2 ending in .db (k0/Thumbs.db, "
        "k1/Thumbs.db), 2 ending in .txt (k0/notes.txt, k1/notes.txt), 2 ending in .png~ (k0/sub/f.png~, k1/sub/f.png~)"
    )
    assert lines[1].startswith(f"{tmp_path / 'test'}: 6 images, 6 of each of 1 classes; none of 'k0'; left out: 5 ")


def pictures(root: Path, classes: Sequence[str] = ("ant", "bee"), train: int = 3, test: int = 3) -> Path:
    """So many images of a class in both parts, of 20 x 16, one colour a class with noise."""
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for number, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                noise = random.integers(0, 60, (16, 20, 3))
                noise[..., number] += 150
                Image.fromarray(noise.astype(np.uint8)).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    return pictures(tmp_path)


@pytest.fixture(params=["folder", "imagenet"])
def read(request: pytest.FixtureRequest, pictured: Path) -> Callable[..., Dataset]:
    return lambda test="test": load_dataset(request.param, path=str(pictured), size=8, test=test)


def test_links_are_followed_and_those_that_lead_back_are_not(
    read: Callable[..., Dataset], pictured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictured / "train" / "ant").rename(pictured / "pool")
    (pictured / "train" / "ant").symlink_to("../pool")  # a class
    (pictured / "more" / "x").mkdir(parents=True)
    bee = pictured / "train" / "bee"
    (bee / "0.png").rename(pictured / "more" / "x" / "0.png")
    for name, place in (("more", "../../more"), ("up", "../.."), ("again", "."), ("self", "self")):
        (bee / name).symlink_to(place)  # folders in a class
    (bee / "gone.png").symlink_to("nowhere.png")
    (bee / "one.png").symlink_to("../../more/x/0.png")
    data = read()
    assert data.train_labels.tolist() == [0] * 3 + [1] * 4
    said = capsys.readouterr().err
    assert "2 leading back to a folder that is read anyway (bee/again, bee/up)" in said
    assert "2 leading nowhere (bee/gone.png, bee/self)" in said


def test_what_cannot_be_meant_is_refused(read: Callable[..., Dataset], pictured: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(LskdError, match=message):
            read()

    train, test = pictured / "train", pictured / "test"
    cat = train / "cat"
    cat.symlink_to("bee")
    refused(r"cat/0\.png: leads to an image of class 'bee'; an image has one label")
    cat.unlink()
    cat.mkdir()
    (cat / "notes.gif").write_text("x")
    refused(r"train/cat: no images in it; left out: 1 ending in \.gif \(cat/notes\.gif\); expected files ending in")
    (cat / "notes.gif").unlink()
    cat.rename(test / "cat")
    refused(r"test/cat: no class of this name in .*train; there are ant, bee")
    (test / "cat").rmdir()
    (test / "bee" / "1.png").write_bytes(b"")
    refused(r"bee/1\.png: the file is empty")
    for file in test.glob("*/*.png"):
        file.unlink()
    refused("test: no images in it")
    (train / "ant").rename(train / ".ant")
    refused(r"train: 1 folders in it; left out: 1 hidden \(\.ant\); expected one a class, at least two")


def test_a_part_that_is_the_other_is_said(read: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]) -> None:
    read("train")
    assert "6 of them are files of train too" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"expected one folder a class .*say where\); .* holds test, train$"):
        read("val")


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_an_image_has_one_label_whatever_names_it_has(link: Any, pictured: Path) -> None:
    ant, bee = (pictured / "train" / name for name in ("ant", "bee"))
    link(bee / "x.png", bee / "0.png")
    assert find_images(pictured, "train", "test")[1].labels == [0] * 3 + [1] * 4
    link(bee / "y.png", ant / "0.png")
    with pytest.raises(LskdError, match=r"bee/y\.png: leads to an image of class 'ant'; an image has one label"):
        find_images(pictured, "train", "test")


def test_numbers_that_are_no_order_of_numbers_are_said(tmp_path: Path) -> None:
    lines = find_images(pictures(tmp_path, ("2", "10")), "train", "test")[3]
    assert "in the order of words, 10, 2, ...: 01 would" in lines[0]


@given(st.one_of(st.booleans(), st.integers(0, 10**6), st.integers(0, 200).map(np.uint8), st.booleans().map(np.bool_)))
def test_whole_numbers_are_labels_however_they_are_wrapped(label: Any) -> None:
    for wrapped in (label, np.array(label), torch.tensor(int(label)), torch.tensor([int(label)])):
        assert class_number(wrapped) == int(label)


@given(st.one_of(st.floats(), st.integers(max_value=-1), st.text(), st.lists(st.floats(), min_size=2), st.none()))
def test_anything_else_is_none(label: Any) -> None:
    with pytest.raises(ValueError, match="expected a class number"):
        class_number(label)


class_numbers = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@given(class_numbers, class_numbers, st.one_of(st.none(), st.integers(1, 6)))
def test_labels_are_numbered_from_0_and_every_test_label_is_trained_on(
    train: list[int], test: list[int], count: int | None
) -> None:
    known = None if count is None else [f"k{k}" for k in range(count)]
    names = known or [str(k) for k in range(1 + max(train + test))]
    meant = (
        max(train + test) < len(names)
        and set(test) <= set(train)
        and len(set(train)) > 1
        and (known is not None or set(train) == set(range(len(names))))
    )
    if meant:
        assert check_labels("x", torch.tensor(train), torch.tensor(test), known) == names
    else:
        with pytest.raises(LskdError, match=r"^x: "):
            check_labels("x", torch.tensor(train), torch.tensor(test), known)


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
    reader: str, write: Any, name: str, message: str, pictured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(pictured / "train" / "bee" / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)
    with pytest.raises(LskdError, match=rf"(?s){name}: cannot be read as an image \(.*{message}.*\); repair, convert"):
        load_dataset(reader, path=str(pictured), size=8, test="test").train_images[:]


def test_depth_is_an_option_of_both_readers(pictured: Path) -> None:
    file = pictured / "train" / "bee" / "white.png"
    Image.fromarray(np.full((9, 9), 4095, np.uint16)).save(file)
    for reader in ("folder", "imagenet"):
        data = load_dataset(reader, path=str(pictured), size=8, test="test", bits=12)
        assert data.train_images[6:][0].unique().tolist() == [255]
    assert np.asarray(read_rgb(file, 12)).min() == 255
