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
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from lskd import evidence
from lskd.checked import arguments
from lskd.data import Dataset, load_dataset
from lskd.errors import LskdError
from lskd.files import atomic_path, locked, sha256_file, write_json
from lskd.models import save_checkpoint, state_digest
from lskd.models.weight_files import plain_tensors
from lskd.recipes import Recipe, load_recipe
from lskd.records import SCHEMA, commit, deciding, describe_device, load_record, now, summarize, versions
from lskd.records import identity as identity_of
from lskd.trainer import TRAINER, optimization
from lskd.trainer import checkpoint as checkpoints
from lskd.trainer import table as tables
from lskd.trainer.cohort import WATCH_EVERY, WINDOW, Cohort, Member
from lskd.trainer.distributed import World, join, world
from lskd.trainer.execution import Execution
from lskd.trainer.folder import append_line, claim, read_lines
from lskd.trainer.log import Log
from lskd.trainer.options import Options, select_device
from lskd.trainer.proof import prove, short_training
from lskd.trainer.speed import speed
from lskd.trainer.teacher import build_table as build_table
from lskd.trainer.teacher import logits_source, open_or_make, provide
from lskd.trainer.teacher import verify_table as verify_table
from lskd.trainer.trial import enough_memory, try_networks


def train(
    recipe: str,
    out: Path | str,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    members: Iterable[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train a recipe in ``out``, or go on where an interrupted call stopped, or return the finished record.

    Args:
        recipe: name or path, see :func:`lskd.recipes.load_recipe`.
        out: the run's folder; it belongs to one configuration and one seed.
        seed: decides initial weights, order and views; students of one seed share all three.
        settings: changes to the recipe by dotted key; the record says so.
        members: train only these.
        options: see :class:`Options`.

    Returns:
        The record.

    Raises:
        LskdError: bad recipe, a folder of another run, a folder that another process is using.
    """
    return _train(
        load_recipe(recipe, settings=settings, members=members),
        lambda identity: Path(out),
        called=recipe,
        seed=seed,
        overrides=_overrides(settings, members),
        options=_options(options),
    )[1]


def train_cached(
    recipe: str,
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
    resolved = load_recipe(recipe, settings=settings, members=members)
    return _train(
        resolved,
        lambda identity: Path(_options(options).runs) / f"{resolved.name}-seed{seed}-{identity[:12]}",
        called=recipe,
        seed=seed,
        overrides=_overrides(settings, members),
        options=_options(options),
    )


def publish(folder: Path, output: Path | str) -> list[Path]:
    """Copy a finished run's record and evidence to ``output``, for notebooks; the record goes last.

    A member that stopped early has no evidence, and an empty file in its place: whoever waits for one goes on.
    """
    record = load_record(folder)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    names = [m["evidence"]["file"] for m in record["members"].values() if m.get("evidence")]
    for name in record["members"]:
        if (path := output / f"{name}.evidence.npz").name not in names:
            path.write_bytes(b"")
    for name in [*names, "record.json"]:
        shutil.copyfile(folder / name, output / f".{name}.part")
        (output / f".{name}.part").replace(output / name)
    return [output / name for name in [*names, "record.json"]]


def _options(given: Mapping[str, Any]) -> Options:
    return Options(**arguments(Options, given, "train"))


def _overrides(settings: Mapping[str, Any] | None, members: Iterable[str] | None) -> dict[str, Any]:
    chosen = {} if members is None else {"members": list(members)}
    return {**(settings or {}), **chosen}


def _train(
    recipe: Recipe, place: Any, *, called: str, seed: int, overrides: dict[str, Any], options: Options
) -> tuple[Path, dict[str, Any]]:
    Log.check(options.log)
    optimization.check(recipe)
    checkpoints.epochs_to_keep(options.keep_epochs, recipe.epochs)
    device, here = join(select_device(options.device)), world()
    if here.size > 1:  # their meetings are not for a CUDA graph; the first process speaks for all
        options = replace(options, graph=False, streams=False)
        if not here.first:
            options = replace(options, progress=False, log=None)
        if options.sync_batchnorm and device.type == "cpu":
            raise LskdError("--sync-batchnorm: PyTorch has it on GPUs only; leave it out, or use --device cuda")
    execution = Execution.choose(
        device, precision=options.precision, fused=options.fused, graph=options.graph, streams=options.streams
    )
    with enough_memory(f"recipe {recipe.name}", device):
        return _train_on(recipe, place, called, seed, overrides, options, device, execution, here)


def _train_on(
    recipe: Recipe,
    place: Any,
    called: str,
    seed: int,
    overrides: dict[str, Any],
    options: Options,
    device: torch.device,
    execution: Execution,
    here: World,
) -> tuple[Path, dict[str, Any]]:
    dataset = load_dataset(recipe.dataset, **recipe.data)
    kind, reason = logits_source(recipe, dataset, options)
    try_networks(recipe, dataset, device, processes=1 if options.sync_batchnorm else here.size)
    with execution.active():
        teacher, teacher_facts = provide(recipe, dataset, device, options)
    execution, switched_off = here.on_first(lambda: _proved(execution, recipe, dataset, teacher, device))
    for piece, why in switched_off.items():
        options.say(f"{piece} is switched off on this GPU: {why}")
    about = {
        "name": recipe.name,
        "config": recipe.config(),
        "seed": seed,
        "dataset": {
            "name": dataset.name,
            "digest": dataset.digest,
            "classes": dataset.classes,
            "train_size": len(dataset.train_labels),
            "test_size": len(dataset.test_labels),
        },
        "teacher": teacher_facts,
        "teacher_logits": kind,
        "execution": execution.identity_part(),
        "trainer": TRAINER,
    }
    if here.size > 1:
        about["distributed"] = {"processes": here.size, "sync_batchnorm": options.sync_batchnorm}
    identity = identity_of(about)
    folder = place(identity)

    def begin(stack: ExitStack) -> dict[str, Any] | None:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "record.json").exists():  # for good: cohorts that start together all read their teacher's
            stack.enter_context(locked(folder))
        claim(folder / "run.json", {"identity": identity, **about}, part=deciding)
        return load_record(folder) if (folder / "record.json").exists() else None

    def finish(cohort: Cohort, clock: _Clock, table: tables.LogitTable | None) -> dict[str, Any]:
        seconds = clock.seconds
        record = {
            "schema": SCHEMA,
            **about,
            "identity": identity,
            "overrides": overrides,
            "command": _command(called if called.endswith(".toml") else recipe.name, seed, overrides, options),
            "teacher_logits_reason": reason,
            "table": {"folder": table.folder.name, "deviation": table.checked} if table else None,
            "device": describe_device(device),
            "launch": cohort.launch() | ({"switched_off": switched_off} if switched_off else {}),
            "versions": versions(),
            "sources": commit(),
            "started": clock.started,
            "finished": now(),
            "wall_seconds": round(seconds, 1),
            "speed": speed(
                recipe,
                images=recipe.epochs * len(dataset.train_labels),
                side=dataset.image_shape[1],
                classes=dataset.classes,
                seconds=seconds,
                live=teacher is not None and table is None,
                device=device,
            ),
            "sessions": clock.sessions,
            "members": {m.name: _member_record(m, cohort, folder, recipe, seed) for m in cohort.members},
        }
        write_json(folder / "record.json", record)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return record

    with ExitStack() as stack:
        stack.enter_context(execution.active())
        if (finished := here.on_first(lambda: begin(stack))) is not None:
            return folder, finished
        table = None
        if teacher is not None and kind is not None:
            options.say(f"teacher logits: {kind['source']}, {reason}")
            if kind["source"] == "table":
                table = open_or_make(recipe, dataset, teacher, device, options)
                options.say(f"{table.folder}: {table.checked:.1e} of the logits' deviation from the live teacher")
        cohort = Cohort(
            recipe,
            dataset,
            seed=seed,
            teacher=teacher,
            device=device,
            table=table,
            execution=execution,
            world=here,
            sync_batchnorm=options.sync_batchnorm,
        )
        idle = cohort.lanes.count - len(cohort.members) - (teacher is not None)
        if device.type == "cpu" and idle > 0 and here.size == 1:
            threads = cohort.lanes.count // (len(cohort.members) + (teacher is not None))
            options.say(
                f"{idle} of {cohort.lanes.count} lanes stay idle; faster, with other bits: --set threads={threads}",
            )
        found = here.on_first(lambda: checkpoints.load_newest(folder / "checkpoints", identity=identity))
        clock = here.on_first(lambda: _Clock(folder / "sessions.jsonl", found))
        if found:
            cohort.restore(found)
        _loop(cohort, folder, identity, clock, options)
        record = here.on_first(lambda: finish(cohort, clock, table))
    return folder, record


def _proved(
    execution: Execution, recipe: Recipe, dataset: Dataset, teacher: nn.Module | None, device: torch.device
) -> tuple[Execution, dict[str, str]]:
    """What of the fast path this GPU does as plain launches do; a CPU has one way."""
    if device.type != "cuda":
        return execution, {}
    return prove(execution, short_training(recipe, dataset, teacher, device))


class _Clock:
    """Sessions of a run, and the time spent on it over all of them, as far as it was saved."""

    def __init__(self, path: Path, found: checkpoints.Checkpoint | None) -> None:
        append_line(path, {"started": now(), "step": found.step if found else 0})
        sessions = read_lines(path)
        self.started, self.sessions = sessions[0]["started"], len(sessions)
        self._before = found.values["seconds"] if found else 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start


def _loop(cohort: Cohort, folder: Path, identity: str, clock: _Clock, options: Options) -> None:
    saved_at = time.monotonic()

    def save() -> None:
        nonlocal saved_at
        state = cohort.state()
        values = {**state.values, "seconds": clock.seconds}
        if cohort.world.first:
            checkpoints.save(
                folder / "checkpoints", checkpoints.Checkpoint(state.step, state.tensors, values), identity=identity
            )
        saved_at = time.monotonic()

    log = Log(options.log, folder, {m.name: m.history for m in cohort.members})
    kept = checkpoints.epochs_to_keep(options.keep_epochs, cohort.recipe.epochs)
    images = len(cohort.train_labels) / cohort.steps_per_epoch  # a step's share of an epoch
    with tqdm(
        total=cohort.total_steps * images,
        initial=cohort.step * images,
        desc=cohort.recipe.name,
        unit="img",
        unit_scale=True,
        disable=not options.progress,
        file=sys.stderr,
        mininterval=1.0 if sys.stderr.isatty() else 10.0,
    ) as bar:
        shown = cohort.step

        def after_step() -> None:
            nonlocal shown
            bar.update((cohort.step - shown) * images)
            shown = cohort.step
            ended = cohort.step % cohort.steps_per_epoch == 0  # then it is saved below
            due = time.monotonic() - saved_at >= options.checkpoint_seconds
            if cohort.world.size > 1:  # all save or none; asking costs time on a GPU
                often = cohort.device.type == "cpu" or cohort.step % WATCH_EVERY == 0
                due = often and not ended and cohort.world.tell(due)
            if not ended and due:
                save()

        def after_epoch() -> None:
            epoch = cohort.step // cohort.steps_per_epoch
            for member in cohort.running if cohort.world.first and epoch in kept else ():
                save_checkpoint(member.model, folder / f"{member.name}.epoch-{epoch}.safetensors")
            save()
            log.update({m.name: m.history for m in cohort.members})
            bar.set_postfix_str(_postfix(cohort.members), refresh=False)

        def on_failure(member: Member, tensors: dict[str, Tensor]) -> None:
            failure = member.failure or {}
            if not cohort.world.first:
                return
            path = folder / f"{member.name}.postmortem.safetensors"
            with atomic_path(path) as temporary:
                save_file(plain_tensors(tensors), temporary)
            failure["postmortem"] = {"file": path.name, "sha256": sha256_file(path)}
            tqdm.write(
                f"{member.name} stops in epoch {failure['epoch']}, batch {failure['batch']}: {failure['reason']}; "
                f"weights and batch are in {path}",
                file=sys.stderr,
            )

        window = WINDOW if options.checkpoint_seconds > 0 else 1
        cohort.run(after_step=after_step, after_epoch=after_epoch, on_failure=on_failure, window=window)
        log.close()


def _postfix(members: Sequence[Member]) -> str:
    """Latest test accuracies, for a line of a terminal: of each member, or of the first and the last of many."""
    latest = {m.name: m.history[-1]["test_accuracy"] for m in members if m.history}
    if len(latest) <= 4:
        return " ".join(f"{name} {accuracy:.1f}" for name, accuracy in latest.items())
    low, high = min(latest, key=latest.__getitem__), max(latest, key=latest.__getitem__)
    return f"{len(latest)} networks, {low} {latest[low]:.1f} to {high} {latest[high]:.1f}"


def _member_record(member: Member, cohort: Cohort, folder: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    settings = dict(recipe.members[member.name])
    method = settings.pop("method")
    out = {
        "method": method,
        "standardize": bool(settings.get("standardize", False)),
        "settings": settings,
        "network": recipe.student,
        "parameters": sum(p.numel() for p in member.model.parameters()),
        **summarize(member.history),
        "epochs": member.history,
    }
    if member.failure is not None:
        return {**out, "failure": member.failure}
    weights, pack = folder / f"{member.name}.safetensors", folder / f"{member.name}.evidence.npz"
    save_checkpoint(member.model, weights)
    digest = state_digest(member.model.state_dict())
    meta = {
        "network": recipe.student,
        "recipe": recipe.name,
        "member": member.name,
        "method": method,
        "standardize": out["standardize"],
        "seed": seed,
        "weights_digest": digest,
    }
    evidence.save(evidence.collect(member.model, cohort.dataset, meta=meta, device=cohort.device), pack)
    return {
        **out,
        "weights": {"file": weights.name, "digest": digest},
        "evidence": {"file": pack.name, "sha256": sha256_file(pack)},
    }


def _command(name: str, seed: int, overrides: Mapping[str, Any], options: Options) -> str:
    """The call that makes this run again."""
    words = ["lskd", "train", "--recipe", name, "--seed", str(seed), "--out", "DIR"]
    for key, value in overrides.items():
        if key == "members":
            words += ["--members", ",".join(value)]
        else:
            words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join([*words, *options.words()])
