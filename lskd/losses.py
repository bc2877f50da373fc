"""Distillation losses on logits, each plain and with logit standardization (LS).

Pure functions of tensors; the module needs torch alone. Logits are float tensors ``[batch, classes]``,
targets int64 ``[batch]``; every loss is a scalar, averaged over the batch, with the factor T² included.

Defaults are those of the released code, because the published numbers come from it; named arguments
select the paper's definition where it differs. float16 and bfloat16 inputs are computed in float32.
Every finite input gives a finite loss: logits beyond ±2^100 (float32; 2^1000 in float64) count as that bound.

On CPU in eager mode every loss checks its inputs and names the input and row that holds a NaN or an
infinity; pass ``check=True`` to have the same check on an accelerator (where it costs a synchronisation)
and ``check=False`` to leave it out. Compiled and vmapped code is never checked.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "CurriculumTemperature",
    "cross_entropy",
    "curriculum_reversal",
    "dkd_loss",
    "dkd_terms",
    "kd_loss",
    "locality_guidance_loss",
    "mlkd_terms",
    "standardize",
    "vit_logit_terms",
]

Temperature = float | Tensor


def standardize(logits: Tensor, *, eps: float = 1e-7, correction: int = 1) -> Tensor:
    """Z-score of every row: ``(x - mean) / (deviation + eps)`` over classes (paper Alg. 1, protocol 1.1).

    Args:
        logits: ``[..., classes]``, at least two classes.
        eps: added to the standard deviation, outside the root.
        correction: 1 divides the sum of squares by K-1, as the released code does; 0 divides by K, as the
            paper prints. The two differ by sqrt(K / (K-1)), 0.5 % at 100 classes.

    Returns:
        A tensor of the same shape, float32 for half-precision inputs. Rows have mean 0 and, with
        correction 1, lie within ±(K-1)/sqrt(K).

    A row that is constant up to rounding has no relations to standardise. Dividing by eps, as the released
    code does, multiplies its gradient by 1e7. Here such a row is centred but not scaled: its Z-score is
    zero and its gradient has the scale of unscaled logits, so that a zero-initialised head can still start.
    Otherwise the gradient grows as 1 / deviation, to 1/eps at most: more than float16 can hold.
    With two classes only the order of the logits is left; the first such call of a process warns.
    """
    if logits.shape[-1] < 2:
        raise ValueError(
            f"standardize: logits have {logits.shape[-1]} class(es); a Z-score needs at least two, "
            "pass logits of shape [..., classes]"
        )
    if logits.shape[-1] == 2 and not torch.compiler.is_compiling():
        _warn_two_classes()
    if correction not in (0, 1):
        raise ValueError(f"standardize: correction is {correction!r}; use 1 (released code) or 0 (paper)")
    x = _at_least_float32(logits)
    # In units of the largest entry, because squares of very large logits overflow and of very
    # small ones vanish. The unit is a constant for the gradient: it cancels.
    unit = x.detach().abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    scaled = x / unit
    centred = scaled - scaled.mean(dim=-1, keepdim=True)
    deviation = scaled.std(dim=-1, keepdim=True, correction=correction)
    constant = deviation.detach() <= 4 * torch.finfo(x.dtype).eps
    z = centred / (torch.where(constant, 1.0, deviation) + eps / unit)
    nothing = x - x.detach()
    return torch.where(constant, nothing - nothing.mean(dim=-1, keepdim=True), z)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: Temperature,
    standardize: bool = False,
    eps: float = 1e-7,
    correction: int = 1,
    check: bool | None = None,
) -> Tensor:
    """T² KL(teacher ‖ student) at a shared temperature: Hinton's loss, or with LS (protocol 1.2).

    Args:
        student_logits: ``[batch, classes]``; gradients flow through its mean and deviation under LS.
        teacher_logits: ``[batch, classes]``; detached.
        temperature: T > 0; under LS the base temperature, applied to the Z-scores. A one-element tensor
            is differentiated through (CTKD).
        standardize: Z-score both logits first.
        eps, correction: see :func:`standardize`.
        check: see the module's first lines.

    Returns:
        The batch mean, a scalar of at least float32.
    """
    _check_logits(check, student_logits=student_logits, teacher_logits=teacher_logits)
    t = _temperature(temperature)
    student, teacher = _prepare(student_logits, teacher_logits, standardize, eps, correction)
    return _kl_rows(student, teacher, t).mean()


def dkd_terms(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    temperature: Temperature,
    standardize: bool = False,
    eps: float = 1e-7,
    correction: int = 1,
    check: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Target-class and non-target-class part of decoupled KD, weight 1 each (protocol 1.3).

    TCKD compares (p_target, 1 - p_target) of teacher and student, NCKD the distributions over the other
    classes. KD = TCKD + mean over the batch of (1 - p_target of the teacher) · NCKD of the row.
    Logarithms are taken of log-sum-exps, so both are finite where the released code returns NaN (logits
    of standard deviation 60 at T = 1).

    Returns:
        ``(tckd, nckd)``, batch means with T² included.
    """
    _check_logits(check, student_logits=student_logits, teacher_logits=teacher_logits)
    _check_target(check, target, student_logits)
    t = _temperature(temperature)
    student, teacher = _prepare(student_logits, teacher_logits, standardize, eps, correction)
    is_target = target.unsqueeze(-1) == torch.arange(student.shape[-1], device=target.device)

    log_q, log_p = _log_ratio(student, t), _log_ratio(teacher, t)
    target_q, rest_q = _target_and_rest(log_q, is_target)
    target_p, rest_p = _target_and_rest(log_p, is_target)
    p_target = target_p.exp() / student.shape[-1]
    tckd = p_target * (target_p - target_q) + rest_p.exp() * (rest_p - rest_q)

    # Without the target class, renormalised over the others; what is excluded adds nothing.
    log_q = _log_ratio(student.masked_fill(is_target, -math.inf), t)
    log_p = _log_ratio(teacher.masked_fill(is_target, -math.inf), t)
    difference = log_p.masked_fill(is_target, 0.0) - log_q.masked_fill(is_target, 0.0)
    nckd = (log_p.exp() * difference).mean(dim=-1)
    return t**2 * tckd.mean(), t**2 * nckd.mean()


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
    check: bool | None = None,
) -> Tensor:
    """``alpha · TCKD + beta · NCKD`` (protocol 1.3), without the warm-up that the objective applies."""
    tckd, nckd = dkd_terms(
        student_logits,
        teacher_logits,
        target,
        temperature=temperature,
        standardize=standardize,
        eps=eps,
        correction=correction,
        check=check,
    )
    return alpha * tckd + beta * nckd


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
    _check_logits(
        check,
        student_weak=student_weak,
        student_strong=student_strong,
        teacher_weak=teacher_weak,
        teacher_strong=teacher_strong,
    )
    _check_target(check, target, student_weak)
    if masks not in ("mean", "elementwise"):
        raise ValueError(f'mlkd_terms: masks is {masks!r}; use "mean" (released) or "elementwise"')
    if strong_terms not in ("released", "all"):
        raise ValueError(f'mlkd_terms: strong_terms is {strong_terms!r}; use "released" or "all"')
    temperatures = [_temperature(t) for t in (temperature, 3.0, 5.0, 2.0, 6.0)]
    weak = _bounded(student_weak), _bounded(teacher_weak.detach())
    strong = _bounded(student_strong), _bounded(teacher_strong.detach())

    probabilities = weak[1].softmax(dim=-1)
    confidence, prevalence = probabilities.amax(dim=-1), probabilities.sum(dim=0)
    sample_mask = (confidence <= _median(confidence)).to(confidence.dtype)
    class_mask = (prevalence <= _median(prevalence)).to(prevalence.dtype)

    def masked(values: Tensor, mask: Tensor) -> Tensor:
        each = masks == "elementwise"
        return (values * mask).mean() if each else values.mean() * mask.mean()

    def scored(pair: tuple[Tensor, Tensor], on: bool) -> tuple[Tensor, Tensor]:
        return _prepare(pair[0], pair[1], on, eps, correction)

    kl_weak, kl_strong = scored(weak, standardize), scored(strong, standardize)
    nothing = torch.zeros_like(weak[0][0, 0])
    kd = sum((masked(_kl_rows(*kl_weak, t), sample_mask) for t in temperatures), nothing)
    for index, t in enumerate(temperatures):
        # The released loop reads the weak logits for its last two "strong" temperatures.
        pair = kl_strong if strong_terms == "all" or index < 3 else kl_weak
        kd = kd + _kl_rows(*pair, t).mean()

    cc, bc = torch.zeros_like(kd), torch.zeros_like(kd)
    views = [(weak, True)] + ([(strong, False)] if strong_terms == "all" else [])
    for pair, use_mask in views:
        student, teacher = scored(pair, standardize_correlations)
        ones_b, ones_k = torch.ones_like(sample_mask), torch.ones_like(class_mask)
        for t in temperatures:
            q, p = (student / t).softmax(dim=-1), (teacher / t).softmax(dim=-1)
            cc = cc + masked(_gram_difference(p.mT, q.mT), class_mask if use_mask else ones_k)
            bc = bc + masked(_gram_difference(p, q), sample_mask if use_mask else ones_b)

    ce = F.cross_entropy(weak[0], target) + F.cross_entropy(strong[0], target)
    distilled = {"kd": kd_weight * kd, "cc": kd_weight * cc, "bc": kd_weight * bc}
    return {"ce": ce_weight * ce, **distilled}


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
    _check_logits(
        check,
        class_logits=class_logits,
        distill_logits=distill_logits,
        teacher_logits=teacher_logits,
    )
    kd = kd_loss(
        distill_logits,
        teacher_logits,
        temperature=temperature,
        standardize=standardize,
        eps=eps,
        correction=correction,
        check=False,
    )
    factor = logit_weight * (weight if standardize else 1.0)
    ce = cross_entropy(class_logits, target, check=check)
    return {"ce": ce_weight * ce, "kd": factor * kd}


def cross_entropy(logits: Tensor, target: Tensor, *, check: bool | None = None) -> Tensor:
    """PyTorch's cross-entropy with this module's care: half precision in float32, finite for finite logits."""
    _check_target(check, target, logits)
    return F.cross_entropy(_bounded(logits), target)


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
        F.interpolate(_at_least_float32(m), size=size, mode="bilinear", align_corners=False)
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


def curriculum_reversal(
    epoch: int,
    *,
    loops: int = 10,
    start: float = 0.0,
    end: float = -1.0,
) -> float:
    """Factor λ on θ's gradient in epoch 1, 2, ...: a half cosine from ``start`` to ``end`` in ``loops`` epochs.

    λ_e = ½ (1 + cos(π min(e, N) / N)) (start - end) + end  (protocol 1.4).
    """
    if epoch < 1 or loops < 1:
        raise ValueError(f"curriculum_reversal: epoch {epoch}, loops {loops}; both count from 1")
    falling = 0.5 * (1.0 + math.cos(math.pi * min(epoch, loops) / loops))
    return falling * (start - end) + end


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _bounded(x: Tensor) -> Tensor:
    """At least float32, and so far from its largest number that no temperature or weight overflows."""
    x = _at_least_float32(x)
    bound = 2.0**1000 if x.dtype == torch.float64 else 2.0**100
    return x.clamp(-bound, bound)


def _temperature(value: Temperature) -> Temperature:
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"temperature has shape {tuple(value.shape)}; use a number or one element")
        return value.reshape(())
    if not 0 < value < math.inf:
        raise ValueError(f"temperature is {value}; it must be a positive number")
    return value


def _prepare(student: Tensor, teacher: Tensor, on: bool, eps: float, correction: int) -> tuple[Tensor, Tensor]:
    teacher = teacher.detach()
    if not on:
        return _bounded(student), _bounded(teacher)
    return (
        standardize(student, eps=eps, correction=correction),
        standardize(teacher, eps=eps, correction=correction),
    )


@functools.cache  # once a process, not once a step; an exception (warnings as errors) is raised each time
def _warn_two_classes() -> None:
    warnings.warn(
        "logit standardization with two classes maps every pair of logits to ±0.7071 and carries no "
        "information beyond their order; use the plain loss",
        stacklevel=3,
    )


def _median(x: Tensor) -> Tensor:
    """NumPy's 50th percentile of a vector, its rounding included; unlike torch.quantile it maps under vmap."""
    ordered = x.sort().values
    lower, upper = ordered[(len(x) - 1) // 2], ordered[len(x) // 2]
    return upper - (upper - lower) * 0.5


def _log_ratio(x: Tensor, t: Temperature) -> Tensor:
    """log(K · softmax(x / T)). Unlike log-softmax, whose entries all carry the rounding error of log K, it
    is near zero for near-uniform distributions: small divergences keep five more bits in float32."""
    x = x / t
    x = x - x.detach().amax(dim=-1, keepdim=True)
    return x - x.exp().mean(dim=-1, keepdim=True).log()


def _kl_rows(student: Tensor, teacher: Tensor, t: Temperature) -> Tensor:
    log_p, log_q = _log_ratio(teacher, t), _log_ratio(student, t)
    return t**2 * (log_p.exp() * (log_p - log_q)).mean(dim=-1)


def _target_and_rest(log_ratio: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """log(K · p_target) and log(1 - p_target), ``[batch]``, the latter from the form that does not cancel."""
    log_classes = math.log(log_ratio.shape[-1])
    target = log_ratio.masked_fill(~is_target, 0.0).sum(dim=-1)
    log_p = target - log_classes
    unlikely = log_p.detach() < -math.log(2.0)
    # exp() of the branch that is not taken stays away from 1, where log1p's gradient is infinite.
    from_target = torch.log1p(-torch.where(unlikely, log_p, -math.log(4.0)).exp())
    from_rest = log_ratio.masked_fill(is_target, -math.inf).logsumexp(dim=-1) - log_classes
    return target, torch.where(unlikely, from_target, from_rest)


def _gram_difference(p: Tensor, q: Tensor) -> Tensor:
    """Row sums of squares of P Pᵀ - Q Qᵀ, ``[rows]``; in full precision also under autocast."""
    with torch.autocast(p.device.type, enabled=False):
        return (p @ p.mT - q @ q.mT).square().sum(dim=-1)


def _checking(check: bool | None, x: Tensor) -> bool:
    # Compiled and functorch-transformed tensors have no value to look at.
    if check is False or torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(x):
        return False
    return True if check else x.device.type == "cpu"


def _check_logits(check: bool | None, **inputs: Tensor) -> None:
    first_name, first = next(iter(inputs.items()))
    for name, x in inputs.items():
        if x.ndim != 2 or x.shape != first.shape or not x.is_floating_point():
            raise ValueError(
                f"{name} is {x.dtype} with shape {tuple(x.shape)}; expected float logits [batch, classes]"
                + ("" if x is first else f" like {first_name} {tuple(first.shape)}")
            )
        if x.shape[0] < 1 or x.shape[1] < 2:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; needs one row and two classes at least")
    if not _checking(check, first):
        return
    for name, x in inputs.items():
        bad = ~torch.isfinite(x).all(dim=-1)
        if bad.any():
            rows = bad.nonzero().flatten().tolist()
            raise ValueError(
                f"{name} holds NaN or infinite logits in row {rows[0]}"
                + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")
                + f" of {x.shape[0]}; look for a diverged network or an overflow in half precision"
            )


def _check_target(check: bool | None, target: Tensor, logits: Tensor) -> None:
    if target.dtype != torch.int64 or target.shape != logits.shape[:1]:
        raise ValueError(
            f"target is {target.dtype} with shape {tuple(target.shape)}; expected int64 class indices "
            f"[{logits.shape[0]}]"
        )
    if _checking(check, target) and not bool(((target >= 0) & (target < logits.shape[1])).all()):
        raise ValueError(f"target holds {int(target.min())}..{int(target.max())}; classes are 0..{logits.shape[1] - 1}")
