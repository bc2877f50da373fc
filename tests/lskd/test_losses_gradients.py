"""Gradients of every loss with respect to every tensor that it differentiates through, against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from loss_table import LOSSES, OTHERS, K, draw
from torch import Tensor

from lskd import losses
from lskd.losses import CurriculumTemperature, kd_loss, locality_guidance_loss, standardize

TENSORS = {"ttm": ["gamma"], "wttm": ["gamma"], "rld": ["temperature", "alpha_temperature"]}


def gradient_cases() -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    """name: a loss as a function of every float tensor that it differentiates through."""
    student, teacher, target = draw(6, 5)
    weights = torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {}
    for name, loss in LOSSES.items():
        for key in TENSORS.get(name.split("_")[0], ["temperature"]):

            def of(s: Tensor, w: Tensor, t: Tensor, loss: Callable[..., Tensor] = loss, key: str = key) -> Tensor:
                return loss(s, teacher, target, weights=w, **{key: t})

            out[f"{name}, {key}"] = (of, [student, weights, torch.tensor([1.7], dtype=torch.float64)])
    excluded = torch.arange(K) == (target.unsqueeze(-1) + 1) % K
    topk = teacher.topk(3)
    map_of = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    t = torch.tensor(1.7, dtype=torch.float64)

    hidden = teacher.masked_fill(excluded, -math.inf)

    def without(name: str) -> Callable[..., Tensor]:
        return lambda s, t: LOSSES[name](s.masked_fill(excluded, -math.inf), hidden, target, temperature=t)

    return out | {
        **{f"{name}, -inf": (without(name), [student, t]) for name in LOSSES if "ttm" not in name},
        "kd, top k": (
            lambda s, t: kd_loss(s, None, teacher_topk=tuple(topk), temperature=t, standardize=True),
            [student, t],
        ),
        "standardize": (standardize, [student]),
        "standardize, -inf": (lambda s: standardize(s.masked_fill(excluded, -math.inf))[~excluded], [student]),
        **{name: (partial(loss, v=teacher, y=target), [student]) for name, loss in OTHERS.items()},
        "locality": (lambda m: locality_guidance_loss(m, map_of.flip(0)), [map_of]),
    }


@pytest.mark.parametrize("name", gradient_cases())
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    function, inputs = gradient_cases()[name]
    assert torch.autograd.gradcheck(function, [x.detach().clone().requires_grad_() for x in inputs])


def test_every_function_with_a_gradient_is_checked() -> None:
    tried = {name.split(",")[0].split("_")[0].split(" ")[0] for name in gradient_cases()}
    for name in losses.__all__:
        stem = {"curriculum_reversal": "kd", "CurriculumTemperature": "kd", "dkd_terms": "tckd"}.get(name)
        assert (stem or name.split("_")[0]) in tried


@pytest.mark.parametrize("name", [n for n in LOSSES if n.split("_")[0] not in ("ttm", "wttm")])
def test_a_learned_temperature_learns_from_every_loss(name: str) -> None:
    student, teacher, target = draw(7, 64)
    module = CurriculumTemperature(2.0, 40.0).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(20):
        loss = LOSSES[name](10 * student, 10 * teacher, target, temperature=module(-1.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(module.theta.grad).all()
        assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_the_teacher_gets_no_gradient(name: str) -> None:
    for loss in LOSSES.values():
        student, teacher, target = draw(8, 5)
        loss(student, teacher.requires_grad_(), target).backward()
        assert (student.grad is not None, teacher.grad is None) == (True, True)


@pytest.mark.parametrize("name", LOSSES)
def test_second_derivatives_are_finite_where_a_row_is_constant(name: str) -> None:
    for left_out in (torch.zeros(K).bool(), torch.arange(K) > 3):
        student, teacher, target = (x.detach() for x in draw(9, 5))
        student[0] = 2.0
        given = student.masked_fill(left_out, -math.inf).requires_grad_()
        loss = LOSSES[name](given, teacher.masked_fill(left_out, -math.inf), target % 4)
        (first,) = torch.autograd.grad(loss, given, create_graph=True)
        assert torch.isfinite(torch.autograd.grad(first.square().sum(), given)[0]).all()
