"""One's own data sets and networks by name, and items of any kind."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import images as noise
from test_own_data import pictures

from lskd.data import load_dataset
from lskd.data.own import from_items
from lskd.errors import LskdError
from lskd.models import create_model
from lskd.own_code import load_function, source_digest
from lskd.recipes import load_recipe
from lskd.trainer import run

needs_torchvision = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is missing")


CLASSES = ("ant", "bee", "cat")
CODE = """
import numpy as np
import torch
from torch import nn


def small(num_classes):
    body = [nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(4, num_classes))


def pair(path):
    from lskd.torchvision import import_torchvision

    folder = import_torchvision().datasets.ImageFolder
    return folder(f"{path}/train"), folder(f"{path}/test")


convolutions = lambda num_classes: nn.Conv2d(3, num_classes, 1)
number = lambda num_classes: num_classes
three = lambda: ([], [], [])


def sized(*, count: int = 6):
    part = [(np.full((9, 9 + i % 2, 3), 40 * i, np.uint8), i % 2) for i in range(count)]
    return part, part
"""


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training and 6 test images; one of them grey, one transparent."""
    folder = pictures(tmp_path_factory.mktemp("images"), CLASSES, train=4, test=2)
    for i, mode in enumerate(("L", "RGBA")):
        file = folder / "train" / CLASSES[2] / f"{i}.png"
        Image.open(file).convert(mode).save(file)
    return folder


@pytest.fixture
def code(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(CODE)
    return file


def test_a_folder_is_read_as_torchvision_reads_it(coloured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(coloured)
    dataset = load_dataset("folder", path=".", size=16)
    assert dataset.name == coloured.name
    assert dataset.class_names == CLASSES
    assert dataset.train_images.shape == (12, 3, 16, 16)
    assert dataset.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    means = [dataset.train_images[dataset.train_labels == k].double().mean((0, 2, 3)).argmax() for k in (0, 1)]
    assert means == [0, 1]
    first = np.asarray(Image.open(coloured / "train" / "ant" / "0.png"))[:, 2:18]  # 20 wide: the middle 16
    assert np.array_equal(dataset.train_images[0].permute(1, 2, 0).numpy(), first)
    assert dataset.mean == pytest.approx((dataset.train_images.double().mean((0, 2, 3)) / 255).tolist(), abs=1e-4)


@needs_torchvision
def test_a_pair_of_torchvision_data_sets_serves(coloured: Path, code: Path) -> None:
    dataset = load_dataset(f"{code}:pair", path=str(coloured))
    folder = load_dataset("folder", path=str(coloured), size=16)
    assert dataset.class_names == CLASSES
    assert dataset.train_images.shape == (12, 3, 16, 20)  # sizes are kept unless one is given
    assert torch.equal(dataset.train_images[..., 2:18], folder.train_images)
    assert torch.equal(dataset.test_labels, folder.test_labels)
    fewer = shutil.copytree(coloured, code.parent / "fewer")
    shutil.rmtree(fewer / "test" / CLASSES[0])  # torchvision now calls the second class 0, in this part alone
    with pytest.raises(LskdError, match="class 0 is 'ant' in training and 'bee' in test data"):
        load_dataset(f"{code}:pair", path=str(fewer))


def test_a_function_may_lie_in_a_module(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(code.parent)
    assert load_function("mine:small").__name__ == "small"
    assert str(code.parent) not in sys.path
    model = create_model("mine:small", 7).eval()
    features, logits = model.forward_with_features(torch.zeros(2, 3, 8, 8))
    assert features.shape == (2, 4)
    assert torch.equal(logits, model(torch.zeros(2, 3, 8, 8)))
    assert list(model.state_dict()) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    copied = pickle.loads(pickle.dumps(model))
    copied[0].weight.data.zero_()
    assert torch.equal(copied.forward_with_features(torch.ones(2, 3, 8, 8))[1], copied(torch.ones(2, 3, 8, 8)))
    assert not torch.equal(model(torch.ones(2, 3, 8, 8)), copied(torch.ones(2, 3, 8, 8)))
    before = source_digest("mine:small")
    code.write_text(CODE.replace("nn.Conv2d(3, 4, 3", "nn.Conv2d(3, 4, 5"))
    with pytest.raises(LskdError, match=r"mine\.py was changed since it was imported.*start Python again"):
        source_digest("mine:small")
    code.write_text(CODE)
    assert source_digest("mine:small") == before
    del sys.modules["mine"]


def test_own_data_and_network_train_and_a_changed_file_is_another_run(
    coloured: Path, code: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        f'dataset = "folder"\nstudent = "{code}:small"\nepochs = 1\nbatch_size = 4\nlearning_rate = 0.1\n'
        f'[data]\npath = "{coloured}"\nsize = 16\n[members.alone]\nmethod = "plain"\n'
    )

    def train() -> dict[str, Any]:
        return run.train(str(recipe), tmp_path / "run", device="cpu", runs=tmp_path / "runs", progress=False)

    record = train()
    assert record["members"]["alone"]["last"]["epoch"] == 1
    assert record["dataset"]["classes"] == 3
    assert record["config"]["external"] == {f"{code}:small": source_digest(f"{code}:small")}
    assert "external" not in load_recipe("digit-pairs").config()  # the project's name no code of others
    code.write_text(CODE.replace("nn.Conv2d(3, 4, 3", "nn.Conv2d(3, 4, 5"))
    with pytest.raises(LskdError, match="holds another run"):
        train()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{code}:smal", "has no function 'smal'; did you mean 'small'"),
        ("{code}x.py:small", "no such file"),
        ("absent.py:small", f"no such file {Path.cwd()}/absent.py"),
        ("no_such_module_here:small", "there is no module 'no_such_module_here'"),
        ("{code}:number", "returned int; expected a torch.nn.Module"),
        ("{code}:convolutions", "has no linear layer to take features from"),
        ("{code}:pair", "is called with num_classes=3 alone: missing a required argument: 'path'"),
    ],
)
def test_a_wrong_network_is_named(name: str, message: str, code: Path) -> None:
    with pytest.raises(LskdError, match=message):
        create_model(name.format(code=code), 3)


def test_wrong_data_is_named(code: Path) -> None:
    for function, kind, options in (("number", "int", {"num_classes": 3}), ("three", "tuple of 3", {})):
        with pytest.raises(LskdError, match=rf"returned {kind}; expected an lskd\.data\.Dataset or a pair"):
            load_dataset(f"{code}:{function}", **options)


def test_a_teacher_whose_file_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    settings = {"data": {"train_size": 320, "test_size": 100}, "teacher.checkpoint": str(tmp_path / "none.pth")}
    with pytest.raises(LskdError, match=r"none\.pth: no such file of weights, .*teacher\.checkpoint=FILE"):
        run.train("digit-pairs", tmp_path / "out", settings=settings, progress=False, device="cpu")


PIXELS = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)


def items(make: Any, count: int = 6) -> list[Any]:
    return [make(PIXELS[i], i % 3) for i in range(count)]


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: (x, y),
        lambda x, y: [Image.fromarray(x), np.int64(y)],
        lambda x, y: (torch.from_numpy(x).permute(2, 0, 1) / 255, torch.tensor(y)),
        lambda x, y: {"image": x, "label": y},
        lambda x, y: {"img": Image.fromarray(x), "fine_label": torch.tensor([y]), "id": "a"},
    ],
)
def test_items_may_be_pairs_or_dictionaries_of_one_image_and_one_label(make: Any) -> None:
    data = from_items("mine", items(make), items(make, 3))
    assert torch.equal(data.train_images, torch.from_numpy(PIXELS[:6]).permute(0, 3, 1, 2))
    assert data.train_labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: {"img": x, "label": y, "class": 0}, "0: it is a dict of img, label, class; expected one of"),
        (lambda x, y: (x, y, 0), "0: it is a tuple of 3; expected a pair"),
        (lambda x, y: x, "0: it is a ndarray; expected a pair"),
        (lambda x, y: (x, torch.eye(400)[y]), r"0: its label is tensor.{,30}\(Tensor\); .*class number.*its argmax"),
        (lambda x, y: (x, float(y)), r"0: its label is 0\.0 \(float\); expected a class number"),
        (lambda x, y: (x[: 8 - y], y), "1 is 7 x 8, the first 8 x 8; for one size: data.size=8"),
        (lambda x, y: (x / 127.5 - 1, y), "0: float64 values from -1 to 0.*; expected 0 to 1"),
        (lambda x, y: (x, y + 10**15), "labels from 10{15} to 10{14}2, but none is 0; number the classes from 0"),
        (
            lambda x, y: (x * 0 + 7, y),
            "all pixels of a channel are equal in training; look at how the images are stored",
        ),
    ],
)
def test_an_item_that_cannot_be_used_is_named_by_its_number(make: Any, message: str) -> None:
    with pytest.raises((LskdError, ValueError), match=f"mine: (training item )?{message}"):
        from_items("mine", items(make), items(make, 3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mean": (125.3, 123.0, 113.9)}, r"of images scaled to \[0, 1\], mean\[0\] is 125\.3 .*; expected float <= 1"),
        (
            {"std": (63.0, 62.1, 66.7)},
            r"of images scaled to \[0, 1\], std\[0\] is 63\.0 \(float\); expected float <= 1",
        ),
        ({"test_images": noise(12).test_images[:, :, :4]}, r"training images are \(8, 8\), test images \(4, 8\)"),
    ],
)
def test_a_data_set_of_other_scales_or_sizes_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises((LskdError, ValueError), match=f"noise: {message}"):
        dataclasses.replace(noise(12), **changed)


@pytest.mark.parametrize(
    ("train", "message"),
    [([], "the training data are empty"), (iter([]), "the training data are list_iterator; expected a length")],
)
def test_data_without_length_or_items_are_named(train: Any, message: str) -> None:
    with pytest.raises(LskdError, match=message):
        from_items("mine", train, items(lambda x, y: (x, y)))


def test_options_of_a_pair_are_set_where_the_function_has_none(code: Path) -> None:
    data = load_dataset(f"{code}:sized", count=4, size=8, pad=1, flip=False, class_names=["even", "odd"])
    assert (data.train_images.shape, data.pad, data.flip) == ((4, 3, 8, 8), 1, False)
    assert data.class_names == ("even", "odd")
    for options, message in (
        ({"count": "6"}, r"count is '6' \(str\); expected int"),
        ({"flip": "False"}, r"flip is 'False' \(str\); expected bool"),
        ({"sise": 8}, "has no option 'sise'; it has count"),
    ):
        with pytest.raises((LskdError, ValueError), match=message):
            load_dataset(f"{code}:sized", **options)
