"""What every loss can do and what holds for every input: rows, classes, gradients, compilers, invariances, bounds."""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lskd import family, losses, rows
from lskd.losses import CurriculumTemperature, dkd_loss, dkd_terms, kd_loss, standardize
from lskd.objectives import LocalityGuidance, Logits, create_objective

K = 7
# Every loss of two sides' logits, as (student, teacher, labels, **rows) -> loss.
LOSSES: dict[str, Callable[..., Tensor]] = {
    "kd": lambda s, v, y, **o: kd_loss(s, v, **{"temperature": 2.0} | o),
    "kd_ls": lambda s, v, y, **o: kd_loss(s, v, standardize=True, **{"temperature": 2.0} | o),
    "kd_chunk": lambda s, v, y, **o: kd_loss(s, v, standardize=True, chunk=8, **{"temperature": 2.0} | o),
    "dkd": dkd_loss,
    "dkd_ls": partial(dkd_loss, standardize=True),
    "tckd": lambda s, v, y, **o: dkd_terms(s, v, y, **{"temperature": 3.0} | o)[0],
    "normkd": lambda s, v, y, **o: losses.normkd_loss(s, v, **o),
    "luminet": lambda s, v, y, **o: losses.luminet_loss(s, v, alpha=3.0, **o),
    "dist": lambda s, v, y, **o: losses.dist_loss(s, v, **o),
    "ttm": lambda s, v, y, **o: losses.ttm_loss(s, v, **{"gamma": 0.5} | o),
    "wttm": lambda s, v, y, **o: losses.wttm_loss(s, v, **{"gamma": 0.5} | o),
    "rld": losses.rld_loss,
    "rld_ls": partial(losses.rld_loss, standardize=True),
    "gdkd": lambda s, v, y, **o: losses.gdkd_loss(s, v, **{"k": 3} | o),
    "gdkd_ls": lambda s, v, y, **o: losses.gdkd_loss(s, v, standardize=True, **{"k": 3} | o),
}
OF_A_BATCH = ("luminet", "dist")


def mlkd(s: Tensor, v: Tensor, y: Tensor, **o: Any) -> Tensor:
    options = {"temperature": 2.0, "kd_weight": 9.0} | o
    return sum(losses.mlkd_terms(s, s.flip(0), v, v.flip(0), y, **options).values())


def vit(s: Tensor, v: Tensor, y: Tensor, **o: Any) -> Tensor:
    return sum(losses.vit_logit_terms(s, s.flip(0), v, y, temperature=2.0, **o).values())


# Those whose inputs have another form, on samples; the second view, or head, is that of another sample.
OTHERS: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": lambda s, v, y: losses.cross_entropy(s, y),
    "mlkd": mlkd,
    "mlkd_ls": partial(mlkd, standardize=True),
    "mlkd_all": partial(mlkd, standardize_correlations=True, strong_terms="all", masks="elementwise", standardize=True),
    "vit": vit,
    "vit_ls": partial(vit, standardize=True),
}


def draw(seed: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(*shape, K, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(), teacher, torch.randint(K, shape, generator=generator)


def with_gradient(name: str, student: Tensor, *others: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    loss = LOSSES[name](student, *others, **options)
    return loss, torch.autograd.grad(loss.sum(), student)[0]


every = pytest.mark.parametrize("name", LOSSES)


def test_every_loss_is_tried_here() -> None:
    """A function that is exported but not in this file's tables fails here."""
    public = {n for n in losses.__all__ if "student_logits" in inspect.signature(getattr(losses, n)).parameters}
    assert public == {f"{n.split('_')[0]}_loss" for n in LOSSES if n != "tckd"} | {"dkd_terms"}
    others = set(losses.__all__) - public - {"curriculum_reversal", "CurriculumTemperature"}
    assert {n.split("_")[0] for n in others} == {n.split("_")[0] for n in OTHERS} | {"standardize", "locality"}


@every
def test_positions_of_any_shape_are_rows(name: str) -> None:
    student, teacher, target = draw(0, 3, 2, 5)
    flat = student.reshape(-1, K), teacher.reshape(-1, K), target.reshape(-1)
    expected, gradient = with_gradient(name, flat[0], *flat[1:])
    loss, found = with_gradient(name, student, teacher, target)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found.reshape(-1, K), gradient)
    images = (x.movedim(-1, 1).contiguous() for x in (student, teacher))  # [batch, classes, height, width]
    torch.testing.assert_close(LOSSES[name](*images, target, dim=1), expected)
    if name not in OF_A_BATCH:
        torch.testing.assert_close(
            LOSSES[name](student, teacher, target, reduction="none")[1, 0, 2],
            LOSSES[name](student[1, 0, 2], teacher[1, 0, 2], target[1, 0, 2]),
        )


@every
def test_rows_that_do_not_count_have_no_influence(name: str) -> None:
    student, teacher, target = draw(1, 4, 3)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).bool()
    kept = student.detach()[mask].requires_grad_()
    expected, gradient = with_gradient(name, kept, teacher[mask], target[mask])
    with torch.no_grad():
        student[2], student[0, 2], teacher[2, 1], target[~mask] = math.nan, math.inf, math.nan, -100
    for counting in (mask, mask.long()):
        loss, found = with_gradient(name, student, teacher, target, mask=counting)
        torch.testing.assert_close(loss, expected)
        assert (found[~mask] == 0).all()
        torch.testing.assert_close(found[mask], gradient)
    total = LOSSES[name](student, teacher, target, mask=mask, reduction="sum")
    rows = LOSSES[name](student, teacher, target, mask=mask, reduction="none")
    torch.testing.assert_close(total, 6 * expected)
    torch.testing.assert_close(rows.sum(), total)
    assert rows.shape == mask.shape
    assert (rows[~mask] == 0).all()
    samples = torch.tensor([True, False, False, True])
    of_samples = LOSSES[name](student[[0, 3]], teacher[[0, 3]], target[[0, 3]], mask=mask[[0, 3]])
    both = mask & samples.unsqueeze(1)
    torch.testing.assert_close(LOSSES[name](student, teacher, target, mask=both), of_samples)


@every
def test_weights_are_factors_of_rows(name: str) -> None:
    student, teacher, target = draw(2, 4, 3)
    mask, weights = torch.rand(4, 3) > 0.3, torch.rand(4, 3, dtype=torch.float64)
    rows = LOSSES[name](student, teacher, target, mask=mask, reduction="none")
    found = LOSSES[name](student, teacher, target, mask=mask, weights=weights)
    torch.testing.assert_close(found, (weights * rows)[mask].mean())
    samples = LOSSES[name](student, teacher, target, mask=mask, weights=weights[:, 0], reduction="none")
    torch.testing.assert_close(samples, weights[:, :1] * rows)


@every
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nothing_that_counts_is_a_zero_with_a_gradient(name: str, reduction: str) -> None:
    for student, teacher, target in (draw(3, 4), draw(3, 0), draw(3, 2, 0)):
        mask = torch.zeros(target.shape, dtype=torch.bool)
        loss, gradient = with_gradient(name, student, teacher, target, mask=mask, reduction=reduction)
        assert (loss == 0).all()
        assert torch.equal(gradient, torch.zeros_like(student))
    assert LOSSES[name](*draw(3, 0)).item() == 0


@every
@pytest.mark.parametrize("number", [-math.inf, -1e4, -1e9, torch.finfo(torch.float32).min])
def test_classes_that_both_sides_exclude_are_left_out(name: str, number: float) -> None:
    """By -inf or a number: a Z-score beside -1e9 would be the same for all other classes, and the loss 0."""
    student, teacher, target = draw(4, 6)
    target, gone = target % (K - 2), torch.arange(K) >= K - 2
    less = student.detach()[:, ~gone].requires_grad_()
    expected, gradient = with_gradient(name, less, teacher[:, ~gone], target)
    hidden = student.detach().masked_fill(gone, number).requires_grad_()
    for check in (None, False):  # looked at, and as on an accelerator
        loss, found = with_gradient(name, hidden, teacher.masked_fill(gone, number), target, check=check)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(found[:, ~gone], gradient)
        assert (found[:, gone] == 0).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in OF_A_BATCH])
def test_every_row_may_exclude_a_class_of_its_own(name: str) -> None:
    student, teacher, target = (x.detach() for x in draw(4, 6))
    own = torch.nn.functional.one_hot((target + 1) % K, K).bool()
    hidden = (x.masked_fill(own, -math.inf) for x in (student, teacher))
    for i, found in enumerate(LOSSES[name](*hidden, target, reduction="none")):
        keep, label = ~own[i], target[i] - int((target[i] + 1) % K < target[i])
        torch.testing.assert_close(found, LOSSES[name](student[i][keep], teacher[i][keep], label))


def test_standardize_takes_any_dimension_masks_and_excluded_classes() -> None:
    x = draw(5, 2, 3)[0].detach()
    z = standardize(x)
    assert torch.equal(standardize(x.movedim(-1, 1), dim=1), z.movedim(-1, 1))
    mask = torch.tensor([[True, False, True], [False, True, True]])
    x[~mask] = math.nan
    assert torch.equal(standardize(x, mask=mask), z.masked_fill(~mask.unsqueeze(-1), 0.0))
    gone = draw(5, 2, 3)[0].detach()
    gone[..., 4] = -math.inf
    kept = torch.arange(K) != 4
    torch.testing.assert_close(standardize(gone)[..., kept], standardize(draw(5, 2, 3)[0][..., kept]).detach())
    assert (standardize(gone)[..., 4] == -math.inf).all()


class Largest(TorchDispatchMode):
    """Counts the results of operations that have so many entries and are no view of an input."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.entries, self.found = entries, set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operation(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.numel() >= self.entries:
            self.found.add(out.untyped_storage().data_ptr())
        return out


@pytest.mark.parametrize("ls", [False, True])
def test_in_pieces_it_is_the_same_loss_without_a_second_tensor_of_all_classes(ls: bool) -> None:
    student, teacher, _ = (x.float() if x.is_floating_point() else x for x in draw(9, 3, 41))
    temperature, mask = torch.tensor(2.3, requires_grad=True), torch.rand(3, 41) > 0.2
    student = student.detach().requires_grad_()
    options = {"temperature": temperature, "standardize": ls, "mask": mask}
    whole = torch.autograd.grad(kd_loss(student, teacher, **options), (student, temperature))
    with Largest(student.numel()) as largest:
        loss = kd_loss(student, teacher, chunk=10, **options)
        pieces = torch.autograd.grad(loss, (student, temperature))
    torch.testing.assert_close(loss, kd_loss(student, teacher, **options), rtol=1e-6, atol=0)
    for a, b in zip(pieces, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    inputs = {x.untyped_storage().data_ptr() for x in (student, teacher)}
    assert largest.found - inputs == {pieces[0].untyped_storage().data_ptr()}
    half = kd_loss(student.bfloat16(), teacher.bfloat16(), chunk=10, **options)
    torch.testing.assert_close(half, kd_loss(student.bfloat16(), teacher.bfloat16(), **options), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="chunk is 0"):
        kd_loss(student, teacher, chunk=0, **options)


def test_a_teacher_of_the_top_k_is_the_loss_over_the_classes_that_are_known() -> None:
    student, teacher, _ = draw(10, 2, 4)
    values, indices = teacher.log_softmax(-1).topk(3)  # a constant in a row cancels
    for ls in (False, True):
        options: dict[str, Any] = {"temperature": 2.0, "standardize": ls}
        expected = kd_loss(student.gather(-1, indices), teacher.gather(-1, indices), **options)
        found = kd_loss(student, teacher_topk=(values, indices), **options)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(kd_loss(student, None, teacher_topk=(values, indices), chunk=3, **options), expected)
        moved = student.movedim(-1, 1), (values.movedim(-1, 1), indices.movedim(-1, 1))
        torch.testing.assert_close(kd_loss(moved[0], teacher_topk=moved[1], dim=1, **options), expected)
        padded = values.clone(), indices.clone()
        padded[0][0, 1, 2], padded[1][0, 1, 2] = -math.inf, -1
        found = kd_loss(student, teacher_topk=padded, reduction="none", **options)[0, 1]
        hidden = torch.full((2, 3), -math.inf, dtype=torch.float64)
        hidden[:, :2] = torch.stack((student, teacher))[:, 0, 1, indices[0, 1, :2]]
        torch.testing.assert_close(found, kd_loss(*hidden, **options))
    (gradient,) = torch.autograd.grad(expected, student)
    assert (gradient != 0).sum(-1).le(3).all()


def refusals() -> list[tuple[Callable[..., Any], str]]:
    student, teacher, target = (x.detach() for x in draw(11, 2, 3))
    bad, gone, all_gone = student.clone(), student.clone(), student.clone()
    bad[1, 2, 0], gone[0, 1, 4], all_gone[1, 0] = math.nan, -math.inf, -math.inf
    values, indices = teacher.topk(3)
    kd = partial(kd_loss, temperature=2.0)
    x, worse, y = torch.ones(4, K), torch.ones(4, K), torch.arange(4)
    worse[1, 3], worse[3, 0] = math.nan, math.inf
    maps, guidance = torch.ones(1, 4, 3, 3), LocalityGuidance([4], [4])
    return [
        (lambda: kd(bad, teacher), r"student_logits holds NaN or infinite logits in row \(1, 2\) of 6; look for"),
        (lambda: kd(student, bad, chunk=2), r"teacher_logits holds NaN.* in row 5 of 2"),
        (lambda: kd(gone, teacher), r"student_logits alone holds -inf in row \(0, 1\) of 6; .* on both sides"),
        (lambda: kd(student, gone), r"teacher_logits alone holds -inf in row \(0, 1\)"),
        (lambda: kd(all_gone, all_gone), r"student_logits holds -inf for every class in row \(1, 0\).*mask="),
        (lambda: kd(student[..., :5], teacher), r"\(2, 3, 7\).*\(2, 3, 5\); the classes differ.* cut it to 5"),
        (lambda: kd(student[:1], teacher), r"teacher_logits .*expected float logits like student_logits \(1, 3, 7\)"),
        (lambda: kd(student, teacher, dim=3), "expected float logits, dim 3"),
        (lambda: losses.cross_entropy(student[..., :1], target), r"logits is .*: 1 class\(es\); needs at least two"),
        (lambda: kd({"logits": student}, teacher), "student_logits is dict; expected a tensor of logits"),
        (lambda: kd(student, teacher, mask=torch.ones(3, 2).bool()), r"mask has shape \(3, 2\); expected \(2, 3\)"),
        (lambda: kd(student, teacher, mask=torch.ones(2, 3)), "mask is torch.float32; expected bool.*weights="),
        (lambda: kd(student, teacher, weights=torch.ones(5)), r"weights has shape \(5,\); expected \(2, 3\)"),
        (lambda: kd(student, teacher, reduction="batchmean"), "reduction is 'batchmean'; use \"mean\""),
        (lambda: kd(student, teacher, temperature="2"), "temperature is '2'; it must be a positive number"),
        (
            lambda: kd(student, teacher, temperature=torch.tensor(-0.1)),
            r"temperature is -0\.1.*; it must stay positive",
        ),
        (lambda: kd(student, teacher, standardize="False"), "standardize is 'False'; expected True or False"),
        (lambda: kd(student, teacher, mask=[True, False]), r"mask is list; expected a tensor \[2, 3\]"),
        (lambda: dkd_loss(student, teacher, target.numpy()), "target is ndarray; expected a tensor of int64"),
        (lambda: kd(student, teacher, standardize=True, eps=-1.0), "eps is -1.0; .* number, 0 or more"),
        (lambda: kd(student, teacher, standardize=True, eps="1e-7"), "eps is '1e-7'; .* number, 0 or more"),
        (lambda: kd(student, teacher, chunk="8"), "chunk is '8'; it is the number of rows"),
        (lambda: losses.gdkd_loss(student, teacher, k=2.0), "k is 2.0; expected 1 to 7"),
        (partial(kd, student), "either teacher_logits or teacher_topk"),
        (lambda: kd(student, teacher, teacher_topk=(values, indices)), "either teacher_logits or teacher_topk"),
        (lambda: kd(student, teacher_topk=(values, indices + 5)), r"names classes \d+\.\.\d+; classes are 0\.\.6"),
        (lambda: kd(student, teacher_topk=(values, indices[:1])), r"teacher_topk holds \[2, 3, 3\] and \[1, 3, 3\]"),
        (lambda: kd(student, teacher_topk=(indices, values)), "expected \\(float values, int indices\\)"),
        (lambda: kd(student, teacher_topk=values), r"teacher_topk is Tensor; expected"),
        (lambda: kd(student, teacher_topk=(values.numpy(), indices)), r"\['ndarray', 'Tensor'\].*two tensors"),
        (lambda: kd(student, teacher_topk=(values, indices), dim=3), "expected float logits, dim 3"),
        (lambda: kd(student, teacher_topk=(values[0, 0], indices[0, 0]), dim=2), r"teacher_topk holds \[3\] and"),
        (lambda: kd(student, teacher_topk=(values, indices * 0)), "names a class twice in one row"),
        (lambda: dkd_loss(student, teacher, teacher.softmax(-1)), "a distribution .*weights=.*kd_loss needs no"),
        (lambda: dkd_loss(student, teacher, target - 100), r"classes are 0\.\.6; leave rows out by mask=target"),
        (lambda: losses.gdkd_loss(student, teacher, k=8), "k is 8; expected 1 to 7"),
        (lambda: losses.ttm_loss(student, teacher, gamma=0.0), "gamma is 0.0; it must be a positive number"),
        (lambda: losses.rld_loss(student, teacher, target, alpha_temperature=-1.0), "alpha_temperature is -1"),
        (lambda: dkd_loss(student, teacher, target[0]), r"class indices \[2, 3\] of logits whose classes are last"),
        (lambda: kd(worse, x), r"student_logits holds NaN.* row 1 and 1 more"),
        (lambda: losses.mlkd_terms(x, x, x, worse, y, temperature=2.0, kd_weight=9.0), r"teacher_strong holds NaN"),
        (lambda: losses.vit_logit_terms(x, worse, x, y, temperature=2.0), r"distill_logits holds NaN.* row 1"),
        (lambda: losses.cross_entropy(x, y - 1), r"target holds -1.*beforehand where there is no mask="),
        (lambda: losses.cross_entropy(x, x), r"expected one int64 label.*PyTorch's cross_entropy takes distributions"),
        (lambda: guidance([maps] * 2, [maps] * 2), r"2 student and 2 teacher maps; it was made for 1"),
        (lambda: kd(x.int(), x), r"int32.*\[\.\.\., classes\]"),
        (lambda: kd(x, x, temperature=0.0), r"temperature is 0"),
        (lambda: kd(x, x, temperature=torch.ones(2)), r"one element"),
        (lambda: standardize(x[:, :1]), r"at least two"),
        (lambda: standardize(x, correction=2), r"correction"),
        (lambda: losses.mlkd_terms(x, x, x, x, y, temperature=2.0, kd_weight=9.0, masks="no"), r"masks"),
        (lambda: losses.mlkd_terms(x, x, x, x, y, temperature=2.0, kd_weight=9.0, strong_terms="no"), r"strong"),
        (lambda: losses.curriculum_reversal(0), r"count from 1"),
        (lambda: losses.CurriculumTemperature(0.0), r"t_start"),
        (lambda: losses.locality_guidance_loss(maps[:, :2], maps), r"channels"),
        (lambda: create_objective("kdd"), r"did you mean 'kd'"),
        (lambda: create_objective("kd", temprature=2.0), r"did you mean 'temperature'"),
        (lambda: create_objective("kd"), "needs temperature and kd_weight among its settings"),
        (lambda: create_objective("dkd")(Logits(x, y)), r"needs teacher logits"),
    ]


@pytest.mark.parametrize("case", range(len(refusals())))
def test_bad_input_is_named(case: int) -> None:
    call, message = refusals()[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_common_offset_makes_no_class_a_mask() -> None:
    student, teacher = torch.tensor([[1.0, 2.0, 3.0, 5.0]]), torch.tensor([[1.0, 2.0, 4.0, 5.0]])
    told = [kd_loss(student - c, teacher - c, temperature=2.0, standardize=True).item() for c in (0, 2**15)]
    assert told[0] > 0
    assert told[1] == pytest.approx(told[0], rel=1e-5)


@every
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_nobody_looks_at_makes_the_loss_nan(name: str, value: float) -> None:
    """As on a GPU, where a gradient scaler skips the step for it."""
    for side in (0, 1):
        student, teacher, target = (x.detach() for x in draw(17, 6))
        (student, teacher)[side][2, (target[2] + 1) % K] = value
        assert LOSSES[name](student, teacher, target, check=False).isnan()


@every
def test_other_types_and_modes(name: str) -> None:
    """A teacher in another precision; tensors of inference mode; factors of NaN where nothing counts."""
    student, teacher, target = draw(18, 6)
    mask, weights = torch.arange(6) != 2, torch.ones(6, dtype=torch.float64)
    expected, gradient = with_gradient(name, student, teacher, target, mask=mask, weights=weights)
    loss, found = with_gradient(name, student.float(), teacher, target, mask=mask, weights=weights.float())
    torch.testing.assert_close((loss, found.double()), (expected, gradient), check_dtype=False, rtol=1e-5, atol=1e-5)
    stored = teacher.to(torch.float8_e4m3fn)
    assert torch.equal(LOSSES[name](student, stored, target), LOSSES[name](student, stored.double(), target))
    weights[2] = math.nan
    t = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        teacher, mask, weights = teacher.clone(), mask.clone(), weights.clone()
    loss, found = with_gradient(name, student, teacher, target, mask=mask, weights=weights)
    torch.testing.assert_close((loss, found), (expected, gradient))
    if "ttm" not in name:
        of_t = torch.autograd.grad(LOSSES[name](student, teacher, target, temperature=t, mask=mask, weights=weights), t)
        assert torch.isfinite(of_t[0])


@pytest.mark.parametrize("name", OTHERS)
def test_labels_of_inference_mode_and_batches_of_none(name: str) -> None:
    student, teacher, target = draw(20, 5)
    (expected,) = torch.autograd.grad(OTHERS[name](student, teacher, target), student)
    with torch.inference_mode():
        answers = target.clone()  # such as the teacher's own
    assert torch.equal(torch.autograd.grad(OTHERS[name](student, teacher, answers), student)[0], expected)
    nothing = OTHERS[name](student[:0], teacher[:0], target[:0])
    assert nothing == 0
    assert torch.equal(torch.autograd.grad(nothing, student)[0], torch.zeros_like(student))


def test_temperatures_in_half_precision_and_heads_of_zeros() -> None:
    student, teacher, target = draw(19, 6)
    hot = torch.tensor(21.125, dtype=torch.bfloat16)
    assert torch.equal(kd_loss(student, teacher, temperature=hot), kd_loss(student, teacher, temperature=21.125))
    assert with_gradient("dist", torch.zeros_like(student).requires_grad_(), teacher, target)[1].abs().max() < 10
    nothing = torch.zeros(0, K, requires_grad=True)
    assert losses.cross_entropy(nothing, target[:0]) == 0
    assert losses.cross_entropy(student.detach().masked_fill(torch.arange(K) == 1, math.inf), target).isnan()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by Dynamo
@pytest.mark.parametrize("name", [n for n in LOSSES if f"{n}_ls" not in LOSSES])
def test_compiles_without_graph_breaks(name: str) -> None:
    student, teacher, target = draw(13, 3, 5)
    options = {"mask": torch.rand(3, 5) > 0.2, "weights": torch.rand(3, 5)}
    torch.compiler.reset()
    compiled = torch.compile(LOSSES[name], backend="aot_eager", fullgraph=True)
    expected, gradient = with_gradient(name, student, teacher, target, **options)
    loss = compiled(student, teacher, target, **options)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], gradient)


@pytest.mark.parametrize("name", LOSSES | OTHERS)
def test_vmap_over_a_leading_axis(name: str) -> None:
    """Several students, teachers or labels at once, or all three: losses and gradients."""
    loss, (student, teacher, target) = (LOSSES | OTHERS)[name], draw(14, 3, 5)
    given = student.detach(), teacher, target
    for several in range(3):
        inputs = [x if i == several else x[0] for i, x in enumerate(given)]
        one_by_one = [loss(*(x[j] if i == several else x for i, x in enumerate(inputs))) for j in range(3)]
        found = torch.vmap(loss, in_dims=tuple(0 if i == several else None for i in range(3)))(*inputs)
        torch.testing.assert_close(found.expand(3), torch.stack(one_by_one))
    expected = [loss(s, v, y) for s, v, y in zip(student, teacher, target, strict=True)]
    torch.testing.assert_close(torch.vmap(loss)(student, teacher, target), torch.stack(expected))
    found = torch.vmap(torch.func.grad(loss))(student.detach(), teacher, target)
    torch.testing.assert_close(found, torch.autograd.grad(sum(expected), student)[0])


@pytest.mark.parametrize("name", LOSSES | OTHERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_finite_for_any_finite_logits_and_half_precision_in_float32(name: str, dtype: torch.dtype) -> None:
    """Student and teacher at scales of their own, from a type's smallest to its largest number."""
    loss, (of_student, of_teacher, target) = (LOSSES | OTHERS)[name], (x.detach() for x in draw(15, 6))
    of_student[1] = 0.0
    for a, b in itertools.product((-1.0, -0.5, 0.0, 0.1, 0.5, 1.0), repeat=2):
        largest = torch.finfo(dtype).max
        student, teacher = ((x.clamp(-8, 8) / 8 * largest**e).to(dtype) for x, e in ((of_student, a), (of_teacher, b)))
        found = loss(student.requires_grad_(), teacher, target)
        assert torch.isfinite(found)
        (gradient,) = torch.autograd.grad(found, student)
        # A gradient grows as 1 / deviation, and with the teacher's deviation in NormKD: past the end of small types.
        assert torch.isfinite(gradient).all() or (dtype == torch.float16 or (name == "normkd" and b > 0))
        if dtype in (torch.float16, torch.bfloat16):
            assert found.dtype == torch.float32
            assert torch.equal(found, loss(student.float(), teacher.float(), target))


# --- gradients -------------------------------------------------------------------------------------------------------


TENSORS = {"ttm": ["gamma"], "wttm": ["gamma"], "rld": ["temperature", "alpha_temperature"]}


def gradient_cases() -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    """name: a loss as a function of every float tensor that it differentiates through."""
    student, teacher, target = draw(6, 5)
    excluded = torch.arange(K) == (target.unsqueeze(-1) + 1) % K
    hidden, topk = teacher.masked_fill(excluded, -math.inf), tuple(teacher.topk(3))
    t, weights = torch.tensor(1.7, dtype=torch.float64), torch.linspace(0.1, 1, 5, dtype=torch.float64)
    maps = torch.linspace(0, 20, 96, dtype=torch.float64).sin().view(2, 3, 4, 4)

    def whole(loss: Callable[..., Tensor], key: str) -> Callable[..., Tensor]:
        return lambda s, w, t: loss(s, teacher, target, weights=w, **{key: t})

    def without(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda s, t: loss(s.masked_fill(excluded, -math.inf), hidden, target, temperature=t)

    return {
        **{
            f"{name}, {key}": (whole(loss, key), [student, weights, t[None]])
            for name, loss in LOSSES.items()
            for key in TENSORS.get(name.split("_")[0], ["temperature"])
        },
        **{f"{name}, -inf": (without(loss), [student, t]) for name, loss in LOSSES.items() if "ttm" not in name},
        "kd, top k": (lambda s, t: kd_loss(s, teacher_topk=topk, temperature=t, standardize=True), [student, t]),
        "standardize": (standardize, [student]),
        "standardize, -inf": (lambda s: standardize(s.masked_fill(excluded, -math.inf))[~excluded], [student]),
        **{name: (partial(loss, v=teacher, y=target), [student]) for name, loss in OTHERS.items()},
        "locality": (lambda m: losses.locality_guidance_loss(m, maps.flip(0)), [maps]),
    }


@pytest.mark.parametrize("name", gradient_cases())
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    function, inputs = gradient_cases()[name]
    assert torch.autograd.gradcheck(function, [x.detach().clone().requires_grad_() for x in inputs])


@pytest.mark.parametrize("name", [name for name in LOSSES if "ttm" not in name])
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


@every
def test_the_teacher_gets_no_gradient(name: str) -> None:
    student, teacher, target = draw(8, 5)
    LOSSES[name](student, teacher.requires_grad_(), target).backward()
    assert (student.grad is not None, teacher.grad is None) == (True, True)


@every
def test_second_derivatives_are_finite_where_a_row_is_constant(name: str) -> None:
    for left_out in (torch.zeros(K).bool(), torch.arange(K) > 3):
        student, teacher, target = (x.detach() for x in draw(9, 5))
        student[0] = 2.0
        given = student.masked_fill(left_out, -math.inf).requires_grad_()
        loss = LOSSES[name](given, teacher.masked_fill(left_out, -math.inf), target % 4)
        (first,) = torch.autograd.grad(loss, given, create_graph=True)
        assert torch.isfinite(torch.autograd.grad(first.square().sum(), given)[0]).all()


# --- what holds for every input --------------------------------------------------------------------------------------


seeds = st.integers(0, 2**31 - 1)
counts = st.integers(3, 40)
heats = st.floats(0.5, 8.0)
quick = settings(max_examples=40)


def logits(seed: int, k: int, *, rows: int = 4, scale: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, k, generator=generator, dtype=torch.float64)


@quick
@given(seeds, counts)
def test_z_scores_have_zero_mean_unit_deviation_and_the_bound(seed: int, k: int) -> None:
    z = standardize(logits(seed, k), eps=0.0)  # which is in the way of rows that are nearly constant
    torch.testing.assert_close(z.mean(-1), torch.zeros(4, dtype=z.dtype), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.std(-1), torch.ones(4, dtype=z.dtype), atol=1e-6, rtol=0)
    assert (z.abs() <= (k - 1) / math.sqrt(k) + 1e-9).all()
    paper = standardize(logits(seed, k), eps=0.0, correction=0)
    torch.testing.assert_close(paper, z * math.sqrt(k / (k - 1)), atol=1e-6, rtol=1e-6)
    reached = standardize(torch.eye(k, dtype=torch.float64)[:1]).max().item()
    assert reached == pytest.approx((k - 1) / math.sqrt(k), rel=1e-5)


@quick
@given(seeds, counts, st.floats(0.05, 50), st.floats(-100, 100))
def test_ls_is_invariant_to_shift_and_positive_scale_of_either_side(seed: int, k: int, a: float, b: float) -> None:
    student, teacher = logits(seed, k), logits(seed + 1, k)
    expected = kd_loss(student, teacher, temperature=2.0, standardize=True)
    for pair in ((a * student + b, teacher), (student, a * teacher + b)):
        torch.testing.assert_close(kd_loss(*pair, temperature=2.0, standardize=True), expected, rtol=1e-5, atol=1e-9)
    assert torch.equal(standardize(a * student + b).argsort(-1), student.argsort(-1))


@quick
@given(seeds, counts, heats)
def test_kd_is_zero_iff_distributions_agree(seed: int, k: int, t: float) -> None:
    student, teacher = logits(seed, k), logits(seed + 1, k)
    assert kd_loss(teacher + 7.0, teacher, temperature=t).item() == pytest.approx(0.0, abs=1e-9)
    assert kd_loss(3 * teacher + 7.0, teacher, temperature=t, standardize=True).item() == pytest.approx(0, abs=1e-9)
    assert kd_loss(student, teacher, temperature=t).item() > 1e-6


@quick
@given(seeds, counts, heats, st.booleans())
def test_kd_is_tckd_plus_the_teachers_doubt_times_nckd(seed: int, k: int, t: float, ls: bool) -> None:
    student, teacher = logits(seed, k, rows=1), logits(seed + 1, k, rows=1)
    target = torch.tensor([seed % k])
    tckd, nckd = dkd_terms(student, teacher, target, temperature=t, standardize=ls)
    v = standardize(teacher) if ls else teacher
    doubt = 1 - (v / t).softmax(-1)[0, target[0]]
    kd = kd_loss(student, teacher, temperature=t, standardize=ls)
    torch.testing.assert_close(kd, tckd + doubt * nckd, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES | OTHERS)
def test_no_gradient_moves_the_mean_over_classes_but_luminets(name: str) -> None:
    student, teacher, target = draw(4, 6)
    (gradient,) = torch.autograd.grad((LOSSES | OTHERS)[name](student, teacher, target), student)
    assert bool(gradient.sum(-1).abs().max() < 1e-9 * gradient.abs().max()) == (name != "luminet")


def test_what_the_members_share_with_kd() -> None:
    """The relations that the docstrings name."""
    student, teacher = logits(0, 12), logits(1, 12)
    ls = kd_loss(student, teacher, temperature=3.0, standardize=True, eps=0.0, reduction="none")
    ttm = losses.ttm_loss(student, teacher, gamma=0.25, reduction="none")
    q, p = (x.softmax(-1) for x in (student, teacher))
    rows, columns = ([standardize(x, correction=0, eps=0.0, dim=dim) for x in (q, p)] for dim in (-1, 0))
    batch = [standardize(x, dim=0, correction=0, eps=0.0) for x in (student, teacher)]
    row = losses.dist_loss(student, teacher, beta=1.0, gamma=0.0, temperature=1.0)
    column = losses.dist_loss(student, teacher, beta=0.0, gamma=1.0, temperature=1.0)
    for found, expected in (
        (losses.normkd_loss(student, teacher, temperature=3.0, reduction="none"), ls * teacher.var(dim=-1)),
        (2 * row, (rows[0] - rows[1]).square().mean()),
        (2 * column, (columns[0] - columns[1]).square().mean()),
        (losses.luminet_loss(student, teacher), 33.0**2 * kd_loss(*batch, temperature=4.0) / 4.0**2),  # but for its eps
        (ttm, kd_loss(4 * student, teacher, temperature=4.0, reduction="none") / 16),
        (losses.wttm_loss(student, teacher, gamma=0.25, reduction="none"), p.pow(0.25).sum(-1) * ttm),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, -5.0, 1e4, 1e30])
def test_a_constant_row_keeps_a_gradient_of_ordinary_size(value: float) -> None:
    student = torch.full((2, 100), value, requires_grad=True)
    teacher = logits(11, 100, rows=2).float()
    loss = kd_loss(student, teacher, temperature=2.0, standardize=True)
    loss.backward()
    assert standardize(student).abs().max() == 0
    assert 0 < student.grad.abs().max() < 1  # the released code: 3.5e5


def test_two_classes_warn_once() -> None:
    rows._warn_two_classes.cache_clear()
    x, y = torch.randn(3, 2), torch.tensor([0, 1, 0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kd_loss(x, x, temperature=2.0)
        assert caught == []
        for _ in range(2):
            kd_loss(x, x, temperature=2.0, standardize=True)
            dkd_loss(x, x, y, standardize=True)
            assert standardize(x).abs().sub(0.5**0.5).abs().max() < 1e-5  # order is all that is left
    assert [str(w.message) for w in caught] == [caught[0].message.args[0]]
    assert "two classes" in str(caught[0].message)
    rows._warn_two_classes.cache_clear()
    for _ in range(2):  # with warnings as errors it is an error every time
        with pytest.raises(UserWarning, match="two classes"):
            kd_loss(x, x, temperature=2.0, standardize=True)


@pytest.mark.parametrize("rows", [1, 4, 5, 64])
def test_confidence_masks_split_at_numpys_percentile(rows: int) -> None:
    x = torch.randn(rows, dtype=torch.float64)
    for values in (x, x.float(), x.round()):  # the last one with ties
        assert family._median(values).item() == np.percentile(values.numpy(), 50)


def test_elementwise_masks_keep_confident_samples_and_frequent_classes_out() -> None:
    """Per sample and per class, written as loops over samples and classes; ``kd`` is held to golden values."""
    student, teacher = logits(12, 6, rows=5), logits(13, 6, rows=5)
    p = teacher.softmax(-1)
    samples = [i for i in range(5) if p[i].max() <= p.max(-1).values.median()]
    frequency = p.sum(0)
    classes_kept = [k for k in range(6) if frequency[k] <= frequency.sort().values[2:4].mean()]
    assert (len(samples), len(classes_kept)) == (3, 3)
    cc = bc = 0.0
    for t in (2.0, 3.0, 5.0, 2.0, 6.0):
        p, q = (teacher / t).softmax(-1), (student / t).softmax(-1)
        cc += sum((p[:, k] @ p[:, m] - q[:, k] @ q[:, m]) ** 2 for k in classes_kept for m in range(6)) / 6
        bc += sum((p[i] @ p[j] - q[i] @ q[j]) ** 2 for i in samples for j in range(5)) / 5
    terms = losses.mlkd_terms(
        student, student, teacher, teacher, torch.arange(5), temperature=2.0, kd_weight=1.0, masks="elementwise"
    )
    torch.testing.assert_close(terms["cc"], cc)
    torch.testing.assert_close(terms["bc"], bc)


@pytest.mark.parametrize("method", ["kd", "dkd", "mlkd", "vit"])
def test_the_papers_deviation_reaches_every_loss(method: str) -> None:
    """With K instead of K-1 the loss is the plain loss of logits standardised beforehand.

    True of MLKD too, whose masks are of raw logits: their means are 1/2 for four samples without ties.
    """
    student, teacher, y = logits(14, 10), logits(15, 10), torch.arange(4)
    z, v = (x.sub(x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0) for x in (student, teacher))
    calls = {
        "kd": lambda s, t, **k: kd_loss(s, t, temperature=2.0, **k),
        "dkd": lambda s, t, **k: dkd_loss(s, t, y, **k),
        "mlkd": lambda s, t, **k: losses.mlkd_terms(s, s, t, t, y, temperature=2.0, kd_weight=9.0, **k)["kd"],
        "vit": lambda s, t, **k: losses.vit_logit_terms(s, s, t, y, temperature=2.0, weight=1.0, **k)["kd"],
    }
    paper = calls[method](student, teacher, standardize=True, correction=0)
    torch.testing.assert_close(paper, calls[method](z, v), rtol=1e-6, atol=0)
    assert not torch.isclose(paper, calls[method](student, teacher, standardize=True), rtol=1e-3)
