"""Images that are made when they are needed, in folders too: the same views as of tensors."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import signal
import zlib
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import CPU
from test_data import GOLDEN

from lskd import evidence
from lskd.data import Dataset, load_dataset
from lskd.data import randaugment_increasing as increasing
from lskd.data.cifar100_224 import enlarged
from lskd.data.imagenet import imagenet
from lskd.data.lazy_images import PictureViews, random_box
from lskd.data.views import normalize
from lskd.errors import LskdError
from lskd.models import create_model, save_checkpoint
from lskd.models.base import Resized
from lskd.torchvision import import_torchvision
from lskd.trainer import run
from lskd.trainer.batches import Batches


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of smooth pictures in several sizes: nine to train on, three to test; one is grey."""
    root = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", 3), ("val", 1)):
        for k, name in enumerate(("apple", "bee", "cup")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                x, y = np.meshgrid(np.arange(60 + 7 * i), np.arange(50 + 9 * k))
                pixels = np.stack([x * 2, y * 2, (x + y) % 256], axis=-1).astype(np.uint8)
                image = Image.fromarray(pixels)
                (image.convert("L") if i == 2 else image).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def base() -> Dataset:
    """Twelve digit pairs to train on, five to test."""
    whole = load_dataset("digit_pairs", train_size=100, test_size=100)
    first = {"train_images": 12, "train_labels": 12, "test_images": 5, "test_labels": 5}
    return dataclasses.replace(whole, **{name: getattr(whole, name)[:count] for name, count in first.items()})


@pytest.fixture(scope="module")
def digits(base: Dataset) -> Dataset:
    return enlarged(base, size=40)


def test_views_are_functions_of_their_numbers(digits: Dataset) -> None:
    views, index = digits.views(CPU), torch.arange(12)
    assert isinstance(views, PictureViews)
    assert digits.view is not None
    numbers = torch.randint(views.count, (12,), generator=torch.Generator().manual_seed(1))
    whole = views(index, numbers)
    assert whole.shape == (12, 3, 40, 40)
    assert whole.dtype == torch.float32
    order = torch.randperm(12)
    assert torch.equal(views(index[order], numbers[order]), whole[order])
    assert all(torch.equal(digits.view(i, int(numbers[i])), whole[i]) for i in range(12))
    assert not torch.equal(views(index, numbers + 1), whole)


def test_batches_made_ahead_are_the_same_and_resume_anywhere(digits: Dataset) -> None:
    batches = Batches(digits, seed=3, size=2, device=CPU)
    epoch = list(map(batches.load, batches.draws(2)))
    assert len(epoch) == 6
    assert sorted(torch.cat([b.index for b in epoch]).tolist()) == list(range(12))
    for batch in epoch:
        assert torch.equal(batch.inputs, digits.views(CPU)(batch.index, batch.view))
        assert torch.equal(batch.target, digits.train_labels[batch.index])
    for a, b in zip(map(batches.load, batches.draws(2, 4)), epoch[4:], strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert a.step == b.step


def test_images_without_chance_answer_like_a_tensor(digits: Dataset, base: Dataset) -> None:
    images = digits.test_images
    assert (len(images), tuple(images.shape), images.dtype) == (5, (5, 3, 40, 40), torch.uint8)
    assert images[1:4].shape == (3, 3, 40, 40)
    assert images.to("cpu")[4:].shape == (1, 3, 40, 40)
    # Bilinear enlargement, as the released test transform.
    expected = torch.nn.functional.interpolate(base.test_images.float(), (40, 40), mode="bilinear")
    assert float((images[:].float() - expected).abs().max()) <= 1.01
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (digits.mean, digits.std))
    by_hand = (images[:].double() / 255 - mean) / std
    torch.testing.assert_close(normalize(images[:], digits).double(), by_hand, rtol=0, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_makes_images_too(digits: Dataset) -> None:
    for _ in range(4):
        digits.test_images[:]  # this process has threads for them, of which a loader's worker has none
    child = os.fork()
    if not child:
        signal.alarm(20)
        digits.test_images[:2]
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_digest_knows_size_statistics_and_the_sizes_of_the_files(
    base: Dataset, photographs: Path, tmp_path: Path
) -> None:
    made = [enlarged(base, size=40), enlarged(base, size=48), enlarged(base, size=40, std=(1.0, 1.0, 1.0))]
    assert len({dataset.digest for dataset in made}) == 3
    assert made[0].digest == enlarged(base, size=40).digest
    other = shutil.copytree(photographs, tmp_path / "other")
    before = imagenet(path=str(other)).digest
    moved = shutil.copytree(other / "train", tmp_path / "another disk")
    assert len(imagenet(path=str(other), train=str(moved)).digest) == len(before)
    (other / "val" / "cup" / "0.png").write_bytes(b"no image")
    assert imagenet(path=str(other)).digest != before


def test_boxes_are_as_large_and_as_wide_as_they_may_be() -> None:
    draw = Random(0)
    boxes = [random_box(200, 100, draw) for _ in range(3000)]
    assert all(0 <= x <= x + w <= 200 and 0 <= y <= y + h <= 100 for x, y, w, h in boxes)
    areas = np.array([w * h for _, _, w, h in boxes]) / 20000
    ratios = np.array([w / h for _, _, w, h in boxes])
    assert 0.07 < areas.min() < 0.09
    assert 0.7 < ratios.min() < 0.76
    assert 1.3 < ratios.max() < 1.4
    assert abs(np.median(np.log(ratios))) < 0.08  # a broad image has more room for broad parts
    assert random_box(1000, 10, draw) == (493, 0, 13, 10)  # nothing fits: the middle, as wide as may be
    assert random_box(10, 1000, draw) == (0, 493, 10, 13)


def test_operations_give_the_bytes_of_timm() -> None:
    """``timm_increasing.npz``: timm 1.0.31 on Pillow 13, ``operation(image, magnitude)``, both directions."""
    g = np.load(GOLDEN / "timm_increasing.npz")
    assert g["operations"].tolist() == list(increasing.OPERATIONS)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    for name, rows in zip(increasing.OPERATIONS, g["crc32"], strict=True):
        for magnitude, row in zip(g["magnitudes"].tolist(), rows, strict=True):
            for sign, expected in zip((1, -1), row.tolist(), strict=True):
                found = zlib.crc32(np.asarray(increasing.OPERATIONS[name](image, sign * magnitude / 10)).tobytes())
                assert found == expected, (name, magnitude, sign)
    assert not np.asarray(increasing.OPERATIONS["PosterizeIncreasing"](image, 1.0)).any()  # no bit is left
    dark = (np.asarray(image) * np.float32(0.1)).astype(int)
    assert (np.asarray(increasing.OPERATIONS["BrightnessIncreasing"](image, -1.0)) == dark).all()


def test_randaugment_draws_every_operation_half_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float]] = []

    def noted(name: str, image: Image.Image, strength: float) -> Image.Image:
        seen.append((name, strength))
        return image

    for name in increasing.OPERATIONS:
        monkeypatch.setitem(increasing.OPERATIONS, name, partial(noted, name))
    image = Image.new("RGB", (4, 4))
    for number in range(4000):
        increasing.randaugment(image, Random(number))
    assert len(seen) == pytest.approx(4000, rel=0.05)  # 2 · 1/2 an image
    assert {name for name, _ in seen} == set(increasing.OPERATIONS)
    sizes = np.abs([strength for _, strength in seen])
    assert sizes.max() == 1.0  # magnitudes beyond 10 are 10
    assert np.median(sizes) == pytest.approx(0.9, abs=0.01)
    assert np.mean([strength > 0 for _, strength in seen]) == pytest.approx(0.5, abs=0.03)


def test_a_quarter_of_the_images_loses_a_box() -> None:
    shares = []
    for number in range(800):
        image = increasing.erase(torch.full((3, 50, 50), 7.0), Random(number))
        gone = image[0] != 7
        shares.append(float(gone.double().mean()))
        if gone.any():
            rows, columns = gone.any(1).nonzero(), gone.any(0).nonzero()
            assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert abs(float(image[:, gone].mean())) < 1
    hit = [share for share in shares if share > 0]
    assert len(hit) / 800 == pytest.approx(0.25, abs=0.05)
    assert 0.015 < min(hit) < max(hit) < 0.36


def test_test_images_are_resized_and_cut_as_torchvision_does(photographs: Path) -> None:
    import_torchvision()
    from torchvision.transforms import v2

    dataset = imagenet(path=str(photographs), size=28)
    way = v2.Compose([v2.Resize(32, antialias=True), v2.CenterCrop(28), v2.PILToTensor()])
    for i, name in enumerate(("apple", "bee", "cup")):
        with Image.open(photographs / "val" / name / "0.png") as image:
            assert torch.equal(dataset.test_images[i : i + 1][0], way(image.convert("RGB")))
    assert dataset.class_names == ("apple", "bee", "cup")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.mean == (0.485, 0.456, 0.406)


def test_training_views_are_parts_mirrored_half_the_time(photographs: Path) -> None:
    dataset = imagenet(path=str(photographs), size=24)
    assert dataset.view is not None
    views = [dataset.view(0, number) for number in range(200)]
    assert {v.dtype for v in views} == {torch.uint8}
    assert {tuple(v.shape) for v in views} == {(3, 24, 24)}
    # Red grows with x: falling when mirrored.
    falls = [int(v[0, 12, 0]) > int(v[0, 12, -1]) for v in views]
    assert 0.35 < sum(falls) / 200 < 0.65
    spans = [abs(int(v[0, 12, -1]) - int(v[0, 12, 0])) / 2 / 60 for v in views]  # width of the part
    assert 0.2 < min(spans) < 0.4
    assert max(spans) > 0.85


def test_a_run_on_folders_ends_with_record_and_evidence(photographs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(create_model("resnet8", 3), tmp_path / "teacher.safetensors")
    settings: dict[str, Any] = {
        "data.path": str(photographs),
        "data.size": 32,
        "epochs": 2,
        "batch_size": 3,
        "milestones": [1],
        "learning_rate": 0.01,
        "student": "resnet8",
        "teacher.network": "resnet8",
        "teacher.checkpoint": str(tmp_path / "teacher.safetensors"),
    }
    options: dict[str, Any] = {"settings": settings, "progress": False, "device": "cpu"}
    members = ["mlkd", "mlkd_ls"]
    record = run.train("imagenet/ResNet34-ResNet18-mlkd", tmp_path / "run", members=members, **options)
    sizes = {"classes": 3, "train_size": 9, "test_size": 3}
    assert record["dataset"] == {"name": "imagenet", "digest": imagenet(path=str(photographs), size=32).digest, **sizes}
    assert record["teacher_logits"]["source"] == "live"
    for member in members:
        assert len(record["members"][member]["epochs"]) == 2
        pack = evidence.load(tmp_path / "run" / f"{member}.evidence.npz")
        assert pack.meta["test_accuracy"] == pytest.approx(record["members"][member]["last"]["test_accuracy"])
    with pytest.raises(LskdError, match="imagenet has more views than a table can hold"):
        run.train("imagenet/ResNet34-ResNet18-mlkd", tmp_path / "other", teacher_logits="table", **options)


def test_a_teacher_sees_images_at_a_size_of_its_own() -> None:
    torch.manual_seed(0)
    network = create_model("pycls-ResNet-8", 5).eval()
    model, x = Resized(network, 32).eval(), torch.randn(2, 3, 80, 80)
    small = torch.nn.functional.interpolate(x, (32, 32), mode="bilinear", align_corners=False)
    with torch.no_grad():
        assert torch.equal(model(x), network(small))
        assert torch.equal(model(small), network(small))
        stages, logits = model.forward_with_stages(x)
        assert [tuple(m.shape[1:]) for m in stages] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
        assert torch.equal(logits, network(small))
    assert math.prod(model.pooled_features(x).shape) == 2 * 64
