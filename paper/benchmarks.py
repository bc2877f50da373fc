"""What ``benchmarks/results/*.json`` say: rows (ours, baseline, ratio, goal, what is missed), and hours of jobs.

The files are written by ``benchmarks/cpu.py``, ``gpu.py`` and ``make_book.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lskd.files import read_json
from lskd.models import model_info

COMMANDS = {"cpu": "make bench", "gpu": "python benchmarks/gpu.py", "make_book": "python benchmarks/make_book.py"}
COMMANDS |= {"precision": "python benchmarks/precision.py build/runs", "losses": "python benchmarks/losses.py"}


@dataclass(frozen=True)
class Row:
    """One comparison. Rates count ``unit`` a second.

    Attributes:
        baseline: of the same work done plainly, the faster of its ways; None when there is none.
        share: of the machine's measured rate of matrix products, which is no limit; None where there are few products.
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
    return dict(read_json(path)) if path.is_file() else None


def _plain(sides: Mapping[str, float]) -> float:
    """The faster of the baseline's ways: with loader processes ("workers 2") or without."""
    return max(value for name, value in sides.items() if name == "baseline" or name.startswith("workers"))


def rows(result: Mapping[str, Any]) -> list[Row]:
    """All comparisons of ``cpu.json``."""

    def row(what: str, unit: str, sides: Mapping[str, float], share: float | None = None, goal: str = "") -> Row:
        ours = sides["ours"]
        if not goal:
            return Row(what, unit, ours, _plain(sides), share)
        aim = result["goals"][goal]
        return Row(what, unit, ours, _plain(sides), share, aim, verdict(result[goal] / aim))

    out = [
        row(f"{kind} views", "images", result["pipelines"][kind], goal=f"{kind}_views_per_s")
        for kind in ("weak", "strong")
    ]
    for name, sides in result["networks"].items():
        work = (3 if "backward" in name else 1) * model_info(name.split()[0]).multiply_adds
        out.append(row(name, "images", sides, sides["ours"] * work / result["multiply_adds_per_s"]))
    six, table = result["cohort6"], result["table"]
    words, share = f"cohort of {len(six['members'])} students", result["cohort6_share_of_matrix_product_rate"]
    out.append(row(words, "student-images", six, share, "cohort6_ratio"))
    if result.get("cohort6_ratio_bf16") is not None:  # the processor has units for it
        half, student = {**six, "ours": six["ours, bf16"]}, result["student"]
        out.append(row(f"{words}, bf16", "student-images", half, goal="cohort6_ratio_bf16"))
        sides = {"ours": student["bf16"], "baseline": student["float32"]}
        out.append(row("student alone, bf16 / float32", "images", sides, goal="student_bf16_ratio"))
    sides = {"ours": table["table"], "baseline": table["student"]}
    return [*out, row("KD + LS by a logit table / alone", "images", sides, goal="table_fraction_of_student")]


def sharing_alone(result: Mapping[str, Any]) -> float:
    """By how much a cohort is faster if it shares the teacher's forward and has nothing else over the baseline.

    n (T + S) / (T + n S), with the baseline's measured seconds of a teacher's forward T and of a student's forward
    and backward S.
    """
    n = len(result["cohort6"]["members"])
    teacher, student = (
        1 / _plain(result["networks"][f"{result['cohort6'][role]} {work}"])
        for role, work in (("teacher", "forward"), ("student", "forward + backward"))
    )
    return n * (teacher + student) / (teacher + n * student)


def gpu_goals(result: Mapping[str, Any]) -> list[tuple[str, float, float, str]]:
    """(name, goal, reached, verdict) of every goal of ``gpu.json``."""
    out = []
    for name, aim in result["goals"].items():
        reached, aim = float(result[name]), float(aim)
        # Twice the minutes miss a goal by half, as half the rate does.
        share = aim / reached if name.endswith(("minutes", "seconds")) else reached / aim
        out.append((name.replace("_", " ").replace(" per s", "/s"), aim, reached, verdict(share)))
    return out


def gpu_rates(result: Mapping[str, Any]) -> list[tuple[str, float, float | None]]:
    """(what, student-images a second, times the same without any piece of the fast path)."""
    rates = result["rates"]["student_images_per_s"]
    plain = {name.rpartition(", plain")[0]: rate for name, rate in rates.items() if name.endswith(", plain")}
    out = []
    for name, rate in rates.items():
        start = next((p for p in plain if name.startswith(f"{p}, ")), None)
        out.append((name, float(rate), rate / plain[start] if start else None))
    return out


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
    members, teacher, student = (result["cohort6"][key] for key in ("members", "teacher", "student"))
    work = model_info(teacher).multiply_adds / len(members) + 3 * model_info(student).multiply_adds
    return result["cohort6"]["ours"], work, f"{len(members)} ({teacher} -> {student}, live teacher)"


def _of_gpu(result: Mapping[str, Any]) -> tuple[float, float, str]:
    """The same where the teacher's logits come from a table, in the precision that `lskd train` takes by itself."""
    images = result["rates"]["student_images_per_s"]["six from a table, tf32, all"]
    teacher, student = (result["networks"][key] for key in ("teacher", "student"))
    words = f"{len(result['members'])} ({teacher} -> {student}, teacher's logits from a table)"
    return images, 3.0 * model_info(student).multiply_adds, words
