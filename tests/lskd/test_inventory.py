"""What counts as data: any tree of files, links and leftovers; labels of any kind. Both readers ask one function."""

from __future__ import annotations

from collections.abc import Callable
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
from lskd.errors import LskdError

IMAGES = ("B.JPEG", "a.png", "c.tif", "g.png/a.png", "sub/a.png", "sub/deep/c.tif")  # in the order they are read
HIDDEN = (".d.png", "._e.png", ".ipynb_checkpoints/a.png", "__MACOSX/a.png", "sub/@eaDir/a.png")
OTHERS = ("notes.txt", "Thumbs.db", "README", "sub/f.png~")


def test_a_tree_gives_its_images_in_order_and_counts_the_rest(tmp_path: Path) -> None:
    def write(name: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    for place in ("train/k0", "train/k1", "test/k1"):
        for name in IMAGES + HIDDEN + OTHERS:
            write(f"{place}/{name}")
    write("train/.hidden/a.png")
    write("train/beside.png")
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
    assert lines[1].startswith(
        f"{tmp_path / 'test'}: 6 images, 6 of each of 1 classes; none of 'k0'; left out: 5 hidden"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of three images, in both parts."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                pixels = random.integers(0, 256, (12, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


@pytest.fixture(params=["folder", "imagenet"])
def read(request: pytest.FixtureRequest, root: Path) -> Callable[..., Dataset]:
    return lambda test="test": load_dataset(request.param, path=str(root), size=8, test=test)


def test_links_are_followed_and_those_that_lead_back_are_not(
    read: Callable[..., Dataset], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "train" / "ant").rename(root / "pool")
    (root / "train" / "ant").symlink_to("../pool")  # a class
    (root / "more" / "x").mkdir(parents=True)
    bee = root / "train" / "bee"
    (bee / "0.png").rename(root / "more" / "x" / "0.png")
    for name, place in (("more", "../../more"), ("up", "../.."), ("again", "."), ("self", "self")):
        (bee / name).symlink_to(place)  # folders in a class
    (bee / "gone.png").symlink_to("nowhere.png")
    (bee / "one.png").symlink_to("../../more/x/0.png")
    data = read()
    assert data.train_labels.tolist() == [0] * 3 + [1] * 4
    said = capsys.readouterr().err
    assert "2 leading back to a folder that is read anyway (bee/again, bee/up)" in said
    assert "2 leading nowhere (bee/gone.png, bee/self)" in said


def test_what_cannot_be_meant_is_refused(read: Callable[..., Dataset], root: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(LskdError, match=message):
            read()

    cat = root / "train" / "cat"
    cat.symlink_to("bee")
    refused(r"cat/0\.png: leads to an image of class 'bee'; an image has one label")
    cat.unlink()
    cat.mkdir()
    (cat / "notes.gif").write_text("x")
    refused(r"train/cat: no images in it; left out: 1 ending in \.gif \(cat/notes\.gif\); expected files ending in")
    (cat / "notes.gif").unlink()
    cat.rename(root / "test" / "cat")
    refused(r"test/cat: no class of this name in .*train; there are ant, bee")
    (root / "test" / "cat").rmdir()
    (root / "test" / "bee" / "1.png").write_bytes(b"")
    refused(r"bee/1\.png: the file is empty")
    for name in ("0.png", "1.png", "2.png"):
        (root / "test" / "bee" / name).unlink()
        (root / "test" / "ant" / name).unlink()
    refused("test: no images in it")
    (root / "train" / "ant").rename(root / "train" / ".ant")
    refused(r"train: 1 folders in it; left out: 1 hidden \(\.ant\); expected one a class, at least two")


def test_a_part_that_is_the_other_is_said(read: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]) -> None:
    read("train")
    assert "6 of them are files of train too" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"expected one folder a class .*say where\); .* holds test, train$"):
        read("val")


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_an_image_has_one_label_whatever_names_it_has(link: Any, root: Path) -> None:
    link(root / "train" / "bee" / "x.png", root / "train" / "bee" / "0.png")
    assert find_images(root, "train", "test")[1].labels == [0] * 3 + [1] * 4
    link(root / "train" / "bee" / "y.png", root / "train" / "ant" / "0.png")
    with pytest.raises(LskdError, match=r"bee/y\.png: leads to an image of class 'ant'; an image has one label"):
        find_images(root, "train", "test")


def test_numbers_that_are_no_order_of_numbers_are_said(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "ant").rename(root / part / "2")
        (root / part / "bee").rename(root / part / "10")
    assert "in the order of words, 10, 2, ...: 01 would" in find_images(root, "train", "test")[3][0]


# --- labels ----------------------------------------------------------------------------------------------------------


@given(st.one_of(st.booleans(), st.integers(0, 10**6), st.integers(0, 200).map(np.uint8)))
def test_whole_numbers_are_labels_however_they_are_wrapped(label: Any) -> None:
    for wrapped in (label, np.array(label), torch.tensor(int(label)), torch.tensor([int(label)])):
        assert class_number(wrapped) == int(label)


@given(st.one_of(st.floats(), st.integers(max_value=-1), st.text(), st.lists(st.floats(), min_size=2), st.none()))
def test_anything_else_is_none(label: Any) -> None:
    with pytest.raises(ValueError, match="expected a class number"):
        class_number(label)


labels = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@given(labels, labels, st.one_of(st.none(), st.integers(1, 6)))
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
