"""A run: a recipe and a seed in a folder of its own, resumable, ending in a record and evidence.

Layout of a run folder::

    run.json                          what the run is; written first, never changed
    sessions.jsonl                    one line a start
    checkpoints/                      the newest two
    <member>.postmortem.safetensors   of a member whose numbers left the finite ones: weights and batch
    log.jsonl, tensorboard/           with ``log``: a line or point a member and epoch
    <member>.epoch-<N>.safetensors    with ``keep_epochs``: weights after epoch N
    <member>.safetensors              final weights
    <member>.evidence.npz             what figures are drawn from
    record.json                       written last: a run with a record is finished
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from lskd import evidence
from lskd.checked import Natural, NotNegative, arguments, convert
from lskd.data import load_dataset
from lskd.errors import LskdError
from lskd.files import atomic_path, atomic_write, claim, locked, sha256_file, write_json
from lskd.models import save_checkpoint, state_digest
from lskd.models.weight_files import plain_tensors
from lskd.recipes import load_recipe
from lskd.records import SCHEMA, deciding, identity, load_record, now, summarize
from lskd.trainer import TRAINER, optimization
from lskd.trainer import checkpoint as checkpoints
from lskd.trainer.cohort import CHECK_EVERY, WINDOW, Cohort, Member
from lskd.trainer.distributed import join, world
from lskd.trainer.execution import Execution
from lskd.trainer.log import Clock, Log, latest_accuracies, progress_bar
from lskd.trainer.options import Options, select_device
from lskd.trainer.proof import prove, short_training
from lskd.trainer.speed import speed
from lskd.trainer.teacher import load_or_train_teacher, logit_table_of, logits_source
from lskd.trainer.trial import enough_memory, try_networks


def train(
    recipe: str | os.PathLike[str],
    out: Path | str | None = None,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    members: Iterable[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train a recipe in ``out``, or go on where an interrupted call stopped, or return the finished record.

    Args:
        recipe: name or path, see :func:`lskd.recipes.load_recipe`.
        out: the run's folder; it belongs to one configuration and one seed. By default that of :func:`train_cached`.
        seed: decides initial weights, order and views; students of one seed share all three.
        settings: changes to the recipe by dotted key; the record says so.
        members: train only these.
        options: see :class:`lskd.trainer.options.Options`.

    Returns:
        The record.

    Raises:
        LskdError: bad recipe, a folder of another run, a folder that another process is using.
    """
    return Run(recipe, seed, settings, members, options).train(None if out is None else Path(out))[1]


def train_cached(
    recipe: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    members: Iterable[str] | None = None,
    **options: Any,
) -> tuple[Path, dict[str, Any]]:
    """Like :func:`train`, in a folder below ``runs`` whose name is derived from everything that decides the
    result (configuration, seed, data, teacher, device and precision, trainer): a run that was done before is not done
    again.

    Returns:
        The folder and the record.
    """
    return Run(recipe, seed, settings, members, options).train()


def build_table(
    recipe: str,
    *,
    settings: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    options: Options,
    make: bool = True,
) -> tuple[Path, float]:
    """Build, or finish, or only check the table of a recipe's teacher.

    Args:
        folder: where, by default below ``options.runs``, named by its content.
        make: otherwise an absent, unfinished or damaged table is an LskdError.

    Returns:
        The folder, and the largest difference from the live teacher in standard deviations of its logits.
    """
    found, device = load_recipe(recipe, settings=settings), select_device(options.device)
    dataset = load_dataset(found.dataset, **found.data)
    logits_source(found, dataset, replace(options, teacher_logits="table"))  # refuses data without one
    with Execution.choose(device, options).active():
        teacher, _ = load_or_train_teacher(found, dataset, device, options, train_cached)
        if teacher is None:
            raise LskdError(f"recipe {found.name} has no member that needs a teacher: there is nothing to tabulate")
        table = logit_table_of(found, dataset, teacher, device, options, folder=folder, make=make)
    return table.folder, table.checked


def publish(folder: Path, output: Path | str) -> list[Path]:
    """Copy a finished run's record and evidence to ``output``, for notebooks; the record goes last.

    A member that stopped early has no evidence, and an empty file in its place: whoever waits for one goes on.
    """
    record, output = load_record(folder), Path(output)
    names = [m["evidence"]["file"] for m in record["members"].values() if m.get("evidence")]
    for name in record["members"]:
        if (path := output / f"{name}.evidence.npz").name not in names:
            atomic_write(path, b"")
    for name in (written := [*names, "record.json"]):
        with atomic_path(output / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    return [output / name for name in written]


class Run:
    """A recipe and a seed on their way to a record; arguments are those of :func:`train`."""

    def __init__(
        self,
        name: str | os.PathLike[str],
        seed: int,
        settings: Mapping[str, Any] | None,
        members: Iterable[str] | None,
        options: Mapping[str, Any],
    ) -> None:
        chosen: dict[str, Any] = {} if members is None else {"members": list(members)}
        settings = convert(dict(settings or {}), dict[str, Any], f"recipe {os.fspath(name)}: ")
        self.recipe = load_recipe(name, settings=settings, **chosen)
        self.name, self.seed = os.fspath(name), convert(seed, Natural, "seed")
        self.overrides = {**settings, **chosen}
        self.options = Options(**arguments(Options, options, "train"))
        convert(self.options.checkpoint_seconds, NotNegative, "train: checkpoint_seconds")
        Log.check(self.options.log)
        optimization.check(self.recipe)
        self.kept = checkpoints.epochs_to_keep(self.options.keep_epochs, self.recipe.epochs)
        self.device = join(select_device(self.options.device))
        self.world = replace(world(), sync_batchnorm=self.options.sync_batchnorm)
        if self.world.size > 1:  # their meetings are not for a CUDA graph; the first process speaks for all
            self.options = replace(self.options, graph=False, streams=False)
            if not self.world.first:
                self.options = replace(self.options, progress=False, log=None)
            if self.options.sync_batchnorm and self.device.type == "cpu":
                raise LskdError("--sync-batchnorm: PyTorch has it on GPUs only; leave it out, or use --device cuda")
        self.execution = Execution.choose(self.device, self.options)
        self.switched_off: dict[str, str] = {}

    def train(self, out: Path | None = None) -> tuple[Path, dict[str, Any]]:
        """Its folder and its record; the folder is ``out``, or has a name that what decides the result makes."""
        with enough_memory(f"recipe {self.recipe.name}", self.device):
            self.about = self._prepared(out)
            self.identity = identity(self.about)
            name = f"{self.recipe.name}-seed{self.seed}-{self.identity[:12]}"
            self.folder = out or Path(self.options.runs) / name
            with ExitStack() as stack:
                stack.enter_context(self.execution.active())
                record = self.world.on_rank_zero(lambda: self._begin(stack)) or self._trained()
                for epoch in sorted(self.kept):
                    if not any(self.folder.glob(f"*.epoch-{epoch}.safetensors")):
                        self.options.say(f"{self.folder}: epoch {epoch} was over before its weights were asked for")
                return self.folder, record

    def _prepared(self, out: Path | None) -> dict[str, Any]:
        """Get data and teacher; what decides the result, for the record."""
        recipe, options, device = self.recipe, self.options, self.device
        self.dataset = dataset = load_dataset(recipe.dataset, **recipe.data)
        self.logits, self.reason = logits_source(recipe, dataset, options)
        processes = 1 if options.sync_batchnorm else self.world.size
        self.random = try_networks(recipe, dataset, device, processes=processes)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)  # what is wrong with it is said before a teacher is trained
        with self.execution.active():
            self.teacher, facts = load_or_train_teacher(recipe, dataset, device, options, train_cached)
        if device.type == "cuda":  # a CPU has one way
            tried = short_training(recipe, dataset, self.teacher, device)
            self.execution, self.switched_off = self.world.on_rank_zero(lambda: prove(self.execution, tried))
        for piece, why in self.switched_off.items():
            options.say(f"{piece} is switched off on this GPU: {why}")
        together = {"processes": self.world.size, "sync_batchnorm": options.sync_batchnorm}
        return {
            "name": recipe.name,
            "config": recipe.config(),
            "seed": self.seed,
            "dataset": {
                "name": dataset.name,
                "digest": dataset.digest,
                "classes": dataset.classes,
                "train_size": len(dataset.train_labels),
                "test_size": len(dataset.test_labels),
            },
            "teacher": facts,
            "teacher_logits": self.logits,
            "execution": self.execution.identity_part(),
            "trainer": TRAINER,
            **({"distributed": together} if self.world.size > 1 else {}),
        }

    def _begin(self, stack: ExitStack) -> dict[str, Any] | None:
        """Take the folder; its record when the run is finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "record.json").exists():  # for good: cohorts that start together all read their teacher's
            stack.enter_context(locked(self.folder))
        finished = (self.folder / "record.json").exists()
        about = {"identity": self.identity, **self.about}
        claim(self.folder / ("record.json" if finished else "run.json"), about, part=deciding)
        if finished:  # a call that was killed just then left its checkpoints
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        return load_record(self.folder) if finished else None

    def _trained(self) -> dict[str, Any]:
        """Train from the newest checkpoint to the end; the record."""
        options, teacher, here = self.options, self.teacher, self.world
        late = [str(epoch) for epoch in self.recipe.milestones if epoch >= self.recipe.epochs]
        if late and self.recipe.optimizing.schedule == "steps":
            told = f"the learning rate does not fall at milestones {', '.join(late)}, it ends at {self.recipe.epochs}"
            options.say(f"{self.recipe.name}: {told}; --set milestones=[...] changes them")
        self.table = None
        if teacher is not None and self.logits is not None:
            options.say(f"teacher logits: {self.logits['source']}, {self.reason}")
            if self.logits["source"] == "table":
                self.table = table = logit_table_of(self.recipe, self.dataset, teacher, self.device, options)
                options.say(f"{table.folder}: {table.checked:.1e} of the logits' deviation from the live teacher")
        self.cohort = cohort = Cohort(
            self.recipe,
            self.dataset,
            seed=self.seed,
            teacher=teacher,
            device=self.device,
            table=self.table,
            random=self.random,
            execution=self.execution,
            world=here,
        )
        lanes, busy = cohort.lanes.count, len(cohort.members) + (teacher is not None)
        if self.device.type == "cpu" and lanes > busy and here.size == 1:
            advice = f"faster, with other bits: --set threads={lanes // busy}"
            options.say(f"{lanes - busy} of {lanes} lanes stay idle; {advice}")
        places = self.folder / "checkpoints", self.folder / "sessions.jsonl"
        found = here.on_rank_zero(lambda: checkpoints.load_newest(places[0], identity=self.identity))
        self.clock = here.on_rank_zero(lambda: Clock(places[1], found, self.device, emulated=self.execution.emulated))
        if found:
            cohort.restore(found)
        self._loop()
        return here.on_rank_zero(self._finish)

    def _loop(self) -> None:
        cohort, options = self.cohort, self.options
        self.saved_at = time.monotonic()
        self.images = len(self.dataset.train_labels) / cohort.steps_per_epoch  # a step's share of an epoch
        self.log = Log(options.log, self.folder, self._histories())
        total, done = (round(step * self.images) for step in (cohort.total_steps, cohort.step))
        with progress_bar(self.recipe.name, "img", total, done, show=options.progress) as self.bar:
            cohort.run(
                after_step=self._after_step,
                on_failure=self._on_failure,
                window=WINDOW if options.checkpoint_seconds > 0 else 1,
            )
            self.log.close()

    def _histories(self) -> dict[str, list[dict[str, Any]]]:
        return {m.name: m.history for m in self.cohort.members}

    def _save(self) -> None:
        state = self.cohort.state()
        whole = replace(state, values={**state.values, "seconds": self.clock.seconds})
        if self.world.first:
            checkpoints.save(self.folder / "checkpoints", whole, identity=self.identity)
        self.saved_at = time.monotonic()

    def _after_step(self) -> None:
        cohort = self.cohort
        self.bar.update(round(cohort.step * self.images) - self.bar.n)  # whole ones: a sum of shares overshoots
        epoch, left = divmod(cohort.step, cohort.steps_per_epoch)
        if not left:
            self._after_epoch(epoch)
            return
        due = time.monotonic() - self.saved_at >= self.options.checkpoint_seconds
        if self.world.size > 1:  # all save or none; asking costs time on a GPU
            often = self.device.type == "cpu" or cohort.step % CHECK_EVERY == 0
            due = often and self.world.broadcast(due)
        if due:
            self._save()

    def _after_epoch(self, epoch: int) -> None:
        for member in self.cohort.running if self.world.first and epoch in self.kept else ():
            save_checkpoint(member.model, self.folder / f"{member.name}.epoch-{epoch}.safetensors")
        self._save()
        self.log.update(self._histories())
        self.bar.set_postfix_str(latest_accuracies(self._histories()), refresh=False)

    def _on_failure(self, member: Member, tensors: dict[str, Tensor]) -> None:
        if not self.world.first or (failure := member.failure) is None:
            return
        path = self.folder / f"{member.name}.postmortem.safetensors"
        with atomic_path(path) as temporary:
            save_file(plain_tensors(tensors), temporary)
        failure["postmortem"] = {"file": path.name, "sha256": sha256_file(path)}
        tqdm.write(
            f"{member.name} stops in epoch {failure['epoch']}, batch {failure['batch']}: {failure['reason']}; "
            f"weights and batch are in {path}",
            file=sys.stderr,
        )

    def _finish(self) -> dict[str, Any]:
        """Write weights, evidence and the record."""
        recipe, cohort, dataset, table, seconds = self.recipe, self.cohort, self.dataset, self.table, self.clock.seconds
        unusual = {"switched_off": self.switched_off, "emulated_steps": self.clock.emulated}
        live, epochs = self.teacher is not None and table is None, sum(len(m.history) for m in cohort.members)
        record = {
            "schema": SCHEMA,
            **self.about,
            "identity": self.identity,
            "overrides": self.overrides,
            "command": self._command(),
            "teacher_logits_reason": self.reason,
            "table": {"folder": table.folder.name, "deviation": table.checked} if table else None,
            "device": self.clock.device,
            "launch": cohort.launch() | {key: value for key, value in unusual.items() if value},
            "versions": self.clock.versions,
            "sources": self.clock.sources,
            "started": self.clock.started,
            "finished": now(),
            "wall_seconds": round(seconds, 1),
            "speed": speed(recipe, dataset, epochs=epochs, seconds=seconds, live=live, device=self.clock.single),
            "sessions": self.clock.sessions,
            "members": {m.name: self._member_record(m) for m in cohort.members},
        }
        write_json(self.folder / "record.json", record)
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        return record

    def _member_record(self, member: Member) -> dict[str, Any]:
        settings = dict(self.recipe.members[member.name])
        what = {"method": settings.pop("method"), "standardize": bool(settings.get("standardize", False))}
        out = {
            **what,
            "settings": settings,
            "network": self.recipe.student,
            "parameters": sum(p.numel() for p in member.model.parameters()),
            **summarize(member.history),
            "epochs": member.history,
        }
        if member.failure is not None:
            return {**out, "failure": member.failure}
        weights, pack = (self.folder / f"{member.name}.{ending}" for ending in ("safetensors", "evidence.npz"))
        save_checkpoint(member.model, weights)
        digest = state_digest(member.model.state_dict())
        meta = {
            "network": self.recipe.student,
            "recipe": self.recipe.name,
            "member": member.name,
            **what,
            "seed": self.seed,
            "weights_digest": digest,
        }
        evidence.save(evidence.collect(member.model, self.dataset, meta=meta, device=self.device), pack)
        return {
            **out,
            "weights": {"file": weights.name, "digest": digest},
            "evidence": {"file": pack.name, "sha256": sha256_file(pack)},
        }

    def _command(self) -> str:
        """The call that makes this run again."""
        name = self.name if self.name.endswith(".toml") else self.recipe.name
        start = f"torchrun --standalone --nproc-per-node {self.world.size} -m " * (self.world.size > 1)
        words = ["lskd", "train", "--recipe", name, "--seed", str(self.seed), "--out", "DIR"]
        for key, value in self.overrides.items():
            words += ["--members", ",".join(value)] if key == "members" else ["--set", f"{key}={json.dumps(value)}"]
        return start + shlex.join([*words, *self.options.words()])
