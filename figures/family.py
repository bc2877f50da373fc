"""The family of losses for readers: what each member reached beside KD + LS, and which weight was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from figures import theme
from figures.publish import Published, publish
from figures.table import Table, interval
from paper.family import CHOOSING, PLANNED, REFERENCE, Row, over_twin
from paper.members import label
from paper.statistics import ENOUGH_SEEDS
from paper.text import counted


def table(rows: Sequence[Row]) -> Table:
    """A row a member: weight, seeds, accuracy, and the paired difference from KD + LS with its interval."""
    out = []
    for row in rows:
        weight = "–" if row.weight is None else f"{row.weight:g}"
        seeds = f"{len(row.accuracy)}" + (f", {len(row.failed)} failed" if row.failed else "")
        mean = "not run yet" if row.mean is None else interval(row.mean)
        gains = ["–" if gain is None else interval(gain, plus=True) for gain in (row.gain, over_twin(row, rows))]
        name = label(row.member) + ("" if row.published else ", chosen weight")
        out.append([name, weight, seeds, *(text.replace(" ± ", "\u00a0±\u00a0") for text in (mean, *gains))])
    compared = sum(gain is not None for row in rows for gain in (row.gain, over_twin(row, rows)))
    caption = (
        f'<b class="lskd-overview">Test accuracy at the last epoch, and minus {label(REFERENCE)} of the same seed.</b> '
        f"Percent and points; ± 95 % t-interval over seeds, from {ENOUGH_SEEDS} seeds on. "
        f"The last column is a member with LS minus itself without, seed by seed. {state(rows)}"
        + (f" {counted(compared, 'comparison')}, not corrected for their number." if compared else "")
    )
    heads = ["member", "weight", "seeds", "accuracy", f"minus {label(REFERENCE)}", "LS adds"]
    return Table(heads, out, caption)


def state(rows: Sequence[Row]) -> str:
    """How much of the plan was run, in a sentence."""
    planned = [row for row in rows if row.published]
    whole = sum(len(row.accuracy) + len(row.failed) >= PLANNED for row in planned)
    nothing = sum(not row.accuracy and not row.failed for row in planned)
    if whole == len(planned):
        return f"All {whole} members were run with {PLANNED} seeds."
    return (
        f"Of {len(planned)} members {whole} were run with all {PLANNED} seeds that the plan has, "
        f"{nothing} not at all yet; the table grows with the records."
    )


def choice_table(choice: Mapping[str, Mapping[float, float | None]]) -> Table:
    """A row a member: accuracy of the seed that chooses, at each weight, the best marked."""
    out = []
    for member, found in choice.items():
        best = max((value for value in found.values() if value is not None), default=None)
        told = {w: "stopped early" if v is None else f"{v:.2f}" + " ←" * (v == best) for w, v in found.items()}
        out.append([label(member), *(f"{weight:g}: {text}" for weight, text in told.items())])
    return Table(
        ["member", "a third", "published", "three times"], out, f"Weight: accuracy with seed {CHOOSING} alone."
    )


def dots(rows: Sequence[Row], *, folder: Path | str, files: Sequence[Path | str], name: str = "family") -> Published:
    """A row a member: its accuracy minus that of KD + LS of the same seed, a mark a seed, and the mean's interval."""
    reference = label(REFERENCE)
    every, rows = rows, [row for row in rows if row.member != REFERENCE]  # which is the line at zero

    def draw(fig: Figure) -> None:
        ax = fig.subplots()
        for place, row in enumerate(rows):
            look = theme.look(row.member, {"method": row.method})
            values, y = list(row.difference.values()), -place
            if (gain := row.gain) is not None and gain.n >= ENOUGH_SEEDS:
                ax.plot([gain.low, gain.high], [y, y], color=look.color, lw=6, alpha=0.35, solid_capstyle="butt")
                ax.plot([gain.mean] * 2, [y - 0.25, y + 0.25], color=look.color, lw=2)
            ax.plot(values, np.full(len(values), y), ls="none", ms=5, **look.points())
            if row.gain is None:
                words = "not run yet" if row.mean is None else f"no {reference} of these seeds"
                ax.text(0.99, y, words, transform=ax.get_yaxis_transform(), ha="right", va="center", color=theme.MUTED)
        ax.axvline(0, color=theme.MUTED, lw=1.0)
        ax.set_yticks([-i for i in range(len(rows))], labels=[row.label for row in rows])
        ax.set(ylim=(-len(rows) + 0.4, 0.6), xlabel=f"test accuracy minus {reference}, same seed [points]")
        reach = max(0.5, *map(abs, ax.get_xlim()))
        ax.set_xlim(-reach, reach)
        theme.rows(ax)

    told = [f"{row.label} {interval(row.gain, plus=True)}" for row in rows if row.gain is not None]
    data = [(row.label, seed, row.accuracy[seed], row.difference.get(seed)) for row in rows for seed in row.accuracy]
    return publish(
        draw,
        name,
        height=0.3 * len(rows) + 0.8,
        folder=folder,
        alt=f"Differences from {reference} by member of the family. {'; '.join(told) or 'No pair was run yet'}. "
        f"{state(every)}",
        caption=f"<b>The family beside {reference}.</b> A mark a seed, the bar a mean and its 95 % t-interval from "
        f"{ENOUGH_SEEDS} seeds on; filled with LS, hollow without. {state(every)}",
        inputs=files,
        data=pd.DataFrame(data, columns=["member", "seed", "accuracy", "difference"]),
    )
