"""What the student still gets wrong: distance of class-mean logits from the teacher's (second row of Fig. 3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from figures import scales, theme
from figures.logit_range import superclass_ticks
from figures.networks import Networks
from figures.publish import Published, publish
from paper.logits import gap_matrix, gap_statistics
from paper.members import label

KINDS = ("raw", "standardised")
SHORT = 4  # letters of a superclass's name that fit under a small panel


def heatmaps(networks: Networks, *, folder: Path | str) -> Published:
    """|student - teacher| of class-mean logits: one row a method, without and with LS, raw and standardised.

    The two raw panels of a method share one range, as in the paper. Z-scores have a scale of their own, the same
    for all methods; drawn in the raw range they would look small whatever they are.

    Raises:
        ValueError: no method was trained both without and with LS.
    """
    methods = networks.methods
    if not methods:
        raise ValueError(f"heatmaps: no method without and with LS; there are {', '.join(networks.students)}")
    teacher = networks.teacher
    order = np.argsort(teacher.superclass, kind="stable")
    shown = [m for pair in methods for m in pair]
    gaps = {
        (m, kind): gap_matrix(teacher, networks.packs[m], standardized=kind == "standardised")
        for m in shown
        for kind in KINDS
    }
    found = gap_statistics(teacher, {m: networks.packs[m] for m in shown}).to_dict("records")
    numbers = {(str(r["member"]), str(r["kind"])): (float(r["mean"]), float(r["max"])) for r in found}
    top = {(pair, "raw"): _top([gaps[m, "raw"] for m in pair]) for pair in methods}
    top |= {(pair, "standardised"): _top([gaps[m, "standardised"] for m in shown]) for pair in methods}

    # Long names of superclasses stand at the left alone, and each method has two lines of panels.
    long = max(map(len, teacher.superclass_names)) > SHORT

    def draw(fig: Figure) -> None:
        # Panels of one range stay neighbours, also where they stand below one another.
        lines, columns = (4, 1) if long and theme.is_narrow() else (2, 2) if long else (1, 4)
        height, letters = (2.12 if not long else 2.8 if theme.is_narrow() else 3.15), 7.5 if columns == 2 else 6.5
        fig.set_figheight(height * (lines if long else 1) * len(methods) + 0.3)
        axes = fig.subplots(len(methods) * lines, columns, squeeze=False)
        for line, pair in zip(axes.reshape(len(methods), 4), methods, strict=True):
            for side, kind in enumerate(KINDS):
                norm = Normalize(0, top[pair, kind])
                pictures = line[2 * side : 2 * side + 2]
                for ax, member in zip(pictures, pair, strict=True):
                    matrix = gaps[member, kind][np.ix_(order, order)]
                    ax.set_facecolor(theme.GRID)  # of rows that are missing
                    ax.imshow(matrix, cmap=scales.HEAT, norm=norm, interpolation="none")
                    ax.set_title(f"{networks.look(member).label}, {kind}", fontsize=8.5)
                    mean, largest = numbers[member, kind]
                    ax.set_xlabel(f"mean {mean:.3f}, max {largest:.2f}", fontsize=8.5)
                    _frame(ax, networks, letters)
                bar = fig.colorbar(
                    ScalarMappable(norm, scales.HEAT), ax=list(pictures), fraction=0.05, pad=0.02, aspect=22, shrink=0.8
                )
                bar.outline.set_visible(False)
                bar.ax.tick_params(labelsize=7.5, length=2)
        for ax in axes[:, 0]:
            ax.set_ylabel("true class")
        for ax in axes[:, 1:].flat:
            ax.tick_params(axis="y", labelleft=False, which="both")
        for ax in axes.flat if long else axes[:-1].flat:
            ax.tick_params(axis="x", labelbottom=False, which="both")

    means = "; ".join(
        f"{label(m)} raw {numbers[m, 'raw'][0]:.3f}, standardised {numbers[m, 'standardised'][0]:.3f}" for m in shown
    )
    classes = len(order)
    row, column = (a.ravel() for a in np.indices((classes, classes)))
    data = pd.DataFrame({"true_class": teacher.class_names[row], "logit_of": teacher.class_names[column]})
    for (member, kind), gap in gaps.items():
        data[f"{member}_{kind}"] = gap.ravel()
    unseen = int(teacher.unseen.sum())
    per_class = networks.n / (classes - unseen)
    missing = f"Grey rows: {unseen} classes without test images, in no number. " if unseen else ""
    return publish(
        draw,
        "logit_gap",
        folder=folder,
        alt=f"Heat maps of {classes} by {classes} absolute differences between student and teacher. Means: {means}.",
        caption="<b>Absolute difference of class-mean logits, student and teacher.</b> Row: true class, its logits "
        f"averaged over its test images ({per_class:.0f} on average); column: logit of a class; classes grouped by "
        "superclass; diagonal set to 0. The mean counts the diagonal's zeros, as the paper's does. Each colour bar "
        f"belongs to the two panels beside it. {missing}{networks.source}",
        inputs=networks.paths("teacher", *shown),
        data=data,
    )


def _top(matrices: list[np.ndarray]) -> float:
    return max(float(np.nanmax(m)) for m in matrices) or 1.0


def _frame(ax: Axes, networks: Networks, letters: float) -> None:
    superclass_ticks(ax, networks.teacher, "x")
    superclass_ticks(ax, networks.teacher, "y")
    ax.tick_params(which="both", labelsize=letters, pad=1.5)
    ax.tick_params(which="major", length=2)
    for side in ax.spines.values():
        side.set(visible=True, color=theme.GRID, linewidth=0.8)
