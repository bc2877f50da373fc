"""The networks of the paper and what they cost, measured on the code itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lskd.describe import markdown_table
from lskd.figures.network_cost import alone
from lskd.files import atomic_write
from lskd.models import list_models, model_info

DATASETS = {(32, 100): "cifar100", (224, 1000): "imagenet", (224, 100): "cifar100_224"}  # of input size and classes

__all__ = ["by_family", "networks", "write_csv"]


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


def by_family(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(family, Markdown: what all of it take, and a table) in the order of the list."""
    for family, rows in table.groupby("family", sort=False):
        (size,), (classes,) = (sorted(set(rows[key])) for key in ("input_size", "classes"))
        published = alone(DATASETS[(size, classes)])
        cells = [
            (
                f"`{row['name']}`",
                f"{row['parameters']:,}",
                f"{row['multiply_adds'] / 1e6:,.1f}",
                row["features"],
                f"{published[row['name']]:.2f}" if row["name"] in published else "–",
            )
            for row in rows.to_dict("records")
        ]
        header = ("network", "parameters", "multiply-adds (million)", "features", "published, alone (%)")
        takes = f"{size} × {size} pixels, {classes:,} classes."
        yield str(family), f"{takes}\n\n{markdown_table(header, cells, align='lrrrr')}"


def write_csv(table: pd.DataFrame, folder: Path | str) -> Path:
    """The table as ``networks.csv``."""
    path = Path(folder) / "networks.csv"
    atomic_write(path, table.to_csv(index=False))
    return path
