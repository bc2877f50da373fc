"""The paper's Tables 1 to 5 for readers: published, released logs, ours, difference; and as CSV files."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any

from figures.table import Table, mean_text
from lskd.files import atomic_write
from paper.statistics import ENOUGH_SEEDS
from paper.tables import TABLES, Entry, LeftOut, frame

__all__ = ["FEW", "left_out_table", "overview", "table", "write_csv"]

FEW = "\u00a0†"  # marks every number of ours from fewer than three seeds


def table(number: int | str, entries: list[Entry]) -> Table:
    """A row a cell, named as ``lskd recipe show "CELL"`` takes it.

    Args:
        number: of the paper's table; or what a table that the paper does not number is about.
        entries: of :func:`paper.tables.entries` or ``entries_of``.
    """
    top5 = any(entry.published_top5 is not None for entry in entries)
    parts = {"best": "ours, best", "last": "ours, last", "difference": "ours − published"}
    if any(entry.ours and "best_top5" in entry.ours for entry in entries):
        parts["best_top5"] = "ours, best, top five"
    rows = []
    for row in frame(entries).to_dict("records"):
        cells = [str(row["cell"]), f"{row['published']:.2f}"]
        cells += [_value(row["published_top5"])] if top5 else []
        cells += [str(row[key]) or "–" for key in ("log_best", "log_last")]
        rows.append([*cells, *(_ours(row, part) for part in parts)])
    headings = ["cell", "published", *(["published, top five"] if top5 else []), "log, best", "log, last"]
    return Table([*headings, *parts.values()], rows, _caption(number, entries))


def overview(number: int, entries: list[Entry]) -> Table:
    """A table in the paper's layout: its columns, its rows, every cell "published / ours" at the best epoch.

    Columns are pairs of networks, in Table 4 the parts of the Z-score; Δ is LS minus without, of published values and
    of ours where both were run.
    """
    value: dict[tuple[str, str], Entry] = {}
    columns: list[str] = []
    rows: list[str] = []
    for entry in (e for e in entries if e.cell.teacher):
        column, row = _place(entry)
        columns += [column] * (column not in columns)
        rows += [row] * (row not in rows)
        value[column, row] = entry
    out = []
    alone = {e.cell.student: e for e in entries if not e.cell.teacher}
    for name, index in (("teacher alone", 0), ("student alone", 1)):
        known = [alone.get(column.split(" → ")[index]) for column in columns] if number != 4 else []
        if any(known):
            out.append([name, *(_both(e) for e in known)])
    for row in rows:
        out.append([row, *(_both(value.get((column, row))) for column in columns)])
        if row.endswith(" + LS"):
            twins = [(value.get((c, row)), value.get((c, row.removesuffix(" + LS")))) for c in columns]
            if any(all(pair) for pair in twins):
                out.append([f"Δ {row.removesuffix(' + LS')}", *(_gain(*pair) for pair in twins)])
    few = any(e.ours and e.ours["few"] for e in entries)
    caption = (
        f'<b class="lskd-overview">Table {number}, as the paper lays it out.</b> Test accuracy at the best epoch, '
        "percent: published / ours" + ("; Δ is LS minus without, points" if number != 4 else "")
    )
    caption += f"; † fewer than {ENOUGH_SEEDS} seeds." if few else "; a dash where nothing was run."
    names = [[row[0].replace(" ", "\u00a0"), *row[1:]] for row in out]
    return Table(["weight" if number == 4 else "method", *columns], names, caption)


def _place(entry: Entry) -> tuple[str, str]:
    """Column and row of a cell in the paper's layout."""
    cell = entry.cell
    if cell.member.startswith("weight_"):
        return cell.name.rpartition(", ")[2], f"{cell.kd_weight:g}"
    networks = [(name or "").removeprefix("imagenet/") for name in (cell.teacher, cell.student)]
    return " → ".join(networks), cell.method.upper() + " + LS" * cell.standardize


def _both(entry: Entry | None) -> str:
    if entry is None:
        return "–"
    return f"{entry.published:.2f} / {_mean(entry)}".replace(" ", "\u00a0")


def _mean(entry: Entry) -> str:
    return f"{entry.ours['best']['mean']:.2f}" + FEW * bool(entry.ours["few"]) if entry.ours else "–"


def _gain(on: Entry | None, off: Entry | None) -> str:
    if on is None or off is None:
        return "–"
    ours = "–"
    if on.ours and off.ours:
        few = on.ours["few"] or off.ours["few"]
        ours = f"{on.ours['best']['mean'] - off.ours['best']['mean']:+.2f}" + FEW * bool(few)
    return f"{on.published - off.published:+.2f} / {ours}".replace("-", "−").replace(" ", "\u00a0")


def _caption(number: int | str, entries: list[Entry]) -> str:
    done = [entry.ours for entry in entries if entry.ours]
    title = f"Table {number}. {TABLES[number][0]}" if isinstance(number, int) else number
    parts = [f"<b>{html.escape(title)}.</b> Test accuracy, percent; differences in points."]
    parts.append(f"{len(done)} of {len(entries)} cells were run here; the others have a dash.")
    if any(ours["few"] for ours in done):
        parts.append(f"<b>† n below {ENOUGH_SEEDS}: no interval, and no conclusion about the method.</b>")
    barred = [entry.cell for entry in entries if entry.cell.obstacles]
    if barred:
        reasons = "; ".join(dict.fromkeys(reason for cell in barred for reason in cell.obstacles))
        parts.append(f"What is installed here cannot run {len(barred)} of the cells: {html.escape(reasons)}.")
    if len(barred) < len(entries):
        parts.append('<code>lskd recipe show "CELL"</code>, CELL being a row\'s name, says how to run it.')
    return " ".join(parts)


def _ours(row: dict[Any, Any], part: str) -> str:
    given = row | {f"{part}_n": row["n"]}
    if not row["n"] or _value(row[f"{part}_mean"]) == "–":
        return "–"
    return mean_text(given, part, signed=part == "difference") + FEW * bool(row["few"])


def _value(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def left_out_table(found: list[LeftOut]) -> Table:
    """Runs of the tables' recipes that are not shown, with the reason."""
    rows = [[out.path.name, f"{out.recipe}/{out.member}", out.reason] for out in found]
    return Table(["record", "recipe and member", "why it is not in a table"], rows, "Records that no table shows.")


def write_csv(number: int, entries: list[Entry], folder: Path | str) -> Path:
    """All that is known of a table's cells (:func:`paper.tables.frame`), whole commands too."""
    path = Path(folder) / f"table_{number}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, frame(entries).to_csv(index=False, lineterminator="\n"))
    return path
