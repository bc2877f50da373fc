"""Answers of the exercises on the networks, counted on the networks."""

from __future__ import annotations

from book.exercises.model import Answer
from lskd.models import create_model, model_info
from lskd.recipes import load_recipe

LEGEND = 2_255_604  # parameters of wrn_40_2 as the legend of the paper's Fig. 5 has them (protocol 5.4)


def answers() -> dict[str, Answer]:
    """By exercise."""
    teacher, student = model_info("resnet32x4"), model_info("resnet8x4")
    ratio = teacher.parameters / student.parameters
    plan = load_recipe("digit-pairs")
    assert plan.teacher is not None
    own = model_info(plan.teacher.network), model_info(plan.student)
    blocks = sum("Block" in type(m).__name__ for m in create_model("resnet56", num_classes=100).modules()) / 3
    count = sum(p.numel() for p in create_model("wrn_40_2", num_classes=100).parameters())
    return {
        "smaller": Answer(
            right=ratio,
            tolerance=0.3,
            near={"depth": 32 / 8, "inverse": 1 / ratio},
            shown={
                "adds": teacher.multiply_adds / student.multiply_adds,
                "teacher": teacher.parameters,
                "student": student.parameters,
                "own_parameters": own[0].parameters / own[1].parameters,
                "own_adds": own[0].multiply_adds / own[1].multiply_adds,
            },
        ),
        "depth": Answer(right=blocks, tolerance=0.1, near={"all": 56 / 6, "convolutions": 2 * blocks}, whole=True),
        "legend": Answer(
            right=float(LEGEND - count), tolerance=0.5, whole=True, near={"none": 0.0}, shown={"legend": LEGEND}
        ),
    }
