"""Data sets: deterministic, no leakage, cached with a digest, a part held out. Views and draws: pure and exact."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import flip

from lskd.checked import Count
from lskd.data import DATASETS, Dataset, DataSource, check_options, load_dataset
from lskd.data.cifar100 import MEAN, STD, SUPERCLASSES
from lskd.data.dataset import channel_statistics
from lskd.data.digit_pairs import generate
from lskd.data.draws import epoch_drops, epoch_order, epoch_strong, epoch_views, seed_for
from lskd.data.held_out import hold_out
from lskd.data.lazy_images import pictures
from lskd.data.own import from_items
from lskd.data.views import Normalize, Views, view_count, weak_view
from lskd.errors import LskdError
from lskd.recipes import load_recipe
from lskd.trainer import run
from paper import listings, statistics, store

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {"train_size": 300, "test_size": 200}
# Of the default data set: a change of a single pixel, on any machine, is noticed here.
DEFAULT_DIGEST = "894a4475a7a58b0fc93e1585bce36bf63de3a8b22215089fa95ef748d0a9b250"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LSKD_CACHE", f"'{tmp_path}'")
    return tmp_path


def test_the_default_data_set_is_the_one_that_results_were_measured_on(cache: Path) -> None:
    data = load_dataset("digit_pairs")
    assert data.train_images.shape == (10_000, 3, 16, 16)
    assert data.test_images.shape == (2_000, 3, 16, 16)
    assert data.digest == DEFAULT_DIGEST


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_name_two_digits_are_balanced_and_originals_of_the_test_set_are_not_trained_on(seed: int) -> None:
    from sklearn.datasets import load_digits

    digit_of, arrays = load_digits().target, generate((300, 200), 16, 0.1, seed)
    assert not set(arrays["train_originals"].ravel()) & set(arrays["test_originals"].ravel())
    for split in ("train", "test"):
        left, right = arrays[f"{split}_originals"].T
        assert np.array_equal(10 * digit_of[left] + digit_of[right], arrays[f"{split}_labels"])
        assert np.ptp(np.bincount(arrays[f"{split}_labels"], minlength=100)) <= 1


def test_cache_is_read_and_damage_is_mended(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset("digit_pairs", **SMALL).digest
    assert load_dataset("digit_pairs", **SMALL, data_seed=1).digest != first
    (file, _) = sorted(cache.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["lskd.data.digit_pairs"], "generate", None)  # a second call must not generate
        assert load_dataset("digit_pairs", **SMALL).digest == first
    for damage in (flip, lambda file: file.write_bytes(b"no zip")):
        damage(file)
        with pytest.warns(UserWarning, match=r"cannot be read .*made again"):
            assert load_dataset("digit_pairs", **SMALL).digest == first
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit_pair", {}, "did you mean 'digit_pairs'"),
        ("digit_pairs", {"nois": 1}, "did you mean 'noise'"),
        ("digit_pairs", {"train_size": 10}, r"train_size is 10 \(int\); expected int >= 100"),
        ("digit_pairs", {"resolution": 15}, "multiple of 2"),
        ("digit_pairs", {"noise": -1.0}, r"noise is -1\.0 \(float\); expected float >= 0"),
        ("digit_pairs", {"noise": True}, r"noise is True \(bool\); expected float"),
        ("digit_pairs", {"train_size": 10**9}, r"1,000,002,000 images of 16 x 16 need .* GB of memory, .* GB are free"),
        ("digit_pairs", {"holdout": -1}, r"holdout is -1 \(int\); expected int >= 0"),
        ("digit_pairs", {"holdout": True}, r"holdout is True \(bool\); expected int"),
        ("folder", {"pth": "x"}, "has no option 'pth'; did you mean 'path'"),
        ("cifar100_224", {"size": 4}, r"size is 4 \(int\); expected int >= 8"),
        ("cifar100", {"train_size": -49900}, "train_size is -49900"),
        ("cifar100", {"test_size": 0}, "test_size is 0"),
        ("cifar100", {"std": [58, 57, 57]}, r"std\[0\] is 58"),
        ("imagenet", {"size": 224, "resize": 100}, "resize is 100, size 224"),
    ],
)
def test_bad_options_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises((LskdError, ValueError), match=message):
        load_dataset(name, **options)


def test_cifar100_reads_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(" ".join(SUPERCLASSES.values()).split())
    assert len(names) == len(set(names)) == 100
    images = np.arange(200 * 32 * 32 * 3, dtype=np.int64).reshape(200, 32, 32, 3).astype(np.uint8)
    labels = {"train_labels": np.arange(200) % 100, "test_labels": np.arange(200) // 2}  # the test part by class
    arrays = {f"{s}_images": images for s in ("train", "test")}
    np.savez(tmp_path / "cifar100.npz", class_names=np.array(names), **arrays, **labels)
    monkeypatch.setenv("LSKD_DATA", str(tmp_path))
    data = load_dataset("cifar100", test_size=50, mean=[0, 0, 0], std=[1, 1, 1])
    assert data.std == (1.0, 1.0, 1.0)
    said = capsys.readouterr().err
    assert said.startswith("cifar100, test: 50 of 200 images, 1 of each of 50 classes; none of 'aquarium_fish', 'bear'")
    assert load_dataset("cifar100", test_size=100).test_labels.tolist() == list(range(100))
    with pytest.raises(LskdError, match="train_size is 201; there are 200 images"):
        load_dataset("cifar100", train_size=201)
    halves, beyond = labels["train_labels"] + 0.5, labels["test_labels"] + 1
    for wrong, message in (
        ({"train_labels": halves}, r"train_labels are float64 \(200,\); expected integers \[200\]"),
        ({"test_labels": np.eye(100)}, r"test_labels are float64 \(100, 100\); expected integers"),
        ({"test_labels": beyond}, r"test labels are 1\.\.100; expected 0\.\.99"),
        ({"test_images": images.transpose(0, 3, 1, 2)}, r"uint8 \(200, 3, 32, 32\); expected uint8 \[n, 32, 32, 3\]"),
        ({"class_names": np.array(names[::-1])}, "class_names are not those of CIFAR-100 in order, apple, "),
        ({"class_names": np.array(names, dtype=object)}, "cannot be read .no NumPy archive, or one of objects.; "),
    ):
        np.savez(tmp_path / "cifar100.npz", **({"class_names": np.array(names)} | arrays | labels | wrong))
        with pytest.raises(ValueError, match=message):
            load_dataset("cifar100")
    assert data.train_images.shape == (200, 3, 32, 32)
    assert data.test_images.shape == (50, 3, 32, 32)
    assert torch.equal(data.train_images[3], torch.from_numpy(images[3]).permute(2, 0, 1))
    assert data.superclass_names[data.superclass[data.class_names.index("whale")]] == "aquatic mammals"


def test_weak_views_equal_the_released_pipeline() -> None:
    g = np.load(GOLDEN / "augment_ops.npz")
    image = torch.from_numpy(g["image"]).permute(2, 0, 1)[None]
    as_input = Normalize(SimpleNamespace(mean=MEAN, std=STD), image.device)
    keys = [k for k in g.files if k.startswith("weak|")]
    assert keys
    for key in keys:
        words = dict(w.split("=") for w in key.split("|")[1:])
        view = int(words["flip"]) * 81 + int(words["top"]) * 9 + int(words["left"])
        batch = weak_view(image, torch.tensor([view]))
        np.testing.assert_allclose(as_input(batch)[0].numpy(), g[key], rtol=0, atol=1e-6)
    np.testing.assert_allclose(as_input(image)[0].numpy(), g["test_transform"], rtol=0, atol=1e-6)
    for view in (torch.tensor([0, 1]), torch.tensor(0), torch.tensor([0.0])):
        with pytest.raises(ValueError, match=r"weak_view: view is .* expected int64 \[1\], one an image"):
            weak_view(image, view)


def test_every_view_is_the_crop_it_names() -> None:
    images = torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    views = Views(images, pad=1, flip=True)
    assert views.count == view_count(pad=1, flip=True) == 18
    for view in range(18):
        flip, top, left = view // 9, view // 3 % 3, view % 3
        expected = padded[:, :, top : top + 6, left : left + 6]
        found = views(torch.tensor([0, 1]), torch.full((2,), view))
        assert torch.equal(found, expected.flip(-1) if flip else expected)
    with pytest.raises(ValueError, match=r"0\.\.17"):
        views(torch.tensor([0]), torch.tensor([18]))


def drawn(seed: int, epoch: int) -> list[torch.Tensor]:
    """Every draw of an epoch, in the order of lskd/data/draws.py."""
    views, drops = epoch_views(seed, epoch, 100, 162), epoch_drops(seed, epoch, 100, 4)
    return [epoch_order(seed, epoch, 100), views, drops, *vars(epoch_strong(seed, epoch, 100)).values()]


def test_draws_depend_on_seed_epoch_and_purpose_alone() -> None:
    torch.manual_seed(1)
    first, state = drawn(0, 3), torch.get_rng_state()
    torch.manual_seed(2)
    torch.rand(5)
    for a, again, *others in zip(first, drawn(0, 3), drawn(0, 4), drawn(1, 3), strict=True):
        assert torch.equal(a, again)
        assert not any(torch.equal(a, other) for other in others)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # none draws from the global generator
    assert sorted(first[0].tolist()) == list(range(100))
    assert len({seed_for(s, *labels) for s in range(5) for labels in (("a",), ("a", 1), ("b",))}) == 15
    counts = torch.bincount(epoch_views(0, 1, 162_000, 162), minlength=162)
    assert counts.min() > 800
    assert counts.max() < 1200


numbers = st.one_of(st.integers(-9, 300), st.floats(), st.booleans())
values = st.one_of(numbers, st.none(), st.text(max_size=4), st.lists(st.floats(-1, 2), max_size=4))


@given(st.sampled_from([*DATASETS]), st.data())
def test_options_of_any_value_are_taken_or_refused_with_a_sentence(name: str, data: st.DataObject) -> None:
    known = [*inspect.signature(DATASETS[name].load).parameters, "holdout", "sise"]
    options = data.draw(st.dictionaries(st.sampled_from(known), values, max_size=3))
    try:
        chosen = check_options(name, options)
    except (LskdError, ValueError) as error:
        assert f"data set {name!r}" in str(error)  # noqa: PT017
        return
    assert "sise" not in options
    for key, value in options.items():
        assert type(chosen[key]) is (tuple if isinstance(value, list) else float if key == "noise" else type(value))


def test_a_package_that_is_missing_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "sklearn"] + ["sklearn"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LskdError, match="'digit_pairs' needs scikit-learn, which is not installed; pip install"):
        load_dataset("digit_pairs", **SMALL)
    with pytest.raises(LskdError, match="cannot be trained here: digit_pairs needs scikit-learn"):
        load_recipe("digit-pairs")


def test_a_new_data_set_is_a_module_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of it is read everywhere: recipes, plans, texts."""
    from paper.jobs import _sizes
    from paper.text import data_name

    def load(*, train_size: Count = 60) -> Dataset:
        items = [(image, i % 2) for i, image in enumerate(torch.arange(60 * 192).reshape(60, 3, 8, 8).to(torch.uint8))]
        return from_items("toy", items, items, pad=1)

    source = DataSource(load, "Toy", 60, 60, 2, views=18, packages={"no_such_module": "no-such-package"})
    monkeypatch.setitem(DATASETS, "toy", source)
    recipe = load_recipe("digit-pairs", settings={"dataset": "toy", "data": {"train_size": 40}}, for_training=False)
    assert recipe.obstacles() == ["toy needs no-such-package, which is not installed"]
    assert _sizes(recipe) == (40, 60, 18)
    assert data_name("toy") == "Toy"
    assert load_dataset("toy").view_count == 18
    with pytest.raises(LskdError, match=r"'toy': train_size is 0 \(int\); expected int >= 1"):
        load_recipe("digit-pairs", settings={"dataset": "toy", "data": {"train_size": 0}})


def test_a_digest_needs_no_copy_of_the_images() -> None:
    images = torch.randint(0, 256, (30, 3, 240, 300), dtype=torch.uint8)
    data = from_items("big", *[[(image, i % 2) for i, image in enumerate(images)]] * 2)
    tracemalloc.start()
    assert data.digest
    assert tracemalloc.get_traced_memory()[1] < images.numel() / 10
    tracemalloc.stop()


def test_a_data_set_takes_arrays_as_mean_and_deviation_and_needs_a_fingerprint_of_images_made_when_needed() -> None:
    whole = load_dataset("digit_pairs", **HELD)
    array = dataclasses.replace(whole, mean=np.array(whole.mean), std=torch.tensor(whole.std, dtype=torch.float64))
    assert (array.mean, array.std, array.digest) == (whole.mean, whole.std, whole.digest)
    lazy = pictures(lambda i: whole.test_images[i], len(whole.test_images), 28)
    with pytest.raises(ValueError, match="made when needed; expected a fingerprint"):
        dataclasses.replace(whole, test_images=lazy)


def test_statistics_are_those_of_the_definition() -> None:
    images = torch.randint(0, 256, (50, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = channel_statistics(images)
    whole = images.double() / 255
    assert mean == pytest.approx(whole.mean((0, 2, 3)).tolist(), abs=5.1e-5)
    assert std == pytest.approx(whole.std((0, 2, 3), correction=0).tolist(), abs=5.1e-5)


HELD: dict[str, Any] = {"train_size": 600, "test_size": 100}


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_the_part_is_balanced_disjoint_and_the_same_for_every_seed() -> None:
    whole = load_dataset("digit_pairs", **HELD)
    part, again = (load_dataset("digit_pairs", **HELD, holdout=250) for _ in range(2))
    assert len(part.train_labels) == 350
    counts = torch.bincount(part.held_labels, minlength=100)
    assert counts.sum() == 250
    assert set(counts.tolist()) == {2, 3}
    assert rows(part.train_images) | rows(part.held_images) == rows(whole.train_images)
    assert not rows(part.train_images) & rows(part.held_images)
    assert torch.equal(part.test_images, whole.test_images)
    assert torch.equal(again.held_images, part.held_images)  # a function of the data alone
    assert len({part.digest, whole.digest, load_dataset("digit_pairs", **HELD, holdout=200).digest}) == 3
    assert load_dataset("digit_pairs", **HELD, holdout=0).digest == whole.digest
    other = hold_out(dataclasses.replace(whole, test_labels=whole.test_labels.flip(0)), 250)
    assert not torch.equal(other.held_images, part.held_images)


def test_a_part_leaves_images_of_every_class_and_needs_them_in_memory() -> None:
    whole = load_dataset("digit_pairs", **HELD)
    with pytest.raises(ValueError, match=r"takes 6 of the 6 training images of class '\d\d'; some have to stay"):
        hold_out(whole, 600)
    made = dataclasses.replace(whole, view=lambda position, number: whole.train_images[position])
    with pytest.raises(ValueError, match="images must be in memory"):
        hold_out(made, 100)


def test_a_run_measures_the_part_in_every_epoch_and_its_record_selects(tmp_path: Path) -> None:
    settings = {"epochs": 2, "milestones": [], "student": "resnet8", "data": HELD | {"holdout": 200}}
    options: dict[str, Any] = {"settings": settings, "runs": tmp_path / "runs", "progress": False, "device": "cpu"}
    for seed in (0, 1):
        record = run.train("digit-pairs-teacher", tmp_path / str(seed), seed=seed, **options)
        assert record["dataset"]["train_size"] == 400
        member = record["members"]["teacher"]
        measured = [row["held_accuracy"] for row in member["epochs"]]
        assert len(measured) == 2
        assert member["selected"]["held_accuracy"] == max(measured)
        chosen = member["epochs"][member["selected"]["epoch"] - 1]
        assert member["selected"]["test_accuracy"] == chosen["test_accuracy"]
        store.add(tmp_path / str(seed), tmp_path / "store")
    text = listings.shown("digit-pairs-teacher", tmp_path / "store")
    assert "chosen on a held-out part [%]" in text
    (row,) = statistics.rows(store.find("digit-pairs-teacher", tmp_path / "store"))
    assert row["selected"]["mean"] is not None
    assert f"{row['selected']['mean']:.2f} ± {row['selected']['sd']:.2f}" in text
    group = store.find("digit-pairs-teacher", tmp_path / "store")
    assert statistics.compare(group, "teacher", group, "teacher")["selected"]["mean"] == 0.0
    recipe = load_recipe("cifar100/resnet56-resnet20", settings={"data.holdout": 5000}, for_training=False)
    assert recipe.config()["data"] == {"holdout": 5000}  # so that such a run is no cell of the paper
