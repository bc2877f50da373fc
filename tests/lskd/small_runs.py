"""Trainings of seconds, that several tests share: digit pairs, two epochs, a resnet8 behind a resnet8."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lskd.data import Dataset, load_dataset
from lskd.models import create_model, state_digest
from lskd.recipes import load_recipe
from lskd.records import load_record
from lskd.trainer.cohort import Cohort
from lskd.trainer.run import train

CPU = torch.device("cpu")
DATA = {"train_size": 320, "test_size": 100}  # five batches of 64
SETTINGS: dict[str, Any] = {
    "data": DATA,
    "epochs": 2,
    "milestones": [1],
    "teacher.network": "resnet8",
    "teacher.settings": {"epochs": 1, "milestones": []},
}
MLKD = SETTINGS | {"members.mlkd": {"method": "mlkd", "temperature": 2.0, "kd_weight": 9.0}}


def run(out: Path, runs: Path, **changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"settings": SETTINGS, "runs": runs, "progress": False, "device": "cpu"}
    return train("digit-pairs", out, **usual | changes)


def cohort(members: list[str] | None = None, *, seed: int = 0, settings: dict[str, Any] = SETTINGS) -> Cohort:
    """Members behind a teacher that nobody trained."""
    recipe = load_recipe("digit-pairs", settings=settings, members=members)
    dataset, teacher = load_dataset("digit_pairs", **recipe.data), create_model("resnet8").eval()
    return Cohort(recipe, dataset, seed=seed, teacher=teacher, device=CPU)


def results(made: Cohort) -> dict[str, Any]:
    """Digest of the weights and history, by member."""
    return {m.name: (state_digest(m.model.state_dict()), m.history) for m in made.members}


def images(classes: int, n: int = 12, side: int = 8) -> Dataset:
    """Images of noise, to train on and to test on; the class of the i-th is i."""
    pixels = torch.randint(256, (n, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels, names = torch.arange(n), tuple(f"{k:03d}" for k in range(classes))
    group, half = torch.zeros(classes, dtype=torch.int64), (0.5, 0.5, 0.5)
    return Dataset("noise", pixels, labels, pixels, labels, names, group, ("all",), half, half, 1, True)


def flip(file: Path) -> None:
    """Damage a file: one bit in its middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def killed(dying: Callable[..., None], *given: Any) -> None:
    """Call a function, which kills itself, in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=dying, args=given)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def words(settings: dict[str, Any]) -> list[str]:
    """The settings as words of a command."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + "}"
        return json.dumps(value)

    return [word for key, value in settings.items() for word in ("--set", f"{key}={text(value)}")]


def weights(folder: Path, member: str) -> bytes:
    return (folder / f"{member}.safetensors").read_bytes()


def epochs(folder: Path, member: str) -> list[dict[str, Any]]:
    return load_record(folder)["members"][member]["epochs"]


def equal(folder: Path, other: Path, members: list[str]) -> bool:
    """Whether weights and histories of members are the same, to the bit."""
    return all(
        weights(folder, member) == weights(other, member) and epochs(folder, member) == epochs(other, member)
        for member in members
    )
