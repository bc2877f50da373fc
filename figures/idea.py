"""The idea in one picture: lines from the teacher's logits to those of two students, raw and as Z-scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from figures import theme
from figures.live.softmax import CLASSES, COLORS, losses, seen
from figures.publish import Published, publish

HEIGHTS = {"s1": 2.0, "teacher": 1.0, "s2": 0.0}  # the teacher between its students, so that lines run to both
NAMES = {"s1": "student 1\n(wrong)", "teacher": "teacher", "s2": "student 2\n(right)"}
SIZE = 11  # points; the picture is narrow, so that it can be read on a telephone without scrolling


def picture(folder: Path | str) -> Published:
    """Two panels, one above the other: logits, and Z-scores; with the loss of each student."""

    def draw(fig: Figure) -> None:
        for ax, on in zip(fig.subplots(2, 1), (False, True), strict=True):
            panel(ax, standardized=on)

    data = [
        {"values": "Z-score" if on else "logit", "network": NAMES[name].split("\n")[0], "class": label, "value": value}
        for on in (False, True)
        for name, row in seen(standardized=on).items()
        for label, value in zip(CLASSES, row, strict=True)
    ]
    return publish(
        draw,
        "idea",
        height=5.0,
        width=5.8,
        folder=folder,
        alt="Dots on three lines, joined class by class: student 1 above, the teacher in the middle, student 2 below. "
        "Logits: student 1 is two thirds as wide as the teacher and has dog and bird exchanged; student 2 has the "
        "teacher's order in a small bundle, and the larger loss. Z-scores: student 1 is still crossed, student 2 lies "
        "exactly below the teacher and its loss is zero.",
        caption="<b>One teacher, two students.</b> Logits of the paper's Fig. 2; losses at temperature 1.",
        data=pd.DataFrame(data),
    )


def panel(ax: Axes, *, standardized: bool) -> None:
    """Dots on a line a network, and a line a class."""
    found, loss = seen(standardized=standardized), losses(standardized=standardized)
    order = np.argsort(found["teacher"])
    low, high = (f(np.concatenate(list(found.values()))) for f in (np.min, np.max))
    for place in order:
        xs = [found[name][place] for name in HEIGHTS]
        crossing = CLASSES[place] in ("dog", "bird")
        ax.plot(xs, list(HEIGHTS.values()), color=theme.INK if crossing else theme.MUTED, lw=1.3 if crossing else 0.7,
                alpha=0.75, zorder=1)  # fmt: skip
    right = high + 0.1 * (high - low)
    for name, height in HEIGHTS.items():
        color = COLORS[name]
        ax.axhline(height, color=theme.GRID, lw=1, zorder=0)
        ax.scatter(found[name], [height] * len(CLASSES), s=70, color=color, zorder=2, clip_on=False)
        ax.text(low - 0.08 * (high - low), height, NAMES[name], color=color, size=SIZE, weight="bold", ha="right",
                va="center")  # fmt: skip
        if name == "teacher":
            for spot, label in zip(found[name], CLASSES, strict=True):
                write(ax, label, float(spot), height, -9, theme.INK)
            continue
        best = name == min(loss, key=lambda student: loss[student])
        ax.text(right, height, f"loss {abs(loss[name]):.2f}" + ("\npreferred" if best else ""), color=theme.INK,
                size=SIZE, ha="left", va="center", weight="bold" if best else "normal")  # fmt: skip
        spot, label = max(zip(found[name], CLASSES, strict=True))
        write(ax, f"“{label}”", float(spot), height, 9 if height > 1 else -9, color)
    ax.set_title("Z-scores: relations alone" if standardized else "Logits: relations and size", size=SIZE + 1)
    ax.set(ylim=(-0.5, 2.5), xlim=(low - 0.1 * (high - low), right), yticks=[], xticks=[])
    ax.spines[:].set_visible(False)


def write(ax: Axes, text: str, x: float, y: float, points: float, color: str) -> None:
    """A word above or below a dot, legible where lines pass behind it."""
    halo = [withStroke(linewidth=4, foreground=theme.PAPER)]
    ax.annotate(text, (x, y), (0, points), textcoords="offset points", ha="center", size=SIZE - 1, color=color,
                va="bottom" if points > 0 else "top", path_effects=halo, zorder=3)  # fmt: skip
