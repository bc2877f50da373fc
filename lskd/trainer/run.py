"""A run: a recipe and a seed in a folder of its own, resumable, ending in a record and evidence.

Layout of a run folder::

    run.json                   what the run is; written first, never changed
    checkpoints/               the newest two
    <member>.safetensors       final weights
    <member>.evidence.npz      what figures are drawn from
    record.json                written last: a run with a record is finished
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from lskd import evidence, sources
from lskd.data import Dataset, load_dataset
from lskd.errors import LskdError
from lskd.files import read_json, sha256_file, write_json
from lskd.models import create_model, load_checkpoint, save_checkpoint, state_digest
from lskd.recipes import Recipe, load_recipe
from lskd.records import SCHEMA, describe_device, load_record, now, summarize, versions
from lskd.trainer import checkpoint as checkpoints
from lskd.trainer.cohort import Cohort, evaluate

__all__ = ["publish", "select_device", "train", "train_cached"]

RUNS = "build/runs"


def train(
    recipe: str,
    out: Path | str,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    members: Iterable[str] | None = None,
    device: str = "auto",
    runs: Path | str = RUNS,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a recipe in ``out``, or go on where an interrupted call stopped, or return the finished record.

    Args:
        recipe: name or path, see :func:`lskd.recipes.load_recipe`.
        out: the run's folder; it belongs to one configuration and one seed.
        seed: decides initial weights, order and views; students of one seed share all three.
        settings: changes to the recipe by dotted key; the record says so.
        members: train only these.
        device: "auto" takes a GPU when there is one.
        runs: where a teacher is looked for, and trained if it is not there yet.
        checkpoint_seconds: time between checkpoints within an epoch; there is one at every epoch's end.
        progress: show a progress bar on standard error.

    Returns:
        The record.

    Raises:
        LskdError: bad recipe, a folder of another run, a folder that another process is using.
    """
    return _train(
        load_recipe(recipe, settings=settings, members=members),
        lambda identity: Path(out),
        seed=seed,
        overrides=_overrides(settings, members),
        device=select_device(device),
        runs=Path(runs),
        checkpoint_seconds=checkpoint_seconds,
        progress=progress,
    )[1]


def train_cached(
    recipe: str,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    members: Iterable[str] | None = None,
    device: str = "auto",
    runs: Path | str = RUNS,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> tuple[Path, dict[str, Any]]:
    """Like :func:`train`, in a folder below ``runs`` whose name is derived from everything that decides the
    result (configuration, seed, data, teacher, source): a run that was done before is not done again.

    Returns:
        The folder and the record.
    """
    resolved = load_recipe(recipe, settings=settings, members=members)
    return _train(
        resolved,
        lambda identity: Path(runs) / f"{resolved.name}-seed{seed}-{identity[:12]}",
        seed=seed,
        overrides=_overrides(settings, members),
        device=select_device(device),
        runs=Path(runs),
        checkpoint_seconds=checkpoint_seconds,
        progress=progress,
    )


def publish(folder: Path, output: Path | str) -> list[Path]:
    """Copy a finished run's record and evidence to ``output``, for notebooks; the record goes last."""
    record = load_record(folder)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    names = [m["evidence"]["file"] for m in record["members"].values() if m.get("evidence")]
    for name in [*names, "record.json"]:
        shutil.copyfile(folder / name, output / f".{name}.part")
        (output / f".{name}.part").replace(output / name)
    return [output / name for name in [*names, "record.json"]]


def select_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:1" to a device that is there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LskdError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LskdError(f"device {name!r}: PyTorch finds no CUDA device here; use --device cpu or auto")
    return device


def _overrides(settings: Mapping[str, Any] | None, members: Iterable[str] | None) -> dict[str, Any]:
    chosen = {} if members is None else {"members": list(members)}
    return {**(settings or {}), **chosen}


def _train(
    recipe: Recipe,
    place: Any,
    *,
    seed: int,
    overrides: dict[str, Any],
    device: torch.device,
    runs: Path,
    checkpoint_seconds: float,
    progress: bool,
) -> tuple[Path, dict[str, Any]]:
    dataset = load_dataset(recipe.dataset, **recipe.data)
    teacher, teacher_facts = _teacher(recipe, dataset, device, runs, checkpoint_seconds, progress)
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
        "source_digest": sources.digest(sources.closure("lskd.trainer.run")),
    }
    identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    folder = place(identity)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        _claim(folder, identity, about)
        if (folder / "record.json").exists():
            return folder, load_record(folder)
        cohort = Cohort(recipe, dataset, seed=seed, teacher=teacher, device=device)
        found = checkpoints.load_newest(folder / "checkpoints", identity=identity)
        clock = _Clock(found.values["clock"] if found else None)
        if found:
            cohort.restore(found)
        _loop(cohort, folder, identity, clock, checkpoint_seconds, progress)
        record = {
            "schema": SCHEMA,
            **about,
            "identity": identity,
            "overrides": overrides,
            "command": _command(recipe.name, seed, overrides),
            "device": describe_device(device),
            "versions": versions(),
            "started": clock.started,
            "finished": now(),
            "wall_seconds": round(clock.seconds, 1),
            "sessions": clock.sessions,
            "members": {m.name: _member_record(m, cohort, folder, recipe, seed) for m in cohort.members},
        }
        write_json(folder / "record.json", record)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return folder, record


def _teacher(
    recipe: Recipe, dataset: Dataset, device: torch.device, runs: Path, checkpoint_seconds: float, progress: bool
) -> tuple[nn.Module | None, dict[str, Any] | None]:
    """The network in eval mode and what a record says of it, or (None, None) for a cohort without one."""
    source = recipe.teacher
    if source is None:
        return None, None
    model = create_model(source.network, num_classes=dataset.classes)
    if source.checkpoint is not None:
        load_checkpoint(model, source.checkpoint)
        facts: dict[str, Any] = {"checkpoint": Path(source.checkpoint).name}
    else:
        assert source.recipe is not None
        # The teacher sees the students' data, whatever its own recipe says of it.
        given = load_recipe(source.recipe, settings=source.settings)
        wanted = {"student": source.network, "dataset": recipe.dataset, "data": dict(recipe.data)}
        settings = source.settings | {k: v for k, v in wanted.items() if getattr(given, k) != v}
        folder, record = train_cached(
            source.recipe,
            seed=source.seed,
            settings=settings,
            device=str(device),
            runs=runs,
            checkpoint_seconds=checkpoint_seconds,
            progress=progress,
        )
        (member,) = record["members"].values()
        load_checkpoint(model, folder / member["weights"]["file"])
        facts = {"recipe": source.recipe, "seed": source.seed, "run": record["identity"]}
    model = model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    _, accuracy = evaluate(model, dataset.test_images.to(device), dataset.test_labels.to(device), dataset)
    return model, {
        "network": source.network,
        "digest": state_digest(model.state_dict()),
        "test_accuracy": accuracy,
        **facts,
    }


class _Clock:
    """Time spent on a run over all its sessions."""

    def __init__(self, saved: dict[str, Any] | None) -> None:
        self.started = saved["started"] if saved else now()
        self.sessions = (saved["sessions"] if saved else 0) + 1
        self._before = saved["seconds"] if saved else 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def values(self) -> dict[str, Any]:
        return {"started": self.started, "sessions": self.sessions, "seconds": self.seconds}


def _loop(
    cohort: Cohort, folder: Path, identity: str, clock: _Clock, checkpoint_seconds: float, progress: bool
) -> None:
    saved_at = time.monotonic()

    def save() -> None:
        nonlocal saved_at
        state = cohort.state()
        values = {**state.values, "clock": clock.values()}
        checkpoints.save(
            folder / "checkpoints", checkpoints.Checkpoint(state.step, state.tensors, values), identity=identity
        )
        saved_at = time.monotonic()

    images = len(cohort.train_labels) / cohort.steps_per_epoch  # a step's share of an epoch
    with tqdm(
        total=cohort.total_steps * images,
        initial=cohort.step * images,
        desc=cohort.recipe.name,
        unit="img",
        unit_scale=True,
        disable=not progress,
        file=sys.stderr,
        mininterval=1.0 if sys.stderr.isatty() else 10.0,
    ) as bar:

        def after_step() -> None:
            bar.update(images)
            if time.monotonic() - saved_at >= checkpoint_seconds:
                save()

        def after_epoch() -> None:
            save()
            best = {m.name: m.history[-1]["test_accuracy"] for m in cohort.members if m.history}
            bar.set_postfix_str(" ".join(f"{k} {v:.1f}" for k, v in best.items()), refresh=False)

        cohort.run(after_step=after_step, after_epoch=after_epoch)


def _member_record(member: Any, cohort: Cohort, folder: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
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


def _command(name: str, seed: int, overrides: Mapping[str, Any]) -> str:
    """The call that makes this run again."""
    words = ["lskd", "train", "--recipe", name, "--seed", str(seed), "--out", "DIR"]
    for key, value in overrides.items():
        if key == "members":
            words += ["--members", ",".join(value)]
        else:
            words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)


def _claim(folder: Path, identity: str, about: dict[str, Any]) -> None:
    """A run folder belongs to one run: write what it is, or refuse, showing the difference."""
    path = folder / "run.json"
    if not path.exists():
        write_json(path, {"identity": identity, **about})
        return
    stored = read_json(path)
    if stored.get("identity") == identity:
        return
    lines = [f"  {key}: {a!r} there, {b!r} now" for key, a, b in _differences(stored, {"identity": identity, **about})]
    raise LskdError(f"{folder} holds another run; choose another folder or delete this one:\n" + "\n".join(lines[:12]))


def _differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            if key != "identity":
                yield from _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else key)
    elif a != b:
        yield prefix, a, b


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LskdError(
                f"{folder}: another process is training here; wait for it or choose another folder"
            ) from None
        yield
