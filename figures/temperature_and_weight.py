"""Accuracy over temperature and weight, without and with LS: is the method or its setting what differs?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from figures import scales, theme
from figures.publish import Published, publish
from lskd.errors import LskdError
from paper.text import counted, signed

TITLES = {"without": "without LS", "with": "with LS", "difference": "with LS − without LS"}


def cells(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Mean accuracy at the last epoch of every (temperature, weight) over records, in percent.

    Args:
        records: runs of one recipe whose members are KD with several temperatures and weights.

    Returns:
        Columns temperature, weight, without, with, difference, n (seeds, of the side that has fewer).

    Raises:
        LskdError: a member is not KD, or a setting has no twin with the other choice of LS.
    """
    rows = []
    for record in records:
        for name, member in record["members"].items():
            if member["method"] != "kd":
                raise LskdError(f"member {name} of recipe {record['name']} is {member['method']}; expected kd")
            at, side = member["settings"], "with" if member["standardize"] else "without"
            accuracy = member["last"]["test_accuracy"] if member["last"] and not member.get("failure") else math.nan
            rows.append((float(at["temperature"]), float(at["kd_weight"]), side, accuracy, record["seed"]))
    keys = ["temperature", "weight"]
    long = pd.DataFrame(rows, columns=[*keys, "ls", "accuracy", "seed"])
    frame = long.pivot_table(index=keys, columns="ls", values="accuracy", aggfunc="mean")
    if list(frame.columns) != ["with", "without"] or bool(frame.isna().to_numpy().any()):
        raise LskdError("every temperature and weight needs a member without and one with LS")
    seeds = long.dropna().groupby([*keys, "ls"])["seed"].nunique().groupby(keys).min()
    frame = frame[["without", "with"]].assign(difference=frame["with"] - frame["without"], n=seeds)
    return frame.reset_index().rename_axis(columns=None)


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """Best setting of each side, the difference at the best settings, and how often LS is above at equal settings.

    ``*_edge`` says at which edges of the grid a best setting lies, in words; empty inside.
    """
    rows = frame.to_dict("records")
    best = {side: max(rows, key=itemgetter(side)) for side in ("without", "with")}
    out: dict[str, Any] = {}
    for side, row in best.items():
        out |= {f"{side}_{key}": float(row[key]) for key in ("temperature", "weight")}
        out |= {f"{side}_best": float(row[side]), f"{side}_edge": _edge(frame, row)}
        out[f"spread_{side}"] = float(frame[side].max() - frame[side].min())
    return out | {
        "difference_at_best": float(best["with"]["with"] - best["without"]["without"]),
        "above": int((frame["difference"] > 0).sum()),
        "settings": len(frame),
    }


def _edge(frame: pd.DataFrame, best: Mapping[Any, Any]) -> str:
    tried = {key: sorted(set(frame[key])) for key in ("temperature", "weight")}
    ends = ((key, place, word) for key in tried for place, word in ((0, "smallest"), (-1, "largest")))
    at = [f"the {word} {key}" for key, place, word in ends if len(tried[key]) > 1 and best[key] == tried[key][place]]
    return f"at the edge of the grid, {' and '.join(at)} tried" if at else ""


def at_equal_pull(frame: pd.DataFrame, divisor: float) -> list[float]:
    """With LS minus without, points, at every cell with LS whose effective weight lies among those tried without.

    Between two weights without LS accuracy is interpolated on the logarithm of the weight.
    """
    out = []
    for _, own in frame.sort_values("weight").groupby("temperature"):
        weight = np.log(own["weight"].to_numpy())
        effective = weight - np.log(divisor)
        inside = (effective >= weight[0]) & (effective <= weight[-1])
        plain = np.interp(effective[inside], weight, own["without"].to_numpy())
        out += list(own["with"].to_numpy()[inside] - plain)
    return out


def _seeds(frame: pd.DataFrame) -> str:
    """How many seeds a cell has: "3 seeds", "2 to 3 seeds" where some failed."""
    fewest, most = int(frame["n"].min()), int(frame["n"].max())
    return f"{fewest} to " * (fewest < most) + counted(most, "seed")


def _usual(values: pd.Series | np.ndarray) -> tuple[float, float]:
    """The range of values inside Tukey's fences, 1.5 interquartile ranges beyond the quartiles: one collapsed student
    would else leave no colour for all others."""
    below, above = np.percentile(values, [25, 75])
    reach = 1.5 * (above - below)
    inside = np.asarray(values)[(values >= below - reach) & (values <= above + reach)]
    return float(inside.min()), float(inside.max())


def over_effective_weight(
    records: Sequence[Mapping[str, Any]],
    *,
    student: float,
    teacher: float,
    folder: Path | str,
    files: Sequence[Path | str],
) -> Published:
    """Both sides of the sweep over the weight with which they pull: w without LS, w / (s_z s_v) with it.

    Args:
        student, teacher: deviations s_z and s_v of logits over classes, divided by K - 1 as in the loss.
    """
    frame = cells(records)
    sides = {"without": 1.0, "with": student * teacher}
    long = pd.concat(
        [
            frame[["temperature", "weight"]].assign(ls=side, effective=frame["weight"] / by, accuracy=frame[side])
            for side, by in sides.items()
        ]
    )

    low, high = _usual(long["accuracy"])
    below = long[long["accuracy"] < low]

    def draw(fig: Figure) -> None:
        temperatures = sorted(set(long["temperature"]))
        axes = fig.subplots(1, len(temperatures), sharey=True, squeeze=False)[0]
        for ax, temperature in zip(axes, temperatures, strict=True):
            for side in sides:
                own = long[(long["temperature"] == temperature) & (long["ls"] == side)].sort_values("effective")
                look = theme.look("kd_ls" if side == "with" else "kd")
                style = {"color": look.color, "ls": look.linestyle, "label": look.label, **look.points()}
                ax.plot(own["effective"], own["accuracy"], **style)
            ax.set_xscale("log")
            ax.set_title(f"T = {temperature:g}")
            ax.set_xlabel("effective weight")
            ax.grid(axis="y")
        axes[0].set(ylabel="accuracy, last epoch [%]", ylim=(low - 0.07 * (high - low), high + 0.07 * (high - low)))
        axes[-1].legend()

    apart = at_equal_pull(frame, student * teacher)
    return publish(
        draw,
        "effective_weight",
        height=2.6,
        folder=folder,
        alt="Accuracy of KD without and with LS over the effective weight, one panel a temperature. LS minus without, "
        f"where both were tried: {', '.join(map(signed, apart)) or 'nowhere'}.",
        caption="<b>The sweep over the effective weight</b>: w without LS, w/(s<sub>z</sub> s<sub>v</sub>) with it; "
        f"s<sub>z</sub> = {student:.2f} (student with LS at T 2, weight 9), s<sub>v</sub> = {teacher:.2f} (teacher), "
        f"both of this book's own run, after training; n = {_seeds(frame)} a mark. The sweep had a teacher of "
        "the same recipe; its students' deviation is one number here, although it changes with setting and epoch."
        + (f" {counted(len(below), 'student')} below {low:.1f} % left out of the picture." if len(below) else ""),
        inputs=files,
        data=long,
    )


def maps(records: Sequence[Mapping[str, Any]], *, folder: Path | str, files: Sequence[Path | str]) -> Published:
    """Three maps over (weight, temperature): accuracy without LS, with LS, and their difference."""
    frame = cells(records)
    tested = int(records[0]["dataset"]["test_size"])
    accuracy = frame[["without", "with"]].to_numpy(dtype=float).ravel()
    low, high = _usual(accuracy)
    reach = max(_usual(frame["difference"].abs())[1], 1e-6)
    beyond = "" if low == accuracy.min() else f" Below {low:.1f} % there is one colour."

    def draw(fig: Figure) -> None:
        axes = fig.subplots(1, 3, sharey=True)
        for ax, key, title in zip(axes, TITLES, TITLES.values(), strict=True):
            grid = frame.pivot(index="temperature", columns="weight", values=key)
            if key == "difference":
                look: dict[str, Any] = {"cmap": scales.DIVERGING, "vmin": -reach, "vmax": reach}
                words = grid.map(signed, digits=1)
            else:
                look = {"cmap": scales.HEAT, "vmin": low - 0.4 * (high - low), "vmax": high}
                words = grid.map("{:.1f}".format)
            sides = zip("xy", (grid.columns, grid.index), strict=True)
            look |= {f"{axis}ticklabels": [f"{v:g}" for v in values] for axis, values in sides}
            sns.heatmap(grid, ax=ax, annot=words, fmt="", cbar=False, annot_kws={"size": 9}, linewidths=1.5,
                        linecolor=theme.PAPER, **look)  # fmt: skip
            for text, ground in zip(ax.texts, ax.collections[0].get_facecolors(), strict=True):
                text.set_color(theme.written_on(to_hex(ground)))
            if key != "difference":  # a frame around the number of the best
                best = ax.texts[grid.to_numpy().argmax()]
                best.set_bbox({"fill": False, "edgecolor": best.get_color(), "pad": 4.0})
            first = theme.is_narrow() or key == "without"
            ax.set(title=title, xlabel="weight of the KD term", ylabel="temperature" if first else "")
            ax.tick_params(length=0)
            ax.tick_params(axis="y", rotation=0, labelleft=first)

    found = summary(frame)
    return publish(
        draw,
        "surface",
        height=2.7,
        folder=folder,
        alt=f"Test accuracy of KD over {found['settings']} settings of temperature and weight. Without LS the best is "
        f"{found['without_best']:.1f} % at temperature {found['without_temperature']:g} and weight "
        f"{found['without_weight']:g}; with LS {found['with_best']:.1f} % at temperature {found['with_temperature']:g} "
        f"and weight {found['with_weight']:g}.",
        caption="<b>Test accuracy in percent, last epoch</b>, over weight and temperature, the best framed; "
        f"n = {_seeds(frame)} a cell, {tested:,} test images. "
        f"Recipe <code>{records[0]['name']}</code>: all students in one cohort.{beyond}",
        inputs=files,
        data=frame,
    )
