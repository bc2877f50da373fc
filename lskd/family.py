"""The other members of the family: distillation losses on logits that forget the scale, or part of it.

What they do with it is one grid: the axis that is standardised (classes: LS, NormKD; batch: LumiNet; both: DIST), where
the scale goes (thrown away: LS; into a sample's weight: NormKD, WTTM; kept on one side: TTM; learned: CTKD), the
divergence (KL; 1 - correlation: DIST) and what is split off (the label: DKD, RLD; the teacher's top k: GDKD).

All are to be imported from :mod:`lskd.losses`, whose first lines say what logits, ``dim``, ``mask``, ``weights``,
``reduction`` and ``check`` are. Values and gradients are those of the released code (weight 1, no warm-up), which
differs from LS's in what each docstring names.
"""

from __future__ import annotations

from numbers import Integral
from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd.rows import (
    RowOptions,
    Rows,
    Temperature,
    bounded,
    centre,
    classes_last,
    columns,
    deviation,
    kl,
    kl_of_two,
    kl_without,
    log_ratio,
    norm,
    recordable,
    temperature_of,
    z_score,
)


def mlkd_terms(
    student_weak: Tensor,
    student_strong: Tensor,
    teacher_weak: Tensor,
    teacher_strong: Tensor,
    target: Tensor,
    *,
    temperature: float,
    kd_weight: float,
    ce_weight: float = 0.1,
    standardize: bool = False,
    masks: Literal["mean", "elementwise"] = "mean",
    strong_terms: Literal["released", "all"] = "released",
    standardize_correlations: bool = False,
    eps: float = 1e-7,
    correction: int = 1,
    check: bool | None = None,
) -> dict[str, Tensor]:
    """Multi-level logit distillation on a weak and a strong view of the batch (protocol 1.5).

    The temperatures are (τ, 3, 5, 2, 6), a list with repetition. With the defaults the sum of the returned
    terms is the released loss, including two properties that its text does not have (protocol 5.2):

    Args:
        temperature: τ.
        masks: "mean" multiplies by the mean of the confidence masks (what the released code computes);
            "elementwise" applies them per sample (KL, batch correlation) and per class (class correlation).
        strong_terms: "released" takes the strong view's KL at τ, 3 and 5, the weak view's again at 2 and 6,
            and no correlation of the strong view; "all" takes every term of the strong view.
        standardize: LS inside the KL terms, as released.
        standardize_correlations: LS inside the class and batch correlations too.
        kd_weight, ce_weight: weights of the three distillation terms and of both cross-entropies.

    Returns:
        ``{"ce", "kd", "cc", "bc"}``, scalars whose sum is the loss.
    """
    classes_last(-1, student_weak=student_weak)
    classes_last(-1, student_strong=student_strong)
    if student_weak.ndim != 2 or student_weak.shape != student_strong.shape:
        found = f"{list(student_weak.shape)} and {list(student_strong.shape)}"
        raise ValueError(f"mlkd_terms: weak and strong logits are {found}; expected [batch, classes] twice")
    if masks not in ("mean", "elementwise"):
        raise ValueError(f'mlkd_terms: masks is {masks!r}; use "mean" (released) or "elementwise"')
    if strong_terms not in ("released", "all"):
        raise ValueError(f'mlkd_terms: strong_terms is {strong_terms!r}; use "released" or "all"')
    temperatures = [temperature_of(t) for t in (temperature, 3.0, 5.0, 2.0, 6.0)]
    weak = Rows(student_weak, teacher_weak, target, check=check, names=("student_weak", "teacher_weak"))
    strong = Rows(student_strong, teacher_strong, check=check, names=("student_strong", "teacher_strong"))

    if target.numel() == 0:
        return dict.fromkeys(("ce", "kd", "cc", "bc"), bounded(weak.student).sum() + bounded(strong.student).sum())
    probabilities = bounded(weak.teacher).softmax(dim=-1)
    confidence, prevalence = probabilities.amax(dim=-1), probabilities.sum(dim=0)
    sample_mask = (confidence <= _median(confidence)).to(confidence.dtype)
    class_mask = (prevalence <= _median(prevalence)).to(prevalence.dtype)

    def masked(values: Tensor, mask: Tensor) -> Tensor:
        each = masks == "elementwise"
        return (values * mask).mean() if each else values.mean() * mask.mean()

    kl_weak, kl_strong = (rows.logits(standardize, eps, correction) for rows in (weak, strong))
    nothing = torch.zeros_like(probabilities[0, 0])
    kd = sum((masked(kl(*kl_weak, t) * t**2, sample_mask) for t in temperatures), nothing)
    for index, t in enumerate(temperatures):
        # The released loop reads the weak logits for its last two "strong" temperatures.
        pair = kl_strong if strong_terms == "all" or index < 3 else kl_weak
        kd = kd + (kl(*pair, t) * t**2).mean()

    cc, bc = torch.zeros_like(kd), torch.zeros_like(kd)
    views = [(weak, True)] + ([(strong, False)] if strong_terms == "all" else [])
    for rows, use_mask in views:
        student, teacher = rows.logits(standardize_correlations, eps, correction)
        ones_b, ones_k = torch.ones_like(sample_mask), torch.ones_like(class_mask)
        for t in temperatures:
            q, p = (student / t).softmax(dim=-1), (teacher / t).softmax(dim=-1)
            cc = cc + masked(_gram_difference(p.mT, q.mT), class_mask if use_mask else ones_k)
            bc = bc + masked(_gram_difference(p, q), sample_mask if use_mask else ones_b)

    target = recordable(target)
    ce = F.cross_entropy(bounded(weak.student), target) + F.cross_entropy(bounded(strong.student), target)
    distilled = {"kd": kd_weight * kd, "cc": kd_weight * cc, "bc": kd_weight * bc}
    return {"ce": ce_weight * ce, **distilled}


def normkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: Temperature = 2.0, **rows: Unpack[RowOptions]
) -> Tensor:
    """NormKD (arXiv 2308.00520): (T σ)² KL of logits divided by T times their own deviation, σ the teacher's.

    A softmax does not see a shift, so these are the two distributions of LS; what differs is that a sample weighs σ²
    of its teacher. ``normkd = mean(σ² · kd(standardize=True, eps=0))``. Deviations divide by K-1.
    """
    pair = Rows(student_logits, teacher_logits, **rows)
    t = temperature_of(temperature)
    sigma = deviation(pair.teacher, pair.excluded)
    return pair.reduce((t * sigma) ** 2 * kl(*pair.logits(standardize=True, eps=0.0), t))


def luminet_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    alpha: float = 33.0,
    temperature: Temperature = 4.0,
    **rows: Unpack[RowOptions],
) -> Tensor:
    """LumiNet (arXiv 2310.03669): α² KL_T of logits that are standardised over the batch, class by class.

    What LS does to a row, this does to a column: variance over all rows that count, divided by their number, 1e-5 added
    inside the root. There is no T².
    """
    pair = Rows(student_logits, teacher_logits, **rows)
    t, out = temperature_of(temperature), columns(pair.left_out)
    z, v = (z_score(columns(x), out, correction=0, eps=0.0, eps_in_root=1e-5) for x in (pair.student, pair.teacher))
    student, teacher = (bounded(x).mT.reshape(pair.student.shape) for x in (z, v))
    return pair.reduce(alpha**2 * kl(student, teacher, t))


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 2.0,
    gamma: float = 2.0,
    temperature: Temperature = 4.0,
    **rows: Unpack[RowOptions],
) -> Tensor:
    """DIST (NeurIPS 2022): T² (β (1 - ρ of two rows) + γ (1 - ρ of two columns)) of the probabilities at T.

    ρ is Pearson's correlation, 1e-8 added to its denominator; what is constant up to rounding is not divided by its
    length (released: by 1e-8), as in LS. The squared distance of two rows' Z-scores is 2 (1 - ρ) a class: the first
    term is LS with another divergence, of probabilities in place of logits. The second is of the batch (all rows that
    count), the mean over classes, and the same for every row in ``reduction="none"``. The method's own repository has
    no temperature (``temperature=1``); T and T² are GDKD's, whose settings the recipes take.
    """
    pair = Rows(student_logits, teacher_logits, **rows)
    t = temperature_of(temperature)
    q, p = ((x / t).softmax(dim=-1) for x in pair.logits(standardize=False))
    between = 1 - _correlation(q, p, pair.excluded)
    out = columns(pair.left_out)
    within = 1 - _correlation(columns(q), columns(p), out)
    if out is not None:  # of the classes that some row has
        here = ~out.all(dim=-1)
        within = within.masked_fill(~here, 0.0) * (here.numel() / here.sum().clamp_min(1).to(within.dtype))
    return pair.reduce(t**2 * (beta * between + gamma * within.mean()))


def ttm_loss(
    student_logits: Tensor, teacher_logits: Tensor, *, gamma: Temperature, **rows: Unpack[RowOptions]
) -> Tensor:
    """TTM (arXiv 2402.11148): KL(p^γ / Σ p^γ ‖ q) of the teacher's p and the student's q at temperature 1.

    A power of probabilities is a temperature: the teacher's is 1/γ, the student has none, and there is no T².
    """
    pair = Rows(student_logits, teacher_logits, **rows)
    student, teacher = pair.logits(standardize=False)
    return pair.reduce(kl(student, temperature_of(gamma, "gamma") * teacher, 1.0))


def wttm_loss(
    student_logits: Tensor, teacher_logits: Tensor, *, gamma: Temperature, **rows: Unpack[RowOptions]
) -> Tensor:
    """WTTM (arXiv 2402.11148): :func:`ttm_loss` with a row's weight Σ p^γ, large where the teacher is in doubt."""
    pair = Rows(student_logits, teacher_logits, **rows)
    power = temperature_of(gamma, "gamma")
    student, teacher = pair.logits(standardize=False)
    weight = (power * teacher.log_softmax(dim=-1)).exp().sum(dim=-1)
    return pair.reduce(weight * kl(student, power * teacher, 1.0))


def rld_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: Temperature = 4.0,
    alpha_temperature: Temperature = 1.0,
    standardize: bool = False,
    **rows: Unpack[RowOptions],
) -> Tensor:
    """RLD (arXiv 2408.07703): ``α · T_α² KL[(teacher's largest p, rest) ‖ (student's p of the label, rest)]
    + β · T² KL`` over the classes that the teacher puts below the label, renormalised (0 where there is none).

    Args:
        target: int64 ``[...]``. alpha_temperature: T_α, of the first part. standardize: LS before both.
    """
    pair = Rows(student_logits, teacher_logits, target, **rows)
    t, of_two = temperature_of(temperature), temperature_of(alpha_temperature, "alpha_temperature")
    student, teacher = pair.logits(standardize)
    is_target = pair.is_target()
    is_largest = torch.zeros_like(is_target).scatter(-1, teacher.argmax(dim=-1, keepdim=True), True)
    confidence = kl_of_two(log_ratio(teacher, of_two), is_largest, log_ratio(student, of_two), is_target)
    of_target = teacher.masked_fill(~is_target, 0.0).sum(dim=-1, keepdim=True)
    below = kl_without(student, teacher, t, out=teacher >= of_target)
    return pair.reduce(alpha * of_two**2 * confidence + beta * t**2 * below)


def gdkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    k: int = 5,
    w0: float = 1.0,
    w1: float = 2.0,
    w2: float = 8.0,
    temperature: Temperature = 4.0,
    standardize: bool = False,
    **rows: Unpack[RowOptions],
) -> Tensor:
    """GDKD (arXiv 2512.04625): T² (w0 KL of the mass in the teacher's top k, w1 KL within them, w2 KL of the others).

    Args:
        k: 1 to the number of classes. standardize: LS before all three.
    """
    pair = Rows(student_logits, teacher_logits, **rows)
    t = temperature_of(temperature)
    student, teacher = pair.logits(standardize)
    if not isinstance(k, Integral) or not 1 <= k <= student.shape[-1]:
        raise ValueError(f"gdkd_loss: k is {k!r}; expected 1 to {student.shape[-1]}, the number of classes")
    top = torch.zeros_like(teacher, dtype=torch.bool).scatter(-1, teacher.topk(k, dim=-1).indices, True)
    mass = kl_of_two(log_ratio(teacher, t), top, log_ratio(student, t), top)
    within, others = (kl_without(student, teacher, t, out) for out in (~top, top))
    return pair.reduce(t**2 * (w0 * mass + w1 * within + w2 * others))


def _correlation(x: Tensor, y: Tensor, left_out: Tensor | None) -> Tensor:
    def centred_and_length(x: Tensor) -> tuple[Tensor, Tensor]:
        centred = centre(x, left_out)
        length = norm(centred)
        constant = length.detach() <= 4 * torch.finfo(x.dtype).eps * norm(x.detach())
        return centred, torch.where(constant, 1.0, length)

    (x, of_x), (y, of_y) = centred_and_length(x), centred_and_length(y)
    return ((x * y).sum(dim=-1, keepdim=True) / (of_x * of_y + 1e-8)).squeeze(-1)


def _median(x: Tensor) -> Tensor:
    """NumPy's 50th percentile of a vector, its rounding included; unlike torch.quantile it maps under vmap."""
    ordered = x.sort().values
    lower, upper = ordered[(len(x) - 1) // 2], ordered[len(x) // 2]
    return upper - (upper - lower) * 0.5


def _gram_difference(p: Tensor, q: Tensor) -> Tensor:
    """Row sums of squares of P Pᵀ - Q Qᵀ, ``[rows]``; in float32 (tf32 where that is on) also under autocast."""
    with torch.autocast(p.device.type, enabled=False):
        return (p @ p.mT - q @ q.mT).square().sum(dim=-1)
