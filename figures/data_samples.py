"""What a data set looks like: one image of every class, and all weak views of one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.publish import Published, publish
from figures.theme import figure
from lskd.data import Dataset
from lskd.data.views import Views
from paper.text import counted, markdown_table


def classes(dataset: Dataset, *, folder: Path | str) -> Published:
    """The first training image of every class, one superclass a row."""
    groups = [np.flatnonzero(dataset.superclass.numpy() == g) for g in range(len(dataset.superclass_names))]
    labels = dataset.train_labels.numpy()
    first = {k: int(np.flatnonzero(labels == k)[0]) for k in range(dataset.classes)}

    def draw() -> Figure:
        width = max(len(g) for g in groups)
        fig = figure(0.66 * len(groups) * 10 / width)
        axes = fig.subplots(len(groups), width, squeeze=False)
        for row, group in zip(axes, groups, strict=True):
            for ax in row:
                ax.axis("off")
            for ax, k in zip(row, group, strict=False):
                _show(ax, dataset.train_images[first[int(k)]])
                ax.set_title(dataset.class_names[k], fontsize=7, fontweight="normal", loc="center", pad=1.5)
        return fig

    rows = pd.DataFrame({"class": dataset.class_names, "training_image": [first[k] for k in range(dataset.classes)]})
    return publish(
        draw,
        "classes",
        folder=folder,
        alt=f"One training image of each of the {dataset.classes} classes, {len(groups)} rows of related classes.",
        caption=f"<b>One image of each class</b>, the first in the training set "
        f"({len(dataset.train_labels):,} images of {_size(dataset)}).",
        inputs=[],
        data=rows,
        n=dataset.classes,
    )


def views(dataset: Dataset, *, folder: Path | str, image: int = 0) -> Published:
    """All weak views of a training image, in the order of their index."""
    gather = Views(dataset.train_images[image : image + 1], pad=dataset.pad, flip=dataset.flip)
    every = gather(torch.zeros(gather.count, dtype=torch.int64), torch.arange(gather.count))

    def draw() -> Figure:
        columns = min(gather.count, 18)
        lines = -(-gather.count // columns)
        fig = figure(0.5 * lines + 0.35)
        for i, ax in enumerate(np.ravel(fig.subplots(lines, columns, squeeze=False))):
            ax.axis("off")
            if i < gather.count:
                _show(ax, every[i])
                ax.set_title(str(i), fontsize=7, fontweight="normal", loc="center", pad=1.5)
        return fig

    mirrored, padded = " and mirrored" if dataset.flip else "", counted(dataset.pad, "pixel")
    return publish(
        draw,
        "views",
        folder=folder,
        alt=f"The {gather.count} weak views of one training image, shifted by up to {padded}{mirrored}.",
        caption=f"<b>All {gather.count} weak views of one image</b>: zero padding of {padded}, crops of "
        f"the original size{mirrored}. The number is the view's index.",
        inputs=[],
        data=pd.DataFrame({"view": range(gather.count), "top": [v // gather.side for v in range(gather.count)]}),
        n=gather.count,
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


def _show(ax: Axes, image: torch.Tensor) -> None:
    ax.imshow(image.permute(1, 2, 0).numpy(), interpolation="none")


def _size(dataset: Dataset) -> str:
    height, width = dataset.train_images.shape[2:]
    return f"{height} × {width} pixels, RGB"
