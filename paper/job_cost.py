"""How long jobs take, from a benchmark of one cohort: multiply-adds of a job over the rate that was measured.

The rate is that of whole training steps, with data, losses and updates, of one cohort of small networks. Large
networks use a GPU better and small batches use it worse, so an hour here is a planning figure, not a promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from lskd.files import read_json
from lskd.models.registry import model_info


@dataclass(frozen=True)
class Rate:
    multiply_adds: float  # a second, of whole training steps
    unit: str  # "GPU hours" or "CPU hours"
    source: str  # the file, the cohort and the machine, in words
    note: str  # why it is not the benchmark that a reader would want; empty when it is

    def hours(self, multiply_adds: float) -> float:
        return multiply_adds / self.multiply_adds / 3600


def measured(root: Path) -> Rate | None:
    """The rate of benchmarks/results/gpu.json, else of cpu.json, else None.

    Raises:
        LskdError: a file without the cohort's measurement.
    """
    for kind, read in (("gpu", _of_gpu), ("cpu", _of_cpu)):
        path = root / "benchmarks" / "results" / f"{kind}.json"
        if not path.is_file():
            continue
        found = read_json(path)
        try:
            images, work, words = read(found)
        except (KeyError, TypeError) as error:
            raise LskdError(
                f"{path}: it has no {error.args[0]!r}, from which hours are estimated; "
                f"run the benchmark again: python benchmarks/{kind}.py"
            ) from None
        rate = images * work
        machine = found.get("machine", {}).get("name", "an unnamed machine")
        source = (
            f"benchmarks/results/{kind}.json: a cohort of {words} made {images:,.0f} student-images/s "
            f"on {machine}, that is {rate / 1e9:,.0f} billion multiply-adds/s"
        )
        note = "" if kind == "gpu" else "no GPU has been measured (benchmarks/results/gpu.json is missing)"
        return Rate(rate, f"{kind.upper()} hours", source, note)
    return None


def _of_cpu(found: Any) -> tuple[float, float, str]:
    """Student-images a second, multiply-adds of one with its share of the teacher, and the cohort in words."""
    six = found["cohort6"]
    members, teacher, student = len(six["members"]), six["teacher"], six["student"]
    work = model_info(teacher).multiply_adds / members + 3 * model_info(student).multiply_adds
    return six["ours"], work, f"{members} ({teacher} -> {student}, live teacher)"


def _of_gpu(found: Any) -> tuple[float, float, str]:
    """The same where the teacher's logits come from a table, in the precision that `lskd train` takes by itself."""
    images, networks = found["rates"]["student_images_per_s"]["six from a table, tf32, all"], found["networks"]
    words = f"{len(found['members'])} ({networks['teacher']} -> {networks['student']}, teacher's logits from a table)"
    return images, 3.0 * model_info(networks["student"]).multiply_adds, words
