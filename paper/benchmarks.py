"""What ``benchmarks/results/*.json`` say: rows (ours, baseline, ratio, goal, what is missed), and hours of jobs.

The files are written by ``benchmarks/cpu.py``, ``gpu.py`` and ``make_book.py``. Every field that a page shows is asked
for by name here, so that a benchmark that no longer writes it is an error and not a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from lskd.files import read_json
from lskd.models import model_info

COMMANDS = {"cpu": "make bench", "gpu": "python benchmarks/gpu.py", "make_book": "python benchmarks/make_book.py"}
COMMANDS |= {"precision": "python benchmarks/precision.py build/runs", "losses": "python benchmarks/losses.py"}


@dataclass(frozen=True)
class Row:
    """One comparison. Rates count ``unit`` a second.

    Attributes:
        baseline: of the same work done plainly, the faster of its ways; None when there is none.
        share: of the machine's measured rate of matrix products, 0 to 1; None where there are few products.
        goal: what was aimed at, in its own unit; None, and ``verdict`` empty, without a goal.
        verdict: see :func:`verdict`.
    """

    what: str
    unit: str
    ours: float
    baseline: float | None
    share: float | None
    goal: float | None = None
    verdict: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.baseline if self.baseline else None

    @property
    def missed(self) -> bool:
        return self.verdict.startswith("missed")


def verdict(share: float) -> str:
    """Of a goal that was reached by that share: "reached", or "missed by 25 %"."""
    if share >= 1:
        return "reached"
    short = 100 * (1 - share)
    return f"missed by {short:.0f} %" if short >= 0.5 else "missed by less than 1 %"


def read(folder: Path | str, name: str) -> dict[str, Any] | None:
    """The file of a benchmark; None when it was never run."""
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise LskdError(f"{path}: expected an object; measure again: {COMMANDS[name]}")
    return {**found, "file": path.name}


def field(result: Mapping[str, Any], *keys: str) -> Any:
    """A nested value.

    Raises:
        LskdError: it is not there; names the file, the field and what there is.
    """
    value: Any = result
    for i, key in enumerate(keys):
        if not isinstance(value, Mapping) or key not in value:
            there = (", ".join(map(str, value)) or "nothing") if isinstance(value, Mapping) else repr(value)
            raise LskdError(
                f"{result.get('file', 'benchmark')}: no field {'.'.join(keys[: i + 1])}; there is {there}. "
                "Measure again, or teach paper/benchmarks.py the new name"
            )
        value = value[key]
    return value


def _baseline(result: Mapping[str, Any], *keys: str) -> float:
    """The faster of the baseline's ways: with loader processes ("workers 2") or without."""
    sides = {k: v for k, v in field(result, *keys).items() if k == "baseline" or k.startswith("workers")}
    if not sides:
        raise LskdError(f"{result['file']}: {'.'.join(keys)} has no baseline (expected baseline or workers N)")
    return float(max(sides.values()))


def rows(result: Mapping[str, Any]) -> list[Row]:
    """All comparisons of ``cpu.json``."""

    def row(
        what: str, unit: str, ours: Any, baseline: float | None, share: float | None = None, goal: str | None = None
    ) -> Row:
        if goal is None:
            return Row(what, unit, float(ours), baseline, share)
        aim, reached = float(field(result, "goals", goal)), float(field(result, goal))
        return Row(what, unit, float(ours), baseline, share, aim, verdict(reached / aim))

    out = []
    for kind in ("weak", "strong"):
        ours, plain = field(result, "pipelines", kind, "ours"), _baseline(result, "pipelines", kind)
        out.append(row(f"{kind} views", "images", ours, plain, goal=f"{kind}_views_per_s"))
    for name in field(result, "networks"):
        ours = field(result, "networks", name, "ours")
        work = (3 if "backward" in name else 1) * model_info(name.split()[0]).multiply_adds
        share = float(ours) * work / float(field(result, "multiply_adds_per_s"))
        out.append(row(name, "images", ours, _baseline(result, "networks", name), share))
    words, plain = f"cohort of {len(field(result, 'cohort6', 'members'))} students", _baseline(result, "cohort6")
    share = float(field(result, "cohort6_share_of_matrix_product_rate"))
    out.append(row(words, "student-images", field(result, "cohort6", "ours"), plain, share, "cohort6_ratio"))
    if result.get("cohort6_ratio_bf16") is not None:  # the processor has units for it
        ours = field(result, "cohort6", "ours, bf16")
        out.append(row(f"{words}, bf16", "student-images", ours, plain, goal="cohort6_ratio_bf16"))
        bf16, single = (float(field(result, "student", key)) for key in ("bf16", "float32"))
        out.append(row("student alone, bf16 / float32", "images", bf16, single, goal="student_bf16_ratio"))
    table, student = (float(field(result, "table", key)) for key in ("table", "student"))
    what = "KD + LS by a logit table / alone"
    return [*out, row(what, "images", table, student, goal="table_fraction_of_student")]


def sharing_alone(result: Mapping[str, Any]) -> float:
    """By how much a cohort is faster if it shares the teacher's forward and has nothing else over the baseline.

    n (T + S) / (T + n S), with the baseline's measured seconds of a teacher's forward T and of a student's forward
    and backward S.
    """
    n = len(field(result, "cohort6", "members"))
    teacher, student = (
        1 / _baseline(result, "networks", f"{field(result, 'cohort6', role)} {work}")
        for role, work in (("teacher", "forward"), ("student", "forward + backward"))
    )
    return n * (teacher + student) / (teacher + n * student)


def gpu_goals(result: Mapping[str, Any]) -> list[tuple[str, float, float, str]]:
    """(name, goal, reached, verdict) of every goal of ``gpu.json``; empty when only its checks were run."""
    out = []
    for name, aim in field(result, "goals").items():
        if name not in result:
            continue
        reached, aim = float(result[name]), float(aim)
        # Twice the minutes miss a goal by half, as half the rate does.
        share = aim / reached if name.endswith(("minutes", "seconds")) else reached / aim
        out.append((name.replace("_", " ").replace(" per s", "/s"), aim, reached, verdict(share)))
    return out


def gpu_rates(result: Mapping[str, Any]) -> list[tuple[str, float, float | None]]:
    """(what, student-images a second, times the same without any piece of the fast path); empty without speeds."""
    if "rates" not in result:
        return []
    rates = field(result, "rates", "student_images_per_s")
    plain = {name.rpartition(", plain")[0]: rate for name, rate in rates.items() if name.endswith(", plain")}
    out = []
    for name, rate in rates.items():
        start = next((p for p in plain if name.startswith(f"{p}, ")), None)
        out.append((name, float(rate), rate / plain[start] if start else None))
    return out


def gpu_checks(result: Mapping[str, Any]) -> tuple[int, int, list[str]]:
    """How many of the fast path's checks against the plain path passed, of how many, and the names of the others."""
    checks = result.get("checks", [])
    failed = [str(field(check, "check")) for check in checks if not field(check, "passed")]
    return len(checks) - len(failed), len(checks), failed


# --- hours -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """How fast one cohort of small networks was in whole training steps, with data, losses and updates.

    Large networks use a GPU better and small batches use it worse, so hours are a planning figure, not a promise.
    """

    multiply_adds: float  # a second
    unit: str  # "GPU hours" or "CPU hours"
    source: str  # the file, the cohort and the machine, in words
    note: str  # why it is not the benchmark that a reader would want; empty when it is

    def hours(self, multiply_adds: float) -> float:
        return multiply_adds / self.multiply_adds / 3600


def training_rate(root: Path) -> Rate | None:
    """The rate of ``benchmarks/results/gpu.json``, else of ``cpu.json``, else None."""
    for kind, of in (("gpu", _of_gpu), ("cpu", _of_cpu)):
        found = read(root / "benchmarks" / "results", kind)
        if found is None:
            continue
        images, work, words = of(found)
        machine = found.get("machine", {}).get("name", "an unnamed machine")
        source = (
            f"benchmarks/results/{kind}.json: a cohort of {words} made {images:,.0f} student-images/s "
            f"on {machine}, that is {images * work / 1e9:,.0f} billion multiply-adds/s"
        )
        note = "" if kind == "gpu" else "no GPU has been measured (benchmarks/results/gpu.json is missing)"
        return Rate(images * work, f"{kind.upper()} hours", source, note)
    return None


def _of_cpu(result: Mapping[str, Any]) -> tuple[float, float, str]:
    """Student-images a second, multiply-adds of one with its share of the teacher, and the cohort in words."""
    members, teacher, student = (field(result, "cohort6", key) for key in ("members", "teacher", "student"))
    work = model_info(teacher).multiply_adds / len(members) + 3 * model_info(student).multiply_adds
    return field(result, "cohort6", "ours"), work, f"{len(members)} ({teacher} -> {student}, live teacher)"


def _of_gpu(result: Mapping[str, Any]) -> tuple[float, float, str]:
    """The same where the teacher's logits come from a table, in the precision that `lskd train` takes by itself."""
    images = field(result, "rates", "student_images_per_s", "six from a table, tf32, all")
    teacher, student = (field(result, "networks", key) for key in ("teacher", "student"))
    words = f"{len(field(result, 'members'))} ({teacher} -> {student}, teacher's logits from a table)"
    return images, 3.0 * model_info(student).multiply_adds, words
