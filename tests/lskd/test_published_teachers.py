"""Published teachers: found in a folder, used in place of training, and doubted aloud."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lskd.data import load_dataset
from lskd.data.cifar100 import SUPERCLASSES
from lskd.errors import LskdError
from lskd.models import create_model, load_checkpoint, state_digest
from lskd.recipes import load_recipe
from lskd.trainer import run
from lskd.trainer.published_teachers import ARCHIVE, LAST, UNPACKED, find_weights, get_teachers, published_teacher
from lskd.trainer.teacher import _doubt

RECIPE = "cifar100/resnet56-resnet20"


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSKD_TEACHERS", raising=False)


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    root.mkdir(exist_ok=True)
    return root


@pytest.mark.parametrize(
    ("recipe", "names", "found"),
    [
        (RECIPE, ["cifar_teachers/resnet56_vanilla/ckpt_epoch_240.pth", "resnet56.pth"], 0),
        (RECIPE, ["resnet56_vanilla/ckpt_epoch_240.pth", "resnet56_vanilla/ckpt_epoch_150.pth"], 0),
        (RECIPE, ["cifar100_resnet56.pth", "cifar10_resnet56.pth", "cifar100_resnet20.pth"], 0),
        (RECIPE, ["resnet56.pth", "._resnet56.pth", ".trash/resnet56.pth", "__MACOSX/._resnet56.pth"], 0),
        (RECIPE, ["a/resnet56-best.safetensors", "cifar100_resnet560.pth", "xresnet56.pth"], 0),
        ("cifar100/resnet110-resnet32", ["cifar100_resnet32x4.pth", "resnet110.pt"], 1),
        ("cifar100/resnet32x4-resnet8x4", [f"resnet32{end}_vanilla/ckpt_epoch_240.pth" for end in ("", "x4")], 1),
        ("cifar100/ResNet50-MobileNetV2", ["resnet50.pth", "ResNet50_vanilla/ckpt_epoch_240.pth"], 1),
        ("cifar100/wrn_40_2-wrn_40_1", ["wrn_40_1.pth", "wrn_40_2.pth", "notes_wrn_40_2.txt"], 1),
    ],
)
def test_a_network_finds_its_file(tmp_path: Path, recipe: str, names: list[str], found: int) -> None:
    files(tmp_path, *names)
    assert published_teacher(load_recipe(recipe, for_training=False), tmp_path) == (tmp_path, names[found])


def test_what_the_folder_does_not_have_is_said_and_trained(tmp_path: Path) -> None:
    said: list[str] = []
    files(tmp_path, "cifar100_resnet20.pth")
    recipe = load_recipe(RECIPE)
    assert published_teacher(recipe, tmp_path, said.append) is None
    assert "no weights of resnet56 (resnet56_vanilla/ckpt_epoch_240.pth" in said[0]
    assert "there are cifar100_resnet20.pth" in said[0]
    with pytest.raises(LskdError, match=r"2 files of resnet56 \(a/resnet56\.pth, b/resnet56\.pth\); expected one"):
        published_teacher(recipe, files(tmp_path, "a/resnet56.pth", "b/resnet56.pth"))
    for folder, message in (
        (files(tmp_path / "empty", "readme.txt"), "no files of weights; expected one, resnet56_vanilla"),
        (tmp_path / "none", "no such folder; --teachers and LSKD_TEACHERS name a folder"),
        (tmp_path / "cifar100_resnet20.pth", "a file; name its folder, or --set teacher.checkpoint=FILE"),
    ):
        with pytest.raises(LskdError, match=message):
            published_teacher(recipe, folder)


def test_a_checkpoint_that_is_not_in_its_place_is_looked_for_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "a b/deep/cifar100_resnet56.pth", ".trash/other.pth")
    assert find_weights("cifar100_resnet56.pth") is None
    assert find_weights("other.pth", tmp_path) is None
    monkeypatch.setenv("LSKD_TEACHERS", str(tmp_path))
    assert find_weights("cifar100_resnet56.pth") == tmp_path / "a b" / "deep" / "cifar100_resnet56.pth"


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher.settings": {"epochs": 1}},
        {"teacher.checkpoint": "x.pth"},
        {"teacher.recipe": "cifar100/alone/resnet110"},
        {"dataset": "digit_pairs"},
    ],
)
def test_another_teacher_than_the_published_one_is_left_alone(tmp_path: Path, settings: dict[str, Any]) -> None:
    files(tmp_path, "cifar100_resnet56.pth")
    assert published_teacher(load_recipe(RECIPE, settings=settings), tmp_path) is None
    assert published_teacher(load_recipe(RECIPE), None) is None


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As RepDistiller wrote them, in the form of PyTorch before 1.6."""
    path = tmp_path_factory.mktemp("weights") / LAST
    torch.manual_seed(0)
    state = create_model("resnet56").state_dict()
    content = {"epoch": 240, "model": state, "accuracy": torch.tensor(72.3), "optimizer": {"state": {}}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def teachers_archive(path: Path, weights: Path, *extra: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        tar.add(weights, f"{UNPACKED}/resnet56_vanilla/{LAST}")
        for name in extra:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


def test_the_archive_is_fetched_checked_and_unpacked(tmp_path: Path, weights: Path, told: Callable[..., str]) -> None:
    teachers_archive(
        tmp_path / "mirror" / ARCHIVE, weights, "./", f"{UNPACKED}/readme_vanilla/../../../outside.txt", "notes.txt"
    )
    out = tmp_path / "download_ckpts"
    said = told("data", "get", "cifar100-teachers", "--out", out, "--mirror", (tmp_path / "mirror").as_uri())
    assert f"lskd train --teachers {out / UNPACKED}" in said
    assert sorted(p.name for p in out.rglob("*") if p.is_file() and p.suffix) == [LAST]
    assert not (tmp_path / "outside.txt").exists()
    found = out / UNPACKED / "resnet56_vanilla" / LAST
    assert get_teachers(out, mirror="http://nowhere.invalid") == {"resnet56": found}
    assert published_teacher(load_recipe(RECIPE), out) == (out, f"{UNPACKED}/resnet56_vanilla/{LAST}")
    teachers_archive(tmp_path / "evil" / ARCHIVE, weights, "../outside_vanilla/a.pth")
    (tmp_path / "evil" / UNPACKED).mkdir()  # as an interrupted call leaves it
    assert list(get_teachers(tmp_path / "evil")) == ["resnet56"]
    assert not (tmp_path / "outside_vanilla").exists()


def test_an_archive_from_elsewhere_serves_what_is_none_and_weights_of_another_network_are_named(
    tmp_path: Path, weights: Path
) -> None:
    with pytest.raises(LskdError, match=rf"put {ARCHIVE} from elsewhere into .*or unpack it anywhere.*--teachers DIR"):
        get_teachers(tmp_path, mirror="http://nowhere.invalid")
    teachers_archive(tmp_path / ARCHIVE, weights)
    assert list(get_teachers(tmp_path, mirror="http://nowhere.invalid")) == ["resnet56"]
    shutil.rmtree(tmp_path / UNPACKED)
    for content in (b"<html>sign in</html>", b""):
        (tmp_path / ARCHIVE).write_bytes(content)
        with pytest.raises(LskdError, match=rf"{ARCHIVE}: cannot be unpacked .*delete it and try a mirror"):
            get_teachers(tmp_path)
    whole = teachers_archive(tmp_path / "mirror" / ARCHIVE, weights, f"{UNPACKED}/a_vanilla/{LAST}")
    (tmp_path / ARCHIVE).write_bytes(whole.read_bytes()[: -(whole.stat().st_size // 3)])
    with pytest.raises(LskdError, match="cannot be unpacked"):
        get_teachers(tmp_path)
    (tmp_path / ARCHIVE).unlink()  # as it says: what was unpacked of it is not taken for all
    assert list(get_teachers(tmp_path, mirror=str(tmp_path / "mirror"))) == ["resnet56"]
    path = files(tmp_path, f"{UNPACKED}/resnet110_vanilla/{LAST}") / UNPACKED / "resnet110_vanilla" / LAST
    path.write_bytes(weights.read_bytes())
    with pytest.raises(LskdError, match=r"resnet110_vanilla.*not weights of this ResNet"):
        get_teachers(tmp_path)


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"class_names": np.array(sorted(" ".join(SUPERCLASSES.values()).split()))}
    for split, size in (("train", 16), ("test", 400)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(size) % 100
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "cifar100.npz", **arrays)
    monkeypatch.setenv("LSKD_DATA", str(tmp_path / "data"))


@pytest.mark.usefixtures("small_cifar")
def test_a_run_with_a_published_teacher_is_the_recipes_own(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    teachers_archive(tmp_path / "dl" / ARCHIVE, weights)
    get_teachers(tmp_path / "dl")
    monkeypatch.setenv("LSKD_TEACHERS", f"{tmp_path / 'dl'} ")
    settings = {"epochs": 1, "milestones": [], "batch_size": 16}
    record = run.train(RECIPE, tmp_path / "out", members=["kd_ls"], settings=settings, device="cpu")
    assert "--teachers" not in record["command"]
    monkeypatch.delenv("LSKD_TEACHERS")
    assert published_teacher(load_recipe(RECIPE), tmp_path / "dl") is not None
    assert run.Options(teachers=tmp_path / "dl").words() == ["--teachers", "DIR"]
    said = capsys.readouterr().err
    assert f"teacher resnet56: test accuracy {record['teacher']['test_accuracy']:.2f} %, published 72.34 % (" in said
    assert "warning: the teacher resnet56 has" in said
    assert "which is chance" in said
    assert said.index("teacher resnet56") < said.index("img/s")
    assert record["teacher"]["checkpoint"] == f"{UNPACKED}/resnet56_vanilla/{LAST}"
    model = create_model("resnet56")
    load_checkpoint(model, weights)
    assert record["teacher"]["digest"] == state_digest(model.state_dict())
    assert record["config"]["teacher"] == load_recipe(RECIPE).config()["teacher"]  # so it counts as the cell


@pytest.mark.usefixtures("small_cifar")
@pytest.mark.parametrize(
    ("accuracy", "published", "found"),
    [
        (72.6, 72.34, ""),
        (72.6, None, ""),
        (1.0, None, "has 1.00 % on 400 test images, which is chance"),
        (1.9, None, "which is chance"),  # of 400 answers, two standard deviations
        (2.1, None, ""),
        (71.2, 72.34, "has 71.20 % on 400 test images, and 72.34 % are published"),
        (73.4, 72.34, "and 72.34 % are published"),
    ],
)
def test_a_doubtful_teacher_is_doubted(accuracy: float, published: float | None, found: str) -> None:
    text = _doubt(accuracy, published, load_dataset("cifar100"))
    assert found in text
    assert bool(text) == bool(found)
    if found:
        assert "order of classes (here apple, aquarium_fish, baby, ...)" in text
        assert "data.mean, data.std" in text
