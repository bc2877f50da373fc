"""The jobs of a plan done: one after the other on this machine, or many at once under Snakemake.

A run that has a record is done, in the folder of runs or in the store of records, and nothing else says so: every call
looks, does what is left, and goes on with what was begun. Each job is a process of its own (``lskd run --job``), so
that one that dies leaves the others.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lskd.errors import LskdError, hint
from lskd.files import read_json, visible
from paper.plan import Plan, load
from paper.snakemake import attend

if TYPE_CHECKING:  # Snakemake reads this file again for every job, and PyTorch takes seconds
    from paper.jobs import Job

# --- what is done ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run that was begun: its folder, or its record in the store.

    ``epoch`` is that of its newest checkpoint, the last one for a run that is done.
    """

    path: Path
    about: Mapping[str, Any]
    done: bool
    epoch: int

    @property
    def precision(self) -> str:
        return str(self.about["execution"]["precision"])


def runs_of(plan: Plan, jobs: Sequence[Job]) -> dict[str, Run]:
    """The run of each job that has one, the furthest of several, by the job's name.

    A run is a job's when it is of the same configuration, seed, source of logits and trainer, in the precision that
    the plan asks for; when it is done, also with members beside the job's, which decide nothing of theirs. In the
    store it is enough for jobs that none waits for that is to do; those need networks.
    """
    from paper.jobs import key_of

    every, larger = defaultdict[str, list[Run]](list), defaultdict[str, list[Run]](list)
    for run in (*_begun(Path(plan.runs)), *_stored(Path(plan.store))):
        if "trainer" in run.about and plan.precision in ("auto", run.precision):
            every[key_of(run.about)].append(run)
            larger[run.about["config"]["name"]] += [run] if run.done else []

    def holds(run: Run, job: Job) -> bool:
        config = run.about["config"]
        own = {name: settings for name, settings in config["members"].items() if name in job.members}
        some = len(job.members) == len(own) < len(config["members"])
        return some and key_of({**run.about, "config": {**config, "members": own}}) == job.key

    found, needed = dict[str, Run](), set[str]()
    for job in reversed(jobs):  # what waits for a job comes after it
        runs = [*every.get(job.key, ()), *(run for run in larger.get(job.recipe, ()) if holds(run, job))]
        runs = [run for run in runs if job.name not in needed or run.path.is_dir()]
        if runs:
            found[job.name] = max(runs, key=lambda run: (run.done, run.epoch))
        if job.key and not job.obstacles and not (runs and found[job.name].done):
            needed.update(job.after)
    return found


def left(jobs: Sequence[Job], runs: Mapping[str, Run]) -> list[Job]:
    """Jobs that are not done, in their order; a table of logits is to do as long as one of these waits for it."""
    open_ = [j for j in jobs if j.key and not j.obstacles and not (j.name in runs and runs[j.name].done)]
    waited = {name for job in open_ for name in job.after}
    return [job for job in jobs if job in open_ or (not job.key and job.name in waited)]


def impossible(jobs: Sequence[Job]) -> list[str]:
    """Lines for reading: whose jobs what is installed cannot do, and why. None where it can do all."""
    found = {job.recipe: job.obstacles for job in jobs if job.obstacles}
    lines = [f"  {recipe}: {'; '.join(why)}" for recipe, why in found.items()]
    return ["What is installed here cannot run, so that these are no jobs:", *lines] if lines else []


def _begun(folder: Path) -> Iterator[Run]:
    for path in visible(folder, "**/run.json"):
        about = _read(path)
        if (path.parent / "record.json").is_file():
            yield Run(path.parent, about, True, about["config"]["epochs"])
        else:
            steps = [int(p.name.rpartition("-")[2]) for p in path.parent.glob("checkpoints/step-*")]
            whole, rest = divmod(about["dataset"]["train_size"], about["config"]["batch_size"])
            dropped = about["config"].get("optimization", {}).get("drop_last_batch", False)
            yield Run(path.parent, about, False, max(steps, default=0) // (whole + (rest > 0 and not dropped)))


def _stored(store: Path) -> Iterator[Run]:
    for path in visible(store, "**/*.json"):
        about = _read(path)
        if "execution" in about:
            yield Run(path, about, True, about["config"]["epochs"])


def _read(path: Path) -> dict[str, Any]:
    from lskd import records

    records.check(about := read_json(path), path, records.Run)
    return dict(about)


# --- one job ---------------------------------------------------------------------------------------------------------


def command(name: str, changes: Iterable[str], *more: str) -> list[str]:
    """The call of ``lskd run`` for a plan and changes to it, each KEY=VALUE."""
    words = [word for change in changes for word in ("--set", change)]
    return [sys.executable, "-m", "paper", "run", "--plan", name, *words, *more]


def carry_out(plan: Plan, name: str) -> str:
    """Do one job and file its record; returns what happened, in a line. The process must not have used a GPU yet.

    What was done before is found, and what was interrupted goes on.

    Raises:
        LskdError: no such job, or what stopped it.
    """
    from paper import store  # before hours of training: it needs packages of its own
    from paper.jobs import make

    jobs = {job.name: job for job in make(plan)}
    if name not in jobs:
        raise LskdError(f"plan {plan.name}: no job is called {name!r}{hint(name, jobs)}")
    job = jobs[name]
    hold_one_gpu(Path(plan.runs) / ".gpus")  # before torch looks for one
    from lskd.data import download_if_missing
    from lskd.trainer.execution import bf16_units
    from lskd.trainer.run import Options, build_table, select_device, train_cached

    download_if_missing(job.dataset)
    if job.kind == "logits":
        options = Options(device=plan.device, runs=plan.runs, table_dtype=plan.table_dtype, precision=plan.precision)
        folder, deviation = build_table(job.recipe, settings=job.settings, options=options)
        return f"{folder}: differs from the live teacher by {deviation:.1e} of its logits' deviation"
    precision: str = plan.precision
    begun = runs_of(plan, [job]).get(name)
    if precision == "auto" and begun and begun.about["execution"]["device"] == select_device(plan.device).type:
        emulate = begun.precision == "bf16" and begun.about["execution"]["device"] == "cpu" and not bf16_units()
        precision = "bf16-emulated" if emulate else begun.precision
    folder, record = train_cached(
        job.recipe,
        seed=job.seed,
        settings=job.settings,
        members=job.members,
        device=plan.device,
        precision=precision,
        runs=plan.runs,
        teacher_logits=job.logits or "live",
        table_dtype=plan.table_dtype,
    )
    try:
        said = str(store.add(folder, plan.store)[0])
    except (LskdError, OSError) as error:  # days of training must not fail by it
        said = f"{folder}, not filed: {error}"
    stopped = [member for member, found in record["members"].items() if found.get("failure")]
    also = f"; {', '.join(stopped)} left the finite numbers and stopped early, as the record says" if stopped else ""
    return f"{name}: {said}{also}"


# --- all of them -----------------------------------------------------------------------------------------------------


def run_here(plan: Plan, changes: Sequence[str], *, minutes: float | None = None, dry_run: bool = False) -> int:
    """Do what is left, one job after the other; a job that fails ends its own.

    Args:
        plan: :func:`paper.plan.load` made it with these ``changes``, each KEY=VALUE.
        minutes: stop then. The job that is interrupted goes on from its newest checkpoint, at most a minute old.

    Returns:
        0: all is done, 1: something failed or cannot run here, 3: time was over.
    """
    if minutes is not None and not minutes > 0:
        raise LskdError(f"minutes is {minutes:g}; expected more than 0")
    from lskd.trainer.execution import Execution
    from lskd.trainer.options import Options, select_device
    from paper.jobs import make

    Execution.choose(select_device(plan.device), Options(precision=plan.precision))  # refused once, not job by job
    until = None if minutes is None else time.monotonic() + 60 * minutes
    jobs, failed, over = make(plan), set[str](), False
    environment = {**os.environ, "LSKD_WORKFLOW_PID": str(os.getpid())}  # a job ends when this process does
    for job in () if dry_run else left(jobs, runs_of(plan, jobs)):
        if over := until is not None and time.monotonic() >= until:
            break
        if failed & set(job.after):
            failed.add(job.name)
            continue
        print(f"lskd: {job.name}", file=sys.stderr, flush=True)
        call = command(plan.name, changes, "--job", job.name)
        try:
            status = attend(call, None if until is None else max(0.0, until - time.monotonic()), env=environment)
        except subprocess.TimeoutExpired:
            over = True
            break
        if status:
            failed.add(job.name)
    open_ = report(plan, jobs)
    if over and open_ and not failed:
        return 3
    return int(bool(failed or (not dry_run and impossible(jobs))))


def report(plan: Plan, jobs: Sequence[Job]) -> list[Job]:
    """Print how much is done, what is left and what cannot run here; returns what is left."""
    open_ = left(jobs, runs_of(plan, jobs))
    possible = [job for job in jobs if not job.obstacles]
    print(f"lskd: {len(possible) - len(open_)} of {len(possible)} jobs are done")
    for job in open_[:10]:
        print(f"  to do: {job.name}")
    if len(open_) > 10:
        print(f"  and {len(open_) - 10} more; the same command goes on with them")
    for line in impossible(jobs):
        print(line)
    return open_


def start(
    root: Path,
    name: str,
    changes: Sequence[str],
    *,
    profile: str,
    slots: int | None = None,
    extra: Sequence[str] = (),
    dry_run: bool = False,
) -> int:
    """Do what is left with Snakemake, many jobs at once; returns the exit status.

    Args:
        name, changes: of the plan, and KEY=VALUE of each of its keys that is changed.
        profile: a folder of ``workflow/profiles``, or any folder with a Snakemake profile.
        slots: how many jobs may hold a GPU at once; by default as many as this machine has, or one. On a cluster,
            its scheduler decides unless this is given.
        extra: further words for Snakemake.

    Raises:
        LskdError: a bad configuration or profile.
    """
    from lskd.checked import parse_settings
    from paper import snakemake
    from paper.jobs import make

    root = root.resolve()
    place = root / "workflow" / "profiles" / profile
    place = place if place.is_dir() else Path(profile)
    if not any(place.glob("config*.yaml")):
        known = ", ".join(sorted(path.name for path in (root / "workflow" / "profiles").glob("*") if path.is_dir()))
        raise LskdError(f"profile {profile!r}: no folder with a config.yaml; workflow/profiles has {known}")
    _check_executor(place)
    plan = load(name, parse_settings(changes), root=root)
    jobs = make(plan)
    if slots is None and place.name == "local":
        slots = max(1, len(gpus()))
    words = ["--profile", str(place), *(["--resources", f"gpu={slots}"] if slots else [])]
    words += ["--dry-run"] if dry_run else []
    call = [sys.executable, "-m", "snakemake", "--nolock", *words, *extra]
    call += ["--config", f"plan={name}", f"set={json.dumps(list(changes))}", "--", "tables"]
    status = snakemake.run_alone([call], root, Path(plan.folder))
    if not dry_run:
        report(plan, jobs)
        status = status or bool(impossible(jobs))
    return abs(status)


def of_config(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """A plan's name and changes from Snakemake's ``--config``: keys of the plan, or all of them in ``set``."""
    own = [f"{key}={json.dumps(value)}" for key, value in config.items() if key not in ("plan", "preset", "set")]
    return str(config.get("plan", "paper")), [*own, *config.get("set", [])]


def asked_minutes(plan: Plan, job: Job, root: Path) -> int:
    """Time to ask a cluster for: three times what the benchmark of a GPU says, or all that is allowed."""
    from paper.benchmarks import training_rate

    rate = training_rate(root)
    if rate is None or rate.unit != "GPU hours":
        return plan.minutes
    return min(plan.minutes, max(30, round(180 * rate.hours(job.multiply_adds))))


def _check_executor(profile: Path) -> None:
    """Refuse a profile whose plugin is not installed, with the way to install it."""
    import yaml

    for path in profile.glob("config*.yaml"):
        name = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("executor", "local")
        plugin = f"snakemake_executor_plugin_{name.replace('-', '_')}"
        if name != "local" and importlib.util.find_spec(plugin) is None:
            raise LskdError(f"{path}: executor {name!r} needs a plugin that is not installed; pip install '.[cluster]'")


# --- GPUs ------------------------------------------------------------------------------------------------------------

CLUSTERS = ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST")
HELD: list[FileLock] = []  # a lock goes with its object, and these are for as long as the process lives


def gpus() -> list[str]:
    """The GPUs that this process may use: ``CUDA_VISIBLE_DEVICES``, or all that the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        return [str(i) for i, _ in enumerate(line for line in told.splitlines() if line.startswith("GPU "))]
    return []


def hold_one_gpu(folder: Path) -> str | None:
    """Hold one of several GPUs until this process ends, and hide the others from it; it must not have used any yet.

    The locks are in ``folder``. Returns its name; None where there is nothing to choose, or a cluster has chosen.
    """
    names = gpus()
    if len(names) < 2 or any(key in os.environ for key in CLUSTERS):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for name in names:
            lock = FileLock(folder / f"{socket.gethostname()}-{name}", blocking=False)
            try:
                lock.acquire()
            except Timeout:
                continue
            HELD.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            return name
        time.sleep(1)
