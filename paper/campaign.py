"""The CIFAR-100 measurements of the paper's tables, in the order of their worth, on whatever time a GPU is lent for.

    lskd campaign run                       goes on from where the last call stopped
    lskd campaign run --minutes 9           stops in time; the last checkpoint is at most a minute old
    lskd campaign run --preset tiny         a rehearsal: generated data, small networks, a minute on a CPU
    lskd campaign export DIR                what is finished, as files that travel (:mod:`paper.archive`)

Needs what the trainer needs. A folder holds everything: ``runs/`` (run folders and logit tables, named by content)
and ``campaign.json`` (what is finished).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from lskd.data import download_if_missing
from lskd.errors import LskdError, nearest
from lskd.files import locked, read_json, write_json
from lskd.recipes import Recipe, load_recipe, teacher_training
from lskd.records import load_record
from lskd.trainer.run import Options, build_table, train_cached
from paper.campaign_pieces import BENCHMARK, PRESETS, Piece

__all__ = ["OUT", "Campaign", "Outcome", "Task"]

OUT = "build/campaign"
STATE = "campaign.json"


@dataclass(frozen=True)
class Task:
    """What is done or not: a piece with one of its seeds."""

    name: str
    piece: Piece
    seed: int


@dataclass
class Outcome:
    """What a call did: tasks finished, errors by task, and the task that comes next (None: all is done)."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    next: str | None = None
    time_over: bool = False


class _TimeOver(KeyboardInterrupt):
    """Raised where the work is when its time is over, as an interrupt from the keyboard would be."""


class Campaign:
    """A preset's tasks in a folder.

    Args:
        preset: a name in :data:`PRESETS`.
        out: the folder.
        device: "auto" takes a GPU; the full preset refuses a CPU unless it is named.
        teachers: checkpoints by network, instead of training that teacher.
        data: options of the data set for the cohorts of such teachers, above all the ``mean`` and ``std`` that
            they were trained with.
    """

    def __init__(
        self,
        preset: str = "full",
        out: Path | str | None = None,
        *,
        device: str = "auto",
        teachers: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
        progress: bool = True,
    ) -> None:
        if preset not in PRESETS:
            raise LskdError(f"campaign: no preset {preset!r}; there are {', '.join(PRESETS)}")
        self.preset, self.name = PRESETS[preset], preset
        self.out = Path(out) if out is not None else Path(OUT if preset == "full" else f"{OUT}-{preset}")
        self.device, self.progress = device, progress
        self.teachers, self.data = dict(teachers or {}), dict(data or {})
        known = {self._recipe(p).teacher.network: p for p in self.preset.pieces if p.kind == "cohort"}  # type: ignore[union-attr]
        for network in self.teachers:
            if network not in known:
                raise LskdError(
                    f"campaign: no piece has a teacher {network!r}; did you mean {nearest(network, known)[0]!r}?"
                )

    # --- what there is to do -----------------------------------------------------------------------------------------

    @property
    def tasks(self) -> list[Task]:
        """In order. Teachers that come as checkpoints are not trained."""
        cohorts = [self._recipe(p) for p in self.preset.pieces if p.kind == "cohort"] if self.teachers else []
        given = {r.teacher.recipe for r in cohorts if r.teacher is not None and r.teacher.network in self.teachers}
        pieces = [p for p in self.preset.pieces if p.kind != "teacher" or p.recipe not in given]
        return [
            Task(f"{p.name}/seed-{seed}" if p.kind == "cohort" else p.name, p, seed) for p in pieces for seed in p.seeds
        ]

    @property
    def done(self) -> dict[str, Any]:
        """Finished tasks: where (a folder in ``out``), the run's identity, when it ended. Whole files only."""
        path = self.out / STATE
        if not path.is_file():
            return {}
        state = read_json(path)
        if state.get("preset") != self.name:
            raise LskdError(f"{self.out}: holds preset {state.get('preset')!r}, not {self.name!r}; use another --out")
        return dict(state["done"])

    def folder(self, task: str) -> Path:
        """The run folder of a finished task."""
        return self.out / self.done[task]["folder"]

    def runs(self) -> dict[str, Path]:
        """Run folders of finished tasks by name, for :func:`paper.archive.export`.

        Raises:
            LskdError: there is none.
        """
        found = {task: self.out / str(entry["folder"]) for task, entry in self.done.items() if entry["identity"]}
        if not found:
            raise LskdError(f"{self.out}: no run of this campaign is finished; `lskd campaign run` goes on with it")
        return found

    @property
    def benchmark(self) -> Path | None:
        """What the benchmark measured, if it was part of this campaign."""
        path = _script().parent / "results" / "gpu.json"
        return path if BENCHMARK in self.done and path.is_file() else None

    def listing(self) -> list[str]:
        """A line a task: done with its time and accuracies, begun, or waiting."""
        done, lines = self.done, []
        width = max(len(task.name) for task in self.tasks)
        for task in self.tasks:
            state = "waiting"
            if task.name in done:
                state = "done"
                if (self.out / (done[task.name]["folder"] or "?") / "record.json").is_file():
                    state = f"done, {_summary(load_record(self.folder(task.name)))}"
            elif any(self._begun(task)):
                state = "begun"
            lines.append(f"{task.name:{width}}  {state}")
        return lines

    # --- doing it ----------------------------------------------------------------------------------------------------

    def run(self, *, only: str | None = None, minutes: float | None = None) -> Outcome:
        """Do what is not done yet, in order; an error ends its task and not the others.

        Args:
            only: do this piece, or one task of it.
            minutes: stop then. The task that is interrupted goes on from its last checkpoint in the next call.

        Raises:
            LskdError: nothing is called ``only``, there is no GPU for the full preset, or the benchmark finds that
                the fast path is not equal to the plain one.
        """
        tasks = self.tasks
        if only is not None:
            tasks = [t for t in tasks if only in (t.name, t.piece.name)]
            if not tasks:
                names = [n for t in self.tasks for n in (t.name, t.piece.name)]
                raise LskdError(f"campaign: nothing is called {only!r}; did you mean {nearest(only, names)[0]!r}?")
        if self.name == "full" and self.device == "auto" and not torch.cuda.is_available():
            raise LskdError(
                "campaign: PyTorch finds no GPU, and on a CPU this takes weeks; rehearse with --preset tiny, or "
                "insist with --device cpu"
            )
        outcome = Outcome()
        self.out.mkdir(parents=True, exist_ok=True)
        with locked(self.out, doing="working"), _deadline(minutes) as until:
            if self.name == "full":
                download_if_missing("cifar100")
            for task in tasks:
                if task.name in self.done:
                    continue
                if time.monotonic() >= until:
                    outcome.time_over = True
                    break
                self._say(f"{task.name}: begins")
                try:
                    self._do(task)
                except _TimeOver:
                    outcome.time_over = True
                    break
                except _Unequal:
                    raise
                except Exception as error:  # of one task; the others may well be possible
                    outcome.failed[task.name] = f"{type(error).__name__}: {error}"
                    self._say(f"{task.name}: {outcome.failed[task.name]}")
                else:
                    outcome.done.append(task.name)
        finished = self.done
        outcome.next = next((t.name for t in tasks if t.name not in finished and t.name not in outcome.failed), None)
        return outcome

    def _do(self, task: Task) -> None:
        piece, folder, identity = task.piece, None, None
        options: dict[str, Any] = {"device": self.device, "runs": self.out / "runs", "progress": self.progress}
        began = time.monotonic()
        if piece.kind == "benchmark":
            _benchmark(self.device)
        elif piece.kind == "table":
            settings = self._settings(piece)
            folder, _ = build_table(piece.recipe, settings=settings, options=Options(**options))
        elif piece.kind == "teacher":
            name, settings = self._training_of(piece)
            folder, record = train_cached(name, settings=settings, seed=task.seed, **options)
            identity = record["identity"]
        else:
            folder, record = train_cached(
                piece.recipe,
                settings=self._settings(piece),
                members=self.preset.members.get(piece.recipe),
                seed=task.seed,
                teacher_logits=self.preset.teacher_logits,
                **options,
            )
            identity = record["identity"]
        entry = {
            "folder": folder.relative_to(self.out).as_posix() if folder is not None else None,
            "identity": identity,
            "last_session_seconds": round(time.monotonic() - began, 1),
        }
        write_json(self.out / STATE, {"preset": self.name, "done": {**self.done, task.name: entry}})

    def _settings(self, piece: Piece) -> dict[str, Any]:
        """Changes to a cohort's recipe: those of the preset, and a teacher that came as a checkpoint."""
        settings = dict(self.preset.settings)
        given = self._recipe(piece).teacher
        if given is not None and given.network in self.teachers:
            settings |= {"teacher.network": given.network, "teacher.checkpoint": self.teachers[given.network]}
            settings.pop("teacher.settings", None)
            settings |= {"data": {**settings.get("data", {}), **self.data}} if self.data else {}
        return settings

    def _training_of(self, piece: Piece) -> tuple[str, dict[str, Any]]:
        """Recipe and changes with which a cohort trains its teacher, so that the teacher is trained once."""
        taught = next(
            self._recipe(p)
            for p in self.preset.pieces
            if p.kind == "cohort" and (t := self._recipe(p).teacher) is not None and t.recipe == piece.recipe
        )
        return teacher_training(taught)

    def _recipe(self, piece: Piece) -> Recipe:
        return load_recipe(piece.recipe, settings=self.preset.settings)

    def _begun(self, task: Task) -> Iterator[Path]:
        if task.piece.kind not in ("benchmark", "table"):
            yield from (self.out / "runs").glob(f"{task.piece.recipe}-seed{task.seed}-*/run.json")

    def _say(self, text: str) -> None:
        if self.progress:
            tqdm.write(text, file=sys.stderr)


class _Unequal(LskdError):
    """The benchmark's finding that ends a campaign."""


def _benchmark(device: str) -> None:
    """Prove the fast path equal to the plain one, and measure it, in a process of its own.

    Raises:
        _Unequal: a check failed; results would be worth nothing.
    """
    script = _script()
    if not script.is_file():
        raise LskdError(f"{script}: not there; it is part of the repository and not of the installed package")
    rehearse = ["--rehearse"] if device == "cpu" else []
    if subprocess.run([sys.executable, str(script), *rehearse], check=False).returncode:
        raise _Unequal(
            "campaign: benchmarks/gpu.py found that the fast path differs from the plain one on this machine, see "
            "above; results would say nothing of the methods. Single pieces run all the same with --only NAME"
        )


def _script() -> Path:
    return Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"


@contextmanager
def _deadline(minutes: float | None) -> Iterator[float]:
    """Interrupt the block after so many minutes; gives the end on the monotonic clock.

    Raises:
        LskdError: with a limit, anywhere but in the main thread, where no timer can interrupt.
    """
    if minutes is None:
        yield float("inf")
        return
    if minutes <= 0 or threading.current_thread() is not threading.main_thread():
        raise LskdError(f"campaign: minutes is {minutes:g}; expected more than 0, in the main thread")

    def over(number: int, frame: FrameType | None) -> None:
        if _importing(frame):  # a module that is left half made stays so; it is soon whole
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            raise _TimeOver

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield time.monotonic() + 60 * minutes
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") in ("importlib._bootstrap", "_frozen_importlib"):
            return True
        frame = frame.f_back
    return False


def _summary(record: Mapping[str, Any]) -> str:
    """Time, rate and accuracies of a finished run."""
    members = record["members"]
    images = record["dataset"]["train_size"] * sum(len(m["epochs"]) for m in members.values())
    seconds = max(record["wall_seconds"], 1e-9)
    last = ", ".join(
        f"{name} {m['last']['test_accuracy']:.2f}" if m["last"] else f"{name} failed" for name, m in members.items()
    )
    return f"{seconds / 60:.1f} min, {images / seconds:,.0f} student images/s: {last}"
