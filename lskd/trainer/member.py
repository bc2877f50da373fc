"""A member of a cohort: a student, its objective, its optimiser; one step of it, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lskd.objectives import Objective
from lskd.trainer.batches import Batch
from lskd.trainer.distributed import ALONE, World
from lskd.trainer.execution import Execution
from lskd.trainer.step import Step, StepResult, TeacherOutput

NEVER = 2**62  # a step that does not come


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
        module: student and objective as one, :class:`lskd.trainer.step.Step`, gradients averaged over processes.
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
