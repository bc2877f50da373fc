"""What `lskd results` prints: text for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from paper.members import members_of
from paper.statistics import ENOUGH_SEEDS, compare, rows
from paper.store import Group, find, groups
from paper.text import counted

__all__ = ["compared", "listing", "shown"]


def listing(store: Path | str, *, as_json: bool) -> str:
    """A line an experiment."""
    found = [_facts(group) for group in groups(store)]
    if as_json:
        return json.dumps(found, indent=1)
    if not found:
        return f"no records in {store}; `lskd results add RUN_FOLDER` puts one there"
    lines = []
    for f in found:
        few = f"  (fewer than {ENOUGH_SEEDS} seeds: no interval)" if f["n"] < ENOUGH_SEEDS else ""
        lines.append(f"{f['digest'][:12]}  {f['name']:32} {f['dataset']:12} {f['networks']:26} n = {f['n']}{few}")
        lines.append(f"{'':14}{', '.join(f['members'])}")
    return "\n".join(lines)


def shown(name: str, store: Path | str, *, as_json: bool) -> str:
    """A line a member with mean and interval of last and best epoch, the commands and devices."""
    group = find(name, store)
    table = rows(group)
    if as_json:
        commands = [record["command"] for record in group.records]
        return json.dumps({**_facts(group), "rows": table, "commands": commands}, indent=1)
    facts = _facts(group)
    lines = [f"{facts['name']}: {facts['dataset']}, {facts['networks']}, {facts['epochs']} epochs", ""]
    held = any("selected" in row for row in table)
    heading = f"{'':28}{'n':>3}  {'last epoch [%]':24}{'best epoch [%], chosen on the test set':40}"
    lines.append((heading + ("chosen on a held-out part [%]" if held else "")).rstrip())
    for row in table:
        text = f"{row['label']:28}{row['n']:>3}  {_interval(row['last']):24}{_interval(row['best']):40}"
        lines.append((text + (_interval(row["selected"]) if "selected" in row else "")).rstrip())
    if any(row["few"] for row in table):
        lines += ["", f"Fewer than {ENOUGH_SEEDS} seeds: no interval."]
    lines += ["", "± is the 95 % t-interval of the mean over seeds."]
    lines += [f"{path}: {r['device']['name']}" for path, r in zip(group.paths, group.records, strict=True)]
    lines += ["again: " + group.records[0]["command"]]
    return "\n".join(lines)


def compared(first: str, second: str, store: Path | str, *, as_json: bool) -> str:
    """The paired difference, and in what the two differ."""
    (group, member), (other_group, other) = (_member(name, store) for name in (first, second))
    found = compare(group, member, other_group, other)
    if as_json:
        return json.dumps({"first": first, "second": second, **found}, indent=1)
    seeds = ", ".join(map(str, found["seeds"]))
    lines = [f"{second} minus {first}, paired over n = {counted(found['n'], 'seed')} ({seeds})"]
    lines += [
        f"  {epoch} epoch  {_interval(found[epoch], sign='+')} points"
        for epoch in ("last", "best", "selected")
        if epoch in found
    ]
    lines += [f"  fewer than {ENOUGH_SEEDS} seeds: no interval"] if found["few"] else []
    lines += ["They differ in"] + [f"  {key}: {a!r}, {b!r}" for key, (a, b) in found["differs"].items()]
    return "\n".join(lines)


def _member(name: str, store: Path | str) -> tuple[Group, str]:
    experiment, slash, member = name.rpartition("/")
    if not slash:
        raise LskdError(f"{name!r}: expected EXPERIMENT/MEMBER, for example digit-pairs/kd_ls")
    return find(experiment, store), member


def _facts(group: Group) -> dict[str, Any]:
    seeds = [record["seed"] for record in group.records]
    return {
        "digest": group.digest,
        "name": group.name,
        "dataset": group.config["dataset"],
        "networks": group.networks,
        "epochs": group.config["epochs"],
        "members": members_of(group.records),
        "n": len(set(seeds)),
        "seeds": seeds,
        "records": [path.as_posix() for path in group.paths],
    }


def _interval(found: Mapping[str, float | None], *, sign: str = "") -> str:
    mean, low, high = found["mean"], found["low"], found["high"]
    assert mean is not None
    text = f"{mean:{sign}.2f}"
    return text if low is None or high is None else f"{text} ± {(high - low) / 2:.2f}"
