"""What counts as data: any tree of files, links and leftovers; labels of any kind. Both readers ask one function."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lskd.data import Dataset, load_dataset
from lskd.data.inventory import check_labels, class_number, find_images
from lskd.errors import LskdError

# A tree: a name to a file (None) or a folder. Some names count, some do not.
names = st.sampled_from(["a.png", "B.JPEG", "c.tif", ".d.png", "._e.png", "notes.txt", "Thumbs.db", "README", "f.png~"])
places = st.sampled_from(["sub", "deep", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "g.png"])
trees = st.recursive(
    st.dictionaries(names, st.none(), max_size=4),
    lambda inner: st.dictionaries(names, st.none(), max_size=3).flatmap(
        lambda files: st.dictionaries(places, inner, max_size=2).map(lambda folders: {**folders, **files})
    ),
    max_leaves=6,
)


Tree = dict[str, Any]


def write(folder: Path, tree: Tree) -> None:
    folder.mkdir(parents=True)
    for name, inside in tree.items():
        if inside is None:
            (folder / name).write_bytes(b"x")
        else:
            write(folder / name, inside)


def expected(tree: Tree, prefix: str = "") -> list[str]:
    """Paths of the images, as a reader of the rules would list them."""
    found = []
    for name in sorted(tree):
        if name.startswith(".") or name in ("__MACOSX", "@eaDir"):
            continue
        if tree[name] is not None:
            found += expected(tree[name], f"{prefix}{name}/")
        elif name in ("a.png", "B.JPEG", "c.tif"):
            found.append(prefix + name)
    return found


@settings(max_examples=60)
@given(st.lists(trees, min_size=2, max_size=3), trees)
def test_a_tree_gives_its_images_in_order_and_counts_the_rest(classes: list[Tree], test: Tree) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for number, tree in enumerate(classes):
            write(root / "train" / f"k{number}", tree)
        write(root / "train" / ".hidden", {"a.png": None})
        write(root / "test" / "k1", test)
        (root / "train" / "beside.png").write_bytes(b"x")
        wanted = [expected(tree) for tree in classes]
        if not all(wanted) or not expected(test):
            with pytest.raises(LskdError, match="no images in it"):
                find_images(root, "train", "test")
            return
        found, trained, tested, lines = find_images(root, "train", "test")
        assert found == tuple(f"k{number}" for number in range(len(classes)))
        listed = [str(root / "train" / f"k{number}" / path) for number, paths in enumerate(wanted) for path in paths]
        assert trained.paths == listed
        assert trained.labels == [number for number, paths in enumerate(wanted) for _ in paths]
        assert tested.paths == [str(root / "test" / "k1" / path) for path in expected(test)]
        assert "1 beside the classes (beside.png)" in lines[0]
        assert "hidden (.hidden" in lines[0]
        count = len(tested.paths)
        assert lines[1].startswith(f"{root / 'test'}: {count} images, {count} of each of 1 classes")


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
    refused("cat: its images are in class 'bee' too; an image has one label")
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
    with pytest.raises(LskdError, match=r"bee/y\.png: is a link to an image of class 'ant'; an image has one label"):
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
