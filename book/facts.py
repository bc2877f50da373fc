"""The numbers that the book's chapters show, by name, computed from records, evidence and the losses.

Chapters write ``{{ kd_accuracy }}``; a number is never typed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lskd.data import cifar100
from lskd.evidence import Evidence
from lskd.records import computed_with
from paper import gains, published
from paper.disagreements import best_epoch
from paper.statistics import binomial_error


def published_facts(store: Path | str = "results") -> dict[str, str]:
    """What the records and the published numbers say: the answer in lines of Markdown, and what best epochs flatter."""
    measured = gains.measured(store)
    runs = [gain.record for gain in measured if gain.record and gain.dataset == "cifar100"]
    hours, quick = min(((_hours(run), run) for run in runs), key=lambda found: found[0])
    named = [run for run in runs if run["teacher"].get("checkpoint") == "cifar100_resnet56.pth"]
    (printed,) = published.find(student=quick["teacher"]["network"], method="plain", source="paper Tables 1-2 ")
    source = cifar100.SOURCE
    table = math.prod(n or 0 for n in (source.views, source.train, source.classes, 4))
    lines = gains.sentences(measured, gains.printed())[: len({gain.dataset for gain in measured}) + 2]
    _, rows = best_epoch()
    (every,) = [row for row in rows if row[0] == "all"]
    return {
        "answer": "\n".join(f"- {line}" for line in lines),
        "logs": every[1],
        "logs_best_minus_last": every[2],
        "column_hours": f"{hours:.0f} hours ({computed_with(quick)})",
        "table_gb": f"{table / 1e9:.1f}",
        "teacher_here": f"{(named or [quick])[0]['teacher']['test_accuracy']:.2f}",
        "teacher_of_paper": f"{printed.value:.2f}",
    }


def _hours(run: Mapping[str, Any]) -> float:
    """Of one student at the paper's full length, by a run of several."""
    return run["wall_seconds"] / 3600 / (run["config"]["epochs"] * len(run["members"])) * gains.PUBLISHED_EPOCHS


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
            out[f"{name}_error"] = f"{binomial_error(member['last']['test_accuracy'], n):.1f}"
    for name, pack in packs.items():
        out[f"{name}_std"] = f"{pack.logit_std.mean():.2f}"
        out[f"{name}_range"] = f"{pack.logit_range.mean():.2f}"
    return out


def _accuracy(member: Mapping[str, Any]) -> str:
    return f"{member['last']['test_accuracy']:.2f}" if member["last"] else "–"
