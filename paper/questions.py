"""What the page of questions shows: each answer's numbers, computed in seconds. Tables are (headings, rows of text).

Random logits are seeded and float64 unless a table says otherwise; published numbers come from :mod:`paper.published`
and from the recipes.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from lskd import losses
from lskd.errors import LskdError
from lskd.losses import CurriculumTemperature, curriculum_reversal, dkd_loss, kd_loss, mlkd_terms, standardize
from paper import published, statistics, store, tables
from paper.cells import Cell
from paper.disagreements import Table
from paper.toy import gradient, random_logits

WEIGHTS = {"plain KD, T 4, weight 0.9": (4.0, 0.9, False), "plain KD, T 2, weight 9": (2.0, 9.0, False)}
WEIGHTS["KD + LS, T 2, weight 9"] = (2.0, 9.0, True)


def _number(value: float, digits: int = 3) -> str:
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "−").replace("e−0", "e−")


# --- settings --------------------------------------------------------------------------------------------------------


def settings() -> Table:
    """Temperature and weight of every published CIFAR-100 pair with LS, for DKD also β; ``*`` marks an assumption."""
    found: dict[str, dict[str, Cell]] = {}
    for cell in (*tables.printed(2), *tables.printed(1)):
        if cell.standardize:
            found.setdefault(f"{cell.teacher} → {cell.student}", {})[cell.method] = cell
    names = {"kd": "KD: T, weight", "ctkd": "CTKD: weight", "dkd": "DKD: T, weight, β", "mlkd": "MLKD: T, weight"}
    rows = []
    for pair, methods in found.items():
        rows.append([pair, *(_setting(methods[m]) if m in methods else "–" for m in names)])
    return ["teacher → student", *names.values()], rows


def _setting(cell: Cell) -> str:
    keys = {"temperature": cell.temperature, "kd_weight": cell.kd_weight, "beta": cell.beta}
    shown = [f"{v:g}" + "*" * (k in cell.assumed) for k, v in keys.items() if v is not None]
    return ", ".join(shown)


def loss_sizes() -> Table:
    """Loss and gradient of an image at three settings, for students whose logits have other spreads than the teacher's.

    The teacher's logits have deviation 3; the student's point elsewhere, so that nothing here is nearly solved.
    """
    teacher, rows = random_logits(64, 100, seed=2), []
    for spread in (0.3, 1.0, 3.0, 10.0):
        row, student = [f"{spread:g}"], random_logits(64, 100, spread=spread, seed=1)
        for temperature, weight, on in WEIGHTS.values():
            loss = partial(kd_loss, teacher_logits=teacher, temperature=temperature, standardize=on)
            pull = 64 * gradient(loss, student).norm(dim=-1).mean().item()
            row.append(f"{weight * loss(student).item():.1f}; {weight * pull:.2f}")
        rows.append(row)
    return ["student's deviation", *WEIGHTS], rows


# --- how sure --------------------------------------------------------------------------------------------------------


def repeated_runs() -> Table:
    """The released logs that hold two runs of one setting: best epochs of both, and how far they lie apart."""
    best: dict[tuple[str, str, str], list[float]] = {}
    for run in published.logs()["logs"]:
        if run["dataset"] == "CIFAR-100":
            key = (run["method"], run["teacher"], run["student"])
            best.setdefault(key, []).append(float(run["best_test_acc"]))
    rows = [
        [f"{method}, {teacher} → {student}", *(f"{v:.2f}" for v in sorted(values)), f"{max(values) - min(values):.2f}"]
        for (method, teacher, student), values in best.items()
        if len(values) == 2
    ]
    return ["released log", "a run", "the other", "differ by (points)"], rows


def seed_precision(records: Path | str) -> Table:
    """Half width of a 95 % t-interval over n seeds, from the spread that this project measured.

    Args:
        records: committed records of one recipe with ``kd`` and ``kd_ls``, three seeds at least.

    Raises:
        LskdError: there are none.
    """
    found = next(iter(store.aggregate(records).values()), [])
    if len(found) < statistics.ENOUGH_SEEDS:
        raise LskdError(f"{records}: expected records of a recipe, {statistics.ENOUGH_SEEDS} seeds at least")
    row = statistics.results(found).set_index("member").loc["kd"]
    rows = []
    for n in (3, 5, 10, 20):
        factor = float(stats.t.ppf(0.975, n - 1)) / math.sqrt(n)
        rows.append([str(n), *(f"± {factor * row[f'{part}_sd']:.2f}" for part in ("without", "difference"))])
    return ["seeds", "an accuracy", "LS minus without, seed by seed"], rows


# --- what it computes ------------------------------------------------------------------------------------------------


def own_temperatures() -> Table:
    """KD + LS at base temperature 2, and plain KD where each row of each network has the temperature 2 σ: equal."""
    student, teacher = random_logits(64, 100, spread=1.0, seed=1), random_logits(64, 100, seed=2)
    student = student * torch.linspace(0.2, 5, 64, dtype=torch.float64)[:, None]
    p, q = (F.log_softmax(x / (2 * (x.std(dim=-1, keepdim=True) + 1e-7)), dim=-1) for x in (teacher, student))
    own = 4 * (p.exp() * (p - q)).sum(dim=-1).mean().item()
    ls = kd_loss(student, teacher, temperature=2.0, standardize=True).item()
    spread = 2 * student.std(dim=-1)
    named = f"temperature 2 σ of each row, {spread.min():.1f} to {spread.max():.1f} for the student"
    return ["", "loss"], [["Z-scores, base temperature 2", f"{ls:.12f}"], [named, f"{own:.12f}"]]


def two_classes() -> Table:
    """Z-scores of pairs of logits."""
    rows = []
    for pair in ((0.1, 0.0), (3.0, 0.0), (-50.0, 50.0)):
        with torch.no_grad():
            x = torch.tensor([pair], dtype=torch.float64)
            z = (x - x.mean()) / x.std()
        rows.append([f"{pair[0]:g}, {pair[1]:g}".replace("-", "−"), ", ".join(_number(v, 4) for v in z[0].tolist())])
    return ["logits", "Z-scores"], rows


def dense_logits() -> Table:
    """A map of logits [batch, classes, height, width]: the axis named, place by place, and the wrong axis."""
    student, teacher = (random_logits(2, 21, 8, 8, seed=s) for s in (1, 2))

    def loss(x: Tensor, y: Tensor, dim: int) -> float:
        return kd_loss(x, y, temperature=2.0, standardize=True, dim=dim).item()

    places = [loss(student[:, :, i, j], teacher[:, :, i, j], 1) for i in range(8) for j in range(8)]
    return ["how", "loss"], [
        ["dim=1", f"{loss(student, teacher, 1):.9f}"],
        ["place by place, averaged", f"{sum(places) / len(places):.9f}"],
        ["no dim (columns of the image become classes)", f"{loss(student, teacher, -1):.9f}"],
    ]


def unused_vocabulary() -> Table:
    """Loss of 100 tokens, and with 20 more that no text has: cut off, or filled with numbers."""
    student, teacher = random_logits(64, 100, seed=1), random_logits(64, 100, seed=2)

    def losses(*fill: float) -> list[str]:
        padded = [F.pad(x, (0, 20), value=value) for x, value in zip((student, teacher), fill, strict=True)]
        return [_number(kd_loss(*padded, temperature=2.0, standardize=on).item(), 4) for on in (False, True)]

    cut = [_number(kd_loss(student, teacher, temperature=2.0, standardize=on).item(), 4) for on in (False, True)]
    filled = {"−10,000 on both sides": (-1e4, -1e4), "−inf on both sides": (-math.inf, -math.inf)}
    filled |= {"−10,000 and −30,000": (-1e4, -3e4), "−1,000 on both sides": (-1e3, -1e3)}
    rows = [["cut off: logits[..., :used]", *cut], *([words, *losses(*values)] for words, values in filled.items())]
    return ["unused entries", "KD", "KD + LS"], rows


def _peaked(first: Tensor, share: float = 1.0) -> Tensor:
    """Teacher's logits [64, 100] of images of one class, or of that and the next one, the first by ``share``."""
    second = F.one_hot((first + 1) % 100, 100)
    return random_logits(64, 100, seed=2) + 12 * (share * F.one_hot(first, 100) + (1 - share) * second)


def mixed_labels() -> Table:
    """KD and DKD, both with LS, on mixed images of two classes, of which the teacher sees the share."""
    student, first, rows = random_logits(64, 100, seed=1), torch.arange(64), []
    for share in (1.0, 0.7, 0.5):
        teacher = _peaked(first, share)
        values = [kd_loss(student, teacher, temperature=2.0, standardize=True)]
        for parts in ((1.0, 0.0), (0.0, 1.0), (share, 1 - share)):
            pairs = zip(parts, (first, first + 1), strict=True)
            each = [p * dkd_loss(student, teacher, y, temperature=2.0, standardize=True) for p, y in pairs]
            values.append(torch.stack(each).sum())
        rows.append([f"{share:g}", *(f"{value.item():.3f}" for value in values)])
    return ["share of the first", "KD", "DKD, first label", "DKD, second label", "DKD, each by its share"], rows


def learned_temperature() -> Table:
    """CTKD's λ, and what a step of θ with learning rate 1 changes in the temperature of KD and DKD, both with LS."""
    target, rows = torch.arange(64), []
    teacher = _peaked(target)
    student = (standardize(teacher) + 2 * standardize(random_logits(64, 100, seed=1))).detach()
    losses = {
        "KD": lambda t: 9 * kd_loss(student, teacher, temperature=t, standardize=True),
        "DKD": lambda t: dkd_loss(student, teacher, target, alpha=9, beta=72, temperature=t, standardize=True),
    }
    for epoch in (1, 5, 10):
        changes = []
        for loss in losses.values():
            temperature = CurriculumTemperature(t_start=2.0, t_end=40.0).double()
            before = temperature(curriculum_reversal(epoch))
            loss(before).backward()
            torch.optim.SGD(temperature.parameters(), lr=1.0).step()
            changes.append(_number((temperature(0.0) - before).item(), 2))
        rows.append([str(epoch), _number(curriculum_reversal(epoch), 2), *changes])
    return ["epoch", "λ", *(f"T with {name} + LS changes by" for name in losses)], rows


def kldiv_weights() -> Table:
    """The forms of the loss that are in use, for one batch at T = 2, and the weight of each that equals 9 here."""
    student, teacher = random_logits(64, 100, seed=3), random_logits(64, 100, seed=4)
    here = kd_loss(student, teacher, temperature=2.0).item()
    log_q, p = (student / 2).log_softmax(1), (teacher / 2).softmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch's own advice against "mean"
        mean, batchmean = (nn.KLDivLoss(reduction=kind)(log_q, p).item() for kind in ("mean", "batchmean"))
    forms = {
        "lskd.losses.kd_loss": here,
        'T² · KLDivLoss(reduction="batchmean")': 4 * batchmean,
        'KLDivLoss(reduction="batchmean")': batchmean,
        "T² · KLDivLoss()": 4 * mean,
        "KLDivLoss()": mean,
    }
    rows = [[name, _number(value, 4), f"{9 * here / value:,.0f}"] for name, value in forms.items()]
    return ["form", "value for one batch, 100 classes", "weight that equals 9 here"], rows


def averaged_teachers() -> Table:
    """How much the average of two teachers, one with logits ten times larger, agrees with each: correlation."""
    first, second = random_logits(64, 100, seed=1), random_logits(64, 100, spread=30.0, seed=2)
    averages = {"raw logits": (first + second) / 2, "Z-scores": (standardize(first) + standardize(second)) / 2}

    def agreement(x: Tensor, y: Tensor) -> float:
        return float((standardize(x) * standardize(y)).sum(dim=-1).mean() / (x.shape[-1] - 1))

    rows = [[f"average of {k}", *(f"{agreement(v, t):.2f}" for t in (first, second))] for k, v in averages.items()]
    return ["", "agrees with the first", "with the second"], rows


# --- machines --------------------------------------------------------------------------------------------------------


def half_precision() -> Table:
    """Largest gradient of KD + LS on float16 logits: the usual formula in float16, and ``kd_loss``."""

    def usual(z: Tensor, v: Tensor) -> Tensor:
        z, v = ((x - x.mean(-1, keepdim=True)) / (1e-7 + x.std(-1, keepdim=True)) for x in (z, v))
        rows = F.kl_div(F.log_softmax(z / 2, dim=-1), F.softmax(v / 2, dim=-1), reduction="none").sum(dim=-1)
        return 4 * rows.mean()

    teacher, rows = random_logits(64, 100, seed=2).half(), []
    for name, spread in (("ordinary, deviation 3", 3.0), ("nearly flat, deviation 0.0001", 1e-4), ("all equal", 0.0)):
        student = random_logits(64, 100, spread=spread, seed=1).half()
        losses = (
            partial(usual, v=teacher),
            partial(kd_loss, teacher_logits=teacher, temperature=2.0, standardize=True),
        )
        rows.append([name, *(_number(gradient(loss, student).abs().max().item(), 2) for loss in losses)])
    return ["student's logits", "formula in float16", "lskd.losses.kd_loss"], rows


def shards() -> Table:
    """A batch of 64 in one process, and the mean over two processes with 32 each."""
    student, strong, teacher, teacher_strong = (random_logits(64, 100, seed=s) for s in range(4))
    target = torch.arange(64) % 100

    def terms(part: slice) -> dict[str, float]:
        kd = kd_loss(student[part], teacher[part], temperature=2.0, standardize=True)
        found = mlkd_terms(
            student[part], strong[part], teacher[part], teacher_strong[part], target[part],
            temperature=2.0, kd_weight=9.0, standardize=True,
        )  # fmt: skip
        names = {"kd": "MLKD, KL terms", "cc": "MLKD, class correlation", "bc": "MLKD, batch correlation"}
        pair = student[part], teacher[part]
        of_batch = {"LumiNet": losses.luminet_loss(*pair).item(), "DIST": losses.dist_loss(*pair).item()}
        return {"KD + LS": kd.item()} | of_batch | {name: found[key].item() for key, name in names.items()}

    whole, first, second = (terms(part) for part in (slice(None), slice(0, 32), slice(32, 64)))
    rows = [[name, _number(loss, 6), _number((first[name] + second[name]) / 2, 6)] for name, loss in whole.items()]
    return ["term", "one process", "mean of two"], rows
