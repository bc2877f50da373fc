"""What `lskd results` prints: text for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from paper.gains import provenance
from paper.members import members_of
from paper.statistics import ENOUGH_SEEDS, compare, rows
from paper.store import Group, find, groups
from paper.text import aligned, counted, csv_table, latex_table, markdown_table


def listing(store: Path | str, *, as_json: bool) -> str:
    """A line an experiment."""
    found = [_facts(group) for group in groups(store)]
    if as_json:
        return json.dumps(found, indent=1)
    if not found:
        return f"no records in {store}; `lskd results add RUN_FOLDER` puts one there"
    few, cells = f"  (fewer than {ENOUGH_SEEDS} seeds: no interval)", []
    for f in found:
        told = f"n = {f['n']}{few * (f['n'] < ENOUGH_SEEDS)}"
        cells.append([f["digest"][:12], f["name"], f["dataset"], f["networks"], told])
    lines = zip(aligned(cells), found, strict=True)
    return "\n".join(f"{line}\n{'':14}{', '.join(f['members'])}" for line, f in lines)


def shown(name: str, store: Path | str, *, style: str = "text") -> str:
    """A row a member: n, every seed's value, mean ± sd and 95 % t-interval of the last and of the best epoch.

    Args:
        style: "text", "json", "csv" (numbers apart), "markdown", or "latex", which needs the package booktabs.
    """
    group = find(name, store)
    table = rows(group)
    facts = _facts(group)
    if style == "json":
        commands = [record["command"] for record in group.records]
        return json.dumps({**facts, "rows": table, "commands": commands}, indent=1)
    epochs = {"last": "last epoch", "best": "best epoch, chosen on the test set"}
    epochs |= {"selected": "chosen on a held-out part"} if any("selected" in row for row in table) else {}
    if style == "csv":
        return _csv(table, epochs)
    headings = ["member", "n"]
    for words in epochs.values():
        headings += [f"{words} [%]", "95 % interval", "by seed"]
    body = []
    for row in table:
        line = [row["label"] if style == "text" else row["member"], str(row["n"])]
        for epoch in epochs:
            line += _cells(row[epoch], row["values"][epoch]) if epoch in row else ["–"] * 3
        body.append(line)
    title = f"{facts['name']}: {facts['dataset']}, {facts['networks']}, {facts['epochs']} epochs, seeds " + (
        ", ".join(map(str, dict.fromkeys(facts["seeds"]))) + "."
    )
    notes = ["Mean ± standard deviation over seeds; the interval is the 95 % t-interval of the mean."]
    if any(row["few"] for row in table):
        notes.append(f"Fewer than {ENOUGH_SEEDS} seeds: no interval.")
    stopped = [f"{m}, seed {r['seed']}" for r in group.records for m in r["members"] if r["members"][m].get("failure")]
    notes += [f"Stopped early, and in no mean: {'; '.join(sorted(stopped))}."] if stopped else []
    notes += filter(None, [provenance(group.records)])
    if style == "markdown":
        return f"{title}\n\n{markdown_table(headings, body)}\n\n{' '.join(notes)}"
    if style == "latex":
        return latex_table(headings, body, caption=f"{title} {' '.join(notes)}", align=f"lr{'rrl' * len(epochs)}")
    places = [f"{path}: {r['device']['name']}" for path, r in group.runs]
    return "\n".join(
        [title, "", *aligned([headings, *body]), "", *notes, *places, "again: " + group.records[0]["command"]]
    )


def _cells(found: Mapping[str, float | None], values: Sequence[float]) -> list[str]:
    mean, sd, low, high = (found[key] for key in ("mean", "sd", "low", "high"))
    interval = "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    by_seed = " ".join(f"{value:.2f}" for value in values)
    return [f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}"), interval, by_seed]


def _csv(table: Sequence[Mapping[str, Any]], epochs: Iterable[str]) -> str:
    numbers = ("mean", "sd", "low", "high")
    lines = [["member", "n", "seeds", "trainers", *(f"{e}_{k}" for e in epochs for k in ("values", *numbers))]]
    for row in table:
        line = [row["member"], row["n"], *(" ".join(map(str, row[key])) for key in ("seeds", "trainers"))]
        for epoch in epochs:
            line += [" ".join(map(str, row["values"].get(epoch, [])))]
            line += [row.get(epoch, {}).get(key) for key in numbers]
        lines.append(line)
    return csv_table(lines)


def compared(first: str, second: str, store: Path | str, *, as_json: bool) -> str:
    """The paired difference, and in what the two differ."""
    (group, member), (other_group, other) = (_member(name, store) for name in (first, second))
    found = compare(group, member, other_group, other)
    if as_json:
        return json.dumps({"first": first, "second": second, **found}, indent=1)
    seeds = ", ".join(map(str, found["seeds"]))
    lines = [f"{second} minus {first}, paired over n = {counted(found['n'], 'seed')} ({seeds})"]
    for epoch in ("last", "best", "selected"):
        if numbers := found.get(epoch):
            width = "" if found["few"] else f" ± {(numbers['high'] - numbers['low']) / 2:.2f}"
            lines.append(f"  {epoch} epoch  {numbers['mean']:+.2f}{width} points")
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
        "records": [path.as_posix() for path, _ in group.runs],
    }
