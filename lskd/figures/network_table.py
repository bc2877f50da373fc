"""The networks of the paper and what they cost, measured on the code itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lskd.describe import markdown_table
from lskd.figures.network_cost import alone
from lskd.files import atomic_write
from lskd.models import list_models, model_info

DATA = {  # of input size and classes: title, name among the published numbers
    (32, 100): ("CIFAR-100", "cifar100"),
    (224, 1000): ("ImageNet", "imagenet"),
    (224, 100): ("Vision transformers, CIFAR-100 enlarged", "cifar100_224"),
}

__all__ = ["by_data", "networks", "write_csv"]


def networks() -> pd.DataFrame:
    """One row a network, by family; networks that need a package which is absent are left out."""
    rows = []
    for name in list_models():
        try:
            info = model_info(name)
        except ImportError:
            continue
        rows.append(
            {
                "name": name,
                "family": info.family,
                "parameters": info.parameters,
                "multiply_adds": info.multiply_adds,
                "features": info.features,
                "input_size": info.input_size,
                "classes": info.classes,
            }
        )
    return pd.DataFrame(rows)


def by_data(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(whose images, Markdown: what all of these networks take, and a table by family), one for each of DATA."""
    for (size, classes), (title, dataset) in DATA.items():
        rows = table[(table["input_size"] == size) & (table["classes"] == classes)]
        published = alone(dataset)
        cells = [
            (
                f"`{row['name'].rpartition('/')[2]}`",
                f"{row['parameters']:,}",
                f"{row['multiply_adds'] / 1e6:,.1f}",
                row["features"],
                f"{published[row['name']]:.2f}" if row["name"] in published else "–",
            )
            for row in rows.to_dict("records")
        ]
        header = ("network", "parameters", "multiply-adds (million)", "features", "published, alone (%)")
        prefix = {name.rpartition("/")[0] for name in rows["name"]} - {""}
        named = f" Their names begin with `{prefix.pop()}/`." if prefix else ""
        takes = f"{size} × {size} pixels, {classes:,} classes.{named}"
        yield title, f"{takes}\n\n{markdown_table(header, cells, align='lrrrr')}"


def write_csv(table: pd.DataFrame, folder: Path | str) -> Path:
    """The table as ``networks.csv``."""
    path = Path(folder) / "networks.csv"
    atomic_write(path, table.to_csv(index=False))
    return path
