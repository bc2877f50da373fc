"""Answers of the exercises on the gap between teacher and student, from this run's evidence and the paper's numbers."""

from __future__ import annotations

import numpy as np
import torch

from book.exercises.model import Answer, one_digit
from figures import paper_values
from figures.networks import Networks
from lskd.losses import standardize
from paper.logits import gap_statistics


def answers(networks: Networks) -> dict[str, Answer]:
    """By exercise."""
    member = networks.methods[0][1] if networks.methods else next(iter(networks.students))
    teacher, student = networks.teacher, networks.packs[member]
    rows_of = gap_statistics(teacher, {member: student}).to_dict("records")
    found = {str(row["kind"]): row for row in rows_of}
    quiet = np.abs(teacher.class_mean_logits.astype(np.float64) / 5 - teacher.class_mean_logits)
    np.fill_diagonal(quiet, 0.0)
    rows = torch.from_numpy(teacher.logits).double()
    raw, z = float(np.nanmean(quiet)), float((standardize(rows / 5) - standardize(rows)).abs().mean())
    published = paper_values.GAPS["KD", "raw"][0]
    largest = float(found["standardised"]["max"])
    trained = float(found["raw"]["mean"])
    return {
        "fifth": Answer(
            right={(True, False): "raw", (True, True): "both", (False, False): "none", (False, True): "z"}[
                raw > 1e-3, z > 1e-3
            ],
            shown={"raw": raw, "z": z, "student": f"{networks.look(member).label} student", "trained": trained},
        ),
        "diagonal": Answer(
            right=published * 100 / 99, tolerance=0.0008, near={"same": published, "inverse": published * 99 / 100}
        ),
        "worst": Answer(
            right=largest,
            tolerance=one_digit(max(0.01 * largest, 1e-4)),
            near={"raw": float(found["raw"]["max"]), "mean": float(found["standardised"]["mean"])},
            shown={
                "student": f"{networks.look(member).label} student",
                "member": member,
                "row": str(found["standardised"]["row"]),
                "column": str(found["standardised"]["column"]),
            },
            scope={"networks": networks},
        ),
    }
