"""A held-out part of the training set: which images it takes, and what a record and its statistics say of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from lskd.data import load_dataset
from lskd.data.held_out import hold_out
from lskd.recipes import load_recipe
from lskd.records import summarize
from lskd.trainer import run
from paper import listings, statistics, store

SIZES: dict[str, Any] = {"train_size": 600, "test_size": 100}


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_the_part_is_balanced_disjoint_and_the_same_for_every_seed() -> None:
    whole = load_dataset("digit_pairs", **SIZES)
    part, again = (load_dataset("digit_pairs", **SIZES, holdout=250) for _ in range(2))
    assert len(part.train_labels) == 350
    counts = torch.bincount(part.held_labels, minlength=100)
    assert counts.sum() == 250
    assert set(counts.tolist()) == {2, 3}
    assert rows(part.train_images) | rows(part.held_images) == rows(whole.train_images)
    assert not rows(part.train_images) & rows(part.held_images)
    assert torch.equal(part.test_images, whole.test_images)
    assert torch.equal(again.held_images, part.held_images)  # a function of the data alone
    assert len({part.digest, whole.digest, load_dataset("digit_pairs", **SIZES, holdout=200).digest}) == 3
    assert load_dataset("digit_pairs", **SIZES, holdout=0).digest == whole.digest
    other = hold_out(dataclasses.replace(whole, test_labels=whole.test_labels.flip(0)), 250)
    assert not torch.equal(other.held_images, part.held_images)


def test_a_part_leaves_images_of_every_class_and_needs_them_in_memory() -> None:
    whole = load_dataset("digit_pairs", **SIZES)
    with pytest.raises(ValueError, match=r"takes 6 of the 6 training images of class '\d\d'; some have to stay"):
        hold_out(whole, 600)
    made = dataclasses.replace(whole, view=lambda position, number: whole.train_images[position])
    with pytest.raises(ValueError, match="images must be in memory"):
        hold_out(made, 100)


def test_the_epoch_that_is_best_on_the_part_is_selected() -> None:
    history = [
        {"epoch": 1, "test_accuracy": 50.0, "held_accuracy": 40.0},
        {"epoch": 2, "test_accuracy": 60.0, "held_accuracy": 70.0},
        {"epoch": 3, "test_accuracy": 80.0, "held_accuracy": 70.0},
        {"epoch": 4, "test_accuracy": 70.0, "held_accuracy": 60.0},
    ]
    found = summarize(history)
    assert found["best"]["epoch"] == 3
    assert found["selected"] == {"epoch": 2, "test_accuracy": 60.0, "held_accuracy": 70.0}  # the first of equals
    assert "selected" not in summarize([{k: row[k] for k in ("epoch", "test_accuracy")} for row in history])


def test_a_run_measures_the_part_in_every_epoch_and_its_record_selects(tmp_path: Path) -> None:
    settings = {"epochs": 2, "milestones": [], **{f"data.{k}": v for k, v in SIZES.items()}, "data.holdout": 200}
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


def test_a_run_with_a_part_is_no_cell_of_the_paper() -> None:
    recipe = load_recipe("cifar100/resnet56-resnet20", settings={"data.holdout": 5000}, for_training=False)
    assert recipe.config()["data"] == {"holdout": 5000}
