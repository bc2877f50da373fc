"""Is bf16 the same experiment? Runs of one recipe in two precisions, paired by seed and member.

    python benchmarks/precision.py build/runs [--recipe digit-pairs] [--output benchmarks/results/precision.json]

Reads finished runs; a pair has equal settings, seed, data and teacher's weights, and differs in precision alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lskd import evidence
from lskd.files import read_json, visible, write_json
from lskd.records import deciding, now

PRECISIONS = ("float32", "bf16")


def measure(runs: Path, recipe: str) -> dict[str, Any]:
    """Accuracy at the last epoch in percent, and the mean deviation of a row of test logits, by member and seed."""
    found: dict[str, dict[str, Any]] = {}
    same: list[dict[str, Any]] = []
    machine = {}
    for path in visible(runs, "*/record.json"):
        record = read_json(path)
        precision = record["execution"]["precision"]
        if record["name"] != recipe or "trainer" not in record or precision not in PRECISIONS:
            continue
        same.append({k: v for k, v in deciding(record).items() if k not in ("execution", "seed")})
        if same[-1] != same[0]:
            raise SystemExit(f"{path}: another experiment than the first run; leave one of them out")
        machine[precision] = {k: record["device"][k] for k in ("name", "threads")} | {
            "torch": record["versions"]["torch"]
        }
        for name, member in record["members"].items():
            pack = evidence.load(path.parent / member["evidence"]["file"])
            values = {"accuracy": member["last"]["test_accuracy"], "deviation": round(float(pack.logit_std.mean()), 4)}
            found.setdefault(name, {p: {} for p in PRECISIONS})[precision][str(record["seed"])] = values
    paired = {n: m for n, m in found.items() if m["float32"].keys() & m["bf16"].keys()}
    if not paired:
        raise SystemExit(f"{runs}: no seed of {recipe} was run in both precisions; lskd train --precision bf16 does it")
    return {"recipe": recipe, "finished": now(), "machine": machine, "members": paired}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--recipe", default="digit-pairs")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/precision.json"))
    given = parser.parse_args()
    write_json(given.output, measure(given.runs, given.recipe))
