"""What a student still gets wrong, live: every cell of the gap between two networks' class-mean logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, LinearColorMapper
from bokeh.models.annotations import ColorBar
from matplotlib.colors import to_hex

from figures import scales, theme
from figures.live import figure as live
from figures.networks import Networks
from paper.logits import gap_matrix

TOOLTIPS = """<div>true class <b>@truth</b>, logit of <b>@logit</b><br>first <b>@a{0.00}</b>, second <b>@b{0.00}</b>,
difference <b>@value{0.00}</b></div>"""


def gap(networks: Networks) -> live.Live:
    """Any two networks, raw or standardised, with the pointer or with two lists choosing the cell."""
    teacher = networks.teacher
    order = np.argsort(teacher.superclass, kind="stable")
    names = [str(name) for name in teacher.class_names]
    labels = {name: networks.look(name).label for name in networks.packs}
    top = {
        kind: float(np.nanmax([gap_matrix(teacher, e, standardized=kind == "z") for e in networks.students.values()]))
        for kind in ("raw", "z")
    }
    palette = [to_hex(scales.HEAT(i)) for i in range(scales.HEAT.N)]
    side = len(order)
    ends = (-0.5, side - 0.5)
    made = live.plot("logit of", "true class", height=480, x_range=ends, y_range=ends, sizing_mode="scale_width")
    made.update(aspect_ratio=1.1, max_width=640)
    mapper = LinearColorMapper(palette=palette, low=0, high=1, name="cells-mapper", tags=[live.both(palette)])
    cells = made.rect(
        x="x", y="y", width=1, height=1, source=ColumnDataSource({"x": [], "y": [], "value": []}, name="cells"),
        line_color=None, fill_color={"field": "value", "transform": mapper}, dilate=True,
    )  # fmt: skip
    cells.nonselection_glyph = None
    made.add_tools(HoverTool(renderers=[cells], tooltips=TOOLTIPS))
    made.add_layout(ColorBar(color_mapper=mapper, width=10, background_fill_color=None, padding=4), "right")
    chosen = {"size": 11, "marker": "square", "fill_alpha": 0, "line_width": 2.5}
    live.points(made, "cell", [0], theme.look("kd").color, **chosen)
    counts = np.bincount(teacher.superclass, minlength=len(teacher.superclass_names))
    middles = np.cumsum(counts) - (counts + 1) / 2
    groups = [str(name).replace("_", " ") for name in teacher.superclass_names]
    long = max(map(len, groups)) > 4
    for axis, places in ((made.xaxis, middles), (made.yaxis, side - 1 - middles)):
        ticks = [float(place) for place in places]
        axis.ticker = FixedTicker(ticks=ticks)
        axis.major_label_overrides = dict(zip(ticks, groups, strict=True))
        axis.major_tick_line_color = None
        axis.tags = ["long"] * long  # lskd-live.js leaves long names out where there is no room for them
    made.xaxis.major_label_orientation = "vertical" if long else "horizontal"
    made.ygrid.visible = False
    students, everyone = list(networks.students), list(networks.packs)
    first = next((b for _, b in networks.methods), students[0])
    largest = gap_matrix(teacher, networks.packs[first], standardized=False)
    worst = np.unravel_index(int(np.nanargmax(largest)), largest.shape)
    listed = [(str(k), names[k]) for k in order.tolist()]
    unseen = np.flatnonzero(teacher.unseen).tolist()
    seen = [choice for choice in listed if int(choice[0]) not in unseen]

    def values(means: np.ndarray) -> dict[str, Any]:
        return live.pack(np.nan_to_num(means), "scaled")  # rows that are missing are not read

    return live.Live(
        name="gap",
        controls=[
            live.Choice("first", "first", [(m, labels[m]) for m in [first, *(m for m in students if m != first)]]),
            live.Choice("second", "second", [(m, labels[m]) for m in everyone]),
            live.Choice("kind", "logits", [("raw", "raw"), ("z", "standardised")]),
            live.Check("same", "one colour range for all students", True),
            live.Choice("truth", "true class", seen, numbers=True, chosen=str(worst[0])),
            live.Choice("logit", "logit of", listed, numbers=True, chosen=str(worst[1])),
        ],
        plots={"gap": made},
        data={
            "names": names,
            "labels": labels,
            "order": order.tolist(),
            "unseen": unseen,
            "top": top,
            "networks": {
                name: {"raw": values(e.class_mean_logits), "z": values(e.class_mean_z)}
                for name, e in networks.packs.items()
            },
        },
        readout=(
            'Images of [truth], logit of [logit]: <span data-say="first"></span> [a], <span data-say="second"></span> '
            '[b], difference [gap].<br>Whole picture: mean [mean], largest [max] (<span data-say="worst"></span>).'
        ),
        caption="<b>Cell by cell.</b> Absolute difference of class-mean logits between two networks. Point at a cell, "
        "touch it, or choose it in the lists. With <i>second</i> set to another student the picture shows where two "
        f"students differ. Values are stored in 16 bits. {networks.source}",
        alt=f"Heat map of {side} by {side} differences between the class-mean logits of two networks.",
    )
