"""Several jobs on a machine with several GPUs: each takes one that no other job holds.

A cluster gives every job its own devices, so there is nothing to do there. On one machine, Snakemake counts how many
jobs may run and does not say which GPU is whose; a lock of the operating system does, and goes with its process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["gpus", "one_gpu"]

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
