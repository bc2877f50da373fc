"""What holds of every loss for every input: gradients, invariances, bounds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from every_loss import LOSSES, OTHERS, K, draw, every
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lskd import family, losses, rows
from lskd.losses import CurriculumTemperature, dkd_loss, dkd_terms, kd_loss, standardize

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
    assert module.theta != 1


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


def test_a_keyword_that_no_loss_has_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'temprature'; .* dim, mask, weights, reduction, c"
    ):
        dkd_loss(*draw(0, 2), temprature=2.0)


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
