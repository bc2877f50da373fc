"""Starting Snakemake on this project: one at a time, in the project's folder, going on after any interruption.

Snakemake's own lock outlives a killed process and has to be removed by hand; a lock of the operating system does
not, so that one is used and Snakemake's is switched off.

Snakemake decides before it starts what will run, and takes for granted that a job which runs changes its outputs.
So what training the targets need, which is often found done before and then changes nothing, goes first in a call of
its own, beside the drawings that need none: figures are drawn again only when what they are drawn from has another
content.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TRAINING = ("teacher", "students")


def start(root: Path, preset: str, targets: Sequence[str] = (), *, cores: str = "all", dry_run: bool = False) -> int:
    """Make targets, rules of ``workflow/Snakefile`` or files, by default all; returns Snakemake's exit status.

    Args:
        preset: a name in ``workflow/*.yaml``.
        dry_run: only say what would be made, and why.
    """
    root = root.resolve()
    whole = dry_run or bool(set(targets) & set(TRAINING))
    told = root / "build" / ".workflow.errors"
    told.unlink(missing_ok=True)
    common = [
        *(sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--cores", cores),
        *("--nolock", "--rerun-incomplete", "--scheduler", "greedy"),
        *("--max-checksum-file-size", "1000000000"),  # large files too are compared by content
        *("--rerun-triggers", "code", "input", "mtime", "params"),
        *(["--dry-run"] if dry_run else ["--quiet", "host", "progress", "reason"]),
        *("--config", f"preset={preset}", f"targets={' '.join(targets)}", "--"),
    ]
    calls = [[*common, *names] for names in ([targets] if whole else [("training",), targets])]
    status = run_alone(calls, root, Path("build"))
    if status and told.is_file():  # Snakemake says much after a job has failed; the reason again, last
        print(f"\nlskd: stopped, because:\n{told.read_text(encoding='utf-8').rstrip()}", file=sys.stderr)
    return status


def environment(root: Path) -> dict[str, str]:
    """This process's environment, with caches in the project's ``build`` folder and its own ``lskd`` first."""
    cache = root / "build" / ".cache"
    defaults = {"LSKD_CACHE": os.fspath(cache / "lskd"), "MPLCONFIGDIR": os.fspath(cache / "matplotlib")}
    path = os.pathsep.join(filter(None, [os.fspath(root), os.environ.get("PYTHONPATH")]))
    told = {"LSKD_ERRORS": os.fspath(root / "build" / ".workflow.errors")}  # commands append their last words
    return {**defaults, **os.environ, **told, "XDG_CACHE_HOME": os.fspath(cache), "PYTHONPATH": path}


def run_alone(calls: Iterable[list[str]], root: Path, folder: Path) -> int:
    """Run Snakemake until a call fails, one process at a time for ``folder``; returns the last exit status."""
    with _alone(root / folder / ".workflow.lock") as handle:  # which Snakemake holds too
        told = environment(root)
        return next((s for call in calls if (s := attend(call, cwd=root, env=told, pass_fds=[handle]))), 0)


@contextmanager
def _alone(lock: Path) -> Iterator[int]:
    """Hold a lock, waiting for whoever has it; the system lets go of it when all holders have ended."""
    import fcntl  # not on every system; a lock that a child holds too is nothing that filelock has

    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(handle, 20, 0).decode() or "?"
            print(f"lskd: waiting for the workflow that is running here (process {other})", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(lock)) from None
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield handle
    finally:
        os.close(handle)


def attend(call: Sequence[str], seconds: float | None = None, **options: Any) -> int:
    """Run a command to its end and return its status; when this process is stopped, stop it and its jobs first.

    It has a process group of its own, so that an interrupt reaches all of its jobs once, wherever it came from.

    Raises:
        subprocess.TimeoutExpired: it took longer than ``seconds``, and was stopped.
    """
    with subprocess.Popen(call, process_group=0, **options) as child:
        try:
            return child.wait(seconds)
        except BaseException:
            for stop, patience in ((signal.SIGINT, 20), (signal.SIGKILL, None)):
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, stop)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(patience)
                    break
            raise
