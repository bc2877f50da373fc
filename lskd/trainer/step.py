"""A student and its objective as one module: from a batch to the terms of its loss.

One module, so that whatever the loss reaches (weights, a learned temperature, projections of feature maps) is seen
by who averages gradients between processes, and in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lskd.models.transformer import dropping
from lskd.objectives import Logits, Objective
from lskd.trainer.batches import Batch
from lskd.trainer.execution import Execution


@dataclass(frozen=True)
class TeacherOutput:
    """What a teacher says of a batch: logits of weak and of strong views, feature maps of its stages."""

    logits: Tensor | None = None
    strong: Tensor | None = None
    stages: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class StepResult:
    """What a step computed.

    Attributes:
        logits: of the weak views, float32 ``[n, classes]``.
        watched: everything whose finiteness matters, by name, in order of computation.
        terms: of the loss; empty when looking found something that is not finite.
        loss: their sum.
        bad: name of the first value that is not finite, if one looked and there is one.
    """

    logits: Tensor
    watched: Mapping[str, Tensor]
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    loss: Tensor | None = None
    bad: str | None = None


class Step(nn.Module):
    """Calling it is a forward pass of everything that the loss needs."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch, teaching: TeacherOutput, execution: Execution, *, check: bool) -> StepResult:
        """``check``: stop at the first value that is not finite, which waits for the device."""
        distilled: Tensor | None = None
        stages: Sequence[Tensor] = ()
        with dropping(self.model, batch.drops):
            if self.objective.needs_stages:
                stages, logits = execution.forward(self.model, batch.inputs, "with_stages")
            elif getattr(self.model, "distilled", False):
                logits, distilled = execution.forward(self.model, batch.inputs, "heads")
            else:
                logits = execution.forward(self.model, batch.inputs)
        strong = None
        if self.objective.needs_strong:
            # The second pass moves running statistics a second time, as the released code does (protocol 1.5).
            with dropping(self.model, batch.drops):
                strong = execution.forward(self.model, batch.strong)
        watched = {"logits": logits, **({} if strong is None else {"strong logits": strong})}
        if check and (bad := first_bad(watched)):  # losses would refuse them, for all members
            return StepResult(logits, watched, bad=bad)
        terms = self.objective(
            Logits(
                student=logits,
                target=batch.target,
                teacher=teaching.logits,
                student_strong=strong,
                teacher_strong=teaching.strong,
                student_distilled=distilled,
                student_stages=stages,
                teacher_stages=teaching.stages,
            )
        )
        loss = torch.stack(list(terms.values())).sum()
        watched |= {**terms, "loss": loss}
        return StepResult(logits, watched, terms, loss, first_bad(watched) if check else None)


def first_bad(watched: Mapping[str, Tensor]) -> str | None:
    """Name of the first value that is not finite. Waits for the device."""
    return next((name for name, value in watched.items() if not bool(torch.isfinite(value).all())), None)


def joined(parts: Sequence[TeacherOutput]) -> TeacherOutput:
    """What a teacher said of the parts of a batch, one after the other."""
    if len(parts) == 1:
        return parts[0]
    logits, strong = (
        torch.cat([t for t in tensors if t is not None]) if tensors[0] is not None else None
        for tensors in ([p.logits for p in parts], [p.strong for p in parts])
    )
    return TeacherOutput(logits, strong, tuple(map(torch.cat, zip(*(p.stages for p in parts), strict=True))))
