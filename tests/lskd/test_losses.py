"""What every loss can do: rows, masks, weights, classes left out, pieces, compilers; what it refuses."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from every_loss import LOSSES, OF_A_BATCH, OTHERS, K, draw, every, with_gradient
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lskd import losses
from lskd.losses import dkd_loss, kd_loss, standardize
from lskd.objectives import LocalityGuidance, Logits, create_objective


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


@pytest.mark.parametrize("number", [-math.inf, -1e4, -1e9, "min"])
@pytest.mark.parametrize("other", [torch.bfloat16, torch.float16])
def test_a_mask_may_be_written_in_two_precisions(number: float | str, other: torch.dtype) -> None:
    """Each rounds the mask to a number of its own, and has a smallest number of its own."""
    student, teacher, _ = (x.detach().float() for x in draw(4, 6))
    sides, gone = (student, teacher.to(other)), torch.arange(K) >= K - 2
    options: dict[str, Any] = {"temperature": 2.0, "standardize": True}
    expected = kd_loss(*(x[:, ~gone] for x in sides), **options)
    low = [max(torch.finfo(x.dtype).min, -math.inf if number == "min" else number) for x in sides]
    masked = [x.masked_fill(gone, value) for x, value in zip(sides, low, strict=True)]
    for check in (None, False):
        torch.testing.assert_close(kd_loss(*masked, check=check, **options), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="alone holds -inf"):
        kd_loss(student.masked_fill(gone, -math.inf), sides[1], **options)


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
    for dim, part in ((-1, lambda x: x[:, 1:]), (1, lambda x: x.movedim(-1, 1))):  # no copy of a slice is made
        with Largest(part(student).numel()) as largest:
            loss = kd_loss(part(student), part(teacher), chunk=10, temperature=2.0, standardize=ls, dim=dim)
        assert largest.found <= inputs
        torch.testing.assert_close(
            loss, kd_loss(part(student), part(teacher), temperature=2.0, standardize=ls, dim=dim)
        )
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
        (lambda: kd(bad, teacher), r"student_logits holds NaN or infinite logits in row \(1, 2\); look for"),
        (lambda: kd(student, bad, chunk=2), r"teacher_logits holds NaN.* in row 5;"),
        (lambda: kd(gone, teacher), r"student_logits alone holds -inf in row \(0, 1\); .* on both sides"),
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
        (lambda: losses.mlkd_terms(x, None, x, None, y, temperature=2.0, kd_weight=9.0), "student_strong is NoneType"),
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
