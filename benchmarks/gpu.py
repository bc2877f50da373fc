"""Check every piece of the fast path on a GPU against the plain one, then measure it. Under eight minutes.

    python benchmarks/gpu.py                  checks, then speed; writes benchmarks/results/gpu.json
    python benchmarks/gpu.py --only checks    correctness alone, where a GPU is lent for minutes
    python benchmarks/gpu.py --rehearse       the same calls on a CPU with little data, to see that they run

The plain path is float32, kernel by kernel, one member after the other, an optimiser step in several kernels. A
piece is right when a run with it leaves the plain one no further than rounding explains: the plain run repeated
(sums on a GPU come in any order) gives the scale, and the change of the weights is what deviations are shares of.
Exit status 1 when a check fails; what was measured is written all the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))  # also when loaded by a test
sys.path.append(str(Path(__file__).parents[1]))  # where lskd is not installed
from losses import LOSSES
from random_images import data, made_up_table, network, six_members

from lskd import records
from lskd.data.dataset import Dataset
from lskd.data.draws import epoch_strong, epoch_views
from lskd.data.randaugment import strong_view
from lskd.data.views import Views, normalize
from lskd.files import write_json
from lskd.models import model_info
from lskd.recipes import Recipe
from lskd.trainer.cohort import Cohort
from lskd.trainer.evaluation import evaluate
from lskd.trainer.execution import Execution
from lskd.trainer.logit_table import LogitTable, build, header_of
from lskd.trainer.proof import deviation, short_training, weights_of
from lskd.trainer.speed import product_rate

CPU = torch.device("cpu")
BATCH = 64
NETWORKS = {"teacher": "resnet32x4", "student": "resnet8x4", "small": "resnet20"}
REHEARSED = dict.fromkeys(NETWORKS, "resnet8")
STEPS_PER_EPOCH, EPOCHS, TRAIN_IMAGES = 782, 240, 50_000  # CIFAR-100, batch 64
RESULTS = Path(__file__).parent / "results"
GOALS = {"cohort6_student_images_per_s": 80_000.0, "cohort6_240_epochs_minutes": 15.0}
MEMBERS = six_members()
MLKD = {"mlkd_ls": {**MEMBERS["kd_ls"], "method": "mlkd"}}
on = partial(Execution, "cuda")  # whatever rehearses it
PLAIN = on()
# What is switched on beside the plain path, and the largest share of the weights' change that it may move them by.
PIECES: dict[str, tuple[Execution, float]] = {
    "fused": (on(fused=True), 0.02),
    "streams": (on(streams=True), 0.02),
    "graph": (on(graph=True), 0.02),
    "graph and streams": (on(graph=True, streams=True), 0.02),
    "tf32": (on("tf32"), 0.1),
    "bf16": (on("bf16"), 0.5),
    "all, tf32": (on("tf32", True, True, True), 0.1),
    "all, bf16": (on("bf16", True, True, True), 0.5),
}


def recipe(members: dict[str, dict[str, Any]], epochs: int = 1) -> Recipe:
    usual: dict[str, Any] = {"name": "bench", "dataset": "random", "batch_size": BATCH, "learning_rate": 0.01}
    return Recipe(**usual, student=NETWORKS["student"], epochs=epochs, members=members)


def cohort(
    dataset: Dataset, members: dict[str, dict[str, Any]], device: torch.device, how: Execution, **options: Any
) -> Cohort:
    return Cohort(recipe(members), dataset, seed=0, device=device, execution=how, **options)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_a_step(chosen: Cohort, steps: int) -> float:
    """Of ``steps`` steps, the first quarter left out, device included."""
    start, warm = 0.0, max(1, steps // 4)
    if steps > chosen.total_steps:
        raise ValueError(f"{chosen.total_steps} steps are too few for {steps}")

    def after_step() -> None:
        nonlocal start
        if chosen.step == warm:
            synchronize(chosen.device)
            start = time.perf_counter()

    with chosen.execution.active():
        chosen.run(after_step=after_step, window=BATCH, until=steps)
        synchronize(chosen.device)
    return (time.perf_counter() - start) / (steps - warm)


# ---------------------------------------------------------------- checks


def check_views(device: torch.device, little: bool) -> Iterator[tuple[str, float, float]]:
    """Weak and strong views are the same bits as on the CPU."""
    images = 64 if little else 2048
    dataset = data(images)
    rows, crops = torch.arange(images), epoch_views(0, 1, images, 162)
    here = Views(dataset.train_images, pad=4, flip=True)(rows, crops)
    there = Views(dataset.train_images.to(device), pad=4, flip=True)(rows.to(device), crops.to(device))
    yield "weak views, share of bytes that differ", float((here != there.cpu()).double().mean()), 0.0
    draws = epoch_strong(0, 1, images)
    strong = strong_view(here, draws), strong_view(there, draws).cpu()
    yield "strong views, share of bytes that differ", float((strong[0] != strong[1]).double().mean()), 0.0
    a, b = normalize(here, dataset), normalize(there, dataset).cpu()
    yield "normalised views, largest difference", float((a - b).abs().max()), 1e-6


def check_losses(device: torch.device, little: bool) -> Iterator[tuple[str, float, float]]:
    """Values and gradients of float32 on the device against float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    z, v = (4 * torch.randn(BATCH, 100, generator=generator, dtype=torch.float64) for _ in range(2))
    y = torch.randint(100, (BATCH,), generator=generator)
    for name in ("kd", "kd_ls", "dkd_ls"):
        found = []
        for place, dtype in ((CPU, torch.float64), (device, torch.float32)):
            x = z.detach().clone().to(place, dtype).requires_grad_()
            value = LOSSES[name](x, v.to(place, dtype), y.to(place))
            value.backward()
            assert x.grad is not None
            found.append((value.item(), x.grad.double().cpu()))
        yield f"{name}, relative difference of the value", abs(found[1][0] / found[0][0] - 1), 1e-5
        scale = found[0][1].norm()
        yield f"{name}, relative difference of the gradient", float((found[1][1] - found[0][1]).norm() / scale), 1e-5


def pieces(device: torch.device) -> dict[str, tuple[Execution, float]]:
    """Those that the device has."""
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return {name: piece for name, piece in PIECES.items() if bf16 or piece[0].precision != "bf16"}


def check_pieces(device: torch.device, little: bool) -> Iterator[tuple[str, float, float]]:
    """Six members and MLKD: the plain path, itself again, and every piece."""
    steps = 6 if little else 24
    dataset = data(BATCH * (steps + 4) + 16)
    teacher = network(NETWORKS["small"], device)
    for label, members in (("six members", MEMBERS), ("MLKD", MLKD)):
        train = short_training(recipe(members), dataset, teacher, device, steps=steps)
        reference = train(PLAIN)
        for name, (how, limit) in {"plain, again": (PLAIN, 0.02), **pieces(device)}.items():
            try:
                found = deviation(reference, train(how))
            except RuntimeError as error:  # of this piece; the others are still tried
                print(f"     {name}: {error}", flush=True)
                found = sys.float_info.max
            yield f"{label}: {name}", found, limit


def check_epochs(device: torch.device, little: bool) -> Iterator[tuple[str, float, float]]:
    """Two epochs with a last batch that is smaller, graphs made anew as DKD and CTKD warm up, tests in between."""
    dataset = data(BATCH * 6 + 16)
    found = []
    for how in (PLAIN, on(fused=True, graph=True, streams=True)):
        teacher = network(NETWORKS["small"], device)
        chosen = Cohort(recipe(MEMBERS, epochs=3), dataset, seed=0, device=device, execution=how, teacher=teacher)
        with how.active():
            chosen.run()
        found.append({m.name: m.history for m in chosen.members})
    pairs = [(found[0][m][e], found[1][m][e]) for m in found[0] for e in range(3)]
    for name, limit in (("train_loss", 0.02), ("test_loss", 0.1)):
        yield f"three epochs: {name}, relative", max(abs(b[name] / a[name] - 1) for a, b in pairs), limit
    counts = max(abs(len(found[1][m]) - 3) for m in found[1])
    yield "three epochs: lines of history missing", float(counts), 0.0


def check_resume(device: torch.device, little: bool) -> Iterator[tuple[str, float, float]]:
    """Checkpoint and restore in the middle of a run with everything on."""
    how = on("float32", True, True, True)
    dataset = data(BATCH * 16)
    teacher = network(NETWORKS["small"], device)
    whole, first, second = (cohort(dataset, MEMBERS, device, how, teacher=teacher) for _ in range(3))
    before = weights_of(whole)
    with how.active():
        whole.run(until=12, window=BATCH)
        first.run(until=6, window=BATCH)
        second.restore(first.state())
        second.run(until=12, window=BATCH)
    yield (
        "resumed after six of twelve steps",
        deviation((before, weights_of(whole)), (before, weights_of(second))),
        0.02,
    )


def check_failure(device: torch.device, little: bool) -> Iterator[tuple[str, float, float]]:
    """A member whose loss explodes stops, is named, and its neighbour goes on."""
    members = {"bad": {**MEMBERS["kd"], "kd_weight": 1e38}, "good": {"method": "plain"}}
    how = on("float32", True, True, True)
    chosen = cohort(data(BATCH * 60), members, device, how, teacher=network(NETWORKS["small"], device))
    with how.active():
        chosen.run()
    bad, good = chosen.members
    yield "a failing member is not stopped", float(bad.failure is None), 0.0
    yield "its neighbour is stopped", float(good.failure is not None), 0.0
    yield "epochs of its neighbour missing", float(1 - len(good.history)), 0.0


def check_table(device: torch.device, little: bool) -> Iterator[tuple[str, float, float]]:
    """Logits from a table are those of the live teacher, float16 as close as its rounding."""
    dataset, teacher = data(BATCH), network(NETWORKS["small"], device)
    for dtype, limit in (("float32", 1e-3), ("float16", 5e-3)):
        with tempfile.TemporaryDirectory() as folder:
            header = header_of(teacher, NETWORKS["small"], dataset, dtype=dtype)
            build(Path(folder), header, teacher, dataset, device=device, progress=False)
            table = LogitTable(Path(folder), header, device)
            rows = torch.arange(BATCH, device=device)
            views = epoch_views(0, 1, BATCH, 162).to(device)
            with torch.no_grad():
                images = Views(dataset.train_images.to(device), pad=4, flip=True)(rows, views)
                live = teacher(normalize(images, dataset))
            scale = live.std()
            yield f"table, {dtype}: largest difference", float((table(rows, views) - live).abs().max() / scale), limit


def checks(device: torch.device, *, little: bool) -> list[dict[str, Any]]:
    """All checks; one that raises is a failed one, so that the others are still seen."""
    out: list[dict[str, Any]] = []
    groups = (check_views, check_losses, check_table, check_pieces, check_epochs, check_resume, check_failure)
    for check in groups:
        try:
            with PLAIN.active():
                for name, found, limit in check(device, little):
                    out.append({"check": name, "found": found, "limit": limit, "passed": found <= limit})
                    word = "ok  " if found <= limit else "FAIL"
                    print(f"{word} {name:58} {found:10.2e}  (at most {limit:g})", flush=True)
        except Exception as error:  # a piece that cannot run is a finding
            out.append({"check": check.__name__, "error": f"{type(error).__name__}: {error}", "passed": False})
            print(f"FAIL {check.__name__}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
    return out


# ---------------------------------------------------------------- speed


def per_second(device: torch.device, count: int, work: Callable[[], object]) -> float:
    """How many a second, of work that does ``count`` at a time; the first time does not count."""
    work()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(8):
        work()
    synchronize(device)
    return 8 * count / (time.perf_counter() - start)


def speeds(device: torch.device, *, little: bool) -> dict[str, Any]:
    """Student-images a second with pieces switched on one after the other, and parts by themselves."""
    steps = 8 if little else 300
    dataset = data(BATCH * (steps + 8) if little else TRAIN_IMAGES)
    teacher = network(NETWORKS["teacher"], device)
    out: dict[str, Any] = {"student_images_per_s": {}}
    ways = {
        "plain": PLAIN,
        "tf32": on("tf32"),
        "tf32, fused": on("tf32", True),
        "tf32, fused, streams": on("tf32", True, streams=True),
        "tf32, fused, graph": on("tf32", True, graph=True),
        "tf32, all": on("tf32", True, True, True),
        "bf16, all": on("bf16", True, True, True),
    }
    if device.type != "cuda" or not torch.cuda.is_bf16_supported():
        del ways["bf16, all"]
    with made_up_table(teacher, NETWORKS["teacher"], dataset, device) as table:
        for name, how in ways.items():
            plain = steps if how.graph or little else steps // 5
            for label, members in (("six from a table", MEMBERS), ("one from a table", {"kd_ls": MEMBERS["kd_ls"]})):
                seconds = seconds_a_step(cohort(dataset, members, device, how, teacher=teacher, table=table), plain)
                rate = len(members) * BATCH / seconds
                out["student_images_per_s"][f"{label}, {name}"] = rate
                print(f"{label}, {name:24} {rate:12,.0f} student-images/s", flush=True)
    best = ways["tf32, all"]
    live = seconds_a_step(cohort(dataset, MEMBERS, device, best, teacher=teacher), steps)
    out["student_images_per_s"]["six, live teacher, tf32, all"] = len(MEMBERS) * BATCH / live
    strong = seconds_a_step(cohort(dataset, MLKD, device, best, teacher=teacher), steps // 4)
    out["student_images_per_s"]["MLKD, live teacher, tf32, all"] = BATCH / strong
    images = dataset.train_images[: min(10_000, len(dataset.train_images))].to(device)
    labels = dataset.train_labels[: len(images)].to(device)
    student = network(NETWORKS["student"], device)
    out["test_images_per_s"] = per_second(device, len(images), lambda: evaluate(student, images, labels, dataset))
    with best.active():
        out["multiply_adds_per_s"] = {"tf32": product_rate(device, size=512 if little else 8192)}
    return out


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers that goals are set for."""
    rates = found["student_images_per_s"]
    six = max(rates.get(f"six from a table, {precision}, all", 0.0) for precision in ("tf32", "bf16"))
    steps = EPOCHS * STEPS_PER_EPOCH * len(MEMBERS) * BATCH / six
    tests = EPOCHS * len(MEMBERS) * 10_000 / found["test_images_per_s"]
    work, whole = 3 * model_info(NETWORKS["student"]).multiply_adds, rates["six from a table, tf32, all"]
    return {
        "cohort6_student_images_per_s": six,
        "cohort6_240_epochs_minutes": (steps + tests) / 60,
        "cohort6_share_of_matrix_product_rate": whole * work / found["multiply_adds_per_s"]["tf32"],
    }


def measured(device: torch.device, *, speed: bool = True, little: bool = False) -> dict[str, Any]:
    """Everything that the file says, but for how long it took; without ``speed`` the checks alone."""
    result = {"schema": 1, "networks": dict(NETWORKS), "batch": BATCH, "members": list(MEMBERS), "goals": GOALS}
    result |= {"machine": records.describe_device(device), "versions": records.versions()}
    result["checks"] = checks(device, little=little)
    if not little:
        write_json(RESULTS / "gpu-checks.json", result)  # whatever becomes of the rest
    if speed:
        found = speeds(device, little=little)
        result |= {**summary(found), "rates": found}
        for key, goal in GOALS.items():
            print(f"{key}: {result[key]:,.1f} (goal {goal:,.0f})")
    return result | {"finished": records.now()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, with little data; nothing is written")
    parser.add_argument("--only", choices=["checks"], help="do not measure speed; gpu-checks.json is written")
    chosen = parser.parse_args()
    rehearse = chosen.rehearse
    if rehearse:
        NETWORKS.update(REHEARSED)
    elif not torch.cuda.is_available():
        print("no CUDA device here; --rehearse runs the same calls on a CPU", file=sys.stderr)
        return 2
    started = time.perf_counter()
    result = measured(CPU if rehearse else torch.device("cuda"), speed=not chosen.only, little=rehearse)
    result["wall_seconds"] = time.perf_counter() - started
    if rehearse:
        print("a rehearsal on a CPU: nothing is written, and rates mean nothing")
    elif not chosen.only:
        write_json(RESULTS / "gpu.json", result)
    failed = [check["check"] for check in result["checks"] if not check["passed"]]
    if failed:
        print(f"{len(failed)} checks failed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
