"""The paper's tables from jobs: the plan in a folder, one job carried out, all of them by Snakemake.

A folder keeps ``plan.json``, which every job reads, and ``done/<job>.json``, written when a job has ended well. A
job's name holds a digest of all that decides it, so that a changed recipe is another job. One folder is made by one
version of the trainer: its runs are averaged.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from lskd import fingerprint
from lskd.errors import LskdError
from lskd.files import read_json, write_json
from lskd.trainer import TRAINER

__all__ = ["carry_out", "done", "folder_of", "gpus", "marker", "one_gpu", "opened", "overview", "settle", "start"]

PAGE = "paper_tables"


# --- the plan in its folder ------------------------------------------------------------------------------------------


def folder_of(root: Path, config: Mapping[str, Any]) -> str:
    """Where a plan is kept, as Snakemake's rules need it before anything is planned."""
    name = config.get("plan", "paper")
    path = root / "workflow" / "tables" / f"{name}.yaml"
    if "folder" in config or not path.is_file():  # a job elsewhere has no file, and is told the folder
        return str(config.get("folder", "build/tables"))
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["folder"])


def opened(root: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a configuration: from its folder when it is the same, else made and written there.

    Args:
        root: the project.
        config: ``plan``, a name in ``workflow/tables/``, and changes to its keys; or ``written`` (true) and
            ``folder``, for a plan that lies there already.

    Raises:
        LskdError: a bad configuration, or a folder that another version of the trainer has results in.
    """
    changes = {k: v for k, v in config.items() if k not in ("plan", "preset", "written")}
    name = str(config.get("plan", "paper"))
    file = root / "workflow" / "tables" / f"{name}.yaml"
    path = Path(folder_of(root, config)) / "plan.json"
    found = read_json(path) if path.is_file() else None
    source = f"trainer {TRAINER}"
    if found is not None and found["source"] != source and done(path.parent):
        raise LskdError(
            f"{path.parent}: its finished jobs were made by another version of the trainer's code "
            f"({found['source']}; here is {source}), and a table must not mix the two. Go on in a checkout "
            "of the version that began it (git worktree add), or begin anew: --set folder=build/tables-2"
        )
    if found is not None and found["source"] == source and config.get("written"):
        return dict(found)
    key = _sha([name, changes, file.read_text("utf-8") if file.is_file() else "", _inputs()])
    if found is not None and found["key"] == key and found["source"] == source:
        return dict(found)
    from paper import job_cost, job_settings
    from paper import jobs as plan

    wanted = job_settings.load(name, changes, root=root)
    rate = job_cost.measured(root)
    jobs = [
        {**{k: getattr(job, k) for k in job.__dataclass_fields__}, "minutes": _minutes(wanted.minutes, job, rate)}
        for job in plan.make(wanted)
    ]
    write_json(path, {"key": key, "source": source, "wanted": wanted.json(), "jobs": jobs})
    return dict(read_json(path))


def overview(root: Path, config: Mapping[str, Any], *, as_json: bool) -> str:
    """The plan in words, or as JSON; writes nothing."""
    from paper import job_cost, job_listing, job_settings
    from paper import jobs as plan

    changes = {k: v for k, v in config.items() if k != "plan"}
    wanted = job_settings.load(str(config.get("plan", "paper")), changes, root=root)
    finished = done(root / wanted.folder)
    given = wanted, plan.make(wanted), job_cost.measured(root), finished
    return json.dumps(job_listing.as_data(*given), indent=1) if as_json else job_listing.listing(*given)


def marker(folder: Path | str, name: str) -> Path:
    """What says that a job has ended well."""
    return Path(folder) / "done" / f"{name}.json"


def done(folder: Path | str) -> list[str]:
    """Names of the jobs that have ended well."""
    place = Path(folder) / "done"
    return sorted(path.relative_to(place).as_posix().removesuffix(".json") for path in place.rglob("*.json"))


def _inputs() -> str:
    """Digest of all that a plan is made from: recipes, published numbers, and the code that plans."""
    from lskd.recipes import FOLDER

    published = Path(__file__).with_name("published.csv")
    return fingerprint.digest(
        [*FOLDER.rglob("*.toml"), published, *fingerprint.closure("paper.jobs", "paper.job_settings")]
    )


def _minutes(limit: int, job: Any, rate: Any) -> int:
    """Time to ask a cluster for: three times what the benchmark of a GPU says, or all that is allowed."""
    if rate is None or rate.unit != "GPU hours":
        return limit
    return min(limit, max(30, round(180 * rate.hours(job.multiply_adds))))


def _sha(obj: Any) -> str:
    return hashlib.sha256(json.dumps(obj, sort_keys=True, default=str).encode()).hexdigest()


# --- one job ---------------------------------------------------------------------------------------------------------


def carry_out(folder: Path, name: str, *, mark: Path | None = None) -> str:
    """Do one job of the plan in ``folder`` and file its record; returns what happened, in a line.

    What was done before is found, and what was interrupted goes on.

    Args:
        folder: of the plan.
        name: of the job.
        mark: a second place for the file that says that it is done, where Snakemake looks for it when machines share
            no disk.

    Raises:
        LskdError: no such job, or what stopped it.
    """
    path = folder / "plan.json"
    if not path.is_file():
        raise LskdError(f"{path}: there is no plan; `lskd tables` writes one")
    plan = read_json(path)
    job = next((job for job in plan["jobs"] if job["name"] == name), None)
    if job is None:
        raise LskdError(f"{path}: no job is called {name!r}; `lskd plan --json` has all names")
    if job["obstacles"]:
        raise LskdError(f"job {name}: what is installed here cannot run it: {'; '.join(job['obstacles'])}")
    wanted = plan["wanted"]
    with one_gpu(Path(wanted["runs"]) / ".gpus"):  # before torch looks for one
        report = _table(job, wanted) if job["kind"] == "logits" else _run(job, wanted)
    for place in {marker(folder, name), mark or marker(folder, name)}:
        write_json(place, report)
    return str(report["said"])


def _run(job: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    from lskd.trainer.run import train_cached

    options: dict[str, Any] = {"device": wanted["device"], "runs": wanted["runs"]}
    if job["kind"] == "cohort":  # a network that teaches is looked for without these
        options |= {"teacher_logits": job["logits"], "table_dtype": wanted["table_dtype"]}
        options["members"] = job["members"]
    run, record = train_cached(job["recipe"], seed=job["seed"], settings=job["settings"], **options)
    failed = [member for member, found in record["members"].items() if found.get("failure")]
    filed = _file(run, wanted["store"])
    said = f"{job['name']}: {filed['filed'] or 'not filed: ' + filed['reason']}"
    if failed:
        said += f"; {', '.join(failed)} left the finite numbers and stopped early, as the record says"
    return {"run": str(run), **filed, "stopped": failed, "said": said}


def _file(run: Path | str, store: str) -> dict[str, Any]:
    """Put a run's record into the store. A refusal is kept as a note: days of training must not fail by it."""
    from paper import store as results

    try:
        path, _ = results.add(run, store)
    except LskdError as error:
        return {"filed": None, "reason": str(error)}
    return {"filed": str(path), "reason": ""}


def _table(job: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    from lskd.trainer.run import Options, build_table

    options = Options(device=wanted["device"], runs=wanted["runs"], table_dtype=wanted["table_dtype"])
    folder, deviation = build_table(job["recipe"], settings=job["settings"], options=options)
    said = f"{folder}: differs from the live teacher by {deviation:.1e} of its logits' deviation"
    return {"run": str(folder), "filed": None, "reason": "", "stopped": [], "said": said}


# --- all of them -----------------------------------------------------------------------------------------------------


def start(
    root: Path,
    config: Mapping[str, Any],
    *,
    profile: str = "local",
    slots: int | None = None,
    extra: Sequence[str] = (),
    dry_run: bool = False,
) -> int:
    """Run the jobs of a plan with Snakemake, then draw the tables from what there is; returns the exit status.

    Args:
        root: the project.
        config: see :func:`opened`.
        profile: a folder of ``workflow/profiles``, or any folder with a Snakemake profile.
        slots: how many jobs may hold a GPU at once; by default as many as this machine has, or one. On a cluster,
            its scheduler decides unless this is given.
        extra: further words for Snakemake.
        dry_run: only list the jobs.

    Raises:
        LskdError: a bad configuration or profile.
    """
    from paper import snakemake

    root = root.resolve()
    place = root / "workflow" / "profiles" / profile
    place = place if place.is_dir() else Path(profile)
    if not any(place.glob("config*.yaml")):
        known = ", ".join(sorted(path.name for path in (root / "workflow" / "profiles").glob("*") if path.is_dir()))
        raise LskdError(f"profile {profile!r}: no folder with a config.yaml; workflow/profiles has {known}")
    _check_executor(place)
    plan = opened(root, config)
    if slots is None and place.name == "local":
        slots = max(1, len(gpus()))
    words = ["--profile", str(place), *(["--resources", f"gpu={slots}"] if slots else [])]
    words += ["--dry-run"] if dry_run else []
    folder = plan["wanted"]["folder"]
    call = [sys.executable, "-m", "snakemake", "--nolock", *words, *extra]
    call += ["--config", "written=true", f"folder={folder}", "--", "jobs"]
    status = snakemake.run_alone(call, root, Path(folder))
    if dry_run:
        return status
    return max(abs(status), settle(root, plan))


def _check_executor(profile: Path) -> None:
    """Refuse a profile whose plugin is not installed, with the way to install it."""
    for path in profile.glob("config*.yaml"):
        name = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("executor", "local")
        plugin = f"snakemake_executor_plugin_{name.replace('-', '_')}"
        if name != "local" and importlib.util.find_spec(plugin) is None:
            raise LskdError(f"{path}: executor {name!r} needs a plugin that is not installed; pip install '.[cluster]'")


def settle(root: Path, plan: Mapping[str, Any]) -> int:
    """After the jobs: file what was refused before, say what is missing, draw the tables; the exit status."""
    folder, store = Path(plan["wanted"]["folder"]), plan["wanted"]["store"]
    finished = set(done(folder))
    jobs = [job for job in plan["jobs"] if not job["obstacles"]]
    for name in sorted(finished & {job["name"] for job in jobs}):
        path = marker(folder, name)
        report = read_json(path)
        if report["reason"] and Path(report["run"]).is_dir():
            report |= _file(report["run"], store)
            write_json(path, report)
            if report["reason"]:
                print(f"lskd: {name} is not in {store}: {report['reason']}", file=sys.stderr)
    left = [job["name"] for job in jobs if job["name"] not in finished]
    print(f"lskd: {len(jobs) - len(left)} of {len(jobs)} jobs are done")
    for name in left[:10]:
        print(f"  to do: {name}")
    if len(left) > 10:
        print(f"  and {len(left) - 10} more; the same command goes on with them")
    return _page(root, folder, store)


def _page(root: Path, folder: Path, store: str) -> int:
    """Execute the tables' notebook on the store, in a process of its own, which needs the book's packages."""
    from paper import snakemake

    call = [sys.executable, "-m", "lskd.cli", "notebook", "run", PAGE, "-o", os.fspath(folder / f"{PAGE}.ipynb")]
    call += ["-p", "records", store, "-p", "output", os.fspath(folder / PAGE)]
    return subprocess.run(call, cwd=root, env=snakemake.environment(root), check=False).returncode


CLUSTERS = ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST")


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


@contextmanager
def one_gpu(folder: Path, names: Sequence[str] | None = None) -> Iterator[str | None]:
    """Hold one of the GPUs and hide the others from this process, which must not have used any yet.

    Args:
        folder: holds the locks; all jobs of one machine name the same.
        names: the GPUs, by default :func:`gpus`. With fewer than two there is nothing to choose.

    Yields:
        Its name; None where there is nothing to choose, or a cluster has chosen.
    """
    names = gpus() if names is None else names
    if len(names) < 2 or any(key in os.environ for key in CLUSTERS):
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    while True:
        for name in names:
            with (folder / f".gpu-{socket.gethostname()}-{name}").open("w") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                os.environ["CUDA_VISIBLE_DEVICES"] = name
                try:
                    yield name
                finally:
                    os.environ.pop("CUDA_VISIBLE_DEVICES")
                    if before is not None:
                        os.environ["CUDA_VISIBLE_DEVICES"] = before
                return
        time.sleep(1)
