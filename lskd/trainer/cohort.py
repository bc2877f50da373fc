"""The training loop: students that differ only in their objective, behind one teacher.

Every batch is gathered once and goes through the teacher once, whatever the number of members. Members
share nothing else: model, objective and optimiser are their own, so a member's bits are the same alone and
in any cohort. Draws are pure functions of (seed, epoch, position), see :mod:`lskd.data.draws`. Strong views
are made, and seen by the teacher, only while an objective needs them.

On a CPU members are trained side by side, while the next batches are prepared (:mod:`lskd.trainer.cpu_threads`).
On a GPU a step of all members is one CUDA graph with a stream a member (:mod:`lskd.trainer.graph`).
Several processes train the same members on a part of every batch each (:mod:`lskd.trainer.distributed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lskd.data.dataset import Dataset
from lskd.data.draws import seed_for
from lskd.models import create_model
from lskd.models.transformer import drop_path_columns
from lskd.objectives import create_objective
from lskd.recipes import Recipe
from lskd.trainer.batches import Batch, Batches, BatchIndex
from lskd.trainer.checkpoint import Checkpoint
from lskd.trainer.cpu_threads import MemberThreads
from lskd.trainer.distributed import ALONE, World
from lskd.trainer.evaluation import Measured, evaluate
from lskd.trainer.execution import PLAIN, Execution
from lskd.trainer.graph import StepGraph
from lskd.trainer.logit_table import LogitTable
from lskd.trainer.member import Member, TeacherOutput, joined
from lskd.trainer.optimization import create_optimizer, learning_rate, set_drop_path

CHECK_EVERY = 50  # steps between two looks at a GPU's finiteness; a look waits for the device
WINDOW = 512  # images prepared ahead on a CPU; lanes wait for each other once a window
# Of a batch in one unit of a lane's work; measured, decides bits.
TEACHER_ROWS = {"float32": 32, "tf32": 32, "bf16": 64}

Prepared = tuple[Batch, TeacherOutput]
OnFailure = Callable[[Member, dict[str, Tensor]], None]


@dataclass(eq=False, repr=False)
class Cohort:
    """Trains the members of a recipe. ``step`` counts optimiser steps; a batch is a step of every member.

    Attributes:
        teacher: None when no objective needs one.
        device: where everything lives: images, networks, draws.
        table: the teacher's logits for weak views, instead of its forward passes.
        random: the student draws while it is trained, as dropout does; on a CPU a function of seed and step.
        world: the processes that train together; each has all members, and its part of every batch.
    """

    recipe: Recipe
    dataset: Dataset
    _: KW_ONLY
    seed: int
    teacher: nn.Module | None
    device: torch.device
    table: LogitTable | None = None
    random: bool = False
    execution: Execution = PLAIN
    world: World = ALONE

    def __post_init__(self) -> None:
        recipe, dataset, device = self.recipe, self.dataset, self.device
        self.step = 0
        if self.teacher is not None:
            self.teacher = _placed(self.teacher, device).eval().requires_grad_(False)
        # One lane where processes meet: they have to meet in the same order; and where members share a generator.
        self.lanes = MemberThreads(recipe.threads, most=1 if self.random or self.world.size > 1 else None)
        self.members = [self._member(name, dict(settings)) for name, settings in recipe.members.items()]
        self.batches = Batches(
            dataset,
            seed=self.seed,
            size=recipe.batch_size,
            device=device,
            drop_last=recipe.optimizing.drop_last_batch,
            columns=max(drop_path_columns(m.model) for m in self.members),
            world=self.world,
        )
        tested = [(dataset.test_images, dataset.test_labels)]
        if dataset.held_images is not None and dataset.held_labels is not None:
            tested.append((dataset.held_images, dataset.held_labels))
        self.tested = [(images.to(device), labels.to(device)) for images, labels in tested]
        self.steps_per_epoch = self.batches.per_epoch
        self.graph = StepGraph(device, enabled=self.execution.graph)
        self._on_failure: OnFailure = lambda member, tensors: None
        self._streams: dict[str, torch.cuda.Stream] = {}

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
        on_failure: OnFailure = lambda member, tensors: None,
        window: int = WINDOW,
        until: int | None = None,
    ) -> None:
        """Train from the current step to the last, or until so many have been made.

        Args:
            after_step: sees a state that can be checkpointed, at the end of an epoch after its test; on a CPU it is
                called once for several steps.
            window: images between two calls of ``after_step`` on a CPU with several lanes, at least a batch.
            on_failure: is handed a member whose numbers are no longer finite, with its weights and the batch.
        """
        self._on_failure = on_failure
        on_cpu = self.device.type == "cpu"
        self._window = max(1, window // self.recipe.batch_size) if self.lanes.count > 1 else 1
        advance = self._side_by_side if on_cpu else self._on_device
        last = self.total_steps if until is None else min(until, self.total_steps)
        with self.lanes if on_cpu else nullcontext():
            while self.step < last and self.running:
                epoch, first = divmod(self.step, self.steps_per_epoch)
                for steps in advance(self.batches.draws(epoch + 1, first, strong=lambda: self._needs("strong"))):
                    self.step += steps
                    if self.step % self.steps_per_epoch == 0:
                        self._finish_epoch(epoch + 1)
                    after_step()
                    if self.step >= last or not self.running:
                        return

    def launch(self) -> dict[str, Any]:
        """How work is handed out, for a record: what decides time and not bits."""
        if self.device.type == "cpu":
            return {"lanes": self.lanes.count, "threads": self.lanes.threads, "processes": self.world.size}
        refused = {"graph_refused": self.graph.refused} if self.graph.refused else {}
        on = {"graph": self.execution.graph and not refused, "streams": self.execution.streams}
        return on | refused | {"processes": self.world.size}

    def state(self) -> Checkpoint:
        """Everything that a resumed run needs."""
        self._check_finite()
        tensors = {f"{m.name}/{key}": value for m in self.members for key, value in m.tensors().items()}
        facts = {m.name: {"history": m.history, "failure": m.failure} for m in self.members}
        return Checkpoint(self.step, tensors, {"members": facts})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same run."""
        for member in self.members:
            prefix = f"{member.name}/"
            own = {k.removeprefix(prefix): v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
            member.restore(own)
            member.history = checkpoint.values["members"][member.name]["history"]
            member.failure = checkpoint.values["members"][member.name]["failure"]
        self.step = checkpoint.step

    def _member(self, name: str, settings: dict[str, Any]) -> Member:
        objective = create_objective(settings.pop("method"), **settings)
        if objective.needs_teacher and self.teacher is None:
            raise ValueError(f"member {name}: its objective needs a teacher and the cohort has none")
        with seeded(self.seed, "init", self.recipe.student):
            fresh = create_model(self.recipe.student, num_classes=self.dataset.classes)
        if (largest := self.recipe.optimizing.drop_path) is not None:
            set_drop_path(fresh, largest, name=self.recipe.student)
        model = _placed(fresh, self.device)
        with seeded(self.seed, "objective"):
            objective.attach(model, self.teacher, torch.zeros(1, *self.dataset.image_shape, device=self.device))
        objective = objective.to(self.device)
        optimizer = create_optimizer(
            self.recipe, model, objective, fused=self.execution.fused, graph=self.execution.graph
        )
        on_device = self.device.type != "cpu"
        return Member(name, model, objective, optimizer, check_on_device=on_device, world=self.world)

    def _needs(self, what: str) -> bool:
        """Whether the objective of a member that is still running needs the "teacher", "strong" views or "stages"."""
        return any(getattr(m.objective, f"needs_{what}") for m in self.running)

    def _side_by_side(self, draws: Iterator[BatchIndex]) -> Iterator[int]:
        """Train on all draws, window after window; yields how many steps each had."""
        ready: list[Prepared] = []
        self.lanes.run([self._prepare(draws, self._window, ready)])
        while ready:
            now, ready = ready, []
            stopped: dict[str, tuple[int, str]] = {}
            members = [self._steps(member, now, stopped) for member in self.running]
            self.lanes.run([self._prepare(draws, self._window, ready), *members])
            for member in self.running:
                if member.name in stopped:
                    self._fail(member, *stopped[member.name])
            yield len(now)

    def _prepare(self, draws: Iterator[BatchIndex], steps: int, ready: list[Prepared]) -> Iterator[None]:
        """A job of the lanes: batches and what the teacher says of them."""
        for _ in range(steps):
            draw = next(draws, None)
            if draw is None:
                return
            batch = self.batches.load(draw)
            ready.append((batch, joined([self._teaching(batch, rows) for rows in self._teacher_rows(batch)])))
            yield

    def _steps(self, member: Member, prepared: list[Prepared], stopped: dict[str, tuple[int, str]]) -> Iterator[None]:
        """A job of the lanes: a member's steps, up to the first with a value that is not finite."""
        for batch, teaching in prepared:
            member.start_epoch(batch.epoch, learning_rate(self.recipe, batch.epoch))
            with seeded(self.seed, "step", batch.step, self.world.rank) if self.random else nullcontext():
                bad = member.train_step(batch, teaching, self.execution)
            if bad is not None:
                stopped[member.name] = int(batch.step), bad
                return
            yield

    def _on_device(self, draws: Iterator[BatchIndex]) -> Iterator[int]:
        """Train on all draws, on a GPU; yields after every step."""
        for draw in draws:
            if self.table is not None and not self.table.on_device:  # no graph can read the host's memory
                draw = replace(draw, taught=self.table(draw.index, draw.view))
            rate = learning_rate(self.recipe, draw.epoch)
            for member in self.running:
                member.start_epoch(draw.epoch, rate)
            constants = (rate, *((m.name, m.objective.epoch_constants()) for m in self.running))
            self.graph(self._device_step, draw, constants)
            if (int(draw.step) + 1) % CHECK_EVERY == 0:
                self._check_finite()
            yield 1

    def _device_step(self, draw: BatchIndex) -> None:
        """One step of all members, nothing of which waits for the device; can be captured."""
        batch = self.batches.load(draw)
        teaching, streams = self._teaching(batch, slice(None)), self.execution.streams
        for member in self.running:
            with self._stream(member) if streams else nullcontext():
                member.train_step(batch, teaching, self.execution)
        # What was made on the main stream is not given back before all members have read it.
        for member in self.running if streams else ():
            torch.cuda.current_stream(self.device).wait_stream(self._streams[member.name])

    @contextmanager
    def _stream(self, member: Member) -> Iterator[None]:
        """A member's own stream, behind what has been launched so far."""
        if member.name not in self._streams:
            self._streams[member.name] = torch.cuda.Stream(self.device)
        own = self._streams[member.name]
        own.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(own):
            yield

    def _teacher_rows(self, batch: Batch) -> list[slice]:
        """Parts of a batch that the teacher sees at once on a CPU; its bits follow from them."""
        listed = self.table is not None and batch.strong is None and not self._needs("stages")
        if listed or self.teacher is None or not self._needs("teacher"):
            return [slice(None)]
        rows = TEACHER_ROWS[self.execution.precision]
        return [slice(i, i + rows) for i in range(0, len(batch.index), rows)]

    @torch.no_grad()
    def _teaching(self, batch: Batch, rows: slice) -> TeacherOutput:
        """What the teacher says. Strong views are a second pass, so that what it says of weak ones is the same."""
        if self.teacher is None or not self._needs("teacher"):
            return TeacherOutput()
        forward, inputs = self.execution.forward, batch.inputs[rows]
        stages: tuple[Tensor, ...] = ()
        if self._needs("stages"):
            stages, weak = forward(self.teacher, inputs, "with_stages")
        elif self.table is None:
            weak = forward(self.teacher, inputs)
        if self.table is not None:
            weak = self.table(batch.index[rows], batch.view[rows]) if batch.taught is None else batch.taught[rows]
        return TeacherOutput(weak, None if batch.strong is None else forward(self.teacher, batch.strong[rows]), stages)

    def _finish_epoch(self, epoch: int) -> None:
        self._check_finite()
        found: dict[str, list[Measured]] = {}

        def measured(member: Member) -> Iterator[None]:
            self.world.broadcast_weights(member.model)  # BatchNorm's statistics are each process's; the first's count
            found[member.name] = [evaluate(member.model, *some, self.dataset, world=self.world) for some in self.tested]
            yield

        self.lanes.run([measured(member) for member in self.running])
        for member in self.running:
            test, *held = found[member.name]
            if not math.isfinite(test.loss):  # the epoch's last update was one too many
                self._fail(member, self.step - 1, "test loss")
                continue
            sums = member.take_sums()
            count = sums.pop("count")
            member.history.append(
                {
                    "epoch": epoch,
                    "learning_rate": learning_rate(self.recipe, epoch),
                    "train_loss": sums.pop("loss") / count,
                    "train_accuracy": 100 * sums.pop("correct") / count,
                    "terms": {key.removeprefix("term/"): value / count for key, value in sums.items()},
                    "test_loss": test.loss,
                    "test_accuracy": test.accuracy,
                    **({} if test.top5 is None else {"test_top5": test.top5}),
                    **({"held_accuracy": held[0].accuracy} if held else {}),
                    **member.objective.diagnostics(),
                }
            )

    def _check_finite(self) -> None:
        """Read what a GPU has noted."""
        for member in self.running:
            if (bad := member.check_finite()) is not None:
                self._fail(member, *bad)

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
        tensors = {f"batch/{key}": value for key, value in self.batches.whole(epoch + 1, number).items()}
        tensors |= {f"model/{key}": value for key, value in member.model.state_dict().items()}
        tensors |= {f"objective/{key}": value for key, value in member.objective.state_dict().items()}
        self._on_failure(member, tensors)


@contextmanager
def seeded(seed: int, *labels: object) -> Iterator[None]:
    """Run a block that draws from torch's global generator as a pure function of the seed; leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, *labels))
        yield


def _placed(model: nn.Module, device: torch.device) -> nn.Module:
    # channels_last is what both CPU and GPU convolutions are fastest in.
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
