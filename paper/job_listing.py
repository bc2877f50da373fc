"""A plan in words: its jobs in their order, their cost, and how far they are."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from lskd.records import computed_with
from paper.benchmarks import Rate
from paper.jobs import Job
from paper.plan import Plan
from paper.run_jobs import Run, left
from paper.text import counted


def as_data(plan: Plan, jobs: Sequence[Job], rate: Rate | None, runs: Mapping[str, Run]) -> dict[str, Any]:
    """Everything of a plan as JSON values; ``hours`` are None without a benchmark."""
    open_ = {job.name for job in left(jobs, runs)}
    rows = []
    for job in jobs:
        row = {key: value for key, value in dataclasses.asdict(job).items() if key not in ("key", "passes")}
        row |= {"networks": job.networks, "multiply_adds": job.multiply_adds, "hours": _hours([job], rate)}
        run = runs.get(job.name)
        row |= {"run": run.path.as_posix() if run else None, "epoch": run.epoch if run else 0}
        state = "cannot run" if job.obstacles else "done" if job.name not in open_ else "begun" if run else "to do"
        rows.append(row | {"state": state})
    estimate = {"unit": rate.unit, "source": rate.source, "note": rate.note} if rate else None
    totals = _totals(jobs, rate, runs)
    return {"plan": msgspec.to_builtins(plan), "estimate": estimate, "totals": totals, "jobs": rows}


def listing(plan: Plan, jobs: Sequence[Job], rate: Rate | None, runs: Mapping[str, Run]) -> str:
    """A plan for reading: a line a recipe in the order of running, totals, and how the hours were found."""
    lines = [_title(plan), "", *_rows([job for job in jobs if not job.obstacles], rate, runs)]
    if impossible := {job.recipe: job.obstacles for job in jobs if job.obstacles}:
        lines += ["", "What is installed here cannot run, so that these are no jobs:"]
        lines += [f"  {recipe}: {'; '.join(why)}" for recipe, why in impossible.items()]
    return "\n".join([*lines, "", *_summary(_totals(jobs, rate, runs), rate)])


def _hours(jobs: Iterable[Job], rate: Rate | None) -> float | None:
    return sum(rate.hours(job.multiply_adds) for job in jobs) if rate else None


def _title(plan: Plan) -> str:
    tables = ", ".join(map(str, plan.tables)) or "none"
    pairs = "all pairs" if plan.pairs is None else "; ".join(plan.pairs)
    seeds = ", ".join(map(str, plan.seeds))
    text = f"Plan {plan.name!r}: tables {tables}; {pairs}; {plan.members} members; seeds {seeds}"
    return text + ("; a REHEARSAL, whose numbers mean nothing" if plan.rehearsal else "")


def _rows(jobs: Sequence[Job], rate: Rate | None, runs: Mapping[str, Run]) -> list[str]:
    """A line a recipe, with its seeds together where they come one after the other."""
    rows = []
    for _, group in itertools.groupby(jobs, key=lambda job: (job.recipe, job.members, job.kind)):
        own = list(group)
        first, hours = own[0], _hours(own, rate)
        seeds = ",".join(str(job.seed) for job in own)
        rows.append(
            (
                first.kind,
                (first.teacher or "") if first.kind == "logits" else first.networks,
                f"seed{'s' * (len(own) > 1)} {seeds}" if first.kind != "logits" else "",
                counted(first.epochs, "epoch") if first.epochs else "",
                f"table{'s' * (len(first.serves) > 1)} {','.join(map(str, first.serves))}" if first.serves else "",
                "" if hours is None else f"{hours:,.1f} h" if hours >= 0.05 else f"{3600 * hours:.0f} s",
                _state(own, runs),
                _members(first.members) if first.kind == "cohort" else "",
            )
        )
    columns = []
    for i, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column))
        if width:
            columns.append([cell.rjust(width) if i == 5 else cell.ljust(width) for cell in column])
    return ["  " + "  ".join(line).rstrip() for line in zip(*columns, strict=True)]


def _state(jobs: Sequence[Job], runs: Mapping[str, Run]) -> str:
    found = [runs[job.name] for job in jobs if job.name in runs]
    done, begun = [run for run in found if run.done], [run for run in found if not run.done]
    parts = [f"{len(done)} of {len(jobs)} done"] if done else []
    parts += [
        f"seed {run.about['seed']} begun: epoch {run.epoch} of {run.about['config']['epochs']} is over "
        f"({computed_with(run.about)})"
        for run in begun
    ]
    return "; ".join(parts)


def _members(names: Sequence[str]) -> str:
    return " ".join(names) if len(names) <= 8 else f"{names[0]} … {names[-1]} ({len(names)} members)"


def _totals(jobs: Sequence[Job], rate: Rate | None, runs: Mapping[str, Run]) -> dict[str, Any]:
    runnable, open_ = [job for job in jobs if not job.obstacles], left(jobs, runs)
    return {
        "jobs": len(runnable),
        "students": sum(len(job.members) for job in runnable),
        "cannot_run": len(jobs) - len(runnable),
        "done": len(runnable) - len(open_),
        "hours": _hours(runnable, rate),
        "hours_left": _hours(open_, rate),
    }


def _summary(totals: Mapping[str, Any], rate: Rate | None) -> list[str]:
    text = f"{totals['jobs']} jobs train {totals['students']} networks; {totals['done']} are done."
    if rate is None:
        return [text, "No estimate: benchmarks/results has neither gpu.json nor cpu.json."]
    return [
        f"{text} Estimate: {totals['hours']:,.1f} {rate.unit}, {totals['hours_left']:,.1f} of them to go.",
        *([f"These are {rate.unit}, because {rate.note}."] if rate.note else []),
        f"How: {rate.source}. A job's multiply-adds (the teacher's forwards where no table has them, forward and "
        "backward of every member as three forwards, a test after every epoch) are divided by that rate.",
    ]
