"""A plan in words: its jobs by what they share, their cost, and how much of it is done."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from paper.job_cost import Rate
from paper.job_settings import Wanted
from paper.jobs import Job

__all__ = ["as_data", "listing"]


def as_data(wanted: Wanted, jobs: Sequence[Job], rate: Rate | None, done: Iterable[str]) -> dict[str, Any]:
    """Everything of a plan as JSON values; ``hours`` are None without a benchmark."""
    finished = set(done)
    rows = []
    for job in jobs:
        row = {key: getattr(job, key) for key in job.__dataclass_fields__}
        row |= {"networks": job.networks, "hours": rate.hours(job.multiply_adds) if rate else None}
        rows.append(row | {"state": _state(job, finished)})
    estimate = {"unit": rate.unit, "source": rate.source, "note": rate.note} if rate else None
    return {"plan": wanted.json(), "estimate": estimate, "totals": _totals(jobs, rate, finished), "jobs": rows}


def listing(wanted: Wanted, jobs: Sequence[Job], rate: Rate | None, done: Iterable[str]) -> str:
    """A plan for reading: teachers, tables of logits, cohorts, totals, and how the hours were found."""
    finished = set(done)
    runnable = [job for job in jobs if not job.obstacles]
    lines = [_title(wanted)]
    for kind, title in (
        ("network", "Networks trained alone: teachers (once, for the students of all seeds) and students"),
        ("logits", "Teachers' logits, a table of every weak view: once for all cohorts of that teacher"),
        ("cohort", "Cohorts: all members share teacher, batches and views"),
    ):
        own = [job for job in runnable if job.kind == kind]
        if own:
            lines += ["", title, *_rows(own, rate, finished)]
    impossible = [job for job in jobs if job.obstacles]
    if impossible:
        lines += ["", "What is installed here cannot run, so that these are no jobs:"]
        for recipe, group in itertools.groupby(impossible, key=lambda job: job.recipe):
            lines.append(f"  {recipe}: {'; '.join(next(iter(group)).obstacles)}")
    lines += ["", *_summary(runnable, rate, finished)]
    return "\n".join(lines)


def _title(wanted: Wanted) -> str:
    tables = ", ".join(map(str, wanted.tables))
    pairs = "all pairs" if wanted.pairs is None else "; ".join(wanted.pairs)
    seeds = ", ".join(map(str, wanted.seeds))
    text = f"Plan {wanted.name!r}: tables {tables}; {pairs}; {wanted.members} members; seeds {seeds}"
    return text + ("; a REHEARSAL, whose numbers mean nothing" if wanted.rehearsal else "")


def _rows(jobs: Sequence[Job], rate: Rate | None, finished: set[str]) -> list[str]:
    """A line a recipe, with its seeds together."""
    rows = []
    for _, group in itertools.groupby(jobs, key=lambda job: (job.recipe, job.members, job.kind)):
        own = list(group)
        first = own[0]
        seeds = ",".join(str(job.seed) for job in own) if first.kind != "logits" else ""
        done = sum(job.name in finished for job in own)
        rows.append(
            (
                (first.teacher or "") if first.kind == "logits" else first.networks,
                f"seed{'s' if len(own) > 1 else ''} {seeds}" if seeds else "",
                f"{first.epochs} epoch{'s' if first.epochs > 1 else ''}" if first.epochs else "",
                f"tables {','.join(map(str, first.serves))}" if len(first.serves) > 1 else f"table {first.serves[0]}",
                _hours(own, rate),
                f"{done} of {len(own)} done" if done else "",
                _members(first.members) if first.kind == "cohort" else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    right = (4,)
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ).rstrip()
        for row in rows
    ]


def _members(names: Sequence[str]) -> str:
    return " ".join(names) if len(names) <= 8 else f"{names[0]} … {names[-1]} ({len(names)} members)"


def _hours(jobs: Sequence[Job], rate: Rate | None) -> str:
    if rate is None:
        return ""
    hours = sum(rate.hours(job.multiply_adds) for job in jobs)
    return f"{hours:,.1f} h" if hours >= 0.05 else f"{3600 * hours:.0f} s"


def _totals(jobs: Sequence[Job], rate: Rate | None, finished: set[str]) -> dict[str, Any]:
    runnable = [job for job in jobs if not job.obstacles]
    left = [job for job in runnable if job.name not in finished]
    return {
        "jobs": len(runnable),
        "students": sum(len(job.members) for job in runnable),
        "cannot_run": len(jobs) - len(runnable),
        "done": len(runnable) - len(left),
        "hours": sum(rate.hours(job.multiply_adds) for job in runnable) if rate else None,
        "hours_left": sum(rate.hours(job.multiply_adds) for job in left) if rate else None,
    }


def _summary(runnable: Sequence[Job], rate: Rate | None, finished: set[str]) -> list[str]:
    totals = _totals(runnable, rate, finished)
    text = f"{totals['jobs']} jobs train {totals['students']} networks; {totals['done']} are done."
    if rate is None:
        return [text, "No estimate: benchmarks/results has neither gpu.json nor cpu.json."]
    lines = [f"{text} Estimate: {totals['hours']:,.1f} {rate.unit}, {totals['hours_left']:,.1f} of them to go."]
    if rate.note:
        lines.append(f"These are {rate.unit}, because {rate.note}.")
    lines.append(
        f"How: {rate.source}. A job's multiply-adds (the teacher's forwards where no table has them, forward and "
        "backward of every member as three forwards, a test after every epoch) are divided by that rate."
    )
    return lines


def _state(job: Job, finished: set[str]) -> str:
    return "cannot run" if job.obstacles else "done" if job.name in finished else "to do"
