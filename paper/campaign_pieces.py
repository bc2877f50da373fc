"""What the campaign measures and in which order, and what a rehearsal takes in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BENCHMARK", "PRESETS", "Piece", "Preset"]

BENCHMARK = "gpu-benchmark"
SEEDS = (0, 1, 2)
# The longest teacher of a session is passed over 162 views once, or over 240 epochs for every seed: "auto" counts.
LOGITS = "auto"


@dataclass(frozen=True)
class Piece:
    """One measurement: a benchmark, a teacher, the table of a teacher's logits, or a cohort with its seeds."""

    name: str
    kind: str  # benchmark | teacher | table | cohort
    recipe: str = ""
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Preset:
    """Pieces in their order, and changes to every recipe."""

    pieces: tuple[Piece, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by recipe; all where it is not named
    teacher_logits: str = LOGITS


def _teacher(network: str) -> Piece:
    return Piece(f"teacher-{network}", "teacher", f"cifar100/alone/{network}")


def _cohort(recipe: str, seeds: tuple[int, ...] = SEEDS) -> Piece:
    return Piece(recipe, "cohort", f"cifar100/{recipe}", seeds)


# After the first four, pairs by what they cost: multiply-adds of all members over all epochs, and of the teacher.
FURTHER = (
    "vgg13-MobileNetV2",
    "wrn_40_2-MobileNetV2",
    "resnet110-resnet20",
    "ResNet50-MobileNetV2",
    "resnet56-resnet20-mlkd",
    "resnet110-resnet32",
    "resnet32x4-ShuffleV2",
    "wrn_40_2-wrn_40_1",
    "vgg13-vgg8",
    "wrn_40_2-wrn_16_2",
    "resnet32x4-wrn_16_2",
    "wrn_40_2-resnet8x4",
    "resnet32x4-wrn_40_2",
)


def _full() -> tuple[Piece, ...]:
    pieces = [Piece(BENCHMARK, "benchmark"), _teacher("resnet56"), _cohort("resnet56-resnet20")]
    pieces += [_teacher("resnet32x4"), Piece("table-resnet32x4", "table", "cifar100/resnet32x4-resnet8x4")]
    pieces += [_cohort(r) for r in ("resnet32x4-resnet8x4", "resnet32x4-resnet8x4-mlkd", "table-4")]
    taught = {"resnet56", "resnet32x4"}
    for pair in FURTHER:
        network = pair.partition("-")[0]
        pieces += [] if network in taught else [_teacher(network)]
        taught.add(network)
        pieces.append(_cohort(pair))
    return tuple(pieces)


_TINY_SCHEDULE = {"epochs": 2, "milestones": [1]}
PRESETS = {
    "full": Preset(_full()),
    # Every kind of piece, with the recipes' own objectives and weights; data and networks a thousandth of the size.
    "tiny": Preset(
        (
            _teacher("resnet56"),
            _cohort("resnet56-resnet20", (0, 1)),
            _teacher("resnet32x4"),
            Piece("table-resnet32x4", "table", "cifar100/resnet32x4-resnet8x4"),
            _cohort("resnet32x4-resnet8x4", (0,)),
            _cohort("resnet32x4-resnet8x4-mlkd", (0,)),
            _cohort("table-4", (0,)),
        ),
        {
            **_TINY_SCHEDULE,
            "dataset": "digit_pairs",
            "data": {"train_size": 200, "test_size": 200, "resolution": 8},
            "student": "resnet8",
            "teacher.network": "resnet8",
            "teacher.settings": _TINY_SCHEDULE,
        },
        {
            "cifar100/resnet32x4-resnet8x4": ("kd", "kd_ls"),
            "cifar100/table-4": ("weight_9_raw", "weight_9_z"),
        },
        teacher_logits="table",
    ),
}
