"""What the chapters' live figures share: some images and their logits, colours with one meaning, a still."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from figures import theme
from figures.live import figure as live
from figures.networks import Networks
from figures.publish import Published, publish
from lskd.data import Dataset, load_dataset
from lskd.errors import LskdError

TEACHER, STUDENT = theme.look("teacher").color, theme.look("kd").color
PLAIN, STANDARD = theme.look("dkd").color, theme.look("ctkd").color  # the two losses, wherever both are drawn
IMAGES = 24
ENLARGED = 4  # times, a thumbnail
SHOWN = 8  # classes beside one another, and the others together; lskd-live.js shows as many


def members(networks: Networks) -> list[str]:
    """Students worth comparing with the teacher: the one trained alone, then the first method without and with LS."""
    found = [name for name in ("alone",) if name in networks.students]
    return [*found, *(networks.methods[0] if networks.methods else ())] or list(networks.students)[:1]


def middle(networks: Networks, member: str, number: int | None = None) -> tuple[Tensor, Tensor]:
    """Student and teacher logits ``[1, classes]``, float64, of an image as its slider counts, or where it starts."""
    images = of_all_kinds(networks)
    place = int(images[(len(images) - 1) // 2 if number is None else number])
    student, teacher = (torch.from_numpy(networks.packs[m].logits[place]).double()[None] for m in (member, "teacher"))
    return student, teacher


def logit_rows(networks: Networks, images: Sequence[int] | np.ndarray, members: Sequence[str]) -> dict[str, Any]:
    """Data of a live figure: whole logit rows, given by their places, of the teacher and of ``members``."""
    teacher, images = networks.teacher, np.asarray(images, dtype=int)
    return {
        "classes": len(teacher.class_names),
        "names": [str(name) for name in teacher.class_names],
        "label": teacher.label[teacher.logits_index[images]].tolist(),
        "networks": {name: {"rows": live.pack(networks.packs[name].logits[images])} for name in ["teacher", *members]},
    }


def of_all_kinds(networks: Networks) -> np.ndarray:
    """Places of :data:`IMAGES` images in the evidence's ``logits``, from those that the teacher is surest of on."""
    sure = torch.softmax(torch.from_numpy(networks.teacher.logits).double(), dim=-1).amax(dim=-1).numpy()
    order = np.argsort(-sure, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(IMAGES, len(order))).round().astype(int))]


def source(networks: Networks, images: np.ndarray) -> str:
    """The end of a caption, HTML: which run the logits are from."""
    run = networks.record
    return (
        f"One of {len(images)} test images at a time; n = 1 run of each network (recipe <code>{run['name']}</code>, "
        f"seed {run['seed']}, {run['config']['epochs']} epochs)."
    )


def image_slider(images: np.ndarray, start: int | None = None, **place: Any) -> live.Control:
    """Chooses one of ``images``; starts at ``start``, or where the teacher is neither sure nor lost."""
    last = len(images) - 1
    begin = last // 2 if start is None else start
    return live.slider("image", "image, surest first", 0, last, 1, begin, digits=0, **place)


def student_choice(networks: Networks, members: Sequence[str], **others: str) -> live.Control:
    """Chooses one of ``members``; ``others`` are further texts by their value."""
    return live.choice("network", "student", {m: networks.look(m).label for m in members} | others)


def leading(networks: Networks, y_label: str, **options: Any) -> Any:
    """An empty plot over :data:`SHOWN` classes and all others, which the script chooses and names."""
    made = live.plot("class", y_label, ticks=[*map(str, range(SHOWN)), "others"], **options)
    if max(map(len, networks.teacher.class_names)) > 4:
        made.xaxis.major_label_orientation = "vertical"
    return made


def told_table(headings: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table in a readout, HTML."""
    head = "".join(f'<th scope="col">{text}</th>' for text in headings)
    body = "".join(
        f'<tr><th scope="row">{text}</th>{"".join(f"<td>{name}</td>" for name in names)}</tr>'
        for text, names in rows.items()
    )
    return f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"


def lines(
    name: str,
    folder: Path | str,
    data: pd.DataFrame,
    drawn: Mapping[str, tuple[str, Any, str]],
    *,
    y: str,
    x: str,
    log: str = "",
    height: float = 2.8,
    more: Callable[[Axes], object] = lambda ax: None,
    legend: Mapping[str, Any] | None = None,
    **published: Any,
) -> Published:
    """A still picture: columns of ``data`` over its first one.

    Args:
        drawn: colour, line style and words of a column.
        y, x: labels of the axes; ``log`` names the logarithmic ones.
        more: draws what is no column.
        legend: where it stands.
        published: for :func:`figures.publish.publish`.
    """

    def draw(fig: Figure) -> None:
        ax = fig.subplots()
        for column, (color, style, words) in drawn.items():
            shown = data[column].clip(lower=1e-9) if "y" in log else data[column]
            ax.plot(data.iloc[:, 0], shown, color=color, ls=style, label=words)
        more(ax)
        ax.set(xlabel=x, ylabel=y, **{f"{axis}scale": "log" for axis in log})
        ax.legend(**(legend or {}))

    return publish(draw, name, folder=folder, height=height, data=data, **published)


def photographs(networks: Networks) -> Dataset | None:
    """The data set of the run, for thumbnails; None when it is not on this machine.

    Raises:
        LskdError: it is another one than the networks were measured on.
    """
    config, digest = networks.record["config"], networks.record["dataset"]["digest"]
    try:
        dataset = load_dataset(config["dataset"], **config["data"])
    except FileNotFoundError:
        return None
    if dataset.digest != digest:
        raise LskdError(f"data set {dataset.name} has digest {dataset.digest[:12]}; the record says {digest[:12]}")
    return dataset


def thumbnail(dataset: Dataset | None, index: np.ndarray, figure: str, columns: int = 1) -> tuple[str, str]:
    """The sheet of a figure's images, and the place that shows one of them; both empty without images.

    Image i stands in row ``i // columns``, column ``i % columns`` of the sheet, a data address.

    Args:
        index: test images, in the order of the figure's slider.
        columns: images in a row of the sheet.

    Returns:
        ``(sprites, html)``; the first for :class:`~figures.live.figure.Live`, the second for its readout.
    """
    if dataset is None:
        return "", ""
    shown = dataset.test_images[index].numpy()
    n, _, height, side = shown.shape
    rows = -(-n // columns)
    places = np.zeros((rows * columns, 3, height, side), dtype=np.uint8)
    places[:n] = shown
    sheet = places.reshape(rows, columns, 3, height, side).transpose(0, 3, 1, 4, 2)
    buffer = io.BytesIO()
    Image.fromarray(sheet.reshape(rows * height, columns * side, 3)).save(
        buffer, format="JPEG", quality=82, subsampling=0
    )
    width = ENLARGED * side
    html = (
        f'<span class="lskd-thumb" data-picture role="img" aria-label="the image" style="width:{width}px;'
        f"height:{width}px;float:left;margin-right:1rem;background-image:var(--lskd-sprite-{figure});"
        f'background-size:{columns * width}px auto"></span>'
    )
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), html
