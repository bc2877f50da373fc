"""How a run is carried out, beside what it is: the one list from which commands, calls and records take it."""

from __future__ import annotations

import argparse
import re
import sys
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lskd.errors import LskdError

if TYPE_CHECKING:
    import torch


RUNS = "build/runs"
Precision = Literal["auto", "float32", "tf32", "bf16", "bf16-emulated"]
# Of one machine and call, not of a result.
HERE = ("device", "runs", "checkpoint_seconds", "progress", "log", "teachers", "keep_epochs")


@dataclass(frozen=True)
class Options:
    """How a run is carried out, beside what it is. These sentences are the help of ``lskd train`` too.

    Attributes:
        device: "auto" (a GPU when there is one), "cpu", "cuda" or "cuda:N".
        runs: folder where finished runs, teachers and their tables are looked for, and made if they are not there yet.
        checkpoint_seconds: time between checkpoints within an epoch, 0 for one after every step; there is always one
            at an epoch's end.
        progress: show a progress bar and what was chosen on standard error.
        teacher_logits: "live" passes every batch through the teacher, "table" reads what it said of each view
            (:mod:`lskd.trainer.logit_table`), "auto" takes the one that needs fewer forwards. Live and table differ by
            rounding, so the kind is part of what a run is; on strong views the teacher is always live.
        table_dtype: of the numbers in such a table.
        log: what is measured of each epoch, written as it goes on.
        precision: "auto" is float32 on a CPU and tf32 on a GPU; "bf16" also on processors with units for it;
            "bf16-emulated" on others, no faster than float32: to go on there with a run that was begun in bf16.
        fused: one kernel an optimiser step, on a GPU.
        graph: all launches of a step at once, a CUDA graph, on a GPU.
        streams: members side by side on a GPU.
        sync_batchnorm: of several processes, started by ``torchrun``: BatchNorm's statistics are those of the whole
            batch; otherwise each process normalises with its own part, and the first's running statistics count.
        teachers: folder of published weights, used in place of training the teachers of CIFAR-100
            (:mod:`lskd.trainer.published_teachers`); by default ``LSKD_TEACHERS``.
        keep_epochs: epochs whose weights stay in the run's folder, such as "60,120,180".
    """

    device: str = "auto"
    runs: Path | str = RUNS
    checkpoint_seconds: float = 60.0
    progress: bool = True
    teacher_logits: Literal["auto", "live", "table"] = "live"
    table_dtype: Literal["float32", "float16"] = "float32"
    log: Literal["jsonl", "tensorboard"] | None = None
    precision: Precision = "auto"
    fused: bool = True
    graph: bool = True
    streams: bool = True
    sync_batchnorm: bool = False
    teachers: Path | str | None = None
    keep_epochs: str | None = None

    def say(self, text: str) -> None:
        """Tell the person, who may not want to hear."""
        if self.progress:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)

    def words(self) -> list[str]:
        """What is not usual and decides a result, as words of ``lskd train``."""
        out: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in HERE and value != field.default:
                flag = field.name.replace("_", "-")
                out += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", value]
        return out + ["--teachers", "DIR"] * bool(self.teachers)


def add_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """An argument for each of these fields of :class:`Options`, by default for all."""
    told = dict(re.findall(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", Options.__doc__ or "", flags=re.MULTILINE))
    types = typing.get_type_hints(Options)
    for field in fields(Options):
        if names and field.name not in names:
            continue
        flag, kind = "--" + field.name.replace("_", "-"), types[field.name]
        usual: dict[str, Any] = {
            "default": field.default,
            "help": " ".join(re.sub(r":\w+:|`", "", told.get(field.name, "")).split()),
        }
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **usual)
            continue
        literals = [part for part in (kind, *typing.get_args(kind)) if typing.get_origin(part) is Literal]
        choices = typing.get_args(literals[0]) if literals else None
        parser.add_argument(flag, type=float if kind is float else str, choices=choices, **usual)


def from_arguments(given: argparse.Namespace) -> dict[str, Any]:
    """The fields of :class:`Options` that a command was given."""
    return {field.name: getattr(given, field.name) for field in fields(Options) if hasattr(given, field.name)}


def select_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:1" to a device that is there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
    except RuntimeError:
        raise LskdError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from None
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= found:
        raise LskdError(f"device {name!r}: PyTorch finds {found or 'no'} CUDA device here; use --device cpu or auto")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # a graph is captured on a stream of the current one
    return device
