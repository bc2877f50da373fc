"""What is measured of each epoch, written as the run goes on; the record has the same when it ends.

``jsonl``: ``log.jsonl`` in the run's folder, one object a member and epoch. ``tensorboard``: event files in its
``tensorboard`` folder. Both are made from the members' histories, so after a kill they hold every epoch once.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from lskd.files import atomic_write
from lskd.trainer.folder import append_line

Histories = dict[str, list[dict[str, Any]]]


class Log:
    """Writes epochs that it has not written yet. ``kind`` None writes nothing."""

    def __init__(self, kind: str | None, folder: Path, histories: Histories) -> None:
        self.check(kind)
        self.kind = kind
        self._path = folder / "log.jsonl"
        self._written = dict.fromkeys(histories, 0)
        self._writer: Any = None
        if kind == "jsonl":  # an earlier session may have logged an epoch that it could not save
            rows = sorted(
                (_row(name, row) for name, history in histories.items() for row in history), key=lambda r: r["epoch"]
            )
            atomic_write(self._path, "".join(json.dumps(row) + "\n" for row in rows))
            self._written = {name: len(history) for name, history in histories.items()}
        elif kind == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            self._writer = SummaryWriter(str(folder / "tensorboard"))
            self.update(histories)

    @staticmethod
    def check(kind: str | None) -> None:
        """Raise LskdError for a kind that does not exist or whose package is missing."""
        if kind not in (None, "jsonl", "tensorboard"):
            raise LskdError(f"log is {kind!r}; expected jsonl or tensorboard")
        if kind == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
            raise LskdError("log tensorboard: the package is missing; pip install tensorboard, or choose jsonl")

    def update(self, histories: Histories) -> None:
        """Write what the histories have gained."""
        for name, history in histories.items():
            for row in history[self._written.get(name, 0) :] if self.kind else ():
                if self.kind == "jsonl":
                    append_line(self._path, _row(name, row))
                else:
                    for key, value in row.items():
                        points = {f"terms/{k}": v for k, v in value.items()} if key == "terms" else {key: value}
                        for point, number in points.items():
                            if point != "epoch":
                                self._writer.add_scalar(f"{point}/{name}", number, row["epoch"])
            self._written[name] = len(history)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _row(name: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"member": name, **row}
