"""Places where paper, released code and published logs disagree, each as numbers that anybody can compute in seconds.

The text is in ``notebooks/audit.ipynb``; here is the arithmetic. Numbers that were published come from
:mod:`paper.published`, numbers that are demonstrated are computed from seeded random logits. Tables are
``(headings, rows of text)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lskd.losses import CurriculumTemperature, dkd_loss, kd_loss, mlkd_terms, standardize
from lskd.models import create_model
from paper import published
from paper.toy import gradient, random_logits

Table = tuple[list[str], list[list[str]]]


def deviation() -> Table:
    """K or K - 1: the deviation of a Z-score, and both losses of the toy case's student 1 at T = 1."""
    rows = []
    for classes in (4, 10, 100, 1000):
        z = standardize(random_logits(1, classes, seed=0))
        found = z.std(correction=0).item()
        rows.append([str(classes), f"{found:.4f}", f"{1:.4f}", f"{100 * (1 / found**2 - 1):.1f} %"])
    return ["classes", "deviation of Z, code", "deviation of Z, paper", "variance differs by"], rows


def mean_subtraction() -> Table:
    """The four columns of the paper's Table 4 on one random batch: two pairs of equal losses."""
    student, teacher = random_logits(64, 100, seed=1), random_logits(64, 100, seed=2)

    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "raw logits": lambda x: x,
        "minus mean": lambda x: x - x.mean(dim=-1, keepdim=True),
        "over deviation": lambda x: x / (x.std(dim=-1, keepdim=True) + 1e-7),
        "Z-score": standardize,
    }
    losses = {k: kd_loss(f(student), f(teacher), temperature=2.0).item() for k, f in forms.items()}
    return ["what enters the softmax", "loss"], [[k, f"{v:.9f}"] for k, v in losses.items()]


def table_4_repeats() -> Table:
    """What the paper's Table 4 prints for those pairs: differences that can only be run-to-run spread."""
    found = published.find(source="Table 4")
    value = {(n.kd_weight, n.variant): n.value for n in found}
    rows = []
    for weight in sorted({n.kd_weight for n in found if n.kd_weight is not None}):
        raw, centred, scaled, z = (
            value[(weight, f"KD, {v}")] for v in ("raw logits", "logits minus mean", "logits over std", "z-score")
        )
        cells = [raw, centred, abs(centred - raw), scaled, z, abs(z - scaled)]
        rows.append([f"{weight:g}", *(f"{v:.2f}" for v in cells)])
    names = ["raw", "minus mean", "differ by", "over deviation", "Z-score", "differ by"]
    return ["weight", *names], rows


def headline_baseline() -> Table:
    """Every published KD value without LS of the pair that the paper discusses most, with its settings."""
    found = published.find(
        dataset="cifar100", teacher="resnet32x4", student="resnet8x4", method="kd", standardize=False
    )
    rows = []
    for n in found:
        if n.temperature is not None and n.kd_weight in (0.9, 9.0):
            place = n.source.partition(" (arXiv")[0]
            rows.append([place, n.variant or "KD", f"{n.temperature:g}", f"{n.kd_weight:g}", f"{n.value:.2f}"])
    return ["printed in", "method", "T", "weight", "test accuracy"], rows


def baseline_gradients() -> Table:
    """Length of the KD gradient on the student's logits at the baselines' settings, for one random batch."""
    student, teacher, rows = random_logits(64, 100, seed=1), random_logits(64, 100, seed=2), []
    settings = [
        ("literature's KD", 4.0, 0.9, False), ("released KD command", 2.0, 9.0, False), ("KD + LS", 2.0, 9.0, True),
    ]  # fmt: skip
    for name, temperature, weight, on in settings:
        loss = partial(kd_loss, teacher_logits=teacher, temperature=temperature, standardize=on)
        pull = gradient(loss, student)
        length = weight * 64 * pull.norm(dim=-1).mean().item()
        rows.append([name, f"{temperature:g}", f"{weight:g}", "yes" if on else "no", f"{length:.2f}"])
    return ["objective", "T", "weight", "LS", "gradient of an image (mean length)"], rows


def mask_effect() -> Table:
    """MLKD's KL term when the confident half of a batch is wrong, or the other half: as released, and as written."""
    teacher = torch.cat(
        [random_logits(32, 100, spread=8.0, seed=1), random_logits(32, 100, spread=1.0, seed=2)]
    )  # confident, unsure
    rows = []
    for masks in ("mean", "elementwise"):
        cells = []
        for half in (slice(0, 32), slice(32, 64)):
            student = teacher.clone()
            student[half] = student[half].flip(-1)
            target = torch.zeros(64, dtype=torch.int64)
            # "all": the strong view's terms, which have no mask, then see the strong view alone, which is right here.
            options = {"temperature": 2.0, "kd_weight": 1.0, "masks": masks, "strong_terms": "all"}
            both = mlkd_terms(student, teacher, teacher, teacher, target, **options)["kd"].item()  # type: ignore[arg-type]
            cells.append(f"{both:.3f}")
        name = "mean of the mask (released code)" if masks == "mean" else "image by image (as written)"
        rows.append([name, *cells])
    return ["mask applied as", "confident half is wrong", "unsure half is wrong"], rows


def strong_view_gradients() -> Table:
    """Which of MLKD's terms see the strong view: length of the gradient on its logits, as released and as written."""
    weak, strong, teacher_weak, teacher_strong = (random_logits(64, 100, seed=s) for s in range(4))
    target = torch.zeros(64, dtype=torch.int64)
    rows = []
    for terms in ("released", "all"):
        x = strong.clone().requires_grad_()
        found = mlkd_terms(
            weak, x, teacher_weak, teacher_strong, target, temperature=2.0, kd_weight=1.0,
            strong_terms=terms,
        )  # fmt: skip
        cells = []
        for key in ("kd", "cc", "bc"):
            if not found[key].requires_grad:
                cells.append("none")
                continue
            (gradient,) = torch.autograd.grad(found[key], x, retain_graph=True)
            cells.append(f"{gradient.norm().item():.3f}")
        rows.append(["released code" if terms == "released" else "all terms", *cells])
    return ["strong view", "KL terms", "class correlation", "batch correlation"], rows


def ctkd_temperatures() -> Table:
    """Temperatures that CTKD can reach with the script's settings, and those of the published logs."""
    rows = []
    for name, start, reach in (("released script", 1.0, 20.0), ("settings that fit the logs", 2.0, 40.0)):
        module = CurriculumTemperature(start, reach)
        rows.append([name, f"{start:g} to {start + reach:g}", f"{module(0.0).item():.1f}"])
    logged = [(float(row["ctkd_temperature"]), row["epoch"]) for row in published.curves() if row["ctkd_temperature"]]
    first = [temperature for temperature, epoch in logged if epoch == "1"]
    span = f"{min(logged)[0]:.2f} to {max(logged)[0]:.2f} (logged)"
    rows.append(["published logs, after epoch 1", span, f"{min(first):.1f} to {max(first):.1f}"])
    return ["", "range of T", "T at the start"], rows


def batch_statistics() -> Table:
    """A wide ResNet's running variance after one step: ordinary, and as the released forward leaves it."""
    rows = []
    batch = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for released in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = create_model("wrn_16_1")
        if released:
            model.use_released_batchnorm()
        model.train()(batch)
        last: Any = model.get_submodule("bn1")
        name = "released forward, features collected" if released else "ordinary forward"
        moved = (1 - last.running_var).abs().mean().item()
        rows.append([name, f"{last.momentum:g}", f"{moved:.4f}", str(last.num_batches_tracked.item())])
    return ["", "momentum in effect", "running variance moved by", "batches counted"], rows


def best_epoch() -> Table:
    """Best minus last test accuracy of the published CIFAR-100 logs, by method."""
    by_method: dict[str, list[float]] = {method: [] for method in ("KD", "CTKD", "DKD", "MLKD")}
    for run in published.logs()["logs"]:
        if run["dataset"] == "CIFAR-100":
            by_method[run["method"]].append(run["best_minus_last"])
    by_method["all"] = [v for values in by_method.values() for v in values]
    rows = [[k, str(len(v)), f"{mean(v):.2f}", f"{max(v):.2f}"] for k, v in by_method.items()]
    return ["method", "runs", "best − last, mean (points)", "largest (points)"], rows


def headline_run() -> Table:
    """Training loss of the published resnet32x4 -> resnet8x4 KD+LS run around its two unexplained steps."""
    rows = []
    for row in published.curves():
        if (row["method"], row["teacher"], row["student"]) != ("KD", "resnet32x4", "resnet8x4"):
            continue
        epoch = int(row["epoch"])
        if epoch in (148, 149, 150, 151, 152, 180, 181, 208, 209, 210, 211):
            rows.append([row["epoch"], row["lr"], row["train_loss"], row["train_acc"], row["test_acc"]])
    return ["epoch", "learning rate, as logged", "training loss", "training accuracy", "test accuracy"], rows


def constant_row() -> Table:
    """Gradient on a row of equal logits, as a zero-initialised head gives it: released formula and this project's."""
    teacher = random_logits(2, 100, seed=2).float()

    def released(x: Tensor) -> Tensor:
        return (x - x.mean(dim=-1, keepdim=True)) / (1e-7 + x.std(dim=-1, keepdim=True))

    rows = []
    for name, form in (("released formula", released), ("lskd.losses.standardize", standardize)):
        p, z = F.softmax(form(teacher) / 2, dim=-1), torch.zeros(2, 100, requires_grad=True)
        loss = 4 * F.kl_div(F.log_softmax(form(z) / 2, dim=-1), p, reduction="batchmean")
        size = torch.autograd.grad(loss, z)[0].abs().max().item()
        rows.append([name, "not a number" if math.isnan(size) else f"{float(f'{size:.2g}'):,g}"])
    return ["", "largest gradient on a constant row"], rows


def large_logits() -> Table:
    """DKD at T = 1 on float32 logits of growing spread: the released arithmetic and this project's."""

    def released(z: Tensor, v: Tensor, target: Tensor) -> float:
        mask = F.one_hot(target, z.shape[-1]).bool()

        def binary(x: Tensor) -> Tensor:
            p = F.softmax(x, dim=-1)
            return torch.stack([(p * mask).sum(-1), (p * ~mask).sum(-1)], dim=-1)

        target_part = F.kl_div(binary(z).log(), binary(v), reduction="batchmean")
        rest = (F.log_softmax(z - 1000 * mask, -1), F.softmax(v - 1000 * mask, -1))
        return (target_part + 8 * F.kl_div(*rest, reduction="batchmean")).item()

    rows = []
    target = torch.zeros(64, dtype=torch.int64)
    for spread in (3.0, 20.0, 60.0, 200.0):
        z, v = (random_logits(64, 100, spread=spread, seed=seed).float() for seed in (1, 2))
        theirs, ours = released(z, v, target), dkd_loss(z, v, target, temperature=1.0).item()
        rows.append([f"{spread:g}", "not a number" if math.isnan(theirs) else f"{theirs:.4g}", f"{ours:.4g}"])
    return ["deviation of logits", "released arithmetic", "lskd.losses.dkd_loss"], rows


def class_mean_drift() -> Table:
    """The mean over classes of a gradient on logits: zero for every loss, so only weight decay moves a row's mean."""
    teacher, target = random_logits(64, 100, seed=2), torch.arange(64) % 100
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "cross-entropy": lambda z: F.cross_entropy(z, target),
        "KD": lambda z: kd_loss(z, teacher, temperature=2.0),
        "KD + LS": lambda z: kd_loss(z, teacher, temperature=2.0, standardize=True),
        "DKD": lambda z: dkd_loss(z, teacher, target),
    }
    rows = []
    for name, loss in losses.items():
        pull = gradient(loss, random_logits(64, 100, seed=1))
        rows.append([name, f"{pull.abs().mean().item():.1e}", f"{pull.mean(dim=-1).abs().max().item():.0e}"])
    return ["loss", "size of an entry", "largest mean over classes"], rows
