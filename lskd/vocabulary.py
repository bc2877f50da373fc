"""What long vocabularies need: losses in pieces of rows, and teachers of whom only the largest logits are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lskd.rows import Temperature, classes_last, is_checked, recordable, spread

RowValues = Callable[..., Tensor]


def known_classes(
    student: Tensor, topk: tuple[Tensor, Tensor], dim: int, mask: Tensor | None, check: bool | None
) -> tuple[Tensor, Tensor]:
    """Both sides' logits ``[..., k]`` of the classes that the teacher's (values, indices) name; -inf names none."""
    kinds = [type(x).__name__ for x in topk] if isinstance(topk, tuple | list) else type(topk).__name__
    if len(kinds) != 2 or not all(isinstance(x, Tensor) for x in topk):
        raise ValueError(f"teacher_topk is {kinds}; expected (values, indices), two tensors")
    (student,) = classes_last(dim, student_logits=student)
    values, indices = (x.movedim(dim, -1) if x.ndim == student.ndim else x for x in topk)
    wanted = f"[..., k] beside student_logits {list(student.shape)}, k at least 2"
    if values.shape != indices.shape or values.shape[:-1] != student.shape[:-1] or values.shape[-1] < 2:
        raise ValueError(f"teacher_topk holds {list(values.shape)} and {list(indices.shape)}; expected both {wanted}")
    if indices.is_floating_point() or not values.is_floating_point():
        raise ValueError(f"teacher_topk holds {values.dtype} and {indices.dtype}; expected (float values, int indices)")
    unknown, last = torch.isneginf(values), student.shape[-1] - 1
    if is_checked(check, values, indices, *([] if mask is None else [mask])):
        counts = spread("mask", mask, student.shape[:-1])
        named = ~unknown & (True if counts is None else counts.unsqueeze(-1))
        bad = ((indices < 0) | (indices > last)) & named
        if bad.any():
            found = indices[bad]
            raise ValueError(
                f"teacher_topk names classes {int(found.min())}..{int(found.max())}; classes are 0..{last}"
            )
        ordered = torch.where(named, indices, ~torch.arange(indices.shape[-1], device=indices.device)).sort(-1).values
        if (ordered.diff(dim=-1) == 0).any():
            raise ValueError("teacher_topk names a class twice in one row; expected k different ones (-inf names none)")
    return student.gather(-1, indices.long().clamp(0, last)).masked_fill(unknown, -math.inf), values


class _InPieces(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        values: RowValues, size: int, student: Tensor, teacher: Tensor, counts: Tensor | None, t: Temperature
    ) -> Tensor:
        return torch.cat([values(*piece, t, i) for i, _, piece in _pieces(size, student, teacher, counts)])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.values, ctx.size, *tensors = inputs
        ctx.t = None if isinstance(tensors[-1], Tensor) else tensors.pop()
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        student, teacher, counts, *learned = ctx.saved_tensors
        whole, of_t = torch.empty_like(student), [torch.zeros_like(t) for t in learned]
        for i, place, (x, v, own) in _pieces(ctx.size, student, teacher, counts):

            def again(x: Tensor, *ts: Tensor, v: Tensor = v, own: Tensor | None = own, i: int = i) -> Tensor:
                return ctx.values(x, v, own, ts[0] if ts else ctx.t, i)

            pull = torch.func.vjp(again, x, *learned)[1]
            piece, *more = pull(grad[i : i + ctx.size])
            del pull  # what it holds is not needed beside the next piece's
            whole[place] = piece
            of_t = [a + b for a, b in zip(of_t, more, strict=True)]
        return None, None, whole, None, None, of_t[0] if of_t else None


def in_pieces(
    values: RowValues, size: int, student: Tensor, teacher: Tensor, counts: Tensor | None, t: Temperature
) -> Tensor:
    """``values(student, teacher, counts, t, first)`` of all rows ``[...]``, ``size`` rows at a time.

    The gradient computes every piece again: beside the logits and the gradient nothing is ever whole.
    """
    if not isinstance(size, Integral) or size < 1:
        raise ValueError(f"chunk is {size!r}; it is the number of rows to compute at a time, 1 or more")
    own = None if counts is None else recordable(counts)
    found = _InPieces.apply(values, size, student, recordable(teacher.detach()), own, t)
    return found.reshape(student.shape[:-1])


def _pieces(size: int, student: Tensor, *others: Tensor | None) -> Iterator[tuple[int, Any, tuple[Any, ...]]]:
    """Number of the first row, where the rows lie, and they; a slice of logits is never flattened, which copies it."""
    rows = student[..., 0].numel()
    for i in range(0, max(rows, 1), size):
        these = torch.arange(i, min(i + size, rows), device=student.device)
        place = torch.unravel_index(these, student.shape[:-1]) if student.ndim > 1 else (None,)
        yield i, place, tuple(None if x is None else x[place] for x in (student, *others))
