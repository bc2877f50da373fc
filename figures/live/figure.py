"""Live figures: plots and controls that answer without a server, from the built pages alone.

Python writes the data, the plots (Bokeh) and native controls; ``figures/live/lskd-live.js`` computes what is shown
when a control moves, with the formulas of :mod:`lskd.losses`. Bokeh's script is shipped once for the whole book.
Where scripts do not run (a notebook that nobody has run, a printed page), a still picture stands in.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bokeh.embed import json_item
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LogAxis,
    LogTicker,
    LogTickFormatter,
    NumeralTickFormatter,
)
from bokeh.plotting import figure as bokeh_figure

from figures.live.by_itself import loader
from figures.live.controls import Control, Several, check, choice, entry, key, slider, steps  # noqa: F401  # live.slider
from figures.publish import Published
from figures.theme import MUTED, dark

# Where no script runs there is no style either, which hides this.
ELSEWHERE = '<p class="lskd-elsewhere"><i>Run this cell, and the figure has controls, as in the built book.</i></p>'


@dataclass(frozen=True)
class Live:
    """A live figure that shows itself in a notebook and on the page made of it.

    Attributes:
        name: of the figure, unique on its page, and of the function in ``lskd-live-*.js`` that moves it.
        controls: in reading order.
        plots: Bokeh figures by name.
        data: what that function reads; arrays through :func:`pack`.
        readout: HTML; the function writes its results in place of ``[NAME]``.
        caption: HTML; says n and source.
        picture: stands in where scripts do not run.
        sprites: the sheet of thumbnails, see :mod:`figures.live.rows.thumbnail`.
        alt: what the plots show, for who cannot see them; what the picture shows by default.
        wide: plots that take a row of their own where others stand side by side.
        more: controls in a fold below the others.
    """

    name: str
    controls: Sequence[Control | Several]
    plots: Mapping[str, Any]
    data: Mapping[str, Any]
    readout: str
    caption: str
    picture: Published | None = None
    sprites: str = ""
    alt: str = ""
    wide: Sequence[str] = ()
    more: Sequence[Control] = ()

    @property
    def files(self) -> list[Path]:
        """Of the picture, for a notebook to declare."""
        return self.picture.paths if self.picture else []

    def to_html(self) -> str:
        """One ``<figure>``; its script is data only, the page brings the code."""
        prefix, title = f"live-{self.name}", html.escape(self.name.replace("_", " "))
        plots = {name: json_item(item) for name, item in self.plots.items()}
        content = {"kind": self.name, "plots": plots, "data": self.data}
        stored = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
        controls, more = ("".join(control.to_html(prefix) for control in group) for group in (self.controls, self.more))
        if more:
            controls += f'<details class="lskd-more"><summary>More</summary><div>{more}</div></details>'
        places = "".join(f'<div data-plot="{name}"{" data-wide" * (name in self.wide)}></div>' for name in self.plots)
        readout = re.sub(r"\[(\w+)\]", r'<b data-say="\1"></b>', self.readout)
        sprites = f"<style>:root{{--lskd-sprite-{self.name}:url({self.sprites})}}</style>" if self.sprites else ""
        still, told, caption = "", f"Plots of {title}", self.caption
        if self.picture:  # the caption tells of what is shown, the one or the other
            before, words, after = re.split("</?figcaption>", self.picture.to_html())
            still, told = before + after, self.picture.alt
            caption = f'<span class="lskd-moving" hidden>{caption}</span><span class="lskd-still">{words}</span>'
        alt = html.escape(self.alt or told, quote=True)
        return (
            f'<figure class="lskd-figure lskd-live" id="{prefix}">{sprites}<div class="lskd-stage" hidden><div '
            f'class="lskd-controls" role="group" aria-label="Controls of {title}">{controls}</div><div '
            f'class="lskd-plots" role="group" aria-label="{alt}">{places}</div><div class="lskd-readout" '
            f'role="status">{readout}</div></div><div class="lskd-still">{still}</div>{ELSEWHERE}<script '
            f'type="application/json">{stored}</script><figcaption>{caption}</figcaption></figure>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.to_html() + loader(), "text/plain": f"Live figure {self.name}"}


def pack(values: Any, kind: Literal["float32", "int16", "scaled"] = "float32") -> dict[str, Any]:
    """An array for ``lskd-live.js``: base64 of little-endian values, row by row.

    Args:
        kind: float32; int16 for whole numbers; "scaled" for real numbers in 16 bits, true to 1/65534 of the
            largest of them.
    """
    scale: dict[str, float] = {}
    if kind == "scaled":
        values = np.asarray(values, dtype=np.float64)
        scale["scale"] = float(np.abs(values).max(initial=0)) / 32767 or 1.0
        values, kind = np.rint(values / scale["scale"]), "int16"
    stored = np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<"))
    return {"dtype": kind, "base64": base64.b64encode(stored.tobytes()).decode("ascii"), **scale}


def both(color: str | list[str]) -> dict[str, Any]:
    """A colour, or a palette, on light and on dark pages, for ``lskd-live.js``."""
    return {"light": color, "dark": dark(color) if isinstance(color, str) else [dark(c) for c in color]}


def plot(x_label: str, y_label: str, *, ticks: Sequence[str] = (), powers: bool = False, **options: Any) -> Any:
    """An empty Bokeh figure in the book's look: transparent, no toolbar, as wide as its place.

    Args:
        ticks: names of the places 0, 1, ... on the horizontal axis.
        powers: logarithmic axes reach so far that their numbers are written as powers of ten.
        options: passed on.
    """
    options = {"tools": "", "height": 260, "sizing_mode": "stretch_width", "toolbar_location": None, **options}
    made = bokeh_figure(**options)
    made.xaxis.axis_label, made.yaxis.axis_label = x_label, y_label
    made.xaxis[0].name, made.yaxis[0].name = "x", "y"
    made.background_fill_color = made.border_fill_color = made.outline_line_color = None
    for axis in (made.xaxis, made.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "12px", "11px"
        if isinstance(axis[0], LogAxis) and powers:
            axis.ticker, axis.formatter = LogTicker(mantissas=[1], desired_num_ticks=5), LogTickFormatter()
        elif isinstance(axis[0], LogAxis):
            axis.ticker = LogTicker(mantissas=[1, 2, 5] if axis[0] is made.xaxis[0] else [1], min_interval=0)
            axis.formatter = NumeralTickFormatter(format="0.[000000]")
    made.xgrid.visible = False
    if ticks:
        made.xaxis.ticker = FixedTicker(ticks=list(range(len(ticks))))
        made.xaxis.major_label_overrides = dict(enumerate(ticks))
    return made


def bars(made: Any, name: str, x: Sequence[float], color: str, *, width: float) -> None:
    """Bars whose heights ``lskd-live.js`` sets."""
    drawn = made.vbar(x="x", top="y", width=width, source=_source(name, x), line_width=0)
    _colored(drawn, name, color)


def points(made: Any, name: str, x: Sequence[float], color: str, **look: Any) -> None:
    """Markers whose heights ``lskd-live.js`` sets."""
    drawn = made.scatter(x="x", y="y", source=_source(name, x), **{"size": 7, "marker": "diamond", **look})
    _colored(drawn, name, color)


def arrows(made: Any, name: str, x: Sequence[float], color: str) -> None:
    """Arrows from zero upwards or downwards; ``lskd-live.js`` sets where they end (y) and their heads (marker)."""
    source = ColumnDataSource({"x": list(x), "y": [0.0] * len(x), "marker": ["triangle"] * len(x)}, name=name)
    shaft = made.segment(x0="x", x1="x", y0=0, y1="y", source=source, line_width=2.5)
    head = made.scatter(x="x", y="y", marker="marker", size=9, source=source)
    for drawn, end in ((shaft, "-shaft"), (head, "")):
        _colored(drawn, f"{name}{end}", color)


def curve(made: Any, name: str, color: str, *, tooltips: str = "", **look: Any) -> None:
    """A line whose points ``lskd-live.js`` sets; ``tooltips`` are shown where the pointer is above it."""
    drawn = made.line(x="x", y="y", source=_source(name, []), **{"line_width": 2, **look})
    _colored(drawn, name, color)
    if tooltips:
        made.add_tools(HoverTool(renderers=[drawn], tooltips=tooltips, mode="mouse", line_policy="nearest"))


def _source(name: str, x: Sequence[float]) -> ColumnDataSource:
    return ColumnDataSource({"x": list(x), "y": [0.0] * len(x)}, name=name)


def _colored(drawn: Any, name: str, color: str) -> None:
    """The glyph takes one of two colours, by the page's mode."""
    drawn.glyph.name, drawn.glyph.tags = f"{name}-glyph", [both(color)]
    drawn.nonselection_glyph = None


def zero(made: Any) -> None:
    """A line at zero."""
    made.hspan(y=0, line_width=1).glyph.tags = [both(MUTED)]
