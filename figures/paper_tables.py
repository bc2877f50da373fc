"""The paper's Tables 1 to 5 for readers: published, released logs, ours, difference; and as CSV files."""

from __future__ import annotations

import html
import math
import re
from statistics import fmean
from typing import Any

from figures.table import Measured, Table, mean_text
from paper.members import label
from paper.statistics import ENOUGH_SEEDS
from paper.tables import TABLES, Entry, LeftOut, frame
from paper.text import signed

FEW = "\u00a0†"  # marks every number of ours from fewer than three seeds
OTHER = "\u00a0‡"  # marks those whose teacher was not trained by the recipe


def table(number: int | str, entries: list[Entry]) -> Table:
    """A row a cell, named as ``lskd recipe show "CELL"`` takes it.

    Args:
        number: of the paper's table; or what a table that the paper does not number is about.
        entries: of :func:`paper.tables.entries` or ``entries_of``.
    """
    top5 = any(entry.cell.published_top5 is not None for entry in entries)
    ran = any(entry.ours for entry in entries)
    parts = {"best": "ours, best", "last": "ours, last", "difference": "ours − published"} if ran else {}
    if any(entry.ours and "best_top5" in entry.ours for entry in entries):
        parts["best_top5"] = "ours, best, top five"
    rows = []
    for entry, row in zip(entries, frame(entries).to_dict("records"), strict=True):
        cells = [str(row["cell"]), f"{row['published']:.2f}"]
        cells += [_value(row["published_top5"])] if top5 else []
        cells += [str(row[key]) for key in ("log_best", "log_last")]
        rows.append([*cells, *(_ours(row, part, _marks(entry)) for part in parts)])
    headings = ["cell", "published", *(["published, top five"] if top5 else []), "log, best", "log, last"]
    return Table([*headings, *parts.values()], rows, _caption(number, entries))


def overview(number: int, entries: list[Entry]) -> Table:
    """A table in the paper's layout: its columns, its rows, every cell its published value and, where it was run here,
    "published / ours" at the best epoch.

    Columns are pairs of networks, in Table 4 the parts of the Z-score; Δ is LS minus without, of published values and
    of ours where both were run.
    """
    value = {_place(entry): entry for entry in entries if entry.cell.teacher}
    columns, rows = (list(dict.fromkeys(names)) for names in zip(*value, strict=True))
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
    caption = (
        f'<b class="lskd-overview">Table {number}, in the paper\'s layout.</b> Test accuracy at the best epoch, percent'
        f"{_count(entries)}: published / ours" + ("; Δ is LS minus without, points" if number != 4 else "") + "."
    )
    names = [[row[0].replace(" ", "\u00a0"), *row[1:]] for row in out]
    return Table(["weight" if number == 4 else "method", *columns], names, caption)


def _place(entry: Entry) -> tuple[str, str]:
    """Column and row of a cell in the paper's layout."""
    cell = entry.cell
    if cell.member.startswith("weight_"):
        return cell.name.rpartition(", ")[2], f"{cell.kd_weight:g}"
    networks = [(name or "").removeprefix("imagenet/") for name in (cell.teacher, cell.student)]
    return " → ".join(networks), label("", method=cell.method, standardize=cell.standardize)


def _both(entry: Entry | None) -> str:
    if entry is None:
        return ""
    text = f"{entry.published:.2f}"
    if not entry.ours:
        return text
    return Measured(f"{text} / {entry.ours['best']['mean']:.2f}{_marks(entry)}".replace(" ", "\u00a0"))


def _gain(on: Entry | None, off: Entry | None) -> str:
    if on is None or off is None:
        return ""
    text = signed(on.published - off.published)
    if not (on.ours and off.ours):
        return text
    a, b = (dict(zip(e.ours["seeds"], e.ours["values"]["best"], strict=True)) for e in (on, off) if e.ours)
    if not (shared := a.keys() & b.keys()):
        return text
    ours = signed(fmean(a[seed] - b[seed] for seed in shared))
    marks = "".join(dict.fromkeys(re.findall("\u00a0.", _marks(on) + _marks(off))))
    return Measured(f"{text} / {ours}{marks}".replace(" ", "\u00a0"))


def _marks(entry: Entry) -> str:
    """What a reader has to know of a number of ours: few seeds, a teacher from elsewhere."""
    ours = entry.ours or {}
    return FEW * bool(ours.get("few")) + OTHER * bool((ours.get("teacher") or {}).get("checkpoint"))


def _count(entries: list[Entry]) -> str:
    """How many cells were run here, and what the marks at their numbers mean."""
    done = [entry for entry in entries if entry.ours]
    words = f"; {len(done)} of {len(entries)} cells run here"
    words += f", † fewer than {ENOUGH_SEEDS} seeds" * any(FEW in _marks(entry) for entry in done)
    teachers = [(entry.ours or {})["teacher"] for entry in done if OTHER in _marks(entry)]
    named = dict.fromkeys(f"{t['network']}, {t['test_accuracy']:.2f} % ({t['checkpoint']})" for t in teachers)
    return words + (f", ‡ taught by {html.escape('; '.join(named))}" if named else "")


def _caption(number: int | str, entries: list[Entry]) -> str:
    done = [entry.ours for entry in entries if entry.ours]
    title = f"Table {number}. {TABLES[number][0]}" if isinstance(number, int) else number
    parts = [f"<b>{html.escape(title)}.</b> Test accuracy, percent; differences in points."]
    parts.append(f"{_count(entries).removeprefix('; ')}.")
    if any(ours["few"] for ours in done):
        parts.append(f"<b>† n below {ENOUGH_SEEDS}: no interval, and no conclusion about the method.</b>")
    if mixed := sum(len(ours["trainers"]) > 1 for ours in done):
        parts.append(f"{mixed} of them average seeds of several versions of the trainer, whose bits differ.")
    barred = [entry.cell for entry in entries if entry.cell.obstacles]
    if barred:
        reasons = "; ".join(dict.fromkeys(reason for cell in barred for reason in cell.obstacles))
        parts.append(f"What is installed here cannot run {len(barred)} of the cells: {html.escape(reasons)}.")
    if len(barred) < len(entries):
        parts.append('<code>lskd recipe show "CELL"</code>, CELL being a row\'s name, says how to run it.')
    return " ".join(parts)


def _ours(row: dict[Any, Any], part: str, marks: str) -> str:
    if not row["n"] or not _value(row[f"{part}_mean"]):
        return ""
    return Measured(mean_text(row | {f"{part}_n": row["n"]}, part) + marks)


def _value(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"


def left_out_table(found: list[LeftOut]) -> Table:
    """Runs of the tables' recipes that are not shown, with the reason."""
    rows = [[out.path.name, f"{out.recipe}/{out.member}", out.reason] for out in found]
    return Table(["record", "recipe and member", "why it is not in a table"], rows, "Records that no table shows.")
