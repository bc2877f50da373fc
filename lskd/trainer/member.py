"""A member of a cohort: a student, its objective, its optimiser; one step of it, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lskd.models.transformer import dropping
from lskd.objectives import Logits, Objective
from lskd.trainer.batches import Batch
from lskd.trainer.distributed import ALONE, World
from lskd.trainer.execution import Execution

NEVER = 2**62  # a step that does not come


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
    """A student and its objective as one module; calling it is a forward pass of everything that the loss needs.

    One module, so that whatever the loss reaches (weights, a learned temperature, projections of feature maps) is seen
    by who averages gradients between processes, and in one pass.
    """

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


@dataclass
class Member:
    """One student: its network, its objective, its optimiser, and what has been measured of it.

    Attributes:
        history: a line of the record for every epoch that is over.
        sums: float64 scalars, of the epoch that goes on: loss, correct, count, one a term.
        failure: why it stopped, or None.
        check_on_device: whether values are finite is noted on a GPU and read now and then, because reading waits.
        watched: names of the values whose finiteness a step looks at, in order.
        first_bad: int64 scalar, ``step · len(watched) + which`` of the first value that was not finite,
            below 0 while there is none; read by :meth:`check_finite`.
        world: the processes that train it together.
        module: student and objective as one, :class:`Step`, gradients averaged over processes.
    """

    name: str
    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    failure: dict[str, Any] | None = None
    check_on_device: bool = False
    watched: tuple[str, ...] = ()
    first_bad: Tensor | None = None
    world: World = ALONE
    module: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.module = self.world.wrap(Step(self.model, self.objective))

    def start_epoch(self, epoch: int, rate: float) -> None:
        """Set what the epoch decides. Cheap, so it is called before every step."""
        self.model.train()
        self.objective.start_epoch(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)

    def train_step(self, batch: Batch, teaching: TeacherOutput, execution: Execution) -> str | None:
        """Forward, backward, update.

        Returns:
            The name of the first value that is not finite; the member is as it was before the update then. With
            ``check_on_device`` always None.
        """
        found: StepResult = self.module(batch, teaching, execution, check=not self.check_on_device)
        if not self.check_on_device and (bad := self._agreed(found)) is not None:
            return bad
        assert found.loss is not None
        self.optimizer.zero_grad(set_to_none=True)
        (found.loss if batch.scale == 1.0 else batch.scale * found.loss).backward()
        self.optimizer.step()
        if self.check_on_device:
            self._note(batch.step, found.watched)
        self._accumulate(found.terms, found.loss, found.logits, batch.target)
        return None

    def _agreed(self, found: StepResult) -> str | None:
        """The first value that is not finite in any process: all stop, or none."""
        if self.world.size == 1:
            return found.bad
        names = list(found.watched)
        place = NEVER if found.bad is None else names.index(found.bad)
        first = int(self.world.all_min(torch.tensor(place, device=found.logits.device)))
        return None if first == NEVER else names[first]

    @torch.no_grad()
    def _note(self, step: int | Tensor, watched: Mapping[str, Tensor]) -> None:
        """Keep the first step and value that was not finite, without waiting for the device."""
        self.watched = tuple(watched)
        finite = torch.stack([torch.isfinite(value).all() for value in watched.values()])
        code = torch.where(finite.all(), -1, step * len(watched) + finite.int().argmin())
        if self.first_bad is None:
            self.first_bad = torch.full_like(code, -1)
        self.first_bad.copy_(torch.where(self.first_bad < 0, code, self.first_bad))

    def check_finite(self) -> tuple[int, str] | None:
        """Step and name of the first value that was noted as not finite. Waits for the device."""
        if self.first_bad is None:
            return None
        code = int(self.world.all_min(torch.where(self.first_bad < 0, NEVER, self.first_bad)))
        if code == NEVER:
            return None
        step, which = divmod(code, len(self.watched))
        return step, self.watched[which]

    @torch.no_grad()
    def _accumulate(self, terms: Mapping[str, Tensor], loss: Tensor, logits: Tensor, target: Tensor) -> None:
        """Add a batch to the sums of the epoch, in place and on the device, without waiting for it."""
        size = len(target)
        values = {"loss": loss * size, "correct": (logits.argmax(dim=-1) == target).sum()}
        values.update({f"term/{key}": value * size for key, value in terms.items()})
        values["count"] = torch.full_like(loss, size)
        for key, value in values.items():
            if key not in self.sums:
                self.sums[key] = torch.zeros((), dtype=torch.float64, device=loss.device)
            self.sums[key] += value.detach().double()

    def take_sums(self) -> dict[str, float]:
        """The sums over all processes as numbers; what follows starts from zero."""
        keys = list(self.sums)
        total = self.world.all_sum(torch.stack([self.sums[key] for key in keys]))
        out = dict(zip(keys, total.tolist(), strict=True))
        for value in self.sums.values():
            value.zero_()
        return out

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs beside history and failure, by ``part/key``."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "sums": self.sums if self.world.size == 1 else {k: self.world.all_gather(v) for k, v in self.sums.items()},
        }
        out = {f"{part}/{key}": value for part, values in parts.items() for key, value in values.items()}
        for i, parameter in enumerate(parameters(self.optimizer)):
            for key, value in self.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    out[f"optimizer/{key}/{i}"] = value
        return out

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """What :meth:`tensors` gave, put back where it was, on the device of the weights."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}, "sums": {}, "optimizer": {}}
        for key, value in tensors.items():
            part, rest = key.split("/", 1)
            parts[part][rest] = value
        self.model.load_state_dict(parts["model"])
        self.objective.load_state_dict(parts["objective"])
        owned = parameters(self.optimizer)
        own = {k: v if self.world.size == 1 else v[self.world.rank].clone() for k, v in parts["sums"].items()}
        self.sums = {k: v.to(owned[0].device) for k, v in own.items()}
        for key, value in parts["optimizer"].items():
            what, number = key.rsplit("/", 1)
            parameter = owned[int(number)]
            if value.shape == parameter.shape:  # in the parameter's own memory format
                value = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
            elif any(self.optimizer.defaults.get(key) for key in ("capturable", "fused")):
                value = value.to(parameter.device)  # the count of steps, read by the kernel that updates
            self.optimizer.state[parameter][what] = value


def parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All that an optimiser moves, in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


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
