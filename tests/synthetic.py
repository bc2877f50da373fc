"""A teacher and its students that were never trained: records and evidence with known properties, in milliseconds."""

from __future__ import annotations

import copy
import functools
import json
import operator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lskd import evidence
from lskd.evidence import Evidence
from lskd.losses import standardize
from lskd.recipes import load_recipe
from lskd.records import identity
from paper import store as results

CLASSES, GROUPS = 20, 4
SETTINGS: dict[str, dict[str, Any]] = {
    "alone": {},
    "kd": {"temperature": 2.0, "kd_weight": 9.0, "ce_weight": 0.1},
    "kd_ls": {"standardize": True, "temperature": 2.0, "kd_weight": 9.0, "ce_weight": 0.1},
    "dkd": {"temperature": 4.0, "alpha": 1.0, "beta": 8.0, "warmup": 1},
    "dkd_ls": {"standardize": True, "temperature": 2.0, "alpha": 1.0, "beta": 8.0, "kd_weight": 9.0, "warmup": 1},
    "ctkd": {"kd_weight": 9.0, "t_start": 2.0, "t_end": 40.0, "loops": 1},
    "ctkd_ls": {"standardize": True, "kd_weight": 9.0, "t_start": 2.0, "t_end": 40.0, "loops": 1},
}
RECIPE = "cifar100/resnet32x4-resnet8x4"
METHOD = {"alone": "plain", **{name: name.removesuffix("_ls") for name in SETTINGS if name != "alone"}}


def pack(member: str, *, n: int = 120, scale: float = 4.0, noise: float = 1.0, seed: int = 0, **meta: Any) -> Evidence:
    """Evidence of a network whose logits are noisy class templates times ``scale``; labels are the same for all."""
    labels = np.arange(n) % CLASSES
    common, own = np.random.default_rng(7), np.random.default_rng([seed, *member.encode()])
    template = common.normal(size=(CLASSES, CLASSES)) + 3 * np.eye(CLASSES)
    logits = (scale * (template[labels] + noise * own.normal(size=(n, CLASSES))) / 2).astype(np.float32)
    return measured(
        logits,
        features=logits @ common.normal(size=(CLASSES, 8)),
        labels=labels,
        groups=GROUPS,
        network="resnet8",
        member=member,
        method=METHOD.get(member, "plain"),
        standardize=member.endswith("_ls"),
        seed=seed,
        **{"weights_digest": f"weights of {member}", **meta},
    )


def measured(
    logits: np.ndarray, *, features: np.ndarray, labels: np.ndarray, groups: int, rows: int = 40, **meta: Any
) -> Evidence:
    """What is measured of a network with these logits."""
    n, classes = logits.shape
    kept = np.unique(np.linspace(0, n - 1, min(rows, n)).round().astype(np.int32))

    def means(values: np.ndarray) -> np.ndarray:
        return np.stack([values[labels == k].mean(axis=0) for k in range(classes)]).astype(np.float32)

    return Evidence(
        label=labels.astype(np.int16),
        prediction=logits.argmax(axis=1).astype(np.int16),
        logit_mean=logits.mean(axis=1),
        logit_std=logits.std(axis=1),
        logit_min=logits.min(axis=1),
        logit_max=logits.max(axis=1),
        class_mean_logits=means(logits),
        class_mean_z=means(standardize(torch.from_numpy(logits)).numpy()),
        features=features.astype(np.float16),
        logits=logits[kept],
        logits_index=kept,
        class_names=np.array([f"{k:02d}" for k in range(classes)]),
        superclass=(np.arange(classes) % groups).astype(np.int16),  # not in the order of classes, as in CIFAR-100
        superclass_names=np.array([f"g{k}" for k in range(groups)]),
        meta={
            "dataset_digest": "d" * 64,
            "test_accuracy": 100 * float((logits.argmax(axis=1) == labels).mean()),
            **meta,
        },
    )


def record(
    members: dict[str, tuple[float, float]],
    *,
    seed: int = 0,
    name: str = "synthetic",
    epochs: int = 3,
    tested: int = 120,
    teacher: str | None = "weights of teacher",
) -> dict[str, Any]:
    """A record, schema 1, of members with given (last, best) test accuracies in percent."""
    settings = {m: SETTINGS.get(m, {}) for m in members}
    return {
        "schema": 1,
        "name": name,
        "config": {
            "name": name,
            "dataset": "synthetic",
            "student": "resnet8",
            "epochs": epochs,
            "batch_size": 10,
            "learning_rate": 0.1,
            "milestones": [2],
            "decay": 0.1,
            "momentum": 0.9,
            "weight_decay": 0.01,
            "members": {m: {"method": METHOD.get(m, "plain"), **s} for m, s in settings.items()},
        },
        "seed": seed,
        "command": f"lskd train --recipe {name} --seed {seed} --out DIR",
        "dataset": {"name": "synthetic", "digest": "d" * 64, "classes": CLASSES, "train_size": 95, "test_size": tested},
        "teacher": None if teacher is None else {"network": "resnet32", "digest": teacher, "test_accuracy": 91.0},
        "device": {"type": "cpu", "name": "a processor", "threads": 1},
        "versions": {"python": "3", "torch": "2"},
        "wall_seconds": 12.0,
        "members": {m: _member(m, last, best, epochs) for m, (last, best) in members.items()},
    }


def _member(name: str, last: float, best: float, epochs: int) -> dict[str, Any]:
    accuracy = [best - 10 * (epochs - 1 - e) for e in range(1, epochs)] + [last]
    heat = {"temperature": 5.0} if name.startswith("ctkd") else {}
    return {
        "method": METHOD.get(name, "plain"),
        "standardize": name.endswith("_ls"),
        "settings": SETTINGS.get(name, {}),
        "network": "resnet8",
        "parameters": 1,
        "last": {"epoch": epochs, "test_accuracy": last},
        "best": {"epoch": epochs - 1 if best > last else epochs, "test_accuracy": max(best, last)},
        "epochs": [
            {"epoch": e, "learning_rate": 0.1, "train_accuracy": a, "test_accuracy": a, **heat}
            for e, a in enumerate(accuracy, start=1)
        ],
        "evidence": {"file": f"{name}.evidence.npz", "sha256": ""},
    }


def write_run(folder: Path, members: list[str] | None = None, *, n: int = 120) -> tuple[Path, Path]:
    """A teacher's and its students' folders as training publishes them; returns (teacher, students)."""
    names = list(SETTINGS) if members is None else members
    teacher, students = folder / "teacher", folder / "students"
    run = record({m: (80.0 + i, 81.5 + i) for i, m in enumerate(names)}, tested=n)
    put(teacher, record({"teacher": (91.0, 91.5)}, name="synthetic-teacher", teacher=None, tested=n))
    put(students, run)
    evidence.save(pack("teacher", n=n), teacher / "teacher.evidence.npz")
    for name in names:
        scale = 1.0 if name.endswith("_ls") else 4.5
        evidence.save(pack(name, n=n, scale=scale), students / f"{name}.evidence.npz")
    return teacher, students


def put(folder: Path, content: dict[str, Any]) -> Path:
    """Write a record as training does, into a folder of its own; returns that."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def run(values: dict[str, tuple[float, float]], *, recipe: str = RECIPE, seed: int = 0) -> dict[str, Any]:
    """The record of a whole run of a recipe's members, (last, best) each."""
    resolved = load_recipe(recipe, members=values, for_training=False)
    made = record(values, seed=seed, name=recipe, epochs=resolved.epochs)
    made["config"] = resolved.config()
    made["dataset"] |= {"name": "cifar100", "classes": 100, "train_size": 50_000, "test_size": 10_000}
    for name, member in made["members"].items():
        settings = dict(resolved.members[name])
        member |= {"method": settings.pop("method"), "standardize": settings.get("standardize", False)}
        member["settings"] = settings
    return made


def longer(record: dict[str, Any], epochs: int, seed: int, **accuracies: float) -> dict[str, Any]:
    """A made-up run of another length, in bf16, whose members end with these accuracies."""
    made = copy.deepcopy(record) | {"seed": seed, "execution": {"device": "cpu", "precision": "bf16"}}
    made["config"]["epochs"] = epochs
    for name, accuracy in accuracies.items():
        made["members"][name]["last"] = {"epoch": epochs, "test_accuracy": accuracy}
    return made


def change(made: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A copy of a record with another value at a dotted place."""
    made = copy.deepcopy(made)
    *path, last = place.split(".")
    functools.reduce(operator.getitem, path, made)[last] = value
    return made


def store(tmp_path: Path, *records: dict[str, Any]) -> Path:
    for i, record in enumerate(records):
        record = record | ({"identity": identity(record)} if "identity" in record else {})
        results.add(put(tmp_path / f"run-{i}", record), tmp_path / "results")
    return tmp_path / "results"
