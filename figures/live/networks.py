"""Real networks, live: one image's logits through any temperature, and the feature space under the pointer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import CategoricalColorMapper, ColumnDataSource, HoverTool

from figures import scales, theme
from figures.live import figure as live
from figures.live import rows
from figures.live.thumbnails import thumbnail
from figures.networks import Networks
from lskd.data import Dataset
from paper.embedding import Embedding

MOST = 100
COLUMNS = 50  # thumbnails in a row of the sheet


def sample(networks: Networks, dataset: Dataset | None) -> live.Live:
    """All logits of one test image, of the first whose rows are kept: the teacher's as marks, a student's as bars."""
    teacher = networks.teacher
    index = teacher.logits_index[:MOST]
    classes = len(teacher.class_names)
    students = networks.students
    looks = {name: networks.look(name).color for name in students}
    first = next((b for _, b in networks.methods), next(iter(students)))
    order = [first, *(name for name in students if name != first)]
    made = live.plot("class", "logit", height=300)
    live.bars(made, "student", range(classes), looks[first], width=0.8)
    live.points(made, "teacher", range(classes), theme.look("teacher").color, size=5)
    live.points(made, "truth", [0, 0], theme.look("teacher").color, size=11, marker="inverted_triangle")
    live.zero(made)
    sprites, thumb = thumbnail(dataset, index, "sample")
    return live.Live(
        name="sample",
        controls=[
            live.Slider("image", "image", 0, len(index) - 1, 1, 0, digits=0),
            live.Choice("network", "student", [(n, networks.look(n).label) for n in order]),
            live.Choice(
                "show",
                "show",
                [
                    ("logits", "logits"),
                    ("z", "Z-scores"),
                    ("p", "probabilities at T"),
                    ("pz", "probabilities of Z-scores at T"),
                ],
            ),
            live.Slider("temperature", "temperature T", 0.5, 8, 0.1, 2),
        ],
        plots={"row": made},
        data={
            **rows.logit_rows(networks, range(len(index)), list(students)),
            "colors": {name: live.both(color) for name, color in looks.items()},
        },
        readout=(
            f"{thumb}True class [truth], teacher says [teacher], student says [student].<br>Standard deviation of the "
            "logits: teacher [spread_teacher], student [spread_student].<br>Loss at T: plain [plain], standardised "
            '[standardized].<br style="clear:both">'
        ),
        caption=f"<b>Any of {len(index)} test images.</b> Bars: the student; marks: the teacher; the triangle at zero "
        f"marks the true class. Move the image, choose the student and what is shown. {networks.source}",
        sprites=sprites,
        alt=f"All {classes} logits of one test image: a student's as bars, the teacher's as marks.",
    )


def features(networks: Networks, embeddings: Mapping[str, Embedding], dataset: Dataset | None) -> live.Live:
    """t-SNE with the image, class and prediction under the pointer, and a filter by superclass."""
    teacher = networks.teacher
    groups = [str(n) for n in teacher.superclass_names]
    palette = [color for color, _ in scales.group_colors(len(groups))]
    pixels = 0 if dataset is None else dataset.test_images.shape[-1]
    picture = (
        f'<span style="display:block;width:{3 * pixels}px;height:{3 * pixels}px;image-rendering:pixelated;'
        f"background-image:var(--lskd-sprite-features);background-size:{3 * pixels * COLUMNS}px auto;"
        'background-position:@left @top"></span>'
        if dataset is not None
        else ""
    )
    made = live.plot("", "", height=460, tools="pan,wheel_zoom,box_zoom,reset")
    made.toolbar_location = "above"
    made.toolbar.logo = None
    made.axis.visible = False
    made.grid.visible = False
    tooltips = f"<div>{picture}<b>@label</b>, predicted <b>@prediction</b></div>"
    factors = [str(i) for i in range(len(groups))]
    mapper = CategoricalColorMapper(factors=factors, palette=palette, tags=[live.both(palette)])
    columns: dict[str, Any] = {key: [] for key in ("x", "y", "label", "prediction", "left", "top", "group")}
    points = made.scatter(
        x="x", y="y", source=ColumnDataSource(columns, name="points"), size=5, line_color=None, fill_alpha=0.8,
        fill_color={"field": "group", "transform": mapper},
    )  # fmt: skip
    points.nonselection_glyph = None
    made.add_tools(HoverTool(renderers=[points], tooltips=tooltips, attachment="vertical"))
    live.points(made, "here", [], theme.look("teacher").color, size=13, marker="circle", fill_alpha=0, line_width=2)
    sprites, thumb = thumbnail(dataset, np.arange(len(teacher.label)), "features", COLUMNS)

    def network(name: str) -> dict[str, Any]:
        return {
            "points": live.pack(np.round(embeddings[name].points, 2)),
            "prediction": live.pack(networks.packs[name].prediction, "int16"),
        }

    return live.Live(
        name="features",
        controls=[
            live.Choice("network", "network", [(n, networks.look(n).label) for n in embeddings]),
            live.Choice(
                "group", "classes", [("-1", "all"), *((str(i), n) for i, n in enumerate(groups))], numbers=True
            ),
            live.Check("wrong", "only what it gets wrong"),
            live.Slider("image", "image", 0, len(teacher.label) - 1, 1, 0, digits=0),
        ],
        plots={"points": made},
        data={
            "label": teacher.label.tolist(),
            "superclass": teacher.superclass.tolist(),
            "names": [str(n) for n in teacher.class_names],
            "side": pixels,
            "columns": COLUMNS,
            "networks": {name: network(name) for name in embeddings},
        },
        readout=f"{thumb}[shown] images shown, [right] of them classified right.<br>"
        'In the circle: [label], predicted [prediction].<br style="clear:both">',
        caption=f"<b>The feature space under the pointer.</b> Point at an image, or choose it with the slider, to see "
        f"it with its class and the network's answer; drag and zoom with the tools above. {networks.source}",
        alt="The feature space of one network in two dimensions, a point an image, coloured by superclass.",
        sprites=sprites,
    )
