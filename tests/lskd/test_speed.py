"""The speed of a run: student-images a second, and a share that is left out where the cost is not known."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch

from lskd.models import model_info
from lskd.recipes import load_recipe
from lskd.trainer import speed as module
from lskd.trainer.speed import product_rate, speed

CPU = torch.device("cpu")


def data(images: int, side: int) -> Any:
    return types.SimpleNamespace(train_labels=[0] * images, image_shape=(3, side, side), classes=100)


def test_a_rate_counts_students_and_a_share_counts_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "product_rate", lambda device: 1e10)
    recipe = load_recipe("cifar100-resnet56-resnet20-short-8")  # three students
    facts: Any = {"dataset": data(1000 // recipe.epochs, side=32), "seconds": 10.0, "device": CPU}
    student, teacher = (model_info(name, 100).multiply_adds for name in ("resnet20", "resnet56"))
    live = speed(recipe, live=True, **facts)
    assert live["student_images_per_s"] == 300.0
    assert live["share"] == pytest.approx(300 * (3 * student + teacher / 3) / 1e10)
    assert speed(recipe, live=False, **facts)["share"] == pytest.approx(300 * 3 * student / 1e10)


def test_no_share_where_the_cost_is_not_counted() -> None:
    recipe = load_recipe("digit-pairs")  # images of 16 pixels, networks that are counted at 32
    found = speed(recipe, data(10, side=16), seconds=1.0, live=True, device=CPU)
    assert found["share"] is None
    assert found["student_images_per_s"] == 10 * recipe.epochs * len(recipe.members)


def test_measuring_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert product_rate(CPU, size=32) > 0
    assert torch.equal(torch.get_rng_state(), before)
