"""Distillation losses on logits, each plain and with logit standardization (LS).

Pure functions of tensors; the module needs torch alone. Logits are float tensors ``[..., classes]`` of any number of
dimensions, the classes last or at ``dim``; every position is a row of its own. Targets are int64 ``[...]``.
Losses have the factor T² included, unless their method has none. What the paper's losses have in common with the
other members of the family (:mod:`lskd.family`, to be imported from here too):

- ``mask``: bool ``[...]``, True where a row counts; padding and ignored labels may hold anything, NaN included.
- ``weights``: float ``[...]``, a factor on every row's value. Mask and weights of ``[batch]`` count for whole samples.
- ``reduction``: "mean" over the rows that count, "sum", or "none" for the value of every row. No row that counts gives
  zero, with a gradient.
- A class that is -inf on both sides (a forbidden token) is left out of mean, deviation and divergence. So is one that
  is -8192 or less on both, and as far below the row's largest: masks are written so.

Defaults are those of the released code, because the published numbers come from it; named arguments
select the paper's definition where it differs. float16 and bfloat16 inputs are computed in float32.
Every finite input gives a finite loss: logits beyond ±2^100 (float32; 2^1000 in float64) count as that bound.

On CPU in eager mode every loss of two sides checks its logits and names the input and row that holds a NaN, an infinity
or a -inf of one side alone; pass ``check=True`` to have the same check on an accelerator (where it costs a
synchronisation) and ``check=False`` to leave it out. Compiled and vmapped code is never checked. Where nothing is
checked such a row's loss is NaN, and so is :func:`cross_entropy` of NaN everywhere.
"""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd.family import dist_loss, gdkd_loss, luminet_loss, mlkd_terms, normkd_loss, rld_loss, ttm_loss, wttm_loss
from lskd.rows import (
    Reduction,
    RowOptions,
    Rows,
    Temperature,
    at_least_float32,
    bounded,
    checked_target,
    classes_last,
    is_checked,
    kl,
    kl_of_two,
    kl_without,
    log_ratio,
    reduced,
    spread,
    temperature_of,
    warn_two_classes,
    z_score,
)
from lskd.vocabulary import in_pieces, known_classes

__all__ = [
    "CurriculumTemperature", "cross_entropy", "curriculum_reversal", "dist_loss", "dkd_loss", "dkd_terms",
    "gdkd_loss", "kd_loss", "locality_guidance_loss", "luminet_loss", "mlkd_terms", "normkd_loss", "rld_loss",
    "standardize", "ttm_loss", "vit_logit_terms", "wttm_loss",
]  # fmt: skip


def standardize(
    logits: Tensor, *, eps: float = 1e-7, correction: int = 1, dim: int = -1, mask: Tensor | None = None
) -> Tensor:
    """Z-score of every row: ``(x - mean) / (deviation + eps)`` over classes (paper Alg. 1, protocol 1.1).

    Args:
        logits: ``[..., classes]``, at least two classes.
        eps: added to the standard deviation, outside the root.
        correction: 1 divides the sum of squares by K-1, as the released code does; 0 divides by K, as the
            paper prints. The two differ by sqrt(K / (K-1)), 0.5 % at 100 classes.
        dim: of the classes. mask: see the module; rows that do not count become zero.

    Returns:
        A tensor of the same shape, float32 for half-precision inputs. Rows have mean 0 and, with
        correction 1, lie within ±(K-1)/sqrt(K). A class of -inf stays -inf, and the others are scored without it.

    A row that is constant up to rounding has no relations to standardise. Dividing by eps, as the released
    code does, multiplies its gradient by 1e7. Here such a row is centred but not scaled: its Z-score is
    zero and its gradient has the scale of unscaled logits, so that a zero-initialised head can still start.
    Otherwise the gradient grows as 1 / deviation, to 1/eps at most: more than float16 can hold.
    With two classes only the order of the logits is left; the first such call of a process warns.
    """
    (x,) = classes_last(dim, logits=logits)
    warn_two_classes(x)
    x = at_least_float32(x)
    counts = spread("mask", mask, x.shape[:-1])
    if counts is not None:
        x = x.masked_fill(~counts.unsqueeze(-1), 0.0)
    excluded = torch.isneginf(x)
    some = not is_checked(None, x) or bool(excluded.any())
    return z_score(x, excluded if some else None, eps=eps, correction=correction).movedim(-1, dim)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None = None,
    *,
    temperature: Temperature,
    standardize: bool = False,
    eps: float = 1e-7,
    correction: int = 1,
    teacher_topk: tuple[Tensor, Tensor] | None = None,
    chunk: int | None = None,
    dim: int = -1,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
    check: bool | None = None,
) -> Tensor:
    """T² KL(teacher ‖ student) at a shared temperature: Hinton's loss, or with LS (protocol 1.2).

    Args:
        student_logits: ``[..., classes]``; gradients flow through its mean and deviation under LS.
        teacher_logits: ``[..., classes]``; detached.
        temperature: T > 0; under LS the base temperature, applied to the Z-scores. A one-element tensor
            is differentiated through (CTKD).
        standardize: Z-score both logits first.
        eps, correction: see :func:`standardize`.
        teacher_topk: in place of ``teacher_logits``, the k classes that are known of each row: (values, class indices),
            both ``[..., k]``; logits or log-probabilities, as a constant in a row cancels. Convention: the known
            classes are the whole distribution. Z-scores and softmax of both sides are taken over them alone, and the
            student's other classes get no gradient. A value of -inf pads a row that knows fewer.
        chunk: rows to compute at a time, each piece again in the backward pass, so that beside the logits and the
            gradient no tensor of all rows and classes is kept: for vocabularies. Not twice differentiable.
        dim, mask, weights, reduction, check: see the module's first lines.

    Returns:
        A scalar of at least float32, or one value a row with ``reduction="none"``.
    """
    t = temperature_of(temperature)
    if (teacher_logits is None) == (teacher_topk is None):
        raise ValueError("kd_loss: pass either teacher_logits or teacher_topk=(values, indices)")
    if teacher_topk is not None:
        student_logits, teacher_logits = known_classes(student_logits, teacher_topk, dim, mask, check)
        dim = -1
    assert teacher_logits is not None
    student, teacher = classes_last(dim, student_logits=student_logits, teacher_logits=teacher_logits)
    counts, weights = spread("mask", mask, student.shape[:-1]), spread("weights", weights, student.shape[:-1])

    def values(student: Tensor, teacher: Tensor, counts: Tensor | None, t: Temperature, first: int) -> Tensor:
        rows = Rows(student, teacher, mask=counts, check=check, first=first)
        return kl(*rows.logits(standardize, eps, correction), t) * t**2

    found = (
        values(student, teacher, counts, t, 0)
        if chunk is None
        else in_pieces(values, chunk, student, teacher, counts, t)
    )
    return reduced(found, counts, weights, reduction)


def dkd_terms(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    temperature: Temperature,
    standardize: bool = False,
    eps: float = 1e-7,
    correction: int = 1,
    **rows: Unpack[RowOptions],
) -> tuple[Tensor, Tensor]:
    """Target-class and non-target-class part of decoupled KD, weight 1 each (protocol 1.3).

    TCKD compares (p_target, 1 - p_target) of teacher and student, NCKD the distributions over the other
    classes. KD = TCKD + mean over the batch of (1 - p_target of the teacher) · NCKD of the row.
    Logarithms are taken of log-sum-exps, so both are finite where the released code returns NaN (logits
    of standard deviation 60 at T = 1).

    The split is at one label a row; of two mixed images take the loss once for each label, with ``weights`` of their
    shares, and add (:func:`kd_loss` needs no label).

    Returns:
        ``(tckd, nckd)``, T² included, reduced as the module's first lines say.
    """
    pair = Rows(student_logits, teacher_logits, target, **rows)
    t, is_target = temperature_of(temperature), pair.is_target()
    student, teacher = pair.logits(standardize, eps, correction)
    tckd = kl_of_two(log_ratio(teacher, t), is_target, log_ratio(student, t), is_target)
    nckd = kl_without(student, teacher, t, is_target)
    return t**2 * pair.reduce(tckd), t**2 * pair.reduce(nckd)


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: Temperature = 4.0,
    standardize: bool = False,
    eps: float = 1e-7,
    correction: int = 1,
    **rows: Unpack[RowOptions],
) -> Tensor:
    """``alpha · TCKD + beta · NCKD`` (protocol 1.3), without the warm-up that the objective applies."""
    own: dict[str, Any] = {"temperature": temperature, "standardize": standardize, "eps": eps, "correction": correction}
    tckd, nckd = dkd_terms(student_logits, teacher_logits, target, **own, **rows)
    return alpha * tckd + beta * nckd


def vit_logit_terms(
    class_logits: Tensor,
    distill_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    temperature: float,
    weight: float = 9.0,
    logit_weight: float = 1.0,
    ce_weight: float = 0.5,
    standardize: bool = False,
    eps: float = 1e-7,
    correction: int = 1,
    check: bool | None = None,
) -> dict[str, Tensor]:
    """Cross-entropy of the class head and KD of the distillation head of a vision transformer (protocol 1.6).

    ``ce_weight · CE + logit_weight · W · KL_T`` with W = ``weight`` under LS and 1 without, as released.
    For students without a distillation head pass the class logits twice.

    Returns:
        ``{"ce", "kd"}``, scalars whose sum is the loss.
    """
    rows = Rows(distill_logits, teacher_logits, check=check, names=("distill_logits", "teacher_logits"))
    t = temperature_of(temperature)
    kd = rows.reduce(kl(*rows.logits(standardize, eps, correction), t) * t**2)
    factor = logit_weight * (weight if standardize else 1.0)
    return {"ce": ce_weight * cross_entropy(class_logits, target, check=check), "kd": factor * kd}


def cross_entropy(logits: Tensor, target: Tensor, *, check: bool | None = None) -> Tensor:
    """PyTorch's cross-entropy with this module's care: half precision in float32, finite for finite logits."""
    (logits,) = classes_last(-1, logits=logits)
    target = checked_target(target, logits, None, check)
    x = bounded(logits.masked_fill(torch.isposinf(logits), math.nan))
    if target.numel() == 0:
        return x.sum()
    return F.cross_entropy(x.reshape(-1, x.shape[-1]), target.reshape(-1))  # PyTorch has the classes at 1, here last


def locality_guidance_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """One term of locality guidance: mean squared difference of two feature maps (protocol 1.6).

    Args:
        student_map: ``[batch, channels, h, w]``, already projected to the teacher's channels.
        teacher_map: ``[batch, channels, H, W]``; detached.

    Both are resized bilinearly (corners not aligned) to the larger height and width.
    """
    if student_map.shape[:2] != teacher_map.shape[:2]:
        raise ValueError(
            f"locality_guidance_loss: student map {tuple(student_map.shape)} and teacher map "
            f"{tuple(teacher_map.shape)} differ in batch or channels; project the student's map first"
        )
    shapes = student_map.shape[2:], teacher_map.shape[2:]
    size = tuple(max(a, b) for a, b in zip(*shapes, strict=True))
    student, teacher = (
        F.interpolate(at_least_float32(m), size=size, mode="bilinear", align_corners=False)
        for m in (student_map, teacher_map.detach())
    )
    return (teacher - student).square().mean()


class CurriculumTemperature(nn.Module):
    """CTKD's learned temperature ``T = t_start + t_end · σ(θ)``, one θ for all samples (protocol 1.4).

    ``forward(reversal)`` returns T, shape [1]; backwards the gradient on θ is multiplied by ``reversal``,
    which is negative (:func:`curriculum_reversal`), so that θ ascends the loss the student descends.
    The published logs fit t_start 2 and t_end 40; the defaults are the released script's.
    """

    def __init__(self, t_start: float = 1.0, t_end: float = 20.0) -> None:
        super().__init__()
        if not (t_start > 0 and t_end >= 0):
            raise ValueError(f"CurriculumTemperature: t_start {t_start} and t_end {t_end}; need > 0 and >= 0")
        self.t_start = t_start
        self.t_end = t_end
        self.theta = nn.Parameter(torch.ones(1))

    def forward(self, reversal: float) -> Tensor:
        temperature = self.t_start + self.t_end * torch.sigmoid(self.theta)
        fixed = temperature.detach()
        # The value is exactly `fixed`; only the gradient is scaled. No custom autograd function,
        # so this composes with torch.compile and vmap.
        return fixed + reversal * (temperature - fixed)


def curriculum_reversal(epoch: int, *, loops: int = 10, start: float = 0.0, end: float = -1.0) -> float:
    """Factor λ on θ's gradient in epoch 1, 2, ...: a half cosine from ``start`` to ``end`` in ``loops`` epochs.

    λ_e = ½ (1 + cos(π min(e, N) / N)) (start - end) + end  (protocol 1.4).
    """
    if epoch < 1 or loops < 1:
        raise ValueError(f"curriculum_reversal: epoch {epoch}, loops {loops}; both count from 1")
    falling = 0.5 * (1.0 + math.cos(math.pi * min(epoch, loops) / loops))
    return falling * (start - end) + end
