"""The trainer against the plain baseline, in turns: python benchmarks/cpu.py

Writes benchmarks/results/cpu.json and prints the book's table of it. Medians of repeats that alternate between the two
sides, so that a busy machine slows both. This process keeps its memory as `lskd` does; six plain trainings are another
process, which starts as a script of any lab's does. Images are random: no speed here depends on what they show.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # also when loaded by a test
sys.path.append(str(Path(__file__).parents[1]))
import baseline
import losses
from random_images import data, made_up_table, six_members

from figures.benchmarks import comparison, machine_text
from lskd import records
from lskd.cli import keep_memory
from lskd.data.dataset import Dataset
from lskd.data.draws import epoch_strong, epoch_views
from lskd.data.randaugment import strong_view
from lskd.data.views import Views, normalize
from lskd.files import write_json
from lskd.models import create_model, model_info
from lskd.recipes import Recipe
from lskd.trainer.batches import AHEAD
from lskd.trainer.cohort import WINDOW, Cohort
from lskd.trainer.execution import Execution, bf16_units
from lskd.trainer.speed import product_rate

TEACHER, STUDENT, BATCH = "resnet56", "resnet20", 64
CPU = torch.device("cpu")
MEMBERS = six_members(warmup=1)
KD_LS, PLAIN = {"kd_ls": MEMBERS["kd_ls"]}, {"plain": {"method": "plain"}}
CLASSES = (10, 100, 1000)
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


@contextmanager
def plain_process() -> Iterator[Executor]:
    """A process that starts without the settings of :func:`lskd.cli.keep_memory`, and computes with as many threads."""
    with mock.patch.dict(os.environ):
        os.environ.pop("GLIBC_TUNABLES", None)
        threads = torch.get_num_threads()
        with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,)) as process:
            yield process


def cohort_rate(dataset: Dataset, members: dict[str, dict[str, Any]], steps: int, **options: Any) -> float:
    """Student-images a second of a cohort, data included. The first window of steps is not counted."""
    batch, window = options.pop("batch", BATCH), options.pop("window", WINDOW)
    recipe = Recipe(
        name="bench", dataset="random", student=STUDENT, epochs=1, batch_size=batch, learning_rate=0.05, members=members
    )
    cohort = Cohort(recipe, dataset, seed=0, device=CPU, **options)
    stamps: list[tuple[int, float]] = []
    cohort.run(
        after_step=lambda: stamps.append((cohort.step, time.perf_counter())),
        window=window,
        until=max(1, window // batch) + steps,
    )
    (first, start), (last, end) = stamps[0], stamps[-1]
    if last - first < steps or cohort.step == cohort.total_steps:  # the last window prepares no other: too fast
        raise ValueError(f"{len(dataset.train_images)} images are too few for {steps} timed steps of {batch}")
    return (last - first) * batch * len(members) / (end - start)


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


def loader_rate(images: baseline.Images, count: int, workers: int) -> float:
    """Images a second, workers' start not counted."""
    source = iter(baseline.loader(images, batch_size=BATCH, workers=workers))
    next(source)
    return count * BATCH / seconds(lambda: [next(source) for _ in range(count)])


def pipelines(dataset: Dataset, repeats: int, count: int) -> dict[str, dict[str, float]]:
    views = Views(dataset.train_images, pad=4, flip=True)
    total = len(dataset.train_images)
    order, crops = torch.randperm(total), epoch_views(0, 1, total, views.count)
    draws = epoch_strong(0, 1, total)

    def weak() -> None:
        for start in range(0, total, BATCH):
            normalize(views(order[start : start + BATCH], crops[start : start + BATCH]), dataset)

    def strong() -> None:
        for start in range(0, total, AHEAD):
            rows = slice(start, start + AHEAD)
            for part in strong_view(views(order[rows], crops[rows]), draws[rows]).split(BATCH):
                normalize(part, dataset)

    out = {}
    for ours, theirs in ((weak, baseline.weak), (strong, baseline.strong)):
        loaders = {f"workers {n}": partial(loader_rate, plain_images(dataset, theirs), count, n) for n in (0, 2)}
        out[ours.__name__] = alternate({"ours": lambda ours=ours: total / seconds(ours), **loaders}, repeats)
    return out


def networks(repeats: int) -> dict[str, dict[str, float]]:
    """Images a second: teacher forward, student forward and backward; memory format is the only difference."""
    x = torch.randn(BATCH, 3, 32, 32)

    def rate(name: str, training: bool, memory_format: torch.memory_format) -> float:
        model = create_model(name, 100).to(memory_format=memory_format).train(training)  # type: ignore[call-overload]
        images = x.contiguous(memory_format=memory_format)

        def work() -> None:
            with torch.set_grad_enabled(training):
                loss = model(images).square().mean()
            if training:
                loss.backward()

        work()
        return BATCH / seconds(work)

    formats = {"ours": torch.channels_last, "baseline": torch.contiguous_format}
    return {
        f"{name} {what}": alternate(
            {side: partial(rate, name, "back" in what, f) for side, f in formats.items()}, repeats
        )
        for name, what in ((TEACHER, "forward"), (STUDENT, "forward + backward"))
    }


def student_rates(repeats: int, steps: int) -> dict[str, float]:
    """Student-images a second of a student alone, in each precision that the processor has units for."""
    dataset = data(2048)

    def rate(precision: str) -> float:
        return cohort_rate(dataset, PLAIN, steps, teacher=None, execution=Execution(precision=precision))

    return alternate({p: partial(rate, p) for p in ("float32", *["bf16"] * bool(bf16_units()))}, repeats)


def table_fraction(repeats: int, steps: int) -> dict[str, float]:
    """KD+LS from a mapped table of logits against the same student without any teacher."""
    dataset = data(2048)
    teacher = create_model(TEACHER, 100).eval()
    with made_up_table(teacher, TEACHER, dataset, CPU) as table:
        return alternate(
            {
                "table": lambda: cohort_rate(dataset, KD_LS, steps, teacher=teacher, table=table),
                "student": lambda: cohort_rate(dataset, PLAIN, steps, teacher=None),
            },
            repeats,
        )


def growth(dataset: Dataset, teacher: nn.Module, steps: int) -> dict[str, Any]:
    """Student-images a second, data included, by members, batch and classes; microseconds of losses by classes."""

    def of_classes(classes: int) -> float:
        return cohort_rate(data(2048, classes), KD_LS, steps, teacher=create_model(TEACHER, classes).eval())

    def of_losses(classes: int) -> dict[str, float]:
        names = ("kd", "kd_ls", "dkd_ls")
        return {name: 1e6 * losses.seconds(losses.LOSSES[name], classes, BATCH, 30) for name in names}

    some = list(MEMBERS.items())
    return {
        "members": {str(n): cohort_rate(dataset, dict(some[:n]), steps, teacher=teacher) for n in (1, 2, 4, 6)},
        "batch": {str(n): cohort_rate(dataset, KD_LS, steps, teacher=teacher, batch=n) for n in (16, 64, 256)},
        "classes": {str(n): of_classes(n) for n in CLASSES},
        "loss_microseconds_by_classes": {str(n): of_losses(n) for n in CLASSES},
    }


def measure(repeats: int, steps: int) -> dict[str, Any]:
    """Everything that cpu.json holds."""
    dataset = data(4096)
    teacher = create_model(TEACHER, 100).eval()
    started, load = time.perf_counter(), os.getloadavg()[0]
    rate = product_rate(CPU)
    pipes = pipelines(dataset, repeats, 8 * steps)
    nets = networks(repeats)
    ours = partial(cohort_rate, dataset, MEMBERS, steps, teacher=teacher)
    theirs = partial(baseline_rate, dataset, teacher, list(MEMBERS), steps)
    sides = {"ours": ours, "ours, bf16": partial(ours, execution=Execution(precision="bf16"))}
    if not bf16_units():
        del sides["ours, bf16"]
    with plain_process() as process:
        sides |= {f"workers {n}": lambda n=n: process.submit(theirs, n).result() for n in (0, 2)}  # type: ignore[misc]
        six = alternate(sides, max(1, repeats - 2))
    table = table_fraction(repeats, 2 * steps)
    student = student_rates(repeats, 2 * steps)
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
        "growth": growth(dataset, teacher, steps),
        "multiply_adds_per_s": rate,
        "cohort6_share_of_matrix_product_rate": six["ours"] * work / rate,
        "repeats": repeats,
        "steps": steps,
        "machine": records.describe_device(CPU) | {"bf16_units": bf16_units(), "load_before": load},
        "versions": records.versions(),
        "finished": records.now(),
        "wall_seconds": time.perf_counter() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    keep_memory()
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    result = measure(repeats=5, steps=4)
    write_json(Path(__file__).parent / "results" / "cpu.json", result)
    print(comparison(result), machine_text(result), f"{result['wall_seconds']:.0f} s", sep="\n")


if __name__ == "__main__":
    main()
