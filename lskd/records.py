"""The record of a run: what was run, on what, by which code, with what result. JSON, schema 1.

What decides a run's result is its identity (:func:`deciding`): two runs of one identity have the same bits on the same
kind of machine. Where its files lay, and which commit of the sources trained it, is told and decides nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy
import torch
from msgspec import Struct

import lskd
from lskd.checked import Count, Natural, convert
from lskd.errors import LskdError
from lskd.files import read_json

SCHEMA = 1

# What every reader takes for granted of a record, and of the run.json that becomes one; both hold more.


class _Config(Struct):
    name: str
    dataset: str
    student: str
    epochs: Count
    batch_size: Count
    members: dict[str, dict[str, Any]]
    teacher: dict[str, Any] | None = None
    data: dict[str, Any] | None = None


class _Data(Struct):
    digest: str
    train_size: Natural


class _Network(Struct):
    digest: str
    network: str


class Run(Struct, kw_only=True):
    name: str
    config: _Config
    seed: Natural
    dataset: _Data
    teacher: _Network | None
    execution: dict[str, Any] = {}
    distributed: dict[str, Any] = {}
    identity: str = ""


class _Epoch(Struct):
    epoch: Count
    test_accuracy: float


class _Member(Struct):
    method: str
    standardize: bool
    settings: dict[str, Any]
    epochs: list[_Epoch]
    last: _Epoch | None
    best: _Epoch | None
    weights: dict[str, str] = {}
    evidence: dict[str, str] | None = None


class Record(Run, kw_only=True):
    members: dict[str, _Member]
    command: str
    device: dict[str, Any]
    store: dict[str, str] = {}


def now() -> str:
    """Time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}
    return found | {"lskd": lskd.__version__}


def commit() -> dict[str, Any] | None:
    """The commit of the checkout that these sources lie in, and whether they were changed since; None elsewhere."""
    if (Path(__file__).parent / "_recipes").is_dir():  # installed: a repository around it is somebody else's
        return None
    call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": said.removesuffix("-dirty"), "dirty": said.endswith("-dirty")}


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the folders of one machine: digests of data and weights say what lay there."""
    out = dict(config)
    if (out.get("teacher") or {}).get("checkpoint"):
        out["teacher"] = {**out["teacher"], "checkpoint": PurePath(out["teacher"]["checkpoint"]).name}
    if out.get("data"):
        out["data"] = {k: v for k, v in out["data"].items() if k not in ("path", "cache")}
    return out


def deciding(about: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record, or of what becomes one, that decides a run's result.

    The teacher counts by its network, its weights and the size of its images, wherever it came from. Records made
    before there was a number of the trainer have a digest of all its sources in its place, and count as they did.
    """
    if "trainer" not in about:
        known = ("name", "config", "seed", "dataset", "teacher", "teacher_logits", "execution", "source_digest")
        return {key: about[key] for key in (*known, "distributed") if key in about}
    config = without_places(about["config"])
    teacher = about["teacher"] and {key: about["teacher"][key] for key in ("network", "digest")}
    if config.get("teacher"):
        config["teacher"] = {key: config["teacher"].get(key) for key in ("network", "input_size")}
    found = {
        key: about[key] for key in ("seed", "teacher_logits", "execution", "trainer", "distributed") if key in about
    }
    return found | {"config": config, "data": about["dataset"]["digest"], "teacher": teacher}


def identity(about: Mapping[str, Any]) -> str:
    """SHA-256 of what decides a run's result."""
    return hashlib.sha256(json.dumps(deciding(about), sort_keys=True).encode()).hexdigest()


def computed_with(record: Mapping[str, Any]) -> str:
    """Kind of device and precision of a run, such as "cpu, float32": runs that differ in it are not averaged.

    And of several processes how many, because each normalises with its own part of a batch unless they share it.
    """
    execution = record.get("execution", {})  # records have it since there is more than one way
    device = execution.get("device") or record.get("device", {}).get("type", "cpu")
    together = record.get("distributed", {})
    processes = f", {together['processes']} processes" if together else ""
    shared = ", one BatchNorm" if together.get("sync_batchnorm") else ""
    return f"{device}, {execution.get('precision', 'float32')}{processes}{shared}"


def trainer_of(record: Mapping[str, Any]) -> str:
    """Which trainer made a record, in a word: its number, or the digest of its sources before it had one."""
    return str(record["trainer"]) if "trainer" in record else f"before 1 ({record.get('source_digest', '?')[:8]})"


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
        LskdError: there is none, it has another schema, or is not whole.
    """
    path = Path(path)
    path = path / "record.json" if path.is_dir() else path
    if not path.is_file():
        raise LskdError(f"{path.absolute()}: no record there; a training run writes it when it ends")
    record = read_json(path)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise LskdError(f"{path}: record has schema {found!r}; this version reads schema {SCHEMA}")
    check(record, path)
    return record


def check(found: Any, path: Path | str, wanted: type[Run] = Record) -> None:
    """Refuse what is no record, or no run of which there is none yet; names the place in the file."""
    try:
        convert(found, wanted, f"{path}: {wanted.__name__.lower()}: ")
    except LskdError as error:
        raise LskdError(f"{error}; take it away, and bring its run again") from None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
