"""Is bf16 the same experiment? Runs of one recipe in two precisions, paired by seed and member.

    python benchmarks/precision.py build/runs [results/digit_pairs/wrn_16_2-resnet8] [--recipe digit-pairs]

Reads finished runs, and records without them, which know accuracies alone; a pair has equal settings, seed, data and
teacher's weights, and differs in precision alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lskd import evidence
from lskd.files import read_json, visible, write_json
from lskd.records import deciding, now

PRECISIONS = ("float32", "bf16")
FILES = ("seed-*.json", "*/record.json")  # of a run that is in both, the second counts: it has evidence


def measure(folders: Sequence[Path], recipe: str) -> dict[str, Any]:
    """Accuracy at the last epoch in percent, and the mean deviation of a row of test logits, by member and seed."""
    found: dict[str, dict[str, Any]] = {}
    same: list[dict[str, Any]] = []
    machine = {}
    for path in (path for kind in FILES for folder in folders for path in visible(folder, kind)):
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
            values = {"accuracy": member["last"]["test_accuracy"]}
            if (file := path.parent / member["evidence"]["file"]).exists():
                values["deviation"] = round(float(evidence.load(file).logit_std.mean()), 4)
            found.setdefault(name, {p: {} for p in PRECISIONS})[precision][str(record["seed"])] = values
    paired = {n: m for n, m in found.items() if m["float32"].keys() & m["bf16"].keys()}
    if not paired:
        places = ", ".join(map(str, folders))
        raise SystemExit(f"{places}: no seed of {recipe} in both precisions; lskd train --precision bf16 runs one")
    return {"recipe": recipe, "finished": now(), "machine": machine, "members": paired}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--recipe", default="digit-pairs")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/precision.json"))
    given = parser.parse_args()
    write_json(given.output, measure(given.runs, given.recipe))
