"""Optimisers, rates and drop path as recipes say them; the vision transformers' steps against released numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from small_runs import CPU, images
from torch import Tensor, nn
from torch.nn import functional as F

from lskd.data.cifar100_224 import enlarged
from lskd.data.dataset import Dataset
from lskd.errors import LskdError
from lskd.losses import kd_loss
from lskd.models import create_model
from lskd.models.base import Network, Resized
from lskd.models.transformer import DropPath, drop_path_columns, dropping
from lskd.objectives import Logits, create_objective
from lskd.recipes import Recipe, load_recipe
from lskd.trainer import checkpoint
from lskd.trainer.cohort import Cohort
from lskd.trainer.member import parameters
from lskd.trainer.optimization import create_optimizer, exempt, learning_rate, set_drop_path
from lskd.trainer.run import train

GOLDEN = Path(__file__).parents[1] / "golden"


def small() -> Dataset:
    """Eight images, ten classes."""
    return enlarged(images(10, 8, side=32), size=224)


def teacher() -> Network:
    torch.manual_seed(3)
    return Resized(create_model("pycls-ResNet-8", 10), 32)


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe of the paper's, three steps an epoch and one image left over."""
    return structs.replace(load_recipe(name), epochs=2, batch_size=3, **changes)


# --- rates and groups ------------------------------------------------------------------------------------------------


def test_rates_of_the_recipes_are_the_released_ones() -> None:
    g = np.load(GOLDEN / "schedule_vit.npz")
    for name, key in (("vit/PiT-Tiny", "lr_adamw"), ("vit/alone/pycls-ResNet-56", "lr_teacher_sgd")):
        found = load_recipe(name)
        np.testing.assert_allclose([learning_rate(found, e) for e in range(1, 301)], g[key], rtol=1e-9)
    steps, g = load_recipe("cifar100/resnet56-resnet20"), np.load(GOLDEN / "schedules.npz")
    for key, rate, milestones in (
        ("lr_cifar_0.05", 0.05, (150, 180, 210)),
        ("lr_cifar_0.01", 0.01, (150, 180, 210)),
        ("lr_mlkd_480_0.025", 0.025, (150, 180, 210)),
        ("lr_imagenet_0.2", 0.2, (30, 60, 90)),
    ):
        found = structs.replace(steps, learning_rate=rate, milestones=milestones)
        np.testing.assert_array_equal([learning_rate(found, e) for e in range(1, len(g[key]) + 1)], g[key])


@pytest.mark.parametrize("name", ["DeiT-Tiny", "DeiT-Tiny-distilled", "PiT-Tiny", "PVT-Tiny", "T2T-ViT-7"])
def test_decay_is_on_matrices_alone_and_not_on_tokens(name: str) -> None:
    """Protocol 4.4: two or more dimensions, except class token, position embedding and distillation token."""
    found = load_recipe(f"vit/{name}")
    model = create_model(name, 10)
    optimizer = create_optimizer(found, model, create_objective("plain"))
    assert isinstance(optimizer, torch.optim.AdamW)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {g["betas"] for g in optimizer.param_groups} == {(0.9, 0.999)}
    for key, value in model.named_parameters():
        token = key.startswith(("cls_token", "pos_embed", "distill_token"))
        assert decays.pop(id(value)) == (0.05 if value.ndim >= 2 and not token else 0.0), key
    assert not decays


def test_what_an_objective_owns_is_in_the_groups_too() -> None:
    found = load_recipe("vit/PiT-Tiny")
    student, objective = create_model("PiT-Tiny", 10), create_objective("locality")
    objective.attach(student, teacher().eval(), torch.zeros(1, 3, 224, 224))
    optimizer = create_optimizer(found, student, objective)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert [decays[id(p)] for p in objective.parameters()] == [0.05, 0.0] * 3
    assert [tuple(p.shape[:2]) for p in objective.parameters() if p.ndim > 1] == [(16, 64), (32, 128), (64, 256)]


def test_the_teachers_optimiser() -> None:
    model = create_model("pycls-ResNet-8", 10)
    optimizer = create_optimizer(load_recipe("vit/alone/pycls-ResNet-56"), model, create_objective("plain"))
    assert isinstance(optimizer, torch.optim.SGD)
    assert [(g["nesterov"], g["momentum"]) for g in optimizer.param_groups] == [(True, 0.9)] * 2
    assert all(p.ndim == 1 for p in optimizer.param_groups[1]["params"])
    assert all(p.ndim > 1 for p in optimizer.param_groups[0]["params"])
    assert exempt(model, []) == set()


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [False, True])
def test_kd_of_two_heads_is_the_released_loss(standardize: bool) -> None:
    g = np.load(GOLDEN / "loss_vit_b8_k100.npz")
    student, given = (torch.from_numpy(g[key]).double() for key in ("student", "teacher"))
    for row in (dict(zip(g["columns"].tolist(), values.tolist(), strict=True)) for values in g["rows"]):
        if bool(row["logit_stand"]) != standardize:
            continue
        weight = row["weight"] if standardize else 1.0
        objective = create_objective(
            "kd", temperature=row["T"], kd_weight=weight, ce_weight=0.5, standardize=standardize
        )
        logits = Logits(student, torch.from_numpy(g["target"]), given, student_distilled=student)
        assert float(sum(objective(logits).values())) == pytest.approx(row["total"], rel=1e-7)
        other = dataclasses.replace(logits, student_distilled=-student)
        assert float(objective(other)["ce"]) == pytest.approx(0.5 * row["cross_entropy"], rel=1e-7)
        expected = kd_loss(-student, given, temperature=row["T"], standardize=standardize)
        assert float(objective(other)["kd"]) == pytest.approx(float(weight * expected), rel=1e-7)


def test_two_steps_of_deit_by_hand() -> None:
    """Nothing of the loop but its draws: two heads, AdamW written out, no step for the image that is left over."""
    found = recipe("vit/DeiT-Tiny-distilled")
    found = structs.replace(found, optimization=found.optimization | {"drop_path": 0.0, "warmup_epochs": 0})
    given = teacher()
    cohort = Cohort(found, small(), seed=1, teacher=given, device=CPU)
    assert cohort.steps_per_epoch == 2  # the last, incomplete batch is dropped
    model = cohort.members[0].model
    # Heads start at zero, and so would all gradients but theirs; AdamW makes steps of rounding errors.
    torch.manual_seed(0)
    nn.init.normal_(model.get_parameter("head.weight"))
    nn.init.normal_(model.get_parameter("distill_head.weight"))
    student = create_model("DeiT-Tiny-distilled", 10)
    student.load_state_dict(model.state_dict())
    set_drop_path(student, 0.0, name="DeiT-Tiny-distilled")
    start = {k: v.detach().clone() for k, v in student.named_parameters()}
    state = {k: (torch.zeros_like(v), torch.zeros_like(v)) for k, v in start.items()}
    rate = learning_rate(found, 1)
    for count, batch in enumerate(map(cohort.batches.load, cohort.batches.draws(1)), start=1):
        of_class, distilled = student.train().forward_heads(batch.inputs)
        with torch.no_grad():
            said = given.eval()(F.interpolate(batch.inputs, (32, 32), mode="bilinear"))
        loss = 0.5 * F.cross_entropy(of_class, batch.target)
        loss = loss + 10 * kd_loss(distilled, said, temperature=3.0, standardize=True)
        student.zero_grad()
        loss.backward()
        with torch.no_grad():
            for key, value in student.named_parameters():
                first, second = state[key]
                first.mul_(0.9).add_(0.1 * value.grad)
                second.mul_(0.999).add_(0.001 * value.grad**2)
                matrix = value.ndim > 1 and not key.startswith(("cls_token", "pos_embed", "distill_token"))
                value.mul_(1 - rate * (0.05 if matrix else 0.0))
                denominator = (second / (1 - 0.999**count)).sqrt() + 1e-8
                value.sub_(rate * (first / (1 - 0.9**count)) / denominator)
    cohort.run(until=cohort.steps_per_epoch)
    for key, value in student.named_parameters():
        if "qkv_transform.bias" in key:  # that of the keys changes nothing: its gradient is rounding errors alone
            continue
        trained = model.get_parameter(key).detach()
        moved, off = (trained - start[key]).abs().mean(), (value.detach() - trained).abs().mean()
        assert float(off) < 1e-3 * float(moved), key


def test_a_run_with_adamw_and_drop_path_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    found, data = recipe("vit/PiT-Tiny"), small()
    found = structs.replace(found, optimization=found.optimization | {"warmup_epochs": 0})
    found = structs.replace(found, members={"locality": found.members["locality"]})

    def fresh() -> Cohort:
        return Cohort(found, data, seed=2, teacher=teacher(), device=CPU)

    whole = fresh()

    def after_step() -> None:
        if whole.step == 3:
            checkpoint.save(tmp_path, whole.state(), identity="x")

    whole.run(after_step=after_step, window=1)
    second = fresh()
    torch.rand(7)  # whatever else draws from the global generator
    loaded = checkpoint.load_newest(tmp_path, identity="x")
    second.restore(loaded)
    second.run()
    (a,), (b,) = whole.members, second.members
    assert a.history == b.history
    assert [list(row["terms"]) for row in a.history] == [["ce", "guidance"]] * 2
    for x, y in zip(parameters(a.optimizer), parameters(b.optimizer), strict=True):
        assert torch.equal(x, y)


# --- drop path -------------------------------------------------------------------------------------------------------


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.paths = nn.ModuleList(DropPath(rate) for rate in (0.0, 0.05, 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([path(x) for path in self.paths for _ in range(2)], 1)


def test_given_numbers_decide_what_is_dropped() -> None:
    model, x = Branches().train(), torch.ones(3)
    assert drop_path_columns(model) == 4
    uniform = torch.tensor([[0.0, 0.949, 0.0, 0.0], [0.951, 0.0, 0.0, 0.899], [0.0, 0.0, 0.901, 0.0]])
    with dropping(model, uniform):
        kept = model(x) > 0
    assert kept.tolist() == [[True] * 6, [True, True, False, True, True, True], [True] * 4 + [False, True]]
    torch.manual_seed(0)
    assert len({float(model(torch.ones(2000)).mean()) for _ in range(3)}) == 3  # by chance again


def test_the_rate_is_the_recipes() -> None:
    model = create_model("DeiT-Tiny", 10)
    for rate in (None, 0.2):
        if rate is not None:
            set_drop_path(model, rate, name="DeiT-Tiny")
        found = [path.rate for path in model.modules() if isinstance(path, DropPath)]
        assert found == pytest.approx([(rate or 0.1) * i / 11 for i in range(12)])
    set_drop_path(model, 0.0, name="DeiT-Tiny")
    assert drop_path_columns(model) == 0
    with pytest.raises(LskdError, match=r"resnet8: optimization.drop_path is 0.1; this network has no drop path"):
        set_drop_path(create_model("resnet8"), 0.1, name="resnet8")


def test_fewer_images_than_a_batch_and_more_warm_up_than_epochs_are_refused(tmp_path: Path) -> None:
    found = structs.replace(recipe("vit/PiT-Tiny", members={"alone": {"method": "plain"}}), batch_size=16)
    with pytest.raises(LskdError, match="batch_size is 16 and there are 8 training images: no whole batch"):
        Cohort(found, small(), seed=0, teacher=None, device=CPU)
    with pytest.raises(LskdError, match="20 epochs of warm-up and 2 in all; lower the first too"):
        train("vit/PiT-Tiny", tmp_path / "run", settings={"epochs": 2}, progress=False, device="cpu")
    assert not (tmp_path / "run").exists()
