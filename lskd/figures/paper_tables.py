"""The paper's Tables 1 to 5 for readers: published, released logs, ours, difference; and as CSV files."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any

from lskd.analysis import ENOUGH_SEEDS
from lskd.figures.tables import Table, mean_text
from lskd.files import atomic_write
from lskd.paper_tables import TABLES, Entry, LeftOut, frame

__all__ = ["FEW", "left_out_table", "table", "write_csv"]

FEW = "\u00a0†"  # marks every number of ours from fewer than three seeds


def table(number: int, entries: list[Entry]) -> Table:
    """A row a cell, named as ``lskd train --recipe "CELL"`` takes it.

    Args:
        number: of the paper's table.
        entries: of :func:`lskd.paper_tables.entries`.
    """
    top5 = any(entry.published_top5 is not None for entry in entries)
    rows = []
    for row in frame(entries).to_dict("records"):
        cells = [str(row["cell"]), f"{row['published']:.2f}"]
        cells += [_value(row["published_top5"])] if top5 else []
        cells += [str(row[key]) or "–" for key in ("log_best", "log_last")]
        rows.append([*cells, *(_ours(row, part) for part in ("best", "last", "difference"))])
    headings = ["cell", "published", *(["published, top five"] if top5 else []), "log, best", "log, last"]
    headings += ["ours, best", "ours, last", "ours − published"]
    return Table(headings, rows, _caption(number, entries))


def _caption(number: int, entries: list[Entry]) -> str:
    done = [entry.ours for entry in entries if entry.ours]
    parts = [f"<b>Table {number}. {html.escape(TABLES[number][0])}.</b> Test accuracy, percent; differences in points."]
    parts.append(f"{len(done)} of {len(entries)} cells were run here; the others have a dash.")
    if any(ours["few"] for ours in done):
        parts.append(f"<b>† n below {ENOUGH_SEEDS}: no interval, and no conclusion about the method.</b>")
    barred = [entry.cell for entry in entries if entry.cell.obstacles]
    if barred:
        reasons = "; ".join(dict.fromkeys(reason for cell in barred for reason in cell.obstacles))
        parts.append(f"This version cannot run {len(barred)} of the cells: {html.escape(reasons)}.")
    if len(barred) < len(entries):
        parts.append('To run one: <code>lskd train --recipe "CELL" --seed 0</code>, CELL being the row\'s name.')
    return " ".join(parts)


def _ours(row: dict[Any, Any], part: str) -> str:
    given = row | {f"{part}_n": row["n"]}
    if not row["n"]:
        return "–"
    return mean_text(given, part, signed=part == "difference") + FEW * bool(row["few"])


def _value(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def left_out_table(found: list[LeftOut]) -> Table:
    """Runs of the tables' recipes that are not shown, with the reason."""
    rows = [[out.path.name, f"{out.recipe}/{out.member}", out.reason] for out in found]
    return Table(["record", "recipe and member", "why it is not in a table"], rows, "Records that no table shows.")


def write_csv(number: int, entries: list[Entry], folder: Path | str) -> Path:
    """All that is known of a table's cells (:func:`lskd.paper_tables.frame`), whole commands too."""
    path = Path(folder) / f"table_{number}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, frame(entries).to_csv(index=False, lineterminator="\n"))
    return path
