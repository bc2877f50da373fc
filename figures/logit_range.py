"""Range, mean and standard deviation of logits: first row of the paper's Fig. 3, and Fig. 5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage, stats

from figures import theme
from figures.networks import Networks
from figures.publish import Published, publish
from lskd.evidence import Evidence
from paper.logits import z_scores
from paper.members import SUFFIX, label

POINTS = 240  # of a density curve
SHARES = 0.9, 0.5  # of the images, inside a contour


def choose_sample(teacher: Evidence) -> int:
    """Position in ``teacher.logits`` of the image with the median confidence (largest probability, T = 1).

    The paper shows CIFAR-100 test image 448; other data need a rule that is as little a choice. Of an even
    number of images it is the lower of the two in the middle.
    """
    shifted = teacher.logits.astype(np.float64) - teacher.logits.max(axis=1, keepdims=True)
    confidence = 1 / np.exp(shifted).sum(axis=1)
    return int(np.argsort(confidence, kind="stable")[(len(confidence) - 1) // 2])


def bars(networks: Networks, *, folder: Path | str, method: str = "", sample: int | None = None) -> Published:
    """All logits of one test image, teacher and student: without LS, with LS, and with LS after standardisation.

    Args:
        networks: with the member ``method`` and its partner with LS, see :func:`paper.members.pairs`.
        method: by default the first that has a partner; one may have none here because it stopped early.
        sample: test image, one of ``logits_index``; by default :func:`choose_sample`.

    Raises:
        ValueError: a member or the image's whole logit row is not there.
    """
    method = method or next((first for first, _ in networks.methods), "kd")
    twin = dict(networks.methods).get(method, method + SUFFIX)
    missing = [m for m in (method, twin) if m not in networks.packs]
    if missing:
        raise ValueError(f"bars: no member {', '.join(missing)}; there are {', '.join(networks.students)}")
    teacher = networks.teacher
    stored = teacher.logits_index.tolist()
    image = stored[choose_sample(teacher)] if sample is None else sample
    if image not in stored:
        raise ValueError(f"bars: whole logits of test image {sample} are not stored; stored are {stored[:5]} ...")
    position = stored.index(image)
    row = {m: networks.packs[m].logits[position].astype(np.float64) for m in ("teacher", method, twin)}
    z = {m: z_scores(row[m][None])[0] for m in ("teacher", twin)}
    target = int(teacher.label[image])
    panels = [
        (method, "raw logits", row["teacher"], row[method]),
        (twin, "raw logits", row["teacher"], row[twin]),
        (twin, "both standardised", z["teacher"], z[twin]),
    ]
    order = np.argsort(teacher.superclass, kind="stable")

    def draw(fig: Figure) -> None:
        axes = fig.subplots(len(panels), 1, sharex=True)
        raw = [v for _, kind, *values in panels if kind == "raw logits" for v in values]
        for ax, (member, kind, of_teacher, of_student) in zip(axes, panels, strict=True):
            looks = networks.look("teacher"), networks.look(member)
            _draw_bars(ax, of_teacher[order], of_student[order], looks)
            shown = raw if kind == "raw logits" else [of_teacher, of_student]
            low, high = min(v.min() for v in shown), max(v.max() for v in shown)
            ax.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
            # The legend stands beside the title, or below it where there is no room.
            ax.set_title(f"{looks[1].label}, {kind}", pad=25 if theme.is_narrow() else None)
            ax.set_ylabel("logit" if kind == "raw logits" else "Z-score")
            at = int(np.flatnonzero(order == target)[0])
            ax.plot([at], [1.0], "v", color=theme.INK, ms=5, transform=ax.get_xaxis_transform(), clip_on=False)
            corner, height = ("lower right", 1.0) if theme.is_narrow() else ("upper right", 1.22)
            ax.legend(loc=corner, bbox_to_anchor=(1.0, height), ncols=2, handlelength=1.2).set_in_layout(False)
        superclass_ticks(axes[-1], teacher, "x")
        axes[-1].set_xlabel(f"class, grouped by superclass (▾ true class {teacher.class_names[target]!s})")

    names = label(method), label(twin)
    data = pd.DataFrame(
        {
            "class": teacher.class_names,
            "teacher": row["teacher"],
            method: row[method],
            twin: row[twin],
            "teacher_standardised": z["teacher"],
            f"{twin}_standardised": z[twin],
        }
    )
    deviation = {m: float(v.std()) for m, v in row.items()}
    chosen = "the median of the stored rows by the teacher's confidence" if sample is None else "chosen by its number"
    return publish(
        draw,
        f"logit_bars_{method}",
        height=5.6,
        folder=folder,
        alt=f"Bars of {len(data)} logits of one test image. Standard deviation: teacher {deviation['teacher']:.2f}, "
        f"{names[0]} student {deviation[method]:.2f}, {names[1]} student {deviation[twin]:.2f} before "
        f"standardisation; after it teacher and student are both {z[twin].std():.3f}.",
        caption=f"<b>All logits of one test image.</b> Image {image} (true class {teacher.class_names[target]}), "
        f"{chosen}. σ is this image's standard deviation over classes (divided by K). n = 1 of "
        + networks.source.removeprefix("n = "),
        inputs=networks.paths("teacher", method, twin),
        data=data,
    )


def _draw_bars(ax: Axes, of_teacher: np.ndarray, of_student: np.ndarray, looks: tuple[theme.Look, theme.Look]) -> None:
    edges = np.arange(len(of_teacher) + 1) - 0.5
    name = f"{looks[0].label}, σ = {of_teacher.std():.3g}"
    ax.stairs(of_teacher, edges, fill=True, label=name, color=theme.MUTED, alpha=0.5, lw=0)
    # The student's bars are half as wide and stand in front, so that both ends stay visible.
    inner = np.sort(np.concatenate([edges[:-1] + 0.25, edges[:-1] + 0.75]))
    heights = np.zeros(len(inner) - 1)
    heights[::2] = of_student
    name = looks[1].label
    ax.stairs(heights, inner, fill=True, color=looks[1].color, lw=0, label=f"{name}, σ = {of_student.std():.3g}")
    ax.axhline(0, color=theme.MUTED, lw=0.7)
    ax.set_xlim(-1, len(of_teacher))


def superclass_ticks(ax: Axes, pack: Evidence, which: Literal["x", "y"]) -> None:
    """Ticks at the borders of superclasses and their names between them; classes sorted by superclass."""
    counts = np.bincount(pack.superclass, minlength=len(pack.superclass_names))
    borders = np.concatenate([[0], np.cumsum(counts)]) - 0.5
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_ticks(borders, labels=[])
    long = max(map(len, pack.superclass_names)) > 4
    names = [str(name).replace("_", " ") for name in pack.superclass_names]
    axis.set_ticks((borders[:-1] + borders[1:]) / 2, labels=names, minor=True)
    ax.tick_params(axis=which, which="minor", length=0, rotation=90 if long and which == "x" else 0)


def spread(networks: Networks, *, folder: Path | str) -> Published:
    """Distributions of the standard deviation and of the range of logits over test images, one row a network."""
    columns = [("logit_std", "standard deviation of logits"), ("logit_range", "range of logits (largest − smallest)")]
    packs = networks.packs

    def draw(fig: Figure) -> None:
        axes = fig.subplots(1, 2, sharey=True)
        for ax, (field, name) in zip(axes, columns, strict=True):
            ends = max(float(np.quantile(getattr(p, field), 0.999)) for p in packs.values()) * 1.02
            for place, (member, pack) in enumerate(packs.items()):
                values = getattr(pack, field).astype(np.float64)
                _ridge(ax, values, -place, networks.look(member), ends)
                text = f"{values.mean():.2f}"
                ax.text(1.0, -place + 0.12, text, transform=ax.get_yaxis_transform(), ha="right", fontsize=8.5)
            mean = float(getattr(networks.teacher, field).mean())
            ax.axvline(mean, color=theme.MUTED, lw=0.9, ls=(0, (1, 2)), zorder=0)
            ax.set(xlim=(0, ends * 1.17), ylim=(-len(packs) + 0.75, 0.98), xlabel=name)
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
            ax.text(1.0, 1.0, "mean", transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color=theme.MUTED)
        labels = [networks.look(m).label for m in packs]
        axes[0].set_yticks([-i + 0.22 for i in range(len(packs))], labels=labels, fontsize=9)

    described = "; ".join(f"{networks.packs[m].logit_std.mean():.2f} for {label(m)}" for m in networks.packs)
    return publish(
        draw,
        "logit_spread",
        height=0.47 * len(packs) + 0.95,
        folder=folder,
        alt=f"Distributions over test images, one row a network. Mean standard deviation of logits: {described}.",
        caption="<b>How far logits spread.</b> Standard deviation (divided by K) and range over the classes of each "
        "test image. All curves have the same height; the line in each is the median, the number the mean, the "
        f"dotted line the teacher's mean. {networks.source}",
        inputs=networks.paths(),
        data=networks.by_image(packs, lambda p: {"logit_std": p.logit_std, "logit_range": p.logit_range}),
    )


def _ridge(ax: Axes, values: np.ndarray, base: float, look: theme.Look, ends: float) -> None:
    x = np.linspace(0, ends, POINTS)
    if values.std() > 1e-6 * max(abs(values.mean()), 1e-12):
        y = stats.gaussian_kde(values)(x)
    else:  # all images alike: a density has no width to estimate
        y = (np.abs(x - values.mean()) <= ends / POINTS).astype(float)
    y = 0.82 * y / y.max() if y.max() > 0 else y
    seen = y > 0.002
    if seen.any():
        first, last = np.flatnonzero(seen)[[0, -1]]
        x, y = x[first : last + 1], y[first : last + 1]
    ax.fill_between(x, base, base + y, color=look.fill, lw=0, zorder=2 - base)
    ax.plot(x, base + y, color=look.color, lw=1.2, ls="-" if look.filled else "--", zorder=2 - base)
    ax.axhline(base, color=look.color, lw=0.6, alpha=0.5, zorder=1)
    middle = float(np.median(values))
    height = float(np.interp(middle, x, y))
    tick = theme.PAPER if look.filled else look.color
    ax.plot([middle, middle], [base, base + height], color=tick, lw=1.3, zorder=2.5 - base, solid_capstyle="butt")


def mean_and_deviation(networks: Networks, *, folder: Path | str) -> Published:
    """Mean (x) and standard deviation (y) of every image's logits, one panel a method, as in Fig. 5."""
    pairs: Sequence[tuple[str, ...]] = networks.methods or [(m,) for m in networks.students]
    shown = ["teacher", *(m for pair in pairs for m in pair)]
    constant = math.sqrt(1 - 1 / len(networks.teacher.class_names))

    def draw(fig: Figure) -> None:
        axes = np.atleast_1d(fig.subplots(1, len(pairs), sharex=True, sharey=True))
        grid = _Grid([networks.packs[m] for m in shown])
        for ax, pair in zip(axes, pairs, strict=True):
            for member in ("teacher", *pair):
                _contours(ax, grid, networks.packs[member], networks.look(member))
            ax.axhline(constant, color=theme.INK, lw=1.0, ls=(0, (1, 1.5)))
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.5, columnspacing=1.2)
            ax.set_xlabel("mean of logits")
        axes[0].set(xlim=grid.x[[0, -1]], ylim=(0, grid.y[-1]), ylabel="standard deviation of logits")

    means = {m: networks.packs[m].logit_mean for m in shown}
    widths = ", ".join(f"{label(m)} {mean.mean():.3f} ± {mean.std():.3f}" for m, mean in means.items())
    return publish(
        draw,
        "logit_mean_std",
        height=3.35,
        folder=folder,
        alt="Regions that hold most test images: mean of an image's logits against their standard deviation. Mean and "
        f"standard deviation, over images, of the logits' mean: {widths}.",
        caption="<b>Mean and standard deviation of each test image's logits.</b> Lines enclose "
        f"{100 * SHARES[1]:.0f} % and {100 * SHARES[0]:.0f} % of the images. Standardised, every image of every "
        f"network lies at mean 0 and √((K−1)/K) = {constant:.3f}, on the dotted line. {networks.source}",
        inputs=networks.paths(*shown),
        data=networks.by_image(shown, lambda p: {"logit_mean": p.logit_mean, "logit_std": p.logit_std}),
    )


class _Grid:
    """A common raster over (mean, standard deviation) on which densities of several networks are estimated."""

    def __init__(self, packs: Sequence[Evidence], cells: int = 120) -> None:
        means = np.concatenate([p.logit_mean for p in packs]).astype(np.float64)
        deviations = np.concatenate([p.logit_std for p in packs]).astype(np.float64)
        low, high = np.quantile(means, [0.002, 0.998])
        pad = 0.25 * (high - low) + 1e-9
        self.x = np.linspace(low - pad, high + pad, cells + 1)
        self.y = np.linspace(0, 1.15 * np.quantile(deviations, 0.995) + 1e-9, cells + 1)

    def density(self, pack: Evidence) -> np.ndarray:
        """``[y, x]``: share of images a cell, smoothed over Scott's bandwidth."""
        values, edges = (pack.logit_std, pack.logit_mean), (self.y, self.x)
        count, _, _ = np.histogram2d(*values, bins=edges)
        scott = len(pack.label) ** (-1 / 6)
        widths = [max(scott * float(v.std()) / (e[1] - e[0]), 0.7) for v, e in zip(values, edges, strict=True)]
        smooth = ndimage.gaussian_filter(count, widths, mode="constant")
        return smooth / max(smooth.sum(), 1e-12)


def _contours(ax: Axes, grid: _Grid, pack: Evidence, look: theme.Look) -> None:
    density = grid.density(pack)
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered)
    levels = [float(ordered[np.searchsorted(held, share)]) for share in SHARES]
    x, y = (grid.x[:-1] + grid.x[1:]) / 2, (grid.y[:-1] + grid.y[1:]) / 2
    if not 0 < levels[0] < levels[1] < ordered[0]:  # all images in a cell or two: there is no contour to draw
        ax.plot([pack.logit_mean.mean()], [pack.logit_std.mean()], ls="none", label=look.label, **look.points())
        return
    full = look.filled and look.marker != "*"
    if full:
        ax.contourf(x, y, density, [levels[0], levels[1], 1.0], colors=[look.color] * 2, alpha=0.35)
        ax.contourf(x, y, density, [levels[1], 1.0], colors=[look.color], alpha=0.45)
    ax.contour(x, y, density, levels, colors=look.color, linewidths=1.3, linestyles=[look.linestyle])
    ax.plot([], [], color=look.color, ls=look.linestyle, label=look.label, lw=5 if full else 1.5)
