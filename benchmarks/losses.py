"""Time of every loss with its gradient beside KD's, and the memory of a long vocabulary in pieces beside the whole.

Losses take turns in one process and a ratio is of one turn, so that a busy machine slows both sides; the median of the
turns is told. Memory is the peak of a process of its own, less the same process with the inputs alone. Writes
benchmarks/results/losses.json.

    python benchmarks/losses.py [--whole 4096]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lskd import losses, records
from lskd.files import write_json
from lskd.losses import kd_loss

CLASSES = {100: 64, 1_000: 64, 151_936: 16}  # and rows; a data set's, ImageNet's, a vocabulary's
ROWS, CHUNK = (256, 1024, 4096), 64  # of the vocabulary, for memory
TURNS = 9

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {  # by the names of members
    "kd": lambda s, v, y: kd_loss(s, v, temperature=4.0),
    "kd_ls": lambda s, v, y: kd_loss(s, v, temperature=2.0, standardize=True),
    "dkd": lambda s, v, y: losses.dkd_loss(s, v, y),
    "dkd_ls": lambda s, v, y: losses.dkd_loss(s, v, y, standardize=True),
    "normkd": lambda s, v, y: losses.normkd_loss(s, v),
    "luminet": lambda s, v, y: losses.luminet_loss(s, v),
    "dist": lambda s, v, y: losses.dist_loss(s, v),
    "ttm": lambda s, v, y: losses.ttm_loss(s, v, gamma=0.1),
    "wttm": lambda s, v, y: losses.wttm_loss(s, v, gamma=0.1),
    "rld": lambda s, v, y: losses.rld_loss(s, v, y),
    "rld_ls": lambda s, v, y: losses.rld_loss(s, v, y, standardize=True),
    "gdkd": lambda s, v, y: losses.gdkd_loss(s, v),
    "gdkd_ls": lambda s, v, y: losses.gdkd_loss(s, v, standardize=True),
}


def seconds(loss: Loss, classes: int, rows: int, calls: int) -> float:
    """Of one call with its gradient, the mean of a few."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(rows, classes, generator=generator) for _ in range(2))
    target = torch.randint(classes, (rows,), generator=generator)
    student.requires_grad_()
    torch.autograd.grad(loss(student, teacher, target), student)
    start = time.perf_counter()
    for _ in range(calls):
        torch.autograd.grad(loss(student, teacher, target), student)
    return (time.perf_counter() - start) / calls


def times(turns: int) -> dict[str, Any]:
    """Ratios to KD by classes and loss, and KD's own microseconds."""
    out: dict[str, Any] = {"ratios": {}, "kd_microseconds": {}}
    for classes, rows in CLASSES.items():
        calls = max(1, 200_000 // (rows * classes))
        measured = [{name: seconds(loss, classes, rows, calls) for name, loss in LOSSES.items()} for _ in range(turns)]
        ratios = {name: statistics.median(turn[name] / turn["kd"] for turn in measured) for name in LOSSES}
        out["ratios"][str(classes)] = ratios
        out["kd_microseconds"][str(classes)] = 1e6 * statistics.median(turn["kd"] for turn in measured)
    return out


def peak(kind: str, rows: int, classes: int) -> int:
    """Bytes of resident memory at the most, in this process: inputs alone, KD with LS as a whole, or in pieces."""
    student, teacher = (torch.empty(rows, classes, dtype=torch.bfloat16).normal_() for _ in range(2))
    student.requires_grad_()
    if kind != "inputs":
        kd_loss(
            student, teacher, temperature=2.0, standardize=True, chunk=CHUNK if kind == "chunked" else None
        ).backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory(rows: int, classes: int, kinds: tuple[str, ...]) -> dict[str, int]:
    def run(kind: str) -> int:
        with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as process:
            return process.submit(peak, kind, rows, classes).result()

    return {"tensor": 2 * rows * classes} | {kind: run(kind) for kind in ("inputs", *kinds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", type=int, default=1024, help="rows up to which the whole is measured: 8 MiB each")
    whole = parser.parse_args().whole
    torch.set_num_threads(1)
    load, classes = os.getloadavg()[0], max(CLASSES)
    by_rows = {
        str(rows): memory(rows, classes, ("chunked", "plain") if rows <= whole else ("chunked",)) for rows in ROWS
    }
    result = {
        "schema": 1,
        "rows": {str(classes): rows for classes, rows in CLASSES.items()},
        "turns": TURNS,
        **times(TURNS),
        "memory": {"classes": classes, "chunk": CHUNK, "dtype": "bfloat16", "bytes_by_rows": by_rows},
        "machine": records.describe_device(torch.device("cpu")) | {"load_before": load},
        "versions": records.versions(),
        "finished": records.now(),
    }
    write_json(Path(__file__).parent / "results" / "losses.json", result)
    print(json.dumps({key: result[key] for key in ("ratios", "memory")}, indent=1))


if __name__ == "__main__":
    main()
