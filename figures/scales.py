"""Colours for many values, from seaborn's palettes: a module of their own, which most figures need not wait for."""

from __future__ import annotations

import numpy as np
import seaborn as sns
from matplotlib.colors import Colormap, to_hex

from figures.theme import PAPER, mix, register


def _scale(light: Colormap, dark: Colormap) -> Colormap:
    """The scale of light pages, with what its colours are on dark ones."""
    for unit, as_pixels in ((1, False), (255, True)):  # as vectors and as pixels, which Matplotlib rounds differently
        colors = (scale(np.arange(light.N), bytes=as_pixels) / unit for scale in (light, dark))
        for pair in zip(*colors, strict=True):
            register(*map(to_hex, pair))
    return light


# Sequential, perceptually uniform, from the page's own ground (nothing) through reds (much); finer steps are not seen
# and make the picture twice as large.
HEAT = _scale(*(sns.color_palette(name, as_cmap=True).resampled(96) for name in ("rocket_r", "rocket")))
DIVERGING = _scale(*(sns.diverging_palette(30, 245, s=80, l=55, center=c, as_cmap=True) for c in ("light", "dark")))
GROUPS = [mix(color, PAPER, 0.85) for color in sns.color_palette("colorblind", 10).as_hex()]  # seen on both pages
for _color in GROUPS:
    register(_color, _color)


def group_colors(groups: int) -> list[tuple[str, str]]:
    """(colour, marker) of each superclass: ten colours, then again with other markers."""
    return [(GROUPS[i % 10], "o^s"[i // 10 % 3]) for i in range(groups)]
