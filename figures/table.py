"""Tables for readers: numbers with their unit, n and uncertainty, as HTML that a notebook shows, or as Markdown."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lskd.files import atomic_write
from paper.statistics import ENOUGH_SEEDS, Mean
from paper.text import counted, markdown_table, signed, with_symbols

PARTS = ("without", "with", "difference")
SHORT = 18  # characters that a row's name may have to stay on one line
NUMBERS = 32  # characters that a cell of numbers has at most; columns of longer ones are read as text


class Measured(str):
    """Text of a cell that was measured here, which a table sets apart from what is quoted."""


@dataclass(frozen=True)
class Table:
    """Cells of text under headings; the first column names the rows. Shows itself in a notebook."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @classmethod
    def of(cls, rows: pd.DataFrame, columns: Mapping[str, str], caption: str = "") -> Table:
        """A line a row; ``columns`` says by heading how a cell is written, such as ``"{accuracy:.1f} %"``."""
        cells = [
            [re.sub(r"^-(?=\d)", "−", text.format_map(row)) for text in columns.values()]
            for row in rows.to_dict("records")
        ]
        return cls(list(columns), cells, caption)

    @property
    def _sides(self) -> list[str]:
        """Where the cells of each column but the first stand: numbers at the right, text at the left."""
        places = range(1, len(self.headings))
        return ["left" if any(len(row[i]) > NUMBERS for row in self.rows) else "right" for i in places]

    def to_html(self) -> str:
        """A ``<table>`` whose caption is HTML and whose cells are text."""

        def line(cells: Sequence[str], kind: str) -> str:
            scope, long = "col" if kind == "th" else "row", ' class="lskd-long"' * (len(cells[0]) > SHORT)
            out = f'<th scope="{scope}"{long} style="text-align:left">{html.escape(cells[0])}</th>'
            for text, side in zip(cells[1:], self._sides, strict=True):
                marks = ' scope="col"' * (kind == "th") + ' class="lskd-measured"' * isinstance(text, Measured)
                out += f'<{kind}{marks} style="text-align:{side}">{html.escape(text)}</{kind}>'
            return f"<tr>{out}</tr>"

        # A block inside the caption, so that a page can keep its words in view while a wide table scrolls under them.
        words = f'<div class="lskd-caption">{self.caption}</div>'
        caption = f'<caption style="caption-side:top;text-align:left">{words}</caption>' if self.caption else ""
        body = "".join(line(row, "td") for row in self.rows)
        return (
            f'<table class="dataframe lskd-table" border="0">{caption}'
            f"<thead>{line(self.headings, 'th')}</thead><tbody>{body}</tbody></table>"
        )

    def to_markdown(self) -> str:
        """A GitHub-style table, without the caption."""
        return markdown_table(
            self.headings, self.rows, align="-" + "".join("r" if s == "right" else "-" for s in self._sides)
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return self.to_markdown()


def write_csv(frame: pd.DataFrame, path: Path | str) -> Path:
    """What a table holds, for readers who want the numbers."""
    atomic_write(path, frame.to_csv(index=False, lineterminator="\n"))
    return Path(path)


def interval(mean: Mean, *, plus: bool = False, digits: int = 2) -> str:
    """``90.12 ± 0.31``, half a 95 % t-interval; fewer than three seeds have none: ``90.12 (n = 1)``."""
    width = f" ± {mean.half_width:.{digits}f}" if mean.n >= ENOUGH_SEEDS else f" (n = {mean.n})"
    return (signed(mean.mean, digits) if plus else f"{mean.mean:.{digits}f}") + width


def mean_text(row: Mapping[Any, Any], part: str, *, counts: bool = True) -> str:
    """``90.12 ± 0.31 (n = 5)``; fewer than three seeds have no interval: ``90.12 (n = 1)``; no run: an en dash.

    Args:
        row: of :func:`paper.statistics.results`.
        part: "without", "with" or "difference", which has its sign.
        counts: say n.
    """
    n, mean, low, high = (row[f"{part}_{key}"] for key in ("n", "mean", "low", "high"))
    if n == 0 or math.isnan(mean):
        return "–"
    found = interval(Mean(n, mean, math.nan, low, high), plus=part == "difference")
    text = found.partition(" (")[0] + f" (n = {n})" * counts
    return text.replace(" ", "\u00a0")


def results_table(
    results: pd.DataFrame,
    *,
    epoch: str,
    paired: Mapping[str, float] | None = None,
    selected: pd.DataFrame | None = None,
    counts: bool = False,
) -> Table:
    """Accuracies without and with LS and their difference; ± is the 95 % t-interval.

    The number of seeds stands in the caption where it is the same for all, else in every cell.

    Args:
        results: of :func:`paper.statistics.results`, for ``epoch``.
        paired: standard error of each single-run difference on the same test images, by the member without LS;
            shown as one more column.
        selected: of :func:`paper.statistics.results`, at the epoch chosen on held-out images; three more columns where
            a record has it, none where no record does.
        counts: have it in every cell in any case, for a table that is shown without its caption.
    """
    seeds = {int(row[f"{part}_n"]) for row in results.to_dict("records") for part in PARTS if row[f"{part}_n"]}
    same = len(seeds) == 1 and not counts

    chosen = {} if selected is None else {row["member"]: row for row in selected.to_dict("records")}
    rows = []
    for row in results.to_dict("records"):
        cells = [str(row["label"]), *(mean_text(row, part, counts=not same) for part in PARTS)]
        if paired is not None:
            cells.append(f"{paired[str(row['member'])]:.2f}" if row["member"] in paired else "–")
        if chosen:
            found = chosen.get(row["member"])
            cells += [mean_text(found, part, counts=not same) if found else "–" for part in PARTS]
        settings = with_symbols(str(row["settings"]))
        rows.append([*cells, settings or ("none" if row["difference_n"] else "–")])
    few = bool(results["few"].any())
    caption = f"Test accuracy at the <b>{epoch}</b> epoch, percent; differences in points."
    caption += f" n = {counted(max(seeds), 'seed')}." if same else ""
    caption += " ± is a 95 % t-interval over seeds." if not few else ""
    caption += f" <b>Fewer than {ENOUGH_SEEDS} seeds: no interval, and no conclusion about the method.</b>" * few
    caption += " <b>Selected</b>: at the epoch that was best on images held out of the training set." * bool(chosen)
    more = ["error from test images"] if paired is not None else []
    more += ["selected, without LS", "selected, with LS", "selected, LS − without"] if chosen else []
    return Table(["method", "without LS", "with LS", "LS − without", *more, "other settings changed"], rows, caption)


def logit_table(statistics: pd.DataFrame) -> Table:
    """:func:`paper.logits.logit_statistics` for readers."""
    columns = {
        "network": "{label}", "test accuracy": "{test_accuracy:.1f} %", "mean of means": "{mean_of_means:+z.4f}",
        "mean of σ": "{mean_of_std:.3f}", "sd of σ": "{spread_of_std:.3f}", "mean range": "{mean_of_range:.2f}",
        "σ of Z-scores": "{standardized_std:.4f}",
    }  # fmt: skip
    n = f"{int(statistics['n'].iloc[0]):,}" if len(statistics) else "0"
    return Table.of(
        statistics, columns, f"Logits of n = {n} test images, one run of each network; σ over classes, divided by K."
    )


def gap_table(statistics: pd.DataFrame) -> Table:
    """:func:`paper.logits.gap_statistics` for readers."""
    columns = {
        "student": "{label}", "logits": "{kind}", "mean (with diagonal)": "{mean:.4f}",
        "mean (off diagonal)": "{mean_off_diagonal:.4f}", "largest": "{max:.3f}",
        "at true class → logit": "{row} → {column}",
    }  # fmt: skip
    caption = "Absolute difference of class-mean logits, student and teacher; one run of each."
    return Table.of(statistics, columns, caption)


def neighbor_table(frame: pd.DataFrame) -> Table:
    """:func:`figures.tsne.table` for readers."""
    columns = {
        "network": "{label}", "features": "{features}", "test accuracy": "{test_accuracy:.1f} %",
        "5-NN accuracy": "{neighbors:.1f} %", "silhouette": "{silhouette:+.3f}", "t-SNE divergence": "{divergence:.2f}",
    }  # fmt: skip
    return Table.of(frame, columns, "5-NN and silhouette of the true classes, both in the original feature space.")
