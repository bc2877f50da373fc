"""How long jobs take, from a benchmark of one cohort: multiply-adds of a job over the rate that was measured.

The rate is that of whole training steps, with data, losses and updates, of one cohort of small networks. Large
networks use a GPU better and small batches use it worse, so an hour here is a planning figure, not a promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lskd.errors import LskdError
from lskd.files import read_json
from lskd.models.registry import model_info

__all__ = ["Rate", "measured"]


@dataclass(frozen=True)
class Rate:
    """What a machine did.

    Attributes:
        multiply_adds: a second, of whole training steps.
        unit: "GPU hours" or "CPU hours".
        source: the file, the cohort and the machine, in words.
        note: why it is not the benchmark that a reader would want; empty when it is.
    """

    multiply_adds: float
    unit: str
    source: str
    note: str

    def hours(self, multiply_adds: float) -> float:
        return multiply_adds / self.multiply_adds / 3600


def measured(root: Path) -> Rate | None:
    """The rate of benchmarks/results/gpu.json, else of cpu.json, else None.

    Raises:
        LskdError: a file without the cohort's measurement.
    """
    folder = root / "benchmarks" / "results"
    for kind in ("gpu", "cpu"):
        path = folder / f"{kind}.json"
        if not path.is_file():
            continue
        found = read_json(path)
        six = found.get("cohort6") if isinstance(found, dict) else None
        missing = [k for k in ("ours", "teacher", "student", "members") if k not in (six or {})]
        if missing:
            raise LskdError(
                f"{path}: no cohort6 with {', '.join(missing)}; run the benchmark again: python benchmarks/{kind}.py"
            )
        teacher, student = (model_info(six[k]).multiply_adds for k in ("teacher", "student"))
        rate = six["ours"] * (teacher / len(six["members"]) + 3 * student)
        machine = found.get("machine", {}).get("name", "an unnamed machine")
        words = (
            f"benchmarks/results/{kind}.json: a cohort of {len(six['members'])} ({six['teacher']} -> {six['student']}) "
            f"made {six['ours']:,.0f} student-images/s on {machine}, that is {rate / 1e9:,.0f} billion multiply-adds/s"
        )
        note = "" if kind == "gpu" else "no GPU has been measured (benchmarks/results/gpu.json is missing)"
        return Rate(rate, f"{kind.upper()} hours", words, note)
    return None
