"""Objectives: settings that check themselves, terms that are weights times losses, a new one in a few lines."""

from __future__ import annotations

import itertools
import math
import typing
from typing import Any

import pytest
import torch
from torch import Tensor

from lskd import losses
from lskd.objective_base import Distilled, Weight
from lskd.objectives import METHODS, LocalityGuidance, Logits, Objective, create_objective

# What an objective of this method has no default for.
NEEDED: dict[str, dict[str, Any]] = {
    "kd": {"temperature": 2.0, "kd_weight": 9.0},
    "mlkd": {"temperature": 2.0, "kd_weight": 9.0},
    "ctkd": {"kd_weight": 9.0},
    "ttm": {"gamma": 0.1, "kd_weight": 45.0},
    "wttm": {"gamma": 0.1, "kd_weight": 45.0},
}


def declared() -> list[tuple[str, str, Any]]:
    """(method, setting, type) of all."""
    return [
        (method, name, typing.get_type_hints(objective, include_extras=True)[name])
        for method, objective in METHODS.items()
        for name in objective.__dataclass_fields__
    ]


def test_titles_are_those_of_readers_and_one_each() -> None:
    titles = [objective.title for objective in METHODS.values()]
    assert len(set(titles)) == len(titles)
    assert titles[:5] == ["student alone", "KD", "CTKD", "DKD", "MLKD"]


@pytest.mark.parametrize(("method", "name", "wanted"), declared())
def test_a_setting_out_of_its_range_is_refused(method: str, name: str, wanted: Any) -> None:
    rule = typing.get_args(wanted)[1] if typing.get_origin(wanted) is typing.Annotated else ""
    lowest = {"> 0": 0.0, ">= 0": -0.5, ">= 1": 0}.get(rule)
    wrong: list[Any] = [] if lowest is None else [lowest, float("nan"), float("inf"), "hot"]
    if typing.get_origin(wanted) is typing.Literal or wanted is bool:
        wrong = ["False"]  # a text, which is true
    # What is neither is not a number to be checked: the divisor and a list of blocks.
    assert wrong or name in ("correction", "blocks")
    for value in wrong:
        with pytest.raises(ValueError, match=f"{name} is {value!r}.*expected"):
            create_objective(method, **NEEDED.get(method, {}) | {name: value})


@pytest.mark.parametrize("method", [m for m, o in METHODS.items() if issubclass(o, Distilled) and m != "dkd"])
def test_the_terms_are_the_weights_times_the_loss(method: str) -> None:
    student, teacher, target = torch.randn(6, 10), torch.randn(6, 10), torch.arange(6)
    settings = NEEDED.get(method, {}) | {"kd_weight": 3.0, "ce_weight": 0.5}
    objective = create_objective(method, **settings)
    weighting = ("kd_weight", "ce_weight", "warmup", "effective_weight")
    own = {k: v for k, v in objective.settings().items() if k not in weighting}
    if method == "ctkd":
        own = {"temperature": objective.temperature(-1.0), "standardize": False}
    labels = (target,) if method == "rld" else ()
    function = getattr(losses, f"{method.replace('ctkd', 'kd')}_loss")
    expected = function(student, teacher, *labels, **own)
    objective.start_epoch(5)
    terms = objective(Logits(student, target, teacher))
    factor = 3.0 * (5 / 20 if "warmup" in objective.settings() else 1.0)
    torch.testing.assert_close(terms["kd"], factor * expected)
    torch.testing.assert_close(terms["ce"], 0.5 * losses.cross_entropy(student, target))
    if "warmup" in objective.settings():
        with pytest.raises(ValueError, match="epoch is 0; epochs count from 1"):
            objective.start_epoch(0)
        objective.start_epoch(40)
        torch.testing.assert_close(objective(Logits(student, target, teacher))["kd"], 3.0 * expected)
        assert objective.epoch_constants() == (1.0,)


def test_the_effective_weight_pulls_as_standardisation_does_where_it_is_hot() -> None:
    torch.manual_seed(0)
    student, teacher, target = torch.randn(6, 10), 3 * torch.randn(6, 10), torch.arange(6)
    student = student - student.mean(-1, keepdim=True)  # so that no class-wide constant differs
    settings: dict[str, Any] = {"temperature": 1e4, "kd_weight": 9.0, "ce_weight": 0.0}
    gradients = []
    for more in ({"effective_weight": True}, {"standardize": True}):
        z = student.double().requires_grad_()
        sum(create_objective("kd", **settings, **more)(Logits(z, target, teacher.double())).values()).backward()
        along = z.detach() / z.detach().norm(dim=-1, keepdim=True)
        gradients.append(z.grad - (z.grad * along).sum(-1, keepdim=True) * along)  # what changes the size is taken away
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-5)
    zeros, plain = torch.zeros(6, 10), create_objective("kd", **settings)(Logits(torch.zeros(6, 10), target, teacher))
    found = create_objective("kd", **settings, effective_weight=True)(Logits(zeros, target, teacher))
    torch.testing.assert_close(found, plain)  # a head of zeros can start, as under LS
    for correction, left_out in itertools.product((0, 1), (-math.inf, -1e4)):
        warm: dict[str, Any] = {"temperature": 2.0, "effective_weight": True, "correction": correction}
        weighted, out = create_objective("kd", **settings | warm), torch.full((6, 2), left_out)
        found = weighted(Logits(torch.cat([student, out], -1), target, torch.cat([teacher, out], -1)))
        torch.testing.assert_close(found, weighted(Logits(student, target, teacher)))
    with pytest.raises(ValueError, match="effective_weight stands in place of standardize"):
        create_objective("kd", **settings, effective_weight=True, standardize=True)


def test_tokens_and_half_precision_are_what_the_losses_say_of_them() -> None:
    settings: dict[str, Any] = {"temperature": 2.0, "kd_weight": 9.0, "effective_weight": True}
    student, teacher, target = 300 * torch.randn(2, 7, 7), 300 * torch.randn(2, 7, 7), torch.arange(14).view(2, 7) % 7
    kd, rows = create_objective("kd", **settings), [x.half().view(14, 7) for x in (student, teacher)]
    found = kd(Logits(student.half(), target, teacher.half()))
    expected = kd(Logits(rows[0].float(), target.view(14), rows[1].float()))
    torch.testing.assert_close(found, expected)  # classes are last, also where there are as many places


@pytest.mark.parametrize("method", ["ctkd", "dkd", "luminet", "rld", "gdkd"])
def test_a_loss_that_depends_on_the_epoch_asks_for_it(method: str) -> None:
    """In a loop that forgets it, CTKD's temperature would stay where it starts and warm-ups would be none."""
    logits = Logits(torch.randn(4, 10), torch.arange(4), torch.randn(4, 10))
    first, resumed = (create_objective(method, **NEEDED.get(method, {})) for _ in range(2))
    first.start_epoch(3)
    resumed.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match=r"depends on the epoch.*call start_epoch"):
        resumed(logits)
    resumed.start_epoch(3)
    torch.testing.assert_close(resumed(logits), first(logits))


def test_a_new_method_is_a_class_with_a_title_and_its_settings() -> None:
    class Cosine(Distilled):
        title = "cosine"
        kd_weight: Weight = 2.0
        ce_weight: Weight = 1.0

        def loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            return 1 - torch.cosine_similarity(student, teacher).mean()

    x = torch.randn(4, 10)
    assert Cosine(kd_weight=1.0)(Logits(x, torch.arange(4), x))["kd"].abs() < 1e-6
    with pytest.raises(ValueError, match="kd_weight is -1"):
        Cosine(kd_weight=-1)
    with pytest.raises(NotImplementedError, match="computes no terms"):
        Objective()(Logits(x, torch.arange(4), x))


@pytest.mark.parametrize("method", ["plain", "dkd", "ctkd", "mlkd", "luminet"])  # the losses alone: test_losses
def test_compiles_without_graph_breaks_and_runs_under_autocast(method: str) -> None:
    extra = {"standardize": True} if method in ("dkd", "ctkd", "mlkd") else {}
    objective = create_objective(method, **NEEDED.get(method, {}), **extra)
    objective.start_epoch(1)
    x = [torch.randn(6, 10, dtype=torch.float64) for _ in range(4)]
    x[0].requires_grad_()
    batch = Logits(x[0], torch.arange(6), x[1], x[2], x[3])
    expected = sum(objective(batch).values())
    compiled = torch.compile(lambda: sum(objective(batch).values()), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(), expected)
    (gradient,) = torch.autograd.grad(expected, x[0])
    torch.testing.assert_close(torch.autograd.grad(compiled(), x[0])[0], gradient)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(sum(objective(batch).values()), expected)


def test_locality_guidance_adds_its_maps_and_learns_its_projections() -> None:
    module = LocalityGuidance([6, 5], [4, 3])
    student = [torch.randn(2, 6, 7, 7), torch.randn(2, 5, 3, 4)]
    teacher = [torch.randn(2, 4, 8, 8), torch.randn(2, 3, 3, 4)]
    loss, triples = module(student, teacher), zip(module.projections, student, teacher, strict=True)
    expected = sum(losses.locality_guidance_loss(project(s), t) for project, s, t in triples)
    torch.testing.assert_close(loss, 2.5 * expected)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_plain_objective_is_cross_entropy() -> None:
    x, y = torch.randn(4, 10), torch.arange(4)
    terms = create_objective("plain")(Logits(x, y))
    assert torch.equal(terms["ce"], torch.nn.functional.cross_entropy(x, y))
