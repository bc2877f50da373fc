"""One look for every figure: a theme for light pages, one for dark pages, and how each method is drawn.

Hues are those of Okabe and Ito, told apart with any common colour vision; on dark pages they are lighter.
Colour is never the only sign: a method also has a marker, and what is standardised is solid and filled while its
twin without standardisation is dashed, pale or hollow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure

from paper.members import LITERATURE, SUFFIX, label

__all__ = [
    "DARK",
    "FONT",
    "LIGHT",
    "NARROW",
    "THEMES",
    "WIDTH",
    "Look",
    "Theme",
    "figure",
    "group_colors",
    "is_narrow",
    "narrow",
    "note",
    "own_font",
]

FONT = "DejaVu Sans"  # comes with Matplotlib, see own_font
WIDTH = 8.2  # inches; a page's column at 96 pixels an inch, so that 9 pt is read as 12 px
NARROW = 4.1  # the same of a telephone's
RASTER_DPI = 200  # of dense point layers inside the vector file

_HUES = {  # (light page, dark page)
    "teacher": ("#2b3440", "#e3e7ec"),
    "plain": ("#8a8f98", "#8d96a3"),
    "kd": ("#0072b2", "#56b4e9"),
    "ctkd": ("#009e73", "#3ccf9f"),
    "dkd": ("#d55e00", "#ff8f45"),
    "mlkd": ("#a8488c", "#e79fcb"),
}
_OTHER = ("#7a6a00", "#e0c94a")
_MARKERS = {"teacher": "*", "plain": "X", "kd": "o", "ctkd": "^", "dkd": "s", "mlkd": "D"}


@dataclass(frozen=True)
class Look:
    """How one network is drawn: ``color`` for lines and edges, ``fill`` for areas."""

    label: str
    color: str
    fill: tuple[float, float, float]
    marker: str
    linestyle: Any
    filled: bool

    def points(self) -> dict[str, Any]:
        """Keywords of a marker: filled with LS, hollow without."""
        face = self.color if self.filled else "none"
        return {"marker": self.marker, "markeredgecolor": self.color, "markerfacecolor": face}


def _line(member: str, family: str, standardize: bool) -> Any:
    """Full with LS, dashes without; the literature's settings have a dash and a dot, a student alone has dots."""
    if standardize or family == "teacher":
        return "-"
    if family == "plain":
        return ":"
    return (0, (4, 1.4, 1, 1.4)) if member.endswith(LITERATURE) else (0, (4, 1.6))


@dataclass(frozen=True)
class Theme:
    """Colours of a page. ``paper`` is what a page of this kind looks like; figures stay transparent."""

    name: Literal["light", "dark"]
    paper: str
    ink: str
    muted: str
    grid: str

    @property
    def dark(self) -> bool:
        return self.name == "dark"

    @property
    def heat(self) -> Colormap:
        """Sequential, perceptually uniform, from the page's own ground (nothing) through reds (much)."""
        palette = sns.color_palette("rocket" if self.dark else "rocket_r", as_cmap=True)
        return palette.resampled(96)  # finer steps are not seen and make the picture twice as large

    def look(self, member: str, *, method: str = "", standardize: bool | None = None) -> Look:
        """How a member is drawn; names as in :func:`paper.members.label`."""
        ls = member.endswith(SUFFIX) if standardize is None else standardize
        family = member if member == "teacher" else method or member.removesuffix(SUFFIX)
        family = "plain" if family == "alone" else family
        color = _HUES.get(family, _OTHER)[self.dark]
        filled = ls or family in ("teacher", "plain")
        return Look(
            label=label(member, method=method, standardize=standardize),
            color=color,
            fill=to_rgb(color) if filled else mix(color, self.paper, 0.3),
            marker=_MARKERS.get(family, "P"),
            linestyle=_line(member, family, ls),
            filled=filled,
        )

    @contextmanager
    def context(self) -> Iterator[None]:
        """Matplotlib's settings while a figure of this theme is made and written."""
        settings: dict[Any, Any] = {**mpl.rcParamsDefault, **self._settings()}
        with mpl.rc_context(settings):
            yield

    def _settings(self) -> dict[str, Any]:
        return {
            "backend": mpl.rcParams["backend"],
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "savefig.dpi": RASTER_DPI,
            "svg.fonttype": "path",  # no font needs to be on the reader's machine
            "svg.hashsalt": "lskd",
            "font.family": FONT,
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 9,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8.5,
            "legend.frameon": False,
            "text.color": self.ink,
            "axes.labelcolor": self.ink,
            "axes.titlecolor": self.ink,
            "axes.edgecolor": self.muted,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "xtick.major.width": 0.8,
            "ytick.major.width": 0.8,
            "xtick.major.size": 3,
            "ytick.major.size": 3,
            "axes.grid": False,
            "grid.color": self.grid,
            "grid.linewidth": 0.7,
            "axes.axisbelow": True,
            "lines.linewidth": 1.7,
            "lines.markersize": 5,
            "figure.constrained_layout.h_pad": 0.05,
            "figure.constrained_layout.w_pad": 0.05,
        }


LIGHT = Theme("light", paper="#ffffff", ink="#1f2630", muted="#626c78", grid="#e1e5ea")
DARK = Theme("dark", paper="#14181e", ink="#dfe4ea", muted="#98a2ae", grid="#323a45")
THEMES = (LIGHT, DARK)


def mix(color: str, ground: str, share: float) -> tuple[float, float, float]:
    """``share`` of a colour on the rest of another."""
    r, g, b = (share * c + (1 - share) * d for c, d in zip(to_rgb(color), to_rgb(ground), strict=True))
    return r, g, b


def group_colors(groups: int, theme: Theme) -> list[tuple[tuple[float, float, float], str]]:
    """(colour, marker) of each superclass: ten colours of seaborn's "colorblind", then again with other markers."""
    palette = [to_rgb(c) for c in sns.color_palette("colorblind", 10)]
    if theme.dark:  # its darkest five are hard to see on dark ground
        palette = [mix(c, "#ffffff", 0.75) for c in map(mpl.colors.to_hex, palette)]
    return [(palette[i % 10], "o^s"[i // 10 % 3]) for i in range(groups)]


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


def note(axes: Axes, text: str, theme: Theme, *, x: float = 0.0, y: float = -0.06, **keywords: Any) -> None:
    """A small remark in axes coordinates."""
    axes.text(x, y, text, transform=axes.transAxes, fontsize=8, color=theme.muted, va="top", **keywords)
