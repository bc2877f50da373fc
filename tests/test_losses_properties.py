"""What holds for every input: invariances, bounds, identities, gradients, bad input, compilers."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lskd.losses import (
    CurriculumTemperature,
    curriculum_reversal,
    dkd_loss,
    dkd_terms,
    kd_loss,
    locality_guidance_loss,
    mlkd_terms,
    standardize,
)
from lskd.objectives import METHODS, Logits, create_objective

seeds = st.integers(0, 2**31 - 1)
classes = st.integers(3, 40)
temperatures = st.floats(0.5, 8.0)
quick = settings(max_examples=40, deadline=None)


def logits(seed: int, k: int, *, rows: int = 4, scale: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, k, generator=generator, dtype=torch.float64)


@quick
@given(seeds, classes)
def test_z_scores_have_zero_mean_unit_deviation_and_the_bound(seed: int, k: int) -> None:
    z = standardize(logits(seed, k))
    torch.testing.assert_close(z.mean(-1), torch.zeros(4, dtype=z.dtype), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.std(-1), torch.ones(4, dtype=z.dtype), atol=1e-6, rtol=0)
    assert (z.abs() <= (k - 1) / math.sqrt(k) + 1e-9).all()
    paper = standardize(logits(seed, k), correction=0)
    torch.testing.assert_close(paper, z * math.sqrt(k / (k - 1)), atol=1e-6, rtol=1e-6)


@quick
@given(seeds, classes, st.floats(0.05, 50), st.floats(-100, 100))
def test_ls_is_invariant_to_shift_and_positive_scale_of_either_side(seed: int, k: int, a: float, b: float) -> None:
    student, teacher = logits(seed, k), logits(seed + 1, k)
    expected = kd_loss(student, teacher, temperature=2.0, standardize=True)
    for pair in ((a * student + b, teacher), (student, a * teacher + b)):
        torch.testing.assert_close(kd_loss(*pair, temperature=2.0, standardize=True), expected, rtol=1e-5, atol=1e-9)
    assert torch.equal(standardize(a * student + b).argsort(-1), student.argsort(-1))


def test_the_bound_is_reached_by_a_one_hot_row() -> None:
    z = standardize(torch.eye(100, dtype=torch.float64)[:1])
    assert z.max().item() == pytest.approx(99 / 10, rel=1e-5)


@quick
@given(seeds, classes, temperatures)
def test_kd_is_zero_iff_distributions_agree(seed: int, k: int, t: float) -> None:
    student, teacher = logits(seed, k), logits(seed + 1, k)
    assert kd_loss(teacher + 7.0, teacher, temperature=t).item() == pytest.approx(0.0, abs=1e-9)
    assert kd_loss(3 * teacher + 7.0, teacher, temperature=t, standardize=True).item() == pytest.approx(0, abs=1e-9)
    assert kd_loss(student, teacher, temperature=t).item() > 1e-6


@quick
@given(seeds, classes, temperatures, st.booleans())
def test_kd_is_tckd_plus_the_teachers_doubt_times_nckd(seed: int, k: int, t: float, ls: bool) -> None:
    student, teacher = logits(seed, k, rows=1), logits(seed + 1, k, rows=1)
    target = torch.tensor([seed % k])
    tckd, nckd = dkd_terms(student, teacher, target, temperature=t, standardize=ls)
    v = standardize(teacher) if ls else teacher
    doubt = 1 - (v / t).softmax(-1)[0, target[0]]
    kd = kd_loss(student, teacher, temperature=t, standardize=ls)
    torch.testing.assert_close(kd, tckd + doubt * nckd, rtol=1e-8, atol=1e-10)


@quick
@given(seeds, classes)
def test_gradient_of_the_z_score_is_the_formula(seed: int, k: int) -> None:
    z = logits(seed, k).requires_grad_()
    g = logits(seed + 1, k)
    (found,) = torch.autograd.grad((standardize(z) * g).sum(), z)
    m, s = z.mean(-1, keepdim=True), z.std(-1, keepdim=True)
    expected = (g - g.mean(-1, keepdim=True)) / (s + 1e-7) - (z - m) * (g * (z - m)).sum(-1, keepdim=True) / (
        (s + 1e-7) ** 2 * (k - 1) * s
    )
    torch.testing.assert_close(found, expected.detach(), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(found.sum(-1), torch.zeros(4, dtype=z.dtype), atol=1e-10, rtol=0)
    torch.testing.assert_close((found * (z - m)).sum(-1), torch.zeros(4, dtype=z.dtype), atol=1e-4, rtol=0)


@pytest.mark.parametrize("ls", [False, True])
def test_gradcheck(ls: bool) -> None:
    student, teacher = logits(1, 7).requires_grad_(), logits(2, 7)
    strong, teacher_strong = logits(3, 7).requires_grad_(), logits(4, 7)
    target = torch.tensor([0, 3, 6, 2])
    assert torch.autograd.gradcheck(lambda x: kd_loss(x, teacher, temperature=2.0, standardize=ls), student)
    assert torch.autograd.gradcheck(lambda x: dkd_loss(x, teacher, target, standardize=ls), student)
    assert torch.autograd.gradcheck(
        lambda x, y: sum(
            mlkd_terms(x, y, teacher, teacher_strong, target, temperature=2.0, kd_weight=9.0, standardize=ls).values()
        ),
        (student, strong),
    )


def test_paper_and_code_deviation_differ_by_the_stated_temperature() -> None:
    """Protocol 5.1.1: loss at T with K-1 = (K-1)/K · loss at T sqrt(K/(K-1)) with K."""
    student, teacher = logits(5, 100), logits(6, 100)
    code = kd_loss(student, teacher, temperature=2.0, standardize=True)
    paper = kd_loss(student, teacher, temperature=2.0 * math.sqrt(100 / 99), standardize=True, correction=0)
    torch.testing.assert_close(code, 0.99 * paper, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = logits(7, 100).to(dtype), logits(8, 100).to(dtype)
    target = torch.arange(4)
    for loss in (
        lambda s, t: kd_loss(s, t, temperature=2.0, standardize=True),
        lambda s, t: dkd_loss(s, t, target, standardize=True),
        lambda s, t: sum(mlkd_terms(s, s, t, t, target, temperature=2.0, kd_weight=9.0).values()),
    ):
        found = loss(student, teacher)
        assert found.dtype == torch.float32
        assert torch.equal(found, loss(student.float(), teacher.float()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 60.0, 1e4, 1e12, 1e30])
def test_finite_for_finite_logits(scale: float, dtype: torch.dtype) -> None:
    student = logits(9, 100, scale=scale).to(dtype).requires_grad_()
    teacher = logits(10, 100, scale=scale).to(dtype)
    target = torch.arange(4)
    for ls in (False, True):
        for loss in (
            kd_loss(student, teacher, temperature=1.0, standardize=ls),
            dkd_loss(student, teacher, target, temperature=1.0, standardize=ls),
            sum(
                mlkd_terms(
                    student, student, teacher, teacher, target, temperature=2.0, kd_weight=9.0, standardize=ls
                ).values()
            ),
        ):
            (gradient,) = torch.autograd.grad(loss, student, retain_graph=True)
            assert torch.isfinite(loss)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -5.0, 1e4, 1e30])
def test_a_constant_row_keeps_a_gradient_of_ordinary_size(value: float) -> None:
    student = torch.full((2, 100), value, requires_grad=True)
    teacher = logits(11, 100, rows=2).float()
    loss = kd_loss(student, teacher, temperature=2.0, standardize=True)
    loss.backward()
    assert standardize(student).abs().max() == 0
    assert 0 < student.grad.abs().max() < 1  # the released code: 3.5e5


def test_two_classes_warn() -> None:
    with pytest.warns(UserWarning, match="two classes"):
        kd_loss(torch.randn(3, 2), torch.randn(3, 2), temperature=2.0, standardize=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, bad, y: kd_loss(bad, x, temperature=2.0), r"student_logits holds NaN.* row 1 and 1 more"),
        (lambda x, bad, y: kd_loss(x, bad, temperature=2.0), r"teacher_logits holds NaN"),
        (lambda x, bad, y: dkd_loss(x, bad, y), r"teacher_logits holds NaN"),
        (
            lambda x, bad, y: mlkd_terms(x, x, x, bad, y, temperature=2.0, kd_weight=9.0),
            r"teacher_strong holds NaN",
        ),
        (
            lambda x, bad, y: kd_loss(x, x[:2], temperature=2.0),
            r"teacher_logits .*expected .*like student_logits",
        ),
        (lambda x, bad, y: kd_loss(x[0], x[0], temperature=2.0), r"\[batch, classes\]"),
        (lambda x, bad, y: kd_loss(x, x, temperature=0.0), r"temperature is 0"),
        (lambda x, bad, y: kd_loss(x, x, temperature=torch.ones(2)), r"one element"),
        (lambda x, bad, y: dkd_loss(x, x, y.float()), r"expected int64"),
        (lambda x, bad, y: dkd_loss(x, x, y + 9), r"classes are 0\.\.9"),
        (lambda x, bad, y: standardize(x[:, :1]), r"at least two"),
        (lambda x, bad, y: standardize(x, correction=2), r"correction"),
        (lambda x, bad, y: mlkd_terms(x, x, x, x, y, temperature=2.0, kd_weight=9.0, masks="no"), r"masks"),
        (
            lambda x, bad, y: mlkd_terms(x, x, x, x, y, temperature=2.0, kd_weight=9.0, strong_terms="no"),
            r"strong",
        ),
        (lambda x, bad, y: curriculum_reversal(0), r"count from 1"),
        (lambda x, bad, y: CurriculumTemperature(0.0), r"t_start"),
        (
            lambda x, bad, y: locality_guidance_loss(torch.ones(1, 2, 3, 3), torch.ones(1, 4, 3, 3)),
            r"channels",
        ),
        (lambda x, bad, y: create_objective("kdd"), r"did you mean 'kd'"),
        (lambda x, bad, y: create_objective("kd", temprature=2.0), r"did you mean 'temperature'"),
        (lambda x, bad, y: create_objective("kd"), r"needs the setting\(s\) temperature, kd_weight"),
        (lambda x, bad, y: create_objective("dkd", warmup=0), r"warmup is 0"),
        (lambda x, bad, y: create_objective("dkd")(Logits(x, y)), r"needs teacher logits"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    x = torch.randn(4, 10)
    bad = x.clone()
    bad[1, 3], bad[3, 0] = torch.nan, torch.inf
    with pytest.raises(ValueError, match=message):
        call(x, bad, torch.arange(4))


@pytest.mark.parametrize("method", METHODS)
def test_compiles_without_graph_breaks_and_runs_under_autocast(method: str) -> None:
    required = {"kd": {"temperature": 2.0, "kd_weight": 9.0}, "ctkd": {"kd_weight": 9.0}}
    required["mlkd"] = required["kd"]
    extra = {} if method == "plain" else {"standardize": True}
    objective = create_objective(method, **required.get(method, {}), **extra)
    x = [torch.randn(6, 10) for _ in range(4)]
    batch = Logits(x[0], torch.arange(6), x[1], x[2], x[3])
    expected = sum(objective(batch).values())
    compiled = torch.compile(lambda: sum(objective(batch).values()), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(sum(objective(batch).values()), expected)


def test_vmap_over_a_leading_axis() -> None:
    student, teacher = torch.randn(3, 4, 10), torch.randn(3, 4, 10)
    target = torch.randint(0, 10, (3, 4))
    found = torch.vmap(lambda s, t, y: dkd_loss(s, t, y, standardize=True))(student, teacher, target)
    expected = [dkd_loss(s, t, y, standardize=True) for s, t, y in zip(student, teacher, target, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_the_adversarial_temperature_ascends_the_loss() -> None:
    module = CurriculumTemperature()
    student, teacher = torch.randn(8, 10), torch.randn(8, 10)
    kd_loss(student, teacher, temperature=module(-1.0)).backward()
    free = torch.tensor([module(-1.0).item()], requires_grad=True)
    kd_loss(student, teacher, temperature=free).backward()
    assert torch.sign(module.theta.grad) == -torch.sign(free.grad)


def test_plain_objective_is_cross_entropy() -> None:
    x, y = torch.randn(4, 10), torch.arange(4)
    terms = create_objective("plain")(Logits(x, y))
    assert torch.equal(terms["ce"], F.cross_entropy(x, y))


def test_losses_import_torch_and_nothing_of_the_book() -> None:
    code = (
        "import torch, sys; before = set(sys.modules); import lskd.losses, lskd.objectives; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; print(sorted(new))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['lskd']"
