"""The images behind logits, as small pictures beside a live figure."""

from __future__ import annotations

import numpy as np

from figures.live import figure as live
from figures.networks import Networks
from lskd.data import Dataset, load_dataset
from lskd.errors import LskdError

ENLARGED = 4  # times


def images(networks: Networks) -> Dataset | None:
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

    Args:
        index: test images, in the order of the figure's slider.
        columns: images in a row of the sheet.

    Returns:
        ``(sprites, html)``; the first for :class:`~figures.live.figure.Live`, the second for its readout.
    """
    if dataset is None:
        return "", ""
    width = ENLARGED * dataset.test_images.shape[-1]
    html = (
        f'<span class="lskd-thumb" data-picture role="img" aria-label="the image" style="width:{width}px;'
        f"height:{width}px;float:left;margin-right:1rem;background-image:var(--lskd-sprite-{figure});"
        f'background-size:{columns * width}px auto"></span>'
    )
    return live.sprite(dataset.test_images[index].numpy(), columns), html
