"""What a data set looks like: one image of every class, and all weak views of one image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.publish import Published, publish
from figures.theme import MUTED, is_narrow
from lskd.data import Dataset
from lskd.data.views import Views
from paper.text import counted, markdown_table


def classes(dataset: Dataset, *, folder: Path | str) -> Published:
    """The first training image of every class, one superclass a row."""
    groups = [np.flatnonzero(dataset.superclass.numpy() == g) for g in range(len(dataset.superclass_names))]
    labels = dataset.train_labels.numpy()
    first = {k: int(np.flatnonzero(labels == k)[0]) for k in range(dataset.classes)}

    def draw(fig: Figure) -> None:
        width = max(len(g) for g in groups)
        columns = -(-width // 2) if is_narrow() and width > 5 else width
        lines = -(-width // columns)  # of a superclass
        places = {
            int(k): (lines * g + i // columns, i % columns) for g, own in enumerate(groups) for i, k in enumerate(own)
        }
        _sheet(fig, {(dataset.class_names[k], at): dataset.train_images[first[k]] for k, at in places.items()})

    rows = pd.DataFrame({"class": dataset.class_names, "training_image": [first[k] for k in range(dataset.classes)]})
    return publish(
        draw,
        "classes",
        folder=folder,
        alt=f"One training image of each of the {dataset.classes} classes, {len(groups)} rows of related classes.",
        caption=f"<b>One image of each class</b>, the first in the training set "
        f"({len(dataset.train_labels):,} images of {_size(dataset)}).",
        data=rows,
    )


def views(dataset: Dataset, *, folder: Path | str) -> Published:
    """All weak views of the first training image, in the order of their index."""
    gather = Views(dataset.train_images[:1], pad=dataset.pad, flip=dataset.flip)
    every = gather(torch.zeros(gather.count, dtype=torch.int64), torch.arange(gather.count))

    def draw(fig: Figure) -> None:
        columns = min(gather.count, 9 if is_narrow() else 18)
        _sheet(fig, {(str(i), divmod(i, columns)): every[i] for i in range(gather.count)})

    mirrored, padded = " and mirrored" if dataset.flip else "", counted(dataset.pad, "pixel")
    return publish(
        draw,
        "views",
        folder=folder,
        alt=f"The {gather.count} weak views of one training image, shifted by up to {padded}{mirrored}.",
        caption=f"<b>All {gather.count} weak views of one image</b>: zero padding of {padded}, crops of "
        f"the original size{mirrored}. The number is the view's index.",
        data=pd.DataFrame({"view": range(gather.count), "top": [v // gather.side for v in range(gather.count)]}),
    )


def facts(dataset: Dataset) -> str:
    """Sizes, normalisation and digest, as a Markdown table."""
    rows = [
        ("training images", f"{len(dataset.train_labels):,}"),
        ("test images", f"{len(dataset.test_labels):,}"),
        ("classes", f"{dataset.classes}, in {len(dataset.superclass_names)} groups"),
        ("size", _size(dataset)),
        ("mean of channels", ", ".join(f"{v:g}" for v in dataset.mean)),
        ("standard deviation of channels", ", ".join(f"{v:g}" for v in dataset.std)),
        ("sha256 of everything", f"`{dataset.digest}`"),
    ]
    return markdown_table(("of this data set", "value"), rows)


def _sheet(fig: Figure, pictures: Mapping[tuple[str, tuple[int, int]], torch.Tensor]) -> None:
    """Pictures by (title, (line, column)) in one panel; a panel each would take seconds to lay out."""
    lines, columns = (1 + max(places) for places in zip(*(at for _, at in pictures), strict=True))
    side = 0.64 * fig.get_figwidth() / columns  # inches, of a picture
    height = side + 0.16
    fig.set_figheight(height * lines)
    ax = fig.subplots()
    ax.axis("off")
    for (title, (line, column)), image in pictures.items():
        top = line + 1 - side / height
        ax.imshow(image.permute(1, 2, 0).numpy(), extent=(column + 0.18, column + 0.82, line + 1, top), aspect="auto",
                  interpolation="none")  # fmt: skip
        ax.add_patch(Rectangle((column + 0.18, top), 0.64, side / height, fill=False, ec=MUTED, lw=0.4))
        ax.text(column + 0.5, top, title, fontsize=7, ha="center", va="bottom")
    ax.set(xlim=(0, columns), ylim=(lines, 0))


def _size(dataset: Dataset) -> str:
    height, width = dataset.train_images.shape[2:]
    return f"{height} × {width} pixels, RGB"
