"""What is told of a run as it goes on: a bar, and what is measured of each epoch; the record has that when it ends.

``jsonl``: ``log.jsonl`` in the run's folder, one object a member and epoch. ``tensorboard``: event files in its
``tensorboard`` folder. Both are made from the members' histories, so after a kill they hold every epoch once.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lskd.errors import LskdError
from lskd.files import append_line, read_lines
from lskd.records import commit, describe_device, now, versions
from lskd.trainer.checkpoint import Checkpoint

Histories = dict[str, list[dict[str, Any]]]


class Clock:
    """Sessions of a run, and the time spent on it over all of them, as far as it was saved."""

    def __init__(self, path: Path, found: Checkpoint | None, device: torch.device, *, emulated: bool) -> None:
        self.sources = commit()  # as they are now, when they were imported
        used = describe_device(device)
        line = {"started": now(), "step": found.step if found else 0, "sources": self.sources}
        line |= {"used": {"device": used["name"], **versions()}} | ({"emulated": True} if emulated else {})
        append_line(path, line)
        sessions = read_lines(path)
        self.started, self.sessions = sessions[0]["started"], len(sessions)
        until = [later["step"] for later in sessions[1:]] + [None]
        self.emulated = [[s["step"], end] for s, end in zip(sessions, until, strict=True) if s.get("emulated")]
        parts = [s["used"] for s in sessions if "used" in s]  # what each session computed with: all of it is told
        told = {key: " and ".join(dict.fromkeys(part[key] for part in parts)) for key in parts[-1]}
        self.device, self.versions = used | {"name": told.pop("device")}, told
        alike = all(s.get(key) == line.get(key) for s in sessions for key in ("used", "emulated"))
        self.single = device if alike else None  # that all of it was computed on, in one way
        self._before = found.values["seconds"] if found else 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start


def latest_accuracies(histories: Histories) -> str:
    """Latest test accuracies, for a line of a terminal: of each member, or of the first and the last of many."""
    latest = {name: history[-1]["test_accuracy"] for name, history in histories.items() if history}
    if len(latest) <= 4:
        return " ".join(f"{name} {accuracy:.1f}" for name, accuracy in latest.items())
    low, high = min(latest, key=latest.__getitem__), max(latest, key=latest.__getitem__)
    return f"{len(latest)} networks, {low} {latest[low]:.1f} to {high} {latest[high]:.1f}"


def progress_bar(what: str, unit: str, total: float, done: float, *, show: bool) -> tqdm:
    """On standard error, from ``done`` on; now and then a line where that is no terminal."""
    often = 1.0 if sys.stderr.isatty() else 10.0
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        unit_scale=True,
        disable=not show,
        file=sys.stderr,
        mininterval=often,
    )


class Log:
    """Writes epochs that it has not written yet. ``kind`` None writes nothing.

    It begins anew in every session: an earlier one may have logged an epoch that it could not save.
    """

    def __init__(self, kind: str | None, folder: Path, histories: Histories) -> None:
        self.kind = kind
        self._path = folder / "log.jsonl"
        self._written = 0  # epochs
        self._writer: Any = None
        if kind == "jsonl":
            self._path.unlink(missing_ok=True)
        elif kind == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            self._writer = SummaryWriter(str(folder / "tensorboard"))
        self.update(histories)

    @staticmethod
    def check(kind: str | None) -> None:
        """Raise LskdError for a kind whose package is missing."""
        if kind == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
            raise LskdError("log tensorboard: the package is missing; pip install tensorboard, or choose jsonl")

    def update(self, histories: Histories) -> None:
        """Write what the histories have gained."""
        rows = [(row["epoch"], name, row) for name, history in histories.items() for row in history[self._written :]]
        rows.sort(key=lambda row: row[0])
        if self.kind == "jsonl":
            with self._path.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps({"member": name, **row}) + "\n" for _, name, row in rows)
        for epoch, name, row in rows if self._writer else ():
            points = {key: value for key, value in row.items() if key not in ("epoch", "terms")}
            for point, value in {**points, **{f"terms/{k}": v for k, v in row["terms"].items()}}.items():
                self._writer.add_scalar(f"{point}/{name}", value, epoch)
        self._written = max(map(len, histories.values()))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
