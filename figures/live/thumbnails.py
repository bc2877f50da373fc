"""The images behind logits, as small pictures beside a live figure."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

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
