"""The training loop: students that differ only in their objective, in lockstep behind one teacher.

Every batch is gathered once and goes through the teacher once, whatever the number of members. Members
share nothing else: model, objective and optimiser are their own, so a member's bits are the same alone and
in any cohort. Draws are pure functions of (seed, epoch, position), see :mod:`lskd.data.draws`.
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
from lskd.data.draws import derive, epoch_order, epoch_views
from lskd.data.views import Views
from lskd.models import create_model
from lskd.objectives import Logits, Objective, create_objective
from lskd.recipes import Recipe
from lskd.trainer.checkpoint import Checkpoint
from lskd.trainer.schedule import step_learning_rate

__all__ = ["Cohort", "Member", "evaluate", "normalize", "seeded"]

EVALUATION_BATCH = 500


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


class Cohort:
    """Trains the members of a recipe. ``step`` counts optimiser steps; a batch is a step of every member.

    Args:
        recipe, dataset, seed: what to train.
        teacher: network in eval mode, or None when no objective needs one.
        device: where everything lives: images, networks, draws.
    """

    def __init__(
        self, recipe: Recipe, dataset: Dataset, *, seed: int, teacher: nn.Module | None, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.dataset = dataset
        self.seed = seed
        self.device = device
        self.step = 0
        self.teacher = None if teacher is None else _placed(teacher, device).eval().requires_grad_(False)
        self.views = Views(dataset.train_images.to(device), pad=dataset.pad, flip=dataset.flip)
        self.train_labels = dataset.train_labels.to(device)
        self.test_images = dataset.test_images.to(device)
        self.test_labels = dataset.test_labels.to(device)
        self.steps_per_epoch = math.ceil(len(self.train_labels) / recipe.batch_size)
        self.members = [self._member(name, dict(settings)) for name, settings in recipe.members.items()]

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
    ) -> None:
        """Train from the current step to the last. ``after_step`` sees a state that can be checkpointed."""
        while self.step < self.total_steps and self.running:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            for inputs, target in self._batches(epoch + 1, first):
                self._train_step(inputs, target, epoch + 1)
                self.step += 1
                if self.step % self.steps_per_epoch == 0:
                    self._finish_epoch(epoch + 1)
                    after_step()
                    after_epoch()
                else:
                    after_step()

    def state(self) -> Checkpoint:
        """Everything that a resumed run needs."""
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
        if objective.needs_strong:
            raise ValueError(f"member {name}: its objective needs strong views, which this loop does not draw")
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
            fused=self.device.type == "cuda",
        )
        return Member(name, model, objective, optimizer)

    def _batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        size = len(self.train_labels)
        order = epoch_order(self.seed, epoch, size).to(self.device)
        views = epoch_views(self.seed, epoch, size, self.views.count).to(self.device)
        for start in range(first * self.recipe.batch_size, size, self.recipe.batch_size):
            index = order[start : start + self.recipe.batch_size]
            images = self.views(index, views[start : start + self.recipe.batch_size])
            yield normalize(images, self.dataset), self.train_labels[index]

    def _train_step(self, inputs: Tensor, target: Tensor, epoch: int) -> None:
        teacher = None
        if self.teacher is not None and any(m.objective.needs_teacher for m in self.running):
            with torch.no_grad():
                teacher = self.teacher(inputs)
        rate = step_learning_rate(self.recipe.learning_rate, epoch, self.recipe.milestones, decay=self.recipe.decay)
        for member in self.running:
            member.model.train()
            member.objective.start_epoch(epoch)
            for group in member.optimizer.param_groups:
                group["lr"] = rate
            logits = member.model(inputs)
            if self.device.type == "cpu" and not torch.isfinite(logits).all():
                self._fail(member, epoch, "its logits are not finite")
                continue
            terms = member.objective(Logits(logits, target, teacher))
            loss = torch.stack(list(terms.values())).sum()
            member.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            member.optimizer.step()
            _accumulate(member.sums, terms, loss, logits, target)

    def _finish_epoch(self, epoch: int) -> None:
        rate = step_learning_rate(self.recipe.learning_rate, epoch, self.recipe.milestones, decay=self.recipe.decay)
        for member in self.running:
            sums = {key: float(value) for key, value in member.sums.items()}
            member.sums = {}
            count = sums.pop("count")
            if not all(math.isfinite(v) for v in sums.values()):
                self._fail(member, epoch, "its loss is not finite")
                continue
            test_loss, test_accuracy = evaluate(member.model, self.test_images, self.test_labels, self.dataset)
            member.history.append(
                {
                    "epoch": epoch,
                    "learning_rate": rate,
                    "train_loss": sums.pop("loss") / count,
                    "train_accuracy": 100 * sums.pop("correct") / count,
                    "terms": {key.removeprefix("term/"): value / count for key, value in sums.items()},
                    "test_loss": test_loss,
                    "test_accuracy": test_accuracy,
                    **member.objective.diagnostics(),
                }
            )

    def _fail(self, member: Member, epoch: int, reason: str) -> None:
        member.failure = {"epoch": epoch, "step": self.step, "reason": reason}


def normalize(images: Tensor, dataset: Dataset) -> Tensor:
    """uint8 ``[batch, 3, H, W]`` to float32, scaled to [0, 1], then mean 0 and deviation 1 by channel."""
    shape = (1, 3, 1, 1)
    mean = torch.tensor(dataset.mean, device=images.device).view(shape)
    std = torch.tensor(dataset.std, device=images.device).view(shape)
    x = images.to(torch.float32, memory_format=torch.channels_last)
    return x.div_(255).sub_(mean).div_(std)


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
