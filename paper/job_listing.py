"""A plan in words: its jobs in their order, their cost, and how far they are."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lskd.records import computed_with
from paper.benchmarks import Rate
from paper.jobs import Job
from paper.plan import Plan
from paper.run_jobs import Run, impossible, left
from paper.text import aligned, counted


def as_data(plan: Plan, jobs: Sequence[Job], rate: Rate | None, runs: Mapping[str, Run]) -> dict[str, Any]:
    """Everything of a plan as JSON values; ``hours`` are None without a benchmark."""
    open_ = {job.name for job in left(jobs, runs)}
    rows = []
    for job in jobs:
        row = {key: value for key, value in dataclasses.asdict(job).items() if key not in ("key", "passes")}
        row |= {"networks": job.networks, "multiply_adds": job.multiply_adds}
        run = runs.get(job.name)
        row |= {"hours": rate and rate.hours(job.multiply_adds)}
        row |= {"run": run.path.as_posix() if run else None, "epoch": run.epoch if run else 0}
        state = "cannot run" if job.obstacles else "done" if job.name not in open_ else "begun" if run else "to do"
        rows.append(row | {"state": state})
    possible = [row for row in rows if row["state"] != "cannot run"]
    waiting = [row for row in possible if row["state"] != "done"]
    totals = {
        "jobs": len(possible),
        "students": sum(len(row["members"]) for row in possible),
        "cannot_run": len(rows) - len(possible),
        "done": len(possible) - len(waiting),
        "hours": rate and sum(row["hours"] for row in possible),
        "hours_left": rate and sum(row["hours"] for row in waiting),
    }
    estimate = {"unit": rate.unit, "source": rate.source, "note": rate.note} if rate else None
    return {"plan": msgspec.to_builtins(plan), "estimate": estimate, "totals": totals, "jobs": rows}


def listing(plan: Plan, jobs: Sequence[Job], rate: Rate | None, runs: Mapping[str, Run]) -> str:
    """A plan for reading: a line a recipe in the order of running, totals, and how the hours were found."""
    data = as_data(plan, jobs, rate, runs)
    pairs, numbers = "all pairs" if plan.pairs is None else "; ".join(plan.pairs), map(str, plan.tables)
    title = f"Plan {plan.name!r}: tables {', '.join(numbers) or 'none'}; {pairs}; {plan.members} members; "
    title += f"seeds {', '.join(map(str, plan.seeds))}" + "; a REHEARSAL, whose numbers mean nothing" * plan.rehearsal
    possible = (row for row in data["jobs"] if not row["obstacles"])
    groups = itertools.groupby(possible, key=lambda row: (row["recipe"], row["members"], row["kind"]))
    lines = [title, "", *(f"  {line}" for line in aligned([_line(list(own), runs) for _, own in groups], right=5))]
    if not_here := impossible(jobs):
        lines += ["", *not_here]
    totals = data["totals"]
    text = f"{totals['jobs']} jobs train {totals['students']} networks; {totals['done']} are done."
    if rate is None:
        return "\n".join([*lines, "", text, "No estimate: benchmarks/results has neither gpu.json nor cpu.json."])
    lines += ["", f"{text} Estimate: {totals['hours']:,.1f} {rate.unit}, {totals['hours_left']:,.1f} of them to go."]
    lines += [f"These are {rate.unit}, because {rate.note}."] if rate.note else []
    lines.append(
        f"How: {rate.source}. A job's multiply-adds (the teacher's forwards where no table has them, forward and "
        "backward of every member as three forwards, a test after every epoch) are divided by that rate."
    )
    return "\n".join(lines)


def _line(rows: Sequence[Mapping[str, Any]], runs: Mapping[str, Run]) -> list[str]:
    """The seeds of one recipe that come one after the other: kind, networks, seeds, epochs, tables, hours, state."""
    first, hours = rows[0], sum(row["hours"] or 0.0 for row in rows)
    done = sum(row["name"] in runs and runs[row["name"]].done for row in rows)
    state = [f"{done} of {len(rows)} done"] * bool(done)
    state += [
        f"seed {row['seed']} begun: epoch {row['epoch']} of {row['epochs']} is over "
        f"({computed_with(runs[row['name']].about)})"
        for row in rows
        if row["name"] in runs and not runs[row["name"]].done
    ]
    names = first["members"]
    members = " ".join(names) if len(names) <= 8 else f"{names[0]} … {names[-1]} ({len(names)} members)"
    seeds, tables = (",".join(map(str, listed)) for listed in ([row["seed"] for row in rows], first["serves"]))
    return [
        first["kind"],
        first["networks"],
        f"seed{'s' * (len(rows) > 1)} {seeds}" if first["kind"] != "logits" else "",
        counted(first["epochs"], "epoch") if first["epochs"] else "",
        f"table{'s' * (len(first['serves']) > 1)} {tables}" if tables else "",
        "" if first["hours"] is None else f"{hours:,.1f} h" if hours >= 0.05 else f"{3600 * hours:.0f} s",
        "; ".join(state),
        members if first["kind"] == "cohort" else "",
    ]
