"""How a run is carried out, beside what it is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from lskd.errors import LskdError

__all__ = ["RUNS", "Options", "select_device"]

RUNS = "build/runs"


@dataclass(frozen=True)
class Options:
    """How a run is carried out, beside what it is.

    Attributes:
        device: "auto" takes a GPU when there is one.
        runs: where a teacher and its table are looked for, and made if they are not there yet.
        checkpoint_seconds: time between checkpoints within an epoch, 0 for one after every step; there is always one
            at an epoch's end.
        progress: show a progress bar and what was chosen on standard error.
        teacher_logits: "live" passes every batch through the teacher, "table" reads what it said of each view
            (:mod:`lskd.trainer.table`), "auto" takes the one that needs fewer forwards. Live and table differ by
            rounding, so the kind is part of what a run is; on strong views the teacher is always live.
        table_dtype: "float32" or "float16".
        log: "jsonl" or "tensorboard", what is measured of each epoch as it goes on.
        sync_batchnorm: of several processes, started by ``torchrun``: BatchNorm's statistics are those of the whole
            batch; otherwise each process normalises with its own part, and the first's running statistics count.
        precision: "auto", "float32", "tf32" (GPUs) or "bf16" (also processors with units for it).
        fused, graph, streams: of a GPU, see :class:`lskd.trainer.execution.Execution`; nothing on a CPU.
    """

    device: str = "auto"
    runs: Path | str = RUNS
    checkpoint_seconds: float = 60.0
    progress: bool = True
    teacher_logits: str = "live"
    table_dtype: str = "float32"
    log: str | None = None
    precision: str = "auto"
    fused: bool = True
    graph: bool = True
    streams: bool = True
    sync_batchnorm: bool = False

    def say(self, text: str) -> None:
        """Tell the person, who may not want to hear."""
        if self.progress:
            tqdm.write(text, file=sys.stderr)


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
