"""What every loss shares: logits of any shape as rows, what counts of them, and the way from row values to a loss.

A row is the logits of one position: an image, a token, a pixel. All arithmetic is along the last dimension, in float32
at least. Nothing here knows a method; :mod:`lskd.losses` and :mod:`lskd.family` are written in these words.
"""

from __future__ import annotations

import functools
import math
import warnings
from numbers import Real
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

Temperature = float | Tensor
Reduction = Literal["mean", "sum", "none"]
# On both sides at most this, and as far below the row's largest: a class that is left out, as masks are written (-1e4,
# -1e9, finfo.min, each of which bf16 rounds to another number).
MASKED = -8192.0


class RowOptions(TypedDict, total=False):
    """Keywords that every loss of two sides' logits takes, see :class:`Rows` and :mod:`lskd.losses`."""

    dim: int
    mask: Tensor | None
    weights: Tensor | None
    reduction: Reduction
    check: bool | None


class Rows:
    """Student's and teacher's logits with the classes last, and how their row values become a loss.

    Arguments are those of :mod:`lskd.losses`; masks may be integers, and a mean is not divided by the sum of weights.
    ``names`` are those of the two inputs and ``first`` the number of the first row, for errors.

    Attributes:
        student, teacher: classes last, at least float32, the teacher detached; zero in rows that do not count.
        target: 0 in rows that do not count.
        counts: the mask as bool ``[...]``, None where every row counts.
        excluded: bool ``[..., classes]``, classes that both sides leave out, -inf in both; None where it is known that
            there are none.

    Raises:
        ValueError: a shape, type or value that is none of these; names the input and the first row.
    """

    def __init__(
        self,
        student: Tensor,
        teacher: Tensor,
        target: Tensor | None = None,
        dim: int = -1,
        mask: Tensor | None = None,
        weights: Tensor | None = None,
        reduction: Reduction = "mean",
        check: bool | None = None,
        *,
        names: tuple[str, str] = ("student_logits", "teacher_logits"),
        first: int = 0,
        **unknown: Any,
    ) -> None:
        if unknown:  # given to a loss, which hands on what it does not have itself
            have = f"beside its own this loss takes {', '.join(RowOptions.__annotations__)}"
            raise TypeError(f"unexpected keyword argument {next(iter(unknown))!r}; {have}")
        student, teacher = classes_last(dim, **dict(zip(names, (student, teacher), strict=True)))
        shape = student.shape[:-1]
        self.counts, self.weights = spread("mask", mask, shape), spread("weights", weights, shape)
        self.reduction = reduction
        student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
        wider = torch.promote_types(student.dtype, teacher.dtype)
        student, teacher = student.to(wider), teacher.to(wider)
        if target is not None:
            target = checked_target(target, student, self.counts, check)
        if self.counts is not None:
            blank = ~self.counts.unsqueeze(-1)
            student, teacher = student.masked_fill(blank, 0.0), teacher.masked_fill(blank, 0.0)
        self.student, self.teacher, self.excluded = _without_excluded(student, teacher, names, first, check)
        self.target = target

    def logits(self, standardize: bool, eps: float = 1e-7, correction: int = 1) -> tuple[Tensor, Tensor]:
        """Student's and teacher's logits, or their Z-scores; finite, excluded classes far below all others."""
        student, teacher = self.student, self.teacher
        if standardize not in (True, False):  # the text "False" is true
            raise ValueError(f"standardize is {standardize!r}; expected True or False")
        if standardize:
            warn_two_classes(student)
            student = z_score(student, self.excluded, eps=eps, correction=correction)
            teacher = z_score(teacher, self.excluded, eps=eps, correction=correction)
        return bounded(student), bounded(teacher)

    @property
    def left_out(self) -> Tensor | None:
        """bool ``[..., classes]``: excluded classes and all of the rows that do not count, or None."""
        if self.counts is None:
            return self.excluded
        blank = ~self.counts.unsqueeze(-1).expand(self.student.shape)
        return blank if self.excluded is None else blank | self.excluded

    def is_target(self) -> Tensor:
        """bool ``[..., classes]``, True at the class of the row's label."""
        assert self.target is not None
        return self.target.unsqueeze(-1) == torch.arange(self.student.shape[-1], device=self.target.device)

    def reduce(self, values: Tensor) -> Tensor:
        """The loss of row values ``[...]``, see :func:`reduced`."""
        return reduced(values, self.counts, self.weights, self.reduction)


def reduced(values: Tensor, counts: Tensor | None, weights: Tensor | None, reduction: Reduction) -> Tensor:
    """Row values, times their weights, as one number. Where no row counts it is zero, with a gradient of zero."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction is {reduction!r}; use "mean", "sum" or "none"')
    if weights is not None:
        if counts is not None:  # a factor of NaN there would be one of the gradient too
            weights = weights.masked_fill(~counts, 0.0)
        values = values * recordable(weights.to(values.dtype))
    if counts is not None:
        values = values.masked_fill(~counts, 0.0)
    if reduction == "none":
        return values
    if reduction == "sum" or values.numel() == 0:
        return values.sum()
    return values.mean() if counts is None else values.sum() / counts.sum().clamp_min(1)


# --- arithmetic along the last dimension -----------------------------------------------------------------------------


def z_score(x: Tensor, left_out: Tensor | None, *, eps: float, correction: int, eps_in_root: float = 0.0) -> Tensor:
    """``(x - mean) / (sqrt(variance + eps_in_root) + eps)`` of what is not left out, which becomes -inf.

    A row that is constant up to rounding is centred and not scaled, see :func:`lskd.losses.standardize`.
    """
    if correction not in (0, 1):
        raise ValueError(f"correction is {correction!r}; use 1 (released code) or 0 (paper)")
    if not isinstance(eps, Real) or not 0 <= eps < math.inf:  # YAML reads 1e-7 as a text
        raise ValueError(f"eps is {eps!r}; it is added to a deviation and must be a number, 0 or more")
    if left_out is not None:
        x = x.masked_fill(left_out, 0.0)
    centred, scale, unit = _centred(x, left_out, correction)
    constant = scale.detach() <= 4 * torch.finfo(x.dtype).eps
    scale = torch.where(constant, 1.0, scale)
    if eps_in_root:
        scale = (scale.square() + eps_in_root / unit / unit).sqrt()
    z = torch.where(constant, centre(x - x.detach(), left_out), centred / (scale + eps / unit))
    return z if left_out is None else z.masked_fill(left_out, -math.inf)


def deviation(x: Tensor, left_out: Tensor | None, correction: int = 1) -> Tensor:
    """Standard deviation of what is not left out, ``[...]``, bounded so that its square is."""
    _, scale, unit = _centred(x if left_out is None else x.masked_fill(left_out, 0.0), left_out, correction)
    return (scale * unit).clamp_max(_bound(x) ** 0.5).squeeze(-1)


def _centred(x: Tensor, left_out: Tensor | None, correction: int) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` minus its mean and its deviation, both in units of its largest entry, and that unit.

    Squares of very large logits overflow and of very small ones vanish. The unit is a constant for the gradient: it
    cancels.
    """
    if x.numel() == 0:
        return x, x.sum(dim=-1, keepdim=True), x.sum(dim=-1, keepdim=True)
    unit = x.detach().abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    x = x / unit
    centred = centre(x, left_out)
    if left_out is None:
        return centred, x.std(dim=-1, keepdim=True, correction=correction), unit
    # Two at least: of fewer the deviation is 0 whatever it is divided by.
    count = (~left_out).sum(dim=-1, keepdim=True).clamp_min(2).to(x.dtype)  # a root of integers is float32
    return centred, norm(centred) / (count - correction).sqrt(), unit


def centre(x: Tensor, left_out: Tensor | None) -> Tensor:
    """``x`` minus the mean of what is not left out, which becomes 0."""
    if left_out is None:
        return x - x.mean(dim=-1, keepdim=True)
    number = (~left_out).sum(dim=-1, keepdim=True).clamp_min(1)
    mean = x.masked_fill(left_out, 0.0).sum(dim=-1, keepdim=True) / number
    return (x - mean).masked_fill(left_out, 0.0)


def columns(x: Tensor | None) -> Any:
    """``[..., classes]`` as ``[classes, rows]``: what the batch does with one class becomes a row."""
    return None if x is None else x.reshape(-1, x.shape[-1]).mT


def norm(x: Tensor) -> Tensor:
    """Length, ``[..., 1]``; at zero its derivatives are zero, the second too."""
    zero = (x == 0).all(dim=-1, keepdim=True)
    return torch.linalg.vector_norm(x.masked_fill(zero, 1.0), dim=-1, keepdim=True).masked_fill(zero, 0.0)


def log_ratio(x: Tensor, t: Temperature) -> Tensor:
    """log(K · softmax(x / T)). Unlike log-softmax, whose entries all carry the rounding error of log K, it
    is near zero for near-uniform distributions: small divergences keep five more bits in float32."""
    x = x / t
    x = x - x.detach().amax(dim=-1, keepdim=True)
    return x - x.exp().mean(dim=-1, keepdim=True).log()


def kl(student: Tensor, teacher: Tensor, t: Temperature) -> Tensor:
    """KL(softmax(teacher / T) ‖ softmax(student / T)) of every row, ``[...]``, without T²."""
    log_p, log_q = log_ratio(teacher, t), log_ratio(student, t)
    return (log_p.exp() * (log_p - log_q)).mean(dim=-1)


def kl_without(student: Tensor, teacher: Tensor, t: Temperature, out: Tensor) -> Tensor:
    """:func:`kl` over the classes that are not out, renormalised; 0 where all are."""
    # A finite number, far below every bounded logit: its probability is 0, and a temperature that is learned
    # gets the gradient 0 from it, where -inf would make NaN of 0 · inf. Rows of which nothing is left are constant.
    low = 4 * _bound(student)
    student, teacher = student.masked_fill(out, -low), teacher.masked_fill(out, -low)
    nothing = teacher.amax(dim=-1, keepdim=True) <= -_bound(student)
    return kl(student.masked_fill(nothing, 0.0), teacher.masked_fill(nothing, 0.0), t)


def kl_of_two(log_p: Tensor, in_p: Tensor, log_q: Tensor, in_q: Tensor) -> Tensor:
    """KL of (mass inside, mass outside) a set of classes, ``[...]``, from what :func:`log_ratio` gives."""
    (inside_p, outside_p), (inside_q, outside_q) = _masses(log_p, in_p), _masses(log_q, in_q)
    return inside_p.exp() / log_p.shape[-1] * (inside_p - inside_q) + outside_p.exp() * (outside_p - outside_q)


def _masses(log_ratio: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """log(K · P) and log(1 - P) of the classes inside, ``[...]``, the latter from the form that does not cancel."""
    low, log_classes = 4 * _bound(log_ratio), math.log(log_ratio.shape[-1])
    mass = log_ratio.masked_fill(~inside, -low).logsumexp(dim=-1)
    log_p = mass - log_classes
    unlikely = log_p.detach() < -math.log(2.0)
    # exp() of the branch that is not taken stays away from 1, where log1p's gradient is infinite.
    from_inside = torch.log1p(-torch.where(unlikely, log_p, -math.log(4.0)).exp())
    from_outside = log_ratio.masked_fill(inside, -low).logsumexp(dim=-1) - log_classes
    return mass, torch.where(unlikely, from_inside, from_outside)


def recordable(x: Tensor) -> Tensor:
    """What was made in ``torch.inference_mode`` as a tensor that a backward pass may keep, in the same memory."""
    if torch.compiler.is_compiling() or not x.is_inference():
        return x
    plain = torch.empty(0, dtype=x.dtype, device=x.device)
    return plain.set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())


def at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def bounded(x: Tensor) -> Tensor:
    """At least float32, and so far from its largest number that no temperature or weight overflows."""
    x = at_least_float32(x)
    return x.clamp(-_bound(x), _bound(x))


def _bound(x: Tensor) -> float:
    return 2.0**1000 if x.dtype == torch.float64 else 2.0**100


# --- what is refused -------------------------------------------------------------------------------------------------


def temperature_of(value: Temperature, name: str = "temperature") -> Temperature:
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; use a number or one element")
        if is_checked(None, value) and not 0 < value.item() < math.inf:
            raise ValueError(f"{name} is {value.item():g}; it must stay positive: learn its logarithm, or clamp it")
        return at_least_float32(value.reshape(()))
    if not isinstance(value, Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be a positive number")
    return value


def is_checked(check: bool | None, *given: Tensor) -> bool:
    """Whether values are looked at: compiled and functorch-transformed tensors have none."""
    if check is False or torch.compiler.is_compiling():
        return False
    if any(torch._C._functorch.is_functorch_wrapped_tensor(x) for x in given):
        return False
    return True if check else given[0].device.type == "cpu"


def warn_two_classes(x: Tensor) -> None:
    if x.shape[-1] == 2 and not torch.compiler.is_compiling():
        _warn_two_classes()


@functools.cache  # once a process, not once a step; an exception (warnings as errors) is raised each time
def _warn_two_classes() -> None:
    warnings.warn(
        "logit standardization with two classes maps every pair of logits to ±0.7071 and carries no "
        "information beyond their order; use the plain loss",
        stacklevel=4,
    )


def classes_last(dim: int, **inputs: Tensor) -> list[Tensor]:
    """Logits of one shape with the classes moved from ``dim`` to the end."""
    first_name, first = next(iter(inputs.items()))
    for name, x in inputs.items():
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} is {type(x).__name__}; expected a tensor of logits, such as output.logits")
        found = f"{name} is {x.dtype} with shape {tuple(x.shape)}"
        if not x.is_floating_point() or not -x.ndim <= dim < x.ndim:
            raise ValueError(f"{found}; expected float logits" + (" [..., classes]" if dim == -1 else f", dim {dim}"))
        if x.shape != first.shape:
            found += f"; expected float logits like {first_name} {tuple(first.shape)}"
            if x.ndim == first.ndim and x.select(dim, 0).shape == first.select(dim, 0).shape:
                least = min(x.shape[dim], first.shape[dim])
                found += f"; the classes differ: if the longer side's last ones are padding, cut it to {least}"
            raise ValueError(found)
        if x.shape[dim] < 2:
            raise ValueError(f"{found}: {x.shape[dim]} class(es); needs at least two at dimension {dim}")
    return [x.movedim(dim, -1) for x in inputs.values()]


def spread(name: str, x: Tensor | None, shape: torch.Size) -> Tensor | None:
    """Values for rows, ``shape``, of one each or of leading dimensions; a mask as bool."""
    if x is None:
        return None
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} is {type(x).__name__}; expected a tensor {list(shape)}")
    if x.shape != shape[: x.ndim] or (x.ndim == 0 and shape):
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {tuple(shape)}, one value a row, or [batch]")
    if name == "mask" and (x.is_floating_point() or x.is_complex()):
        raise ValueError(f"mask is {x.dtype}; expected bool, True where a row counts (float factors are weights=)")
    x = x != 0 if name == "mask" else x
    return x.reshape(x.shape + (1,) * (len(shape) - x.ndim)).expand(shape)


def checked_target(target: Tensor, logits: Tensor, counts: Tensor | None, check: bool | None) -> Tensor:
    if not isinstance(target, Tensor):
        raise ValueError(f"target is {type(target).__name__}; expected a tensor of int64 class indices")
    if target.is_floating_point() and target.shape == logits.shape:
        raise ValueError(
            f"target is {target.dtype} with shape {tuple(target.shape)}, a distribution (mixup, label smoothing); "
            "expected one int64 label a row: of mixed images take the loss for each label, times its share (weights=), "
            "and add; kd_loss needs no label, and PyTorch's cross_entropy takes distributions"
        )
    if target.dtype != torch.int64 or target.shape != logits.shape[:-1]:
        raise ValueError(
            f"target is {target.dtype} with shape {tuple(target.shape)}; expected int64 class indices "
            f"{list(logits.shape[:-1])} of logits whose classes are last, or at dim="
        )
    target = target if counts is None else target.masked_fill(~counts, 0)
    if is_checked(check, target) and not bool(((target >= 0) & (target < logits.shape[-1])).all()):
        raise ValueError(
            f"target holds {int(target.min())}..{int(target.max())}; classes are 0..{logits.shape[-1] - 1}"
            + (
                "; leave rows out by mask=target != -100, or beforehand where there is no mask="
                if counts is None
                else ""
            )
        )
    return recordable(target)


def _without_excluded(
    student: Tensor, teacher: Tensor, names: tuple[str, str], first: int, check: bool | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Both sides with -inf at the classes that are left out, and which these are, where there may be any.

    Other values that are not finite, and -inf of one side alone, are refused; NaN where nothing is looked at.
    """
    looked = is_checked(check, student, teacher)
    if looked and bool(((student > MASKED) & (student < math.inf)).all() & torch.isfinite(teacher).all()):
        return student, teacher, None
    low = [x <= MASKED + x.detach().amax(dim=-1, keepdim=True).clamp(max=0.0) for x in (student, teacher)]
    both = low[0] & low[1]
    out = torch.isneginf(student), torch.isneginf(teacher)
    if looked:
        _refuse_rows(
            names[0], (out[0] & out[1]).all(dim=-1), first, "holds -inf for every class", "leave the row out with mask="
        )
        for name, x, own in zip(names, (student, teacher), out, strict=True):
            bad = ~torch.isfinite(x) & ~own
            advice = "look for a diverged network or an overflow in half precision"
            _refuse_rows(name, bad.any(dim=-1), first, "holds NaN or infinite logits", advice)
        for name, own in zip(names, out, strict=True):
            advice = "a class that is left out is -inf on both sides: set it on the other too, or give both a number"
            _refuse_rows(name, (own & ~both).any(dim=-1), first, "alone holds -inf", advice)
        if not bool(both.any()):
            return student, teacher, None
    else:
        student, teacher = (x.masked_fill(torch.isinf(x) & ~both, math.nan) for x in (student, teacher))
    return student.masked_fill(both, -math.inf), teacher.masked_fill(both, -math.inf), both


def _refuse_rows(name: str, bad: Tensor, first: int, found: str, advice: str) -> None:
    where = bad.nonzero().tolist()
    if where or (bad.ndim == 0 and bool(bad)):
        index = [first + i for i in where[0][:1]] + where[0][1:]
        row = f" in row {index[0] if len(index) == 1 else tuple(index)}" if index else ""
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        raise ValueError(f"{name} {found}{row}{more}; {advice}")
