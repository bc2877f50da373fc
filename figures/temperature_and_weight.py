"""Accuracy over temperature and weight, without and with LS: is the method or its setting what differs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.publish import Published, publish
from figures.theme import Theme, figure, is_narrow
from lskd.errors import LskdError
from paper.text import counted, signed

__all__ = ["cells", "maps", "summary"]


def cells(records: Sequence[Mapping[str, Any]], *, epoch: str = "last") -> pd.DataFrame:
    """Mean accuracy of every (temperature, weight) over records, in percent.

    Args:
        records: runs of one recipe whose members are KD with several temperatures and weights.
        epoch: "last" or "best".

    Returns:
        Columns temperature, weight, without, with, difference, n (records).

    Raises:
        LskdError: a member is not KD, or a setting has no twin with the other choice of LS.
    """
    rows = []
    for record in records:
        for name, member in record["members"].items():
            if member["method"] != "kd":
                raise LskdError(f"member {name} of recipe {record['name']} is {member['method']}; expected kd")
            rows.append(
                {
                    "temperature": float(member["settings"]["temperature"]),
                    "weight": float(member["settings"]["kd_weight"]),
                    "ls": "with" if member["standardize"] else "without",
                    "accuracy": member[epoch]["test_accuracy"] if member[epoch] else float("nan"),
                }
            )
    frame = pd.DataFrame(rows).pivot_table(
        index=["temperature", "weight"], columns="ls", values="accuracy", aggfunc="mean"
    )
    if list(frame.columns) != ["with", "without"] or bool(frame.isna().to_numpy().any()):
        raise LskdError("every temperature and weight needs a member without and one with LS")
    frame["difference"] = frame["with"] - frame["without"]
    return frame.reset_index().assign(n=len(records))[
        ["temperature", "weight", "without", "with", "difference", "n"]
    ]  # fmt: skip


def summary(frame: pd.DataFrame) -> dict[str, float]:
    """Best setting of each side, the difference at the best settings, and how often LS is above at equal settings."""
    rows = frame.to_dict("records")
    best = {side: max(rows, key=itemgetter(side)) for side in ("without", "with")}
    out = {f"{side}_{key}": float(best[side][key]) for side in best for key in ("temperature", "weight")}
    out |= {f"{side}_best": float(best[side][side]) for side in best}
    return out | {
        "difference_at_best": float(best["with"]["with"] - best["without"]["without"]),
        "above": int((frame["difference"] > 0).sum()),
        "settings": len(frame),
        "spread_without": float(frame["without"].max() - frame["without"].min()),
        "spread_with": float(frame["with"].max() - frame["with"].min()),
    }


def maps(
    records: Sequence[Mapping[str, Any]], *, folder: Path | str, files: Sequence[Path | str], epoch: str = "last"
) -> Published:
    """Three maps over (weight, temperature): accuracy without LS, with LS, and their difference."""
    frame = cells(records, epoch=epoch)
    n, tested = int(frame["n"].iloc[0]), int(records[0]["dataset"]["test_size"])
    accuracy = frame[["without", "with"]].to_numpy(dtype=float)
    low, high = float(accuracy.min()), float(accuracy.max())
    reach = max(float(frame["difference"].abs().max()), 1e-6)

    def draw(theme: Theme) -> Figure:
        fig = figure(2.7)
        axes = fig.subplots(1, 3, sharey=True)
        diverging = sns.diverging_palette(30, 245, s=80, l=55, center="dark" if theme.dark else "light", as_cmap=True)
        for ax, key, title in zip(axes, ("without", "with", "difference"), TITLES, strict=True):
            grid = frame.pivot(index="temperature", columns="weight", values=key)
            if key == "difference":
                look: dict[str, Any] = {"cmap": diverging, "vmin": -reach, "vmax": reach}
                words = grid.map(signed, digits=1)
            else:
                look = {"cmap": theme.heat, "vmin": low - 0.4 * (high - low), "vmax": high}
                words = grid.map("{:.1f}".format)
            look |= {
                k: [f"{v:g}" for v in names]
                for k, names in (("xticklabels", grid.columns), ("yticklabels", grid.index))
            }
            sns.heatmap(grid, ax=ax, annot=words, fmt="", cbar=False, annot_kws={"size": 9}, linewidths=1.5,
                        linecolor=theme.paper, **look)  # fmt: skip
            _finish(ax, title, first=is_narrow() or key == "without")
        return fig

    found = summary(frame)
    return publish(
        draw,
        "surface",
        folder=folder,
        alt=f"Test accuracy of KD over {found['settings']} settings of temperature and weight. Without LS the best is "
        f"{found['without_best']:.1f} % at temperature {found['without_temperature']:g} and weight "
        f"{found['without_weight']:g}; with LS {found['with_best']:.1f} % at temperature {found['with_temperature']:g} "
        f"and weight {found['with_weight']:g}.",
        caption=f"<b>Test accuracy in percent, {epoch} epoch</b>, over weight and temperature; "
        f"n = {counted(n, 'seed')} a cell, {tested:,} test images. "
        f"Recipe <code>{records[0]['name']}</code>: all students in one cohort.",
        inputs=files,
        data=frame,
        n=n,
        module=__name__,
    )


TITLES = ("without LS", "with LS", "with LS − without LS")


def _finish(ax: Axes, title: str, *, first: bool) -> None:
    ax.set_title(title)
    ax.set_xlabel("weight of the KD term")
    ax.set_ylabel("temperature" if first else "")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0, labelleft=first)
