"""Accuracies of all runs, and what standardisation changes, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import theme
from figures.publish import Published, publish
from paper.gains import provenance
from paper.members import pairs
from paper.statistics import ENOUGH_SEEDS, accuracies, binomial_error, results, summarize
from paper.text import counted, with_symbols


def dots(
    records: Sequence[Mapping[str, Any]],
    *,
    folder: Path | str,
    files: Sequence[Path | str],
    paired: Mapping[str, float] | None = None,
    name: str = "results",
) -> Published:
    """Left: a dot a seed and member. Right: with LS minus without, a dot a seed that both have.

    From three seeds on, a bar shows the mean and its 95 % t-interval. Of a single run a thin line shows the
    uncertainty that the finite test set alone leaves (two standard errors); another seed may differ more.

    Args:
        records: runs of one experiment, see :func:`paper.store.aggregate`; ``files`` are theirs.
        paired: standard error of the difference on the same test images, by the member without LS
            (:func:`paper.statistics.paired_error`), for single runs.
    """
    frame = accuracies(records)
    members = list(dict.fromkeys(frame["member"]))
    twins = pairs(members)
    rows = [*((m,) for m in members if not any(m in pair for pair in twins)), *twins]
    tested = int(records[0]["dataset"]["test_size"])
    by_member = {m: frame[frame["member"] == m].set_index("seed")["last"] for m in members}
    teacher = (records[0].get("teacher") or {}).get("test_accuracy")
    single = all(len(v) == 1 for v in by_member.values())

    def draw(fig: Figure) -> None:
        left, right = fig.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        for place, group in enumerate(rows):
            for i, member in enumerate(group):
                y = -place + (0.17 - 0.34 * i if len(group) > 1 else 0)
                look = theme.look(member, frame[frame["member"] == member].iloc[0].to_dict())
                values = by_member[member].to_numpy()
                _mark(left, values, y, look, error=binomial_error(float(values.mean()), tested))
            if len(group) == 2:
                change = (by_member[group[1]] - by_member[group[0]]).dropna().to_numpy()
                _mark(right, change, -place, look, error=(paired or {}).get(group[0], 0))
        if teacher is not None:
            left.axvline(teacher, color=theme.INK, lw=1.0)
            left.text(teacher, 0.62, f"teacher {teacher:.1f} ", ha="right", fontsize=8, va="center")
        right.axvline(0, color=theme.MUTED, lw=1.0)
        labels = [frame.loc[frame["member"] == g[0], "label"].iloc[0] for g in rows]
        left.set_yticks([-i for i in range(len(rows))], labels=labels, fontsize=9)
        left.set(xlabel="test accuracy, last epoch [%]", ylim=(-len(rows) + 0.45, 0.8))
        right.set_xlabel("with LS − without LS [points]")
        reach = max(map(abs, right.get_xlim()))
        right.set_xlim(-reach, reach)
        for ax, title in ((left, "hollow without LS, filled with LS"), (right, "difference made by LS")):
            ax.set_title(title, fontsize=8.5, fontweight="normal")
            theme.rows(ax)

    found = results(records).to_dict("records")
    described = "; ".join(
        f"{r['label']} {r['without_mean']:.1f} %" + (f", with LS {r['with_mean']:.1f} %" if r["with_n"] else "")
        for r in found
    )
    counts = sorted({len(v) for v in by_member.values()})
    n = "n = " + (f"{counts[0]} to " if len(counts) > 1 else "") + counted(counts[-1], "seed")
    bars = (
        f"Thin lines: two standard errors that come from {tested:,} test images being few (differences: on the same "
        "images); what another seed would change is unknown at n = 1."
        if single
        else f"Bars: mean and 95 % t-interval where n ≥ {ENOUGH_SEEDS}."
    )
    unlike = "".join(
        f" With LS, {r['label']} also has other settings: {with_symbols(r['settings'])}."
        for r in found
        if r["settings"]
    )
    return publish(
        draw,
        name,
        height=0.62 * len(rows) + 0.95,
        folder=folder,
        alt=f"Test accuracy at the last epoch, {n}. {described}.",
        caption=f"<b>Test accuracy at the last epoch</b>, one mark a seed; {n} a member. {bars} "
        f"Recipe <code>{records[0]['name']}</code>, {tested:,} test images.{unlike} {provenance(records)}".strip(),
        inputs=files,
        data=frame,
    )


def _mark(ax: Axes, values: np.ndarray, y: float, look: theme.Look, *, error: float) -> None:
    mean, color, style = summarize(values.tolist()), look.color, look.points()
    if mean.n >= ENOUGH_SEEDS:
        ax.plot([mean.low, mean.high], [y, y], color=color, lw=5, alpha=0.35, solid_capstyle="butt")
        ax.plot([mean.mean] * 2, [y - 0.13, y + 0.13], color=color, lw=2)
    elif mean.n == 1:
        ax.plot([mean.mean - 2 * error, mean.mean + 2 * error], [y, y], color=color, lw=0.9)
    face = {"markerfacecolor": theme.PAPER} if style["markerfacecolor"] == "none" else {}
    ax.plot(values, np.full(len(values), y), ls="none", ms=5.5, mew=1.2, zorder=3, **(style | face))
