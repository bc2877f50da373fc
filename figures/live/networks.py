"""Real networks, live: one image's logits, the feature space, the gap of class means, and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import CategoricalColorMapper, ColumnDataSource, FixedTicker, HoverTool, LinearColorMapper
from bokeh.models.annotations import ColorBar
from matplotlib.colors import to_hex

from figures import scales, theme
from figures.live import figure as live
from figures.live import rows
from figures.networks import Networks
from lskd.data import Dataset
from paper import members
from paper.embedding import Embedding
from paper.logits import gap_matrix

MOST = 100
SHOWN = {
    "logits": "logits",
    "z": "Z-scores",
    "p": "probabilities at T",
    "pz": "probabilities of Z-scores at T",
}
COLUMNS = 50  # thumbnails in a row of the sheet
TOOLTIPS = """<div>true class <b>@truth</b>, logit of <b>@logit</b><br>first <b>@a{0.00}</b>, second <b>@b{0.00}</b>,
difference <b>@apart{0.00}</b></div>"""
QUANTITIES = {  # what it is called, digits to read
    "test_accuracy": ("test accuracy [%]", 2),
    "train_accuracy": ("training accuracy [%]", 2),
    "test_loss": ("cross-entropy on the test set", 3),
    "train_loss": ("training loss, all terms", 3),
    "learning_rate": ("learning rate", 5),
    "temperature": ("learned temperature", 3),
}
TERMS = {
    "ce": "cross-entropy term",
    "kd": "distillation term",
    "tckd": "target-class term of DKD",
    "nckd": "non-target term of DKD",
}
FIRST = ("alone", "kd", "kd_ls")


def sample(networks: Networks, dataset: Dataset | None) -> live.Live:
    """All logits of one test image, of the first whose rows are kept: the teacher's as marks, a student's as bars."""
    teacher = networks.teacher
    index = teacher.logits_index[:MOST]
    classes = len(teacher.class_names)
    students = networks.students
    looks = {name: networks.look(name).color for name in students}
    first = next((b for _, b in networks.methods), next(iter(students)))
    made = live.plot("class", "logit", height=300)
    live.bars(made, "student", range(classes), looks[first], width=0.8)
    live.points(made, "teacher", range(classes), theme.look("teacher").color, size=5)
    live.points(made, "truth", [0, 0], theme.look("teacher").color, size=11, marker="inverted_triangle")
    live.zero(made)
    sprites, thumb = rows.thumbnail(dataset, index, "sample")
    return live.Live(
        name="sample",
        controls=[
            live.slider("image", "image", 0, len(index) - 1, 1, 0, digits=0),
            live.choice("network", "student", {n: networks.look(n).label for n in dict.fromkeys([first, *students])}),
            live.choice("show", "show", SHOWN),
            live.slider("temperature", "temperature T", 0.5, 8, 0.1, 2),
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
    sprites, thumb = rows.thumbnail(dataset, np.arange(len(teacher.label)), "features", COLUMNS)

    def network(name: str) -> dict[str, Any]:
        return {
            "points": live.pack(np.round(embeddings[name].points, 2)),
            "prediction": live.pack(networks.packs[name].prediction, "int16"),
        }

    return live.Live(
        name="features",
        controls=[
            live.choice("network", "network", {n: networks.look(n).label for n in embeddings}),
            live.choice("group", "classes", {"-1": "all", **dict(zip(factors, groups, strict=True))}, numbers=True),
            live.check("wrong", "only what it gets wrong"),
            live.slider("image", "image", 0, len(teacher.label) - 1, 1, 0, digits=0),
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
    students = list(networks.students)
    first = next((b for _, b in networks.methods), students[0])
    largest = gap_matrix(teacher, networks.packs[first], standardized=False)
    worst = np.unravel_index(int(np.nanargmax(largest)), largest.shape)
    unseen = np.flatnonzero(teacher.unseen).tolist()
    listed = {str(k): names[k] for k in order.tolist()}
    seen = {k: name for k, name in listed.items() if int(k) not in unseen}

    def values(means: np.ndarray) -> dict[str, Any]:
        return live.pack(np.nan_to_num(means), "scaled")  # rows that are missing are not read

    return live.Live(
        name="gap",
        controls=[
            live.choice("first", "first", {m: labels[m] for m in dict.fromkeys([first, *students])}),
            live.choice("second", "second", labels),
            live.choice("kind", "logits", {"raw": "raw", "z": "standardised"}),
            live.check("same", "one colour range for all students", True),
            live.choice("truth", "true class", seen, numbers=True, chosen=str(worst[0])),
            live.choice("logit", "logit of", listed, numbers=True, chosen=str(worst[1])),
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
            "[b], difference [gap].<br>Whole picture, zero on its diagonal: mean [mean], largest "
            '[max] (<span data-say="worst"></span>).'
        ),
        caption="<b>Cell by cell.</b> Absolute difference of class-mean logits between two networks. Point at a cell, "
        "touch it, or choose it in the lists. With <i>second</i> set to another student the picture shows where two "
        f"students differ. Values are stored in 16 bits. {networks.source}",
        alt=f"Heat map of {side} by {side} differences between the class-mean logits of two networks.",
    )


def series(member: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Every quantity of a member by epoch; terms of the loss as ``term-NAME``; None where it was not measured."""
    epochs = member["epochs"]
    found = {name: [e.get(name) for e in epochs] for name in QUANTITIES}
    for term in dict.fromkeys(t for e in epochs for t in e.get("terms") or {}):
        found[f"term-{term}"] = [(e.get("terms") or {}).get(term) for e in epochs]
    return {name: values for name, values in found.items() if any(v is not None for v in values)}


def titles(records: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, tuple[str, int]]:
    """Quantities that some member of some record has: name to (title, digits)."""
    present = dict.fromkeys(q for _, r in records for m in r["members"].values() for q in series(m))
    terms = [q for q in present if q.startswith("term-")]
    known = {q: shown for q, shown in QUANTITIES.items() if q in present}
    return known | {q: (TERMS.get(q[5:], f"term {q[5:]}"), 3) for q in terms}


def curves(records: Sequence[tuple[str, Mapping[str, Any]]]) -> live.Live:
    """Curves of every member of every record.

    Args:
        records: (what a reader calls it, the record); the first is shown first.
    """
    described = {name: member for _, record in reversed(records) for name, member in record["members"].items()}
    names = members.order(described)
    looks = {name: theme.look(name, described[name]) for name in names}
    quantities = titles(records)
    made = live.plot("epoch", next(iter(quantities.values()))[0], height=340)
    made.xaxis.ticker.min_interval = 1
    for name, look in looks.items():
        dashes = {"-": "solid", ":": "dotted"}.get(str(look.linestyle), "dashed")
        tooltips = "<div><b>@member</b>, epoch @x: <b>@y{0.00[00]}</b></div>"
        live.curve(made, f"curve-{name}", look.color, line_dash=dashes, tooltips=tooltips)
    live.points(made, "read", [], theme.look("teacher").color, size=8, marker="circle", fill_alpha=0, line_width=1.5)
    longest = max(len(m["epochs"]) for _, r in records for m in r["members"].values())
    first = [name for name in FIRST if name in names] or names[:3]
    return live.Live(
        name="curves",
        controls=[
            live.choice("record", "record", {str(i): text for i, (text, _) in enumerate(records)}, numbers=True),
            live.choice("quantity", "quantity", {q: text for q, (text, _) in quantities.items()}),
            live.slider("start", "from epoch", 1, max(2, longest - 1), 1, 1, digits=0),
            live.slider("smoothing", "mean of epochs", 1, max(2, min(20, longest)), 1, 1, digits=0),
            live.slider("epoch", "read at epoch", 1, max(2, longest), 1, longest, digits=0),
            live.Several("members", "networks", [(n, look.label, look.color) for n, look in looks.items()], first),
        ],
        plots={"curves": made},
        data={
            "members": names,
            "labels": {name: look.label for name, look in looks.items()},
            "quantities": {q: text for q, (text, _) in quantities.items()},
            "digits": {q: digits for q, (_, digits) in quantities.items()},
            "records": [
                {
                    "source": f"Recipe {r['name']}, seed {r['seed']}, {r['dataset']['test_size']:,} test images.",
                    "members": {
                        name: {"epochs": [e["epoch"] for e in m["epochs"]], "values": rounded(series(m))}
                        for name, m in r["members"].items()
                    },
                }
                for _, r in records
            ],
        },
        readout='[values]. <span data-say="missing"></span> <span data-say="source"></span>',
        caption="<b>Any curve of any record.</b> <i>Mean of epochs</i> averages each epoch with those before it. "
        "Solid: with LS; dashed: without; dotted: trained alone. One run of "
        "each network (n = 1): a difference between two curves is not yet a difference between two methods.",
        alt="One curve a network over the epochs of training; the values at the chosen epoch are in the text below.",
    )


def rounded(values: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Six digits: more than any reading shows, a third of the page's weight."""
    return {name: [None if v is None else float(f"{v:.6g}") for v in found] for name, found in values.items()}
