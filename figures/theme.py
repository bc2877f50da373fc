"""One look for every figure: its colours on light and on dark pages, and how each method is drawn.

Figures are drawn once, for light pages; :func:`dark` says what each colour is on dark ones, and
:mod:`figures.publish` writes that into the picture. Hues are those of Okabe and Ito, told apart with any common colour
vision, then seven more. Colour is never the only sign: a method also has a marker, and what is standardised is solid
and filled while its twin without standardisation is dashed, pale or hollow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from lskd.objectives import METHODS
from paper.members import LITERATURE, SUFFIX, label

FONT = "DejaVu Sans"  # comes with Matplotlib, see own_font
WIDTH = 8.2  # inches; a page's column at 96 pixels an inch, so that 9 pt is read as 12 px
NARROW = 4.1  # the same of a telephone's

PAPER, INK, MUTED, GRID = "#ffffff", "#1f2630", "#626c78", "#e1e5ea"  # PAPER is the page's; figures are transparent
_DARK = {PAPER: "#14181e", INK: "#dfe4ea", MUTED: "#98a2ae", GRID: "#323a45"}
_WRITTEN = {(True, True): "#14181e", (True, False): "#14181f", (False, True): "#fffffe", (False, False): "#fefefe"}
_DARK |= {color: "#14181e" if on_dark else "#ffffff" for (_, on_dark), color in _WRITTEN.items()}

_HUES = {  # (light page, dark page, marker)
    "teacher": ("#2b3440", "#e3e7ec", "*"),
    "plain": ("#8a8f98", "#8d96a3", "X"),
    "kd": ("#0072b2", "#56b4e9", "o"),
    "ctkd": ("#009e73", "#3ccf9f", "^"),
    "dkd": ("#d55e00", "#ff8f45", "s"),
    "mlkd": ("#a8488c", "#e79fcb", "D"),
    "normkd": ("#5b3fa8", "#b39bf0", "v"),
    "luminet": ("#9a6700", "#f0c05a", "p"),
    "dist": ("#007f8c", "#5fd0dc", "h"),
    "ttm": ("#8c4a2f", "#d59a7f", "<"),
    "wttm": ("#c2185b", "#ff7fae", ">"),
    "rld": ("#4f6b1f", "#a9c26e", "8"),
    "gdkd": ("#3d5a80", "#9fb8dd", "d"),
}
_SPARE = [("#7a6a00", "#e0c94a", "P"), ("#b3261e", "#ff9088", "H")]  # of methods without one, in turn


def mix(color: str, ground: str, share: float) -> str:
    """``share`` of a colour on the rest of another."""
    r, g, b = (share * c + (1 - share) * d for c, d in zip(to_rgb(color), to_rgb(ground), strict=True))
    return to_hex((r, g, b))


for _light, _dark, _ in (*_HUES.values(), *_SPARE):
    _DARK |= {_light: _dark, mix(_light, PAPER, 0.3): mix(_dark, _DARK[PAPER], 0.3)}


def register(light: str, dark: str) -> None:
    """Say what a colour of light pages is on dark ones, both ``#rrggbb``."""
    _DARK[light] = dark


def dark(color: str) -> str:
    """What a colour of light pages is on dark ones, both ``#rrggbb``; a ValueError where it is none of the book's."""
    if color not in _DARK:
        raise ValueError(f"{color} is no colour of figures/theme.py, which says what it is on dark pages")
    return _DARK[color]


def written_on(color: str) -> str:
    """What to write in on a ground of this colour, so that it is legible on both kinds of pages."""

    def is_bright(ground: str) -> bool:
        linear = (c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(ground))
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) > 0.2

    return _WRITTEN[is_bright(color), is_bright(dark(color))]


@dataclass(frozen=True)
class Look:
    """How one network is drawn: ``color`` for lines and edges, ``fill`` for areas."""

    label: str
    color: str
    fill: str
    marker: str
    linestyle: Any
    filled: bool

    def points(self) -> dict[str, Any]:
        """Keywords of a marker: filled with LS, hollow without."""
        face = self.color if self.filled else "none"
        return {"marker": self.marker, "markeredgecolor": self.color, "markerfacecolor": face}


def look(member: str, about: Mapping[str, Any] | None = None) -> Look:
    """How a member is drawn; ``about`` is what a record or evidence says of it, see :func:`paper.members.label`.

    Lines are full with LS, dashed without; the literature's settings have a dash and a dot, a student alone has dots.
    """
    about = about or {}
    method, standardize = about.get("method", ""), about.get("standardize")
    ls = member.endswith(SUFFIX) if standardize is None else standardize
    family = member if member == "teacher" else method or member.removesuffix(SUFFIX)
    family = "plain" if family == "alone" else family
    others = [name for name in METHODS if name not in _HUES and not METHODS[name].needs_stages]
    spare = others.index(family) if family in others else 0
    color, _, marker = _HUES.get(family, _SPARE[spare % len(_SPARE)])
    filled = ls or family in ("teacher", "plain")
    dashes = (0, (4, 1.4, 1, 1.4)) if member.endswith(LITERATURE) else (0, (4, 1.6))
    return Look(
        label=label(member, method=method, standardize=standardize),
        color=color,
        fill=color if filled else mix(color, PAPER, 0.3),
        marker=marker,
        linestyle="-" if ls or family == "teacher" else ":" if family == "plain" else dashes,
        filled=filled,
    )


def settings() -> Any:
    """Matplotlib's settings while a figure is made and written, a context."""
    own: dict[Any, Any] = {
        "backend": mpl.rcParams["backend"],
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.dpi": 150,  # of dense point layers inside the vector file
        "svg.fonttype": "path",  # no font needs to be on the reader's machine
        "svg.hashsalt": "lskd",
        "font.family": FONT,
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "lines.linewidth": 1.7,
        "lines.markersize": 5,
        "figure.constrained_layout.h_pad": 0.05,
        "figure.constrained_layout.w_pad": 0.05,
    }
    ticks = {"labelsize": 8, "color": MUTED, "labelcolor": INK, "major.size": 3}
    own |= {f"{axis}tick.{key}": value for axis in "xy" for key, value in ticks.items()}
    return mpl.rc_context({**mpl.rcParamsDefault, **own})


def own_font() -> None:
    """Draw with the letters that come with Matplotlib, whatever else the machine has under their name.

    Matplotlib keeps one list of fonts for all environments of a user, and a font of the system may come first in it;
    then a figure's bytes would depend on the machine.
    """
    known = font_manager.fontManager
    known.ttflist = [font for font in known.ttflist if font.name != FONT]
    for end in ("", "-Bold", "-Oblique", "-BoldOblique"):
        known.addfont(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{end}.ttf")


own_font()
_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


@contextmanager
def narrow() -> Iterator[None]:
    """Figures made in here are laid out for a narrow column: panels stand below one another."""
    token = _narrow.set(True)
    try:
        yield
    finally:
        _narrow.reset(token)


def is_narrow() -> bool:
    """Whether figures are laid out for a narrow column, see :func:`narrow`."""
    return _narrow.get()


class Sheet(Figure):
    """A figure whose panels find another arrangement where the column is narrow, at the same size each."""

    def subplots(self, nrows: int = 1, ncols: int = 1, *, squeeze: bool = True, **keywords: Any) -> Any:
        """As in Matplotlib; the array returned has the shape that was asked for, wherever its panels stand."""
        if not is_narrow() or ncols == 1:
            return super().subplots(nrows, ncols, squeeze=squeeze, **keywords)
        columns = max(n for n in range(1, ncols // 2 + 1) if ncols % n == 0)
        blocks = ncols // columns  # each has all rows of some columns, so that what stood above still does
        keywords.pop("width_ratios", None)
        width, height = self.get_size_inches()
        self.set_size_inches(width, height * blocks)
        stacked = super().subplots(nrows * blocks, columns, squeeze=False, **keywords)
        panels = np.hstack(np.split(stacked, blocks, axis=0))
        return panels.squeeze() if squeeze else panels

    def legend(self, *arguments: Any, **keywords: Any) -> Any:
        """As in Matplotlib, with two columns at most where the figure's column is narrow."""
        if is_narrow() and "ncols" in keywords:
            keywords["ncols"] = min(2, keywords["ncols"])
        return super().legend(*arguments, **keywords)


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, inches. It belongs to no window and no notebook; it is shown by what is published of it."""
    return Sheet(figsize=(min(width, NARROW) if is_narrow() else width, height), layout="constrained")


def rows(ax: Axes) -> None:
    """Lines of marks, each with a name: no axis at the left, and a grid across."""
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
