"""The trainer against the plain baseline, side by side in one process: python benchmarks/cpu.py

Writes benchmarks/results/cpu.json and prints one table. Medians of repeats that alternate between the two sides, so
that a busy machine slows both. Images are random: no speed here depends on what they show.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent))  # also when loaded by a test
sys.path.append(str(Path(__file__).parents[1]))
import baseline
from random_images import Enough, data

from lskd import records
from lskd.data.dataset import Dataset
from lskd.data.draws import epoch_strong, epoch_views
from lskd.data.randaugment import strong_view
from lskd.data.views import Views, normalize
from lskd.files import write_json
from lskd.losses import dkd_loss, kd_loss
from lskd.models import create_model, model_info
from lskd.recipes import Recipe
from lskd.trainer.batches import AHEAD
from lskd.trainer.cohort import WINDOW, Cohort
from lskd.trainer.execution import Execution, bf16_units
from lskd.trainer.logit_table import LogitTable, header_of
from paper.benchmarks import rows

TEACHER, STUDENT, BATCH = "resnet56", "resnet20", 64
CPU = torch.device("cpu")
MEMBERS: dict[str, dict[str, Any]] = {
    f"{method}{suffix}": {"method": method, "standardize": bool(suffix), **settings}
    for method, settings in {
        "kd": {"temperature": 2.0, "kd_weight": 9.0},
        "dkd": {"temperature": 2.0, "kd_weight": 9.0, "warmup": 1},
        "ctkd": {"kd_weight": 9.0},
    }.items()
    for suffix in ("", "_ls")
}
GOALS = {
    "weak_views_per_s": 20000.0,
    "strong_views_per_s": 5000.0,
    "cohort6_ratio": 2.5,
    "cohort6_ratio_bf16": 6.0,
    "student_bf16_ratio": 2.3,
    "table_fraction_of_student": 0.95,
}


def plain_images(dataset: Dataset, transform: Callable[..., Any]) -> baseline.Images:
    pixels = dataset.train_images.permute(0, 2, 3, 1).contiguous().numpy()
    return baseline.Images(pixels, dataset.train_labels.numpy(), transform)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median of what each side returns, in turns; one turn before is not counted."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            value = side()
            if turn:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def matrix_product_rate() -> float:
    """Multiply-adds a second of a float32 matrix product: what the machine could do at best."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    torch.mm(a, b)
    return 1024**3 / min(seconds(lambda: torch.mm(a, b)) for _ in range(60))


def cohort_rate(dataset: Dataset, members: dict[str, dict[str, Any]], steps: int, **options: Any) -> float:
    """Student-images a second of a cohort, data included. The first window of steps is not counted."""
    batch, window = options.pop("batch", BATCH), options.pop("window", WINDOW)
    recipe = Recipe(
        name="bench", dataset="random", student=STUDENT, epochs=1, batch_size=batch, learning_rate=0.05, members=members
    )
    cohort = Cohort(recipe, dataset, seed=0, device=CPU, **options)
    stamps: list[tuple[int, float]] = []

    def after_step() -> None:
        stamps.append((cohort.step, time.perf_counter()))
        # The last window prepares no other, so it would look too fast.
        if stamps[-1][0] - stamps[0][0] >= steps and cohort.step < cohort.total_steps:
            raise Enough

    try:
        cohort.run(after_step=after_step, window=window)
    except Enough:
        (first, start), (last, end) = stamps[0], stamps[-1]
        return (last - first) * batch * len(members) / (end - start)
    raise ValueError(f"{len(dataset.train_images)} images are too few for {steps} timed steps of {batch}")


def baseline_rate(
    dataset: Dataset, teacher: nn.Module, methods: list[str], steps: int, workers: int, batch: int = BATCH
) -> float:
    """Student-images a second, one student after the other; the first step of each is not counted."""
    images, spent = plain_images(dataset, baseline.weak), 0.0
    for method in methods:
        student = create_model(STUDENT, dataset.classes)
        run = baseline.train(student, teacher, method, baseline.loader(images, batch_size=batch, workers=workers))
        next(run)
        spent += seconds(lambda run=run: [next(run) for _ in range(steps)])  # type: ignore[misc]
        run.close()
    return len(methods) * steps * batch / spent


def loader_rate(batches: DataLoader[Any], count: int) -> float:
    """Images a second, workers' start not counted."""
    source = iter(batches)
    next(source)
    return count * BATCH / seconds(lambda: [next(source) for _ in range(count)])


def pipelines(dataset: Dataset, repeats: int, count: int) -> dict[str, dict[str, float]]:
    views = Views(dataset.train_images, pad=4, flip=True)
    total = len(dataset.train_images)
    order, weak = torch.randperm(total), epoch_views(0, 1, total, views.count)
    draws = epoch_strong(0, 1, total)

    def ours_weak() -> float:
        def work() -> None:
            for start in range(0, total, BATCH):
                normalize(views(order[start : start + BATCH], weak[start : start + BATCH]), dataset)

        return total / seconds(work)

    def ours_strong() -> float:
        def work() -> None:
            for start in range(0, total, AHEAD):
                rows = slice(start, start + AHEAD)
                made = strong_view(views(order[rows], weak[rows]), draws[rows])
                for part in made.split(BATCH):
                    normalize(part, dataset)

        return total / seconds(work)

    out = {}
    for name, ours, transform in (("weak", ours_weak, baseline.weak), ("strong", ours_strong, baseline.strong)):
        images = plain_images(dataset, transform)
        out[name] = alternate(
            {
                "ours": ours,
                "workers 0": lambda i=images: loader_rate(baseline.loader(i, batch_size=BATCH, workers=0), count),
                "workers 2": lambda i=images: loader_rate(baseline.loader(i, batch_size=BATCH, workers=2), count),
            },
            repeats,
        )
    return out


def networks(repeats: int) -> dict[str, dict[str, float]]:
    """Images a second: teacher forward, student forward and backward; memory format is the only difference."""
    x = torch.randn(BATCH, 3, 32, 32)
    out = {}
    for name, training in ((TEACHER, False), (STUDENT, True)):

        def one(memory_format: torch.memory_format, name: str = name, training: bool = training) -> float:
            model = create_model(name, 100).to(memory_format=memory_format).train(training)  # type: ignore[call-overload]
            images = x.contiguous(memory_format=memory_format)

            def work() -> None:
                with torch.set_grad_enabled(training):
                    loss = model(images).square().mean()
                if training:
                    loss.backward()

            work()
            return BATCH / seconds(work)

        key = f"{name} {'forward + backward' if training else 'forward'}"
        out[key] = alternate(
            {
                "ours": lambda one=one: one(torch.channels_last),
                "baseline": lambda one=one: one(torch.contiguous_format),
            },
            repeats,
        )
    return out


def student_rates(repeats: int, steps: int) -> dict[str, float]:
    """Student-images a second of a student alone, in each precision that the processor has units for."""
    dataset, member = data(2048), {"plain": {"method": "plain"}}
    hows = {"float32": Execution(), **({"bf16": Execution(precision="bf16")} if bf16_units() else {})}
    sides = {
        name: lambda how=how: cohort_rate(dataset, member, steps, teacher=None, execution=how)
        for name, how in hows.items()
    }
    return alternate(sides, repeats)


def table_fraction(repeats: int, steps: int) -> dict[str, float]:
    """KD+LS from a mapped table of logits against the same student without any teacher."""
    dataset = data(2048)
    teacher = create_model(TEACHER, 100).eval()
    header = header_of(teacher, TEACHER, dataset, dtype="float16")
    with tempfile.TemporaryDirectory() as folder:
        values = np.random.default_rng(0).standard_normal((header["images"] * header["views"], 100), dtype=np.float32)
        values.astype(np.float16).tofile(Path(folder) / "logits.bin")
        table = LogitTable(Path(folder), header, CPU)
        member = {"kd_ls": MEMBERS["kd_ls"]}
        found = alternate(
            {
                "table": lambda: cohort_rate(dataset, member, steps, teacher=teacher, table=table),
                "student": lambda: cohort_rate(dataset, {"plain": {"method": "plain"}}, steps, teacher=None),
            },
            repeats,
        )
    return found


def losses_by_classes() -> dict[str, dict[str, float]]:
    """Microseconds of a loss and its gradient, batch 64."""
    out: dict[str, dict[str, float]] = {}
    for classes in (10, 100, 1000):
        z, v = torch.randn(BATCH, classes, requires_grad=True), torch.randn(BATCH, classes)
        y = torch.randint(classes, (BATCH,))
        losses: dict[str, Callable[[], Tensor]] = {
            "kd": lambda z=z, v=v: kd_loss(z, v, temperature=2.0),
            "kd_ls": lambda z=z, v=v: kd_loss(z, v, temperature=2.0, standardize=True),
            "dkd_ls": lambda z=z, v=v, y=y: dkd_loss(z, v, y, temperature=2.0, standardize=True),
        }
        out[str(classes)] = {
            name: 1e6 * statistics.median(seconds(lambda f=f: f().backward()) for _ in range(30))
            for name, f in losses.items()
        }
    return out


def classes_rates(steps: int) -> dict[str, float]:
    """Student-images a second of a whole step, KD+LS, as the problem has more classes."""
    out = {}
    for classes in (10, 100, 1000):
        teacher = create_model(TEACHER, classes).eval()
        out[str(classes)] = cohort_rate(data(2048, classes), {"kd_ls": MEMBERS["kd_ls"]}, steps, teacher=teacher)
    return out


def measure(repeats: int, steps: int) -> dict[str, Any]:
    """Everything that cpu.json holds."""
    dataset = data(4096)
    teacher = create_model(TEACHER, 100).eval()
    started, load = time.perf_counter(), os.getloadavg()[0]
    rate = matrix_product_rate()
    pipes = pipelines(dataset, repeats, 8 * steps)
    workers = 2 if pipes["weak"]["workers 2"] > pipes["weak"]["workers 0"] else 0
    nets = networks(repeats)

    def in_bf16(steps: int) -> float:
        return cohort_rate(dataset, MEMBERS, steps, teacher=teacher, execution=Execution(precision="bf16"))

    six = alternate(
        {
            "ours": lambda: cohort_rate(dataset, MEMBERS, steps, teacher=teacher),
            **({"ours, bf16": lambda: in_bf16(steps)} if bf16_units() else {}),
            "workers 0": lambda: baseline_rate(dataset, teacher, list(MEMBERS), steps, 0),
            "workers 2": lambda: baseline_rate(dataset, teacher, list(MEMBERS), steps, 2),
        },
        max(1, repeats - 2),
    )
    table = table_fraction(repeats, 2 * steps)
    student = student_rates(repeats, 2 * steps)
    growth = {
        "members": {
            str(n): cohort_rate(dataset, dict(list(MEMBERS.items())[:n]), steps, teacher=teacher) for n in (1, 2, 4, 6)
        },
        "batch": {
            str(n): cohort_rate(dataset, {"kd_ls": MEMBERS["kd_ls"]}, steps, teacher=teacher, batch=n)
            for n in (16, 64, 256)
        },
        "classes": classes_rates(steps),
        "loss_microseconds_by_classes": losses_by_classes(),
    }
    # Multiply-adds of one student-image of the cohort: a sixth of a teacher's forward, three of the student's.
    work = model_info(TEACHER).multiply_adds / len(MEMBERS) + 3 * model_info(STUDENT).multiply_adds
    faster = max(six["workers 0"], six["workers 2"])
    return {
        "schema": 1,
        "cohort6_ratio": six["ours"] / faster,
        "cohort6_ratio_bf16": six["ours, bf16"] / faster if bf16_units() else None,
        "student_bf16_ratio": student["bf16"] / student["float32"] if bf16_units() else None,
        "table_fraction_of_student": table["table"] / table["student"],
        "weak_views_per_s": pipes["weak"]["ours"],
        "strong_views_per_s": pipes["strong"]["ours"],
        "goals": GOALS,
        "pipelines": pipes,
        "networks": nets,
        "cohort6": six | {"teacher": TEACHER, "student": STUDENT, "batch": BATCH, "members": list(MEMBERS)},
        "table": table,
        "student": student,
        "growth": growth,
        "multiply_adds_per_s": rate,
        "cohort6_share_of_matrix_product_rate": six["ours"] * work / rate,
        "weak_workers_of_the_faster_baseline": workers,
        "repeats": repeats,
        "steps": steps,
        "machine": records.describe_device(CPU) | {"bf16_units": bf16_units(), "load_before": load},
        "versions": records.versions(),
        "finished": records.now(),
        "wall_seconds": time.perf_counter() - started,
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The table that is printed: what, ours, baseline, ratio, share of the machine's rate, goal."""
    out = [f"{'what':40} {'ours':>10} {'baseline':>10} {'ratio':>7} {'of peak':>8}  goal"]
    for row in rows(result):
        cells = [f"{row.baseline or 0:,.0f}", f"{row.ratio or 0:.2f}", f"{100 * row.share:.0f} %" if row.share else ""]
        goal = f"{row.goal:,g}, {row.verdict}" if row.goal else ""
        words = f"{row.what}, {row.unit}/s"
        out.append(f"{words:40} {row.ours:10,.0f} {cells[0]:>10} {cells[1]:>7} {cells[2]:>8}  {goal}")
    machine = result["machine"]
    place = f"{machine['name']}, {machine['threads']} threads, load {machine['load_before']:.1f} at the start"
    return [*out, f"{place}, {result['wall_seconds']:.0f} s"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "cpu.json")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a repeat")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    result = measure(chosen.repeats, chosen.steps)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(chosen.output, result)
    print("\n".join(lines(result)))
    print(f"written to {chosen.output}")


if __name__ == "__main__":
    main()
