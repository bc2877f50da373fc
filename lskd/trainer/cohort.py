"""The training loop: students that differ only in their objective, in lockstep behind one teacher.

Every batch is gathered once and goes through the teacher once, whatever the number of members. Members
share nothing else: model, objective and optimiser are their own, so a member's bits are the same alone and
in any cohort. Draws are pure functions of (seed, epoch, position), see :mod:`lskd.data.draws`. Strong views
are made, and seen by the teacher, only while an objective needs them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd.data.dataset import Dataset
from lskd.data.draws import derive
from lskd.data.views import normalize
from lskd.models import create_model
from lskd.objectives import Logits, Objective, create_objective
from lskd.recipes import Recipe
from lskd.trainer.batches import Batch, Batches
from lskd.trainer.checkpoint import Checkpoint
from lskd.trainer.execution import Execution
from lskd.trainer.schedule import step_learning_rate
from lskd.trainer.table import LogitTable

__all__ = ["Cohort", "Member", "evaluate", "normalize", "seeded"]

EVALUATION_BATCH = 500
WATCH_EVERY = 50  # steps between two looks at a GPU's finiteness; a look waits for the device


@dataclass
class Member:
    """One student: its network, its objective, its optimiser, and what has been measured of it."""

    name: str
    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    failure: dict[str, Any] | None = None
    watched: tuple[str, ...] = ()
    first_bad: Tensor | None = None


class Cohort:
    """Trains the members of a recipe. ``step`` counts optimiser steps; a batch is a step of every member.

    Args:
        recipe, dataset, seed: what to train.
        teacher: network in eval mode, or None when no objective needs one.
        device: where everything lives: images, networks, draws.
        table: the teacher's logits for weak views, instead of its forward passes.
        execution: how the device computes.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        *,
        seed: int,
        teacher: nn.Module | None,
        device: torch.device,
        table: LogitTable | None = None,
        execution: Execution | None = None,
    ) -> None:
        self.recipe = recipe
        self.dataset = dataset
        self.seed = seed
        self.device = device
        self.step = 0
        self.teacher = None if teacher is None else _placed(teacher, device).eval().requires_grad_(False)
        self.table = table
        self.execution = execution or Execution.choose(device)
        self.batches = Batches(dataset, seed=seed, size=recipe.batch_size, device=device)
        self.train_labels = self.batches.labels
        self.test_images = dataset.test_images.to(device)
        self.test_labels = dataset.test_labels.to(device)
        self.steps_per_epoch = self.batches.per_epoch
        self.members = [self._member(name, dict(settings)) for name, settings in recipe.members.items()]
        self._on_failure: Callable[[Member, dict[str, Tensor]], None] = lambda member, tensors: None

    @property
    def total_steps(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def running(self) -> list[Member]:
        return [m for m in self.members if m.failure is None]

    def run(
        self,
        *,
        after_step: Callable[[], None] = lambda: None,
        after_epoch: Callable[[], None] = lambda: None,
        on_failure: Callable[[Member, dict[str, Tensor]], None] = lambda member, tensors: None,
    ) -> None:
        """Train from the current step to the last.

        Args:
            after_step: sees a state that can be checkpointed.
            after_epoch: is called after the epoch's test and its last ``after_step``.
            on_failure: is handed a member whose numbers are no longer finite, with its weights and the batch.
        """
        self._on_failure = on_failure
        while self.step < self.total_steps and self.running:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            for batch in self.batches.epoch(epoch + 1, first, strong=self._needs_strong):
                self._train_step(batch)
                self.step += 1
                if self.step % self.steps_per_epoch == 0:
                    self._finish_epoch(epoch + 1)
                    after_step()
                    after_epoch()
                else:
                    after_step()
                if not self.running:
                    return

    def state(self) -> Checkpoint:
        """Everything that a resumed run needs."""
        self._look()
        tensors: dict[str, Tensor] = {}
        for member in self.members:
            parts: dict[str, Mapping[str, Tensor]] = {
                "model": member.model.state_dict(),
                "objective": member.objective.state_dict(),
                "sums": member.sums,
                "momentum": {
                    str(i): member.optimizer.state[p]["momentum_buffer"]
                    for i, p in enumerate(_parameters(member))
                    if member.optimizer.state[p].get("momentum_buffer") is not None
                },
            }
            for part, values in parts.items():
                tensors.update({f"{member.name}/{part}/{key}": value for key, value in values.items()})
        facts = {m.name: {"history": m.history, "failure": m.failure} for m in self.members}
        return Checkpoint(self.step, tensors, {"members": facts})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same run."""
        for member in self.members:
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}, "sums": {}, "momentum": {}}
            for key, value in checkpoint.tensors.items():
                name, part, rest = key.split("/", 2)
                if name == member.name:
                    parts[part][rest] = value
            member.model.load_state_dict(parts["model"])
            member.objective.load_state_dict(parts["objective"])
            member.sums = {k: v.to(self.device) for k, v in parts["sums"].items()}
            for i, p in enumerate(_parameters(member)):
                if str(i) in parts["momentum"]:
                    buffer = torch.empty_like(p, memory_format=torch.preserve_format)
                    member.optimizer.state[p]["momentum_buffer"] = buffer.copy_(parts["momentum"][str(i)])
            member.history = checkpoint.values["members"][member.name]["history"]
            member.failure = checkpoint.values["members"][member.name]["failure"]
        self.step = checkpoint.step

    def _member(self, name: str, settings: dict[str, Any]) -> Member:
        objective = create_objective(settings.pop("method"), **settings)
        if objective.needs_teacher and self.teacher is None:
            raise ValueError(f"member {name}: its objective needs a teacher and the cohort has none")
        with seeded(self.seed, "init", self.recipe.student):
            fresh = create_model(self.recipe.student, num_classes=self.dataset.classes)
        model = _placed(fresh, self.device)
        objective = objective.to(self.device)
        optimizer = torch.optim.SGD(
            [*model.parameters(), *objective.parameters()],
            lr=self.recipe.learning_rate,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
            fused=self.execution.fused,
        )
        return Member(name, model, objective, optimizer)

    def _needs_strong(self) -> bool:
        return any(m.objective.needs_strong for m in self.running)

    def _train_step(self, batch: Batch) -> None:
        teacher, teacher_strong = self._teacher_logits(batch)
        rate = self._learning_rate(batch.epoch)
        for member in self.running:
            member.model.train()
            member.objective.start_epoch(batch.epoch)
            for group in member.optimizer.param_groups:
                group["lr"] = rate
            logits = self._forward(member.model, batch.inputs)
            # The second pass moves running statistics a second time, as the released code does (protocol 1.5).
            strong = self._forward(member.model, batch.strong) if member.objective.needs_strong else None
            watched = {"logits": logits, **({} if strong is None else {"strong logits": strong})}
            if self.device.type == "cpu" and self._not_finite(member, batch, watched):
                continue  # losses would refuse them, for all members
            terms = member.objective(Logits(logits, batch.target, teacher, strong, teacher_strong))
            loss = torch.stack(list(terms.values())).sum()
            if self._not_finite(member, batch, {**watched, **terms, "loss": loss}):
                continue
            member.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            member.optimizer.step()
            _accumulate(member.sums, terms, loss, logits, batch.target)

    @torch.no_grad()
    def _teacher_logits(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Of the weak and the strong views. Two passes, so that those of weak views are the same with and without."""
        if self.teacher is None or not any(m.objective.needs_teacher for m in self.running):
            return None, None
        weak = self._forward(self.teacher, batch.inputs) if self.table is None else self.table(batch.index, batch.view)
        return weak, self._forward(self.teacher, batch.strong) if self._needs_strong() else None

    def _forward(self, model: nn.Module, inputs: Tensor | None) -> Tensor:
        """Logits in float32, whatever the network computed in."""
        with self.execution.autocast():
            logits: Tensor = model(inputs)
        return logits.float()

    def _learning_rate(self, epoch: int) -> float:
        recipe = self.recipe
        return step_learning_rate(recipe.learning_rate, epoch, recipe.milestones, decay=recipe.decay)

    def _finish_epoch(self, epoch: int) -> None:
        self._look()
        for member in self.running:
            test_loss, test_accuracy = evaluate(member.model, self.test_images, self.test_labels, self.dataset)
            if not math.isfinite(test_loss):  # the epoch's last update was one too many
                self._fail(member, self.step - 1, "test loss")
                continue
            sums = {key: float(value) for key, value in member.sums.items()}
            member.sums = {}
            count = sums.pop("count")
            member.history.append(
                {
                    "epoch": epoch,
                    "learning_rate": self._learning_rate(epoch),
                    "train_loss": sums.pop("loss") / count,
                    "train_accuracy": 100 * sums.pop("correct") / count,
                    "terms": {key.removeprefix("term/"): value / count for key, value in sums.items()},
                    "test_loss": test_loss,
                    "test_accuracy": test_accuracy,
                    **member.objective.diagnostics(),
                }
            )

    @torch.no_grad()
    def _not_finite(self, member: Member, batch: Batch, watched: dict[str, Tensor]) -> bool:
        """Note the first of the named values that is NaN or infinite; True when the member stops before its update.

        On a GPU the note stays there and is read every ``WATCH_EVERY`` steps and before anything is saved, because
        reading it waits for the device; until then the member goes on.
        """
        member.watched = tuple(watched)
        finite = torch.stack([torch.isfinite(value).all() for value in watched.values()])
        if self.device.type == "cpu":
            if bool(finite.all()):
                return False
            self._fail(member, batch.step, member.watched[int(finite.int().argmin())])
            return True
        code = torch.where(finite.all(), -1, batch.step * len(watched) + finite.int().argmin())
        known = member.first_bad
        member.first_bad = code if known is None else torch.where(known < 0, code, known)
        if (batch.step + 1) % WATCH_EVERY == 0:
            self._look()
        return member.failure is not None

    def _look(self) -> None:
        """Read what a GPU has noted."""
        for member in self.running:
            if member.first_bad is not None and (code := int(member.first_bad)) >= 0:
                step, which = divmod(code, len(member.watched))
                self._fail(member, step, member.watched[which])

    def _fail(self, member: Member, step: int, term: str) -> None:
        """Stop a member. ``step`` counts from 0; what is recorded counts from 1, as epochs do."""
        epoch, number = divmod(step, self.steps_per_epoch)
        member.failure = {
            "epoch": epoch + 1,
            "step": step + 1,
            "batch": number + 1,
            "term": term,
            "reason": f"its {term} {'are' if term.endswith('logits') else 'is'} not finite",
        }
        batch = next(self.batches.epoch(epoch + 1, number, strong=lambda: False))
        tensors = {"batch/index": batch.index, "batch/view": batch.view, "batch/label": batch.target}
        tensors |= {f"model/{key}": value for key, value in member.model.state_dict().items()}
        tensors |= {f"objective/{key}": value for key, value in member.objective.state_dict().items()}
        self._on_failure(member, tensors)


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in percent, in eval mode, on images as they are."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    correct = torch.zeros((), dtype=torch.int64, device=images.device)
    for start in range(0, len(images), EVALUATION_BATCH):
        target = labels[start : start + EVALUATION_BATCH]
        logits = model(normalize(images[start : start + EVALUATION_BATCH], dataset))
        loss += F.cross_entropy(logits, target, reduction="sum").double()
        correct += (logits.argmax(dim=-1) == target).sum()
    return float(loss) / len(images), 100 * float(correct) / len(images)


@contextmanager
def seeded(seed: int, *labels: object) -> Iterator[None]:
    """Run a block that draws from torch's global generator as a pure function of the seed; leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *labels))
        yield


def _placed(model: nn.Module, device: torch.device) -> nn.Module:
    # channels_last is what both CPU and GPU convolutions are fastest in.
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _parameters(member: Member) -> list[Tensor]:
    return [p for group in member.optimizer.param_groups for p in group["params"]]


@torch.no_grad()
def _accumulate(
    sums: dict[str, Tensor], terms: dict[str, Tensor], loss: Tensor, logits: Tensor, target: Tensor
) -> None:
    """Add a batch to the sums of the epoch, on the device, without waiting for it."""
    size = len(target)
    values = {"loss": loss * size, "correct": (logits.argmax(dim=-1) == target).sum(), "count": torch.tensor(size)}
    values.update({f"term/{key}": value * size for key, value in terms.items()})
    for key, value in values.items():
        value = value.detach().double()
        sums[key] = sums[key] + value if key in sums else value
