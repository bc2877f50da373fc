"""The record of a run: what was run, on what, by which code, with what result. JSON, schema 1."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import lskd
from lskd.errors import LskdError
from lskd.files import read_json

__all__ = ["SCHEMA", "describe_device", "load_record", "now", "summarize", "versions"]

SCHEMA = 1


def now() -> str:
    """Time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    import numpy

    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__} | {
        "lskd": lskd.__version__
    }


def describe_device(device: torch.device) -> dict[str, Any]:
    """Kind, name and width of the hardware that a run used."""
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"type": device.type, "name": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def summarize(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Last and best epoch of a member's history. Best is selected on the test set, as the papers do.

    Where the share among the five largest logits was measured, it is that of these epochs.

    Where a part of the training set was held out, ``selected`` is the first epoch that is best on it: a choice that
    anybody can make who has no test labels.
    """
    if not history:
        return {"last": None, "best": None}
    best = max(history, key=lambda row: row["test_accuracy"])
    pick = ["epoch", "test_accuracy", *(["test_top5"] if all("test_top5" in row for row in history) else [])]
    out = {"last": {k: history[-1][k] for k in pick}, "best": {k: best[k] for k in pick}}
    if all("held_accuracy" in row for row in history):
        selected = max(history, key=lambda row: row["held_accuracy"])
        out["selected"] = {k: selected[k] for k in (*pick, "held_accuracy")}
    return out


def load_record(path: Path | str) -> dict[str, Any]:
    """Read a record, from its file or from the folder that holds it.

    Raises:
        LskdError: there is none, or it has another schema.
    """
    path = Path(path)
    path = path / "record.json" if path.is_dir() else path
    if not path.is_file():
        raise LskdError(f"{path}: no record there; a training run writes it when it ends")
    record = read_json(path)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise LskdError(f"{path}: record has schema {found!r}; this version reads schema {SCHEMA}")
    return record


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
