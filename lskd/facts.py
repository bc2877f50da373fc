"""The numbers that the book's chapters show, by name, computed from records, evidence and the losses.

Chapters write ``{{ kd_accuracy }}``; a number is never typed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from lskd.evidence import Evidence
from lskd.losses import kd_loss

__all__ = ["experiment_facts", "published_facts", "toy_facts"]

# Logits that reproduce every number printed in the paper's Fig. 2 (protocol section 7).
TOY = {"teacher": (0.0, 3.0, 2.0, 1.0), "s1": (0.0, 1.8, 2.0, 1.0), "s2": (0.0, 0.3, 0.2, 0.1)}


def toy_facts() -> dict[str, str]:
    """Losses of the toy case at temperature 1: plain, standardised, and standardised by the paper's formula."""
    rows = {name: torch.tensor([row], dtype=torch.float64) for name, row in TOY.items()}
    out = {}
    for student in ("s1", "s2"):
        for suffix, options in (("", {}), ("_ls", {"standardize": True})):
            loss = kd_loss(rows[student], rows["teacher"], temperature=1.0, **options)
            out[f"toy_{student}{suffix}"] = f"{abs(loss.item()):.4f}"
    paper = kd_loss(rows["s1"], rows["teacher"], temperature=1.0, standardize=True, correction=0)
    return {
        **out,
        "toy_s1_paper": f"{paper.item():.4f}",
        "z_bound_100": f"{(100 - 1) / math.sqrt(100):.1f}",
        "deviations_differ_100": f"{100 * (math.sqrt(100 / 99) - 1):.1f}",
        "deviations_differ_4": f"{100 * (math.sqrt(4 / 3) - 1):.0f}",
    }


def published_facts() -> dict[str, str]:
    """What the released CIFAR-100 logs say: how many there are, and by how much the best epoch flatters."""
    from lskd.audit import best_epoch  # it has the toy case from here

    _, rows = best_epoch()
    (every,) = [row for row in rows if row[0] == "all"]
    return {"logs": every[1], "logs_best_minus_last": every[2]}


def experiment_facts(
    teacher: Mapping[str, Any], students: Mapping[str, Any], packs: Mapping[str, Evidence]
) -> dict[str, str]:
    """Names, sizes and results of one run of the default experiment.

    Args:
        teacher, students: records.
        packs: evidence of the networks that have one, by member name; "teacher" for the teacher.
    """
    (teacher_member,) = teacher["members"].values()
    members, data = students["members"], students["dataset"]
    first = next(iter(members.values()))
    n = data["test_size"]
    out = {
        "teacher_network": teacher_member["network"],
        "teacher_parameters": f"{teacher_member['parameters']:,}",
        "student_network": first["network"],
        "student_parameters": f"{first['parameters']:,}",
        "classes": str(data["classes"]),
        "train_size": f"{data['train_size']:,}",
        "test_size": f"{n:,}",
        "seed": str(students["seed"]),
        "epochs": str(students["config"]["epochs"]),
        "teacher_accuracy": _accuracy(teacher_member),
        "device": students["device"]["name"],
        "students_minutes": f"{students['wall_seconds'] / 60:.1f}",
        "teacher_minutes": f"{teacher['wall_seconds'] / 60:.1f}",
    }
    for name, member in members.items():
        out[f"{name}_accuracy"] = _accuracy(member)
        if member["last"]:
            share = member["last"]["test_accuracy"] / 100
            out[f"{name}_error"] = f"{100 * math.sqrt(share * (1 - share) / n):.1f}"
    for name, pack in packs.items():
        out[f"{name}_std"] = f"{pack.logit_std.mean():.2f}"
        out[f"{name}_range"] = f"{pack.logit_range.mean():.2f}"
    return out


def _accuracy(member: Mapping[str, Any]) -> str:
    return f"{member['last']['test_accuracy']:.2f}" if member["last"] else "–"
