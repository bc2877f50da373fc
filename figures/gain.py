"""What LS adds to KD, in one picture; and how that changes with the length of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import blended_transform_factory

from figures import theme
from figures.publish import Published, publish
from lskd.records import load_record
from paper.gains import BASELINES, Gain, frame, provenance
from paper.published import NUMBERS
from paper.statistics import ENOUGH_SEEDS
from paper.text import counted, signed

SHORT = {
    "same": "same settings",
    "effective": "effective weight",
    "literature": "the literature's KD",
    "best": "own best settings",
}
LINES = {"same": ("kd_ls", "-"), "effective": ("ctkd", ":"), "literature": ("dkd_ls", (0, (4, 1.6)))}
APART = 0.35  # rows between one experiment and the next
LINEAR = 4.0  # points; beyond them the axis is logarithmic, so that one large value leaves the others apart


def forest(measured: Sequence[Gain], printed: Sequence[Gain], *, folder: Path | str) -> Published:
    """A row a comparison: KD + LS minus KD in points, first what was run here, then what is published.

    A dot is a seed, or a pair of networks. From three seeds on a bar shows the 95 % t-interval of the mean; below, the
    mean is hollow. Of published values the mark is the median.
    """
    gains = [*measured, *printed]
    if not measured:
        raise ValueError("forest: no run compares KD without and with LS")
    heads = list(dict.fromkeys(gain.experiment for gain in gains))

    def draw(fig: Figure) -> None:
        ax = fig.subplots()
        ticks, place = {}, 0.0
        for head in heads:
            ground = {"facecolor": theme.PAPER, "edgecolor": "none", "pad": 0.5}  # hides the line at zero
            left = blended_transform_factory(fig.transFigure, ax.transData)
            ax.text(0.006, -place, head, transform=left, fontsize=8.5, fontweight="bold", va="center", bbox=ground,
                    in_layout=False)  # fmt: skip
            place += 1
            for gain in (gain for gain in gains if gain.experiment == head):
                _row(ax, gain, -place)
                ticks[-place] = SHORT[gain.baseline]
                place += 1
            place += APART
        ax.set_yticks(list(ticks), labels=list(ticks.values()))
        _points(ax, axis="x")
        ax.axvline(0, color=theme.INK, lw=1.0)
        ax.set(ylim=(-place + APART + 0.4, 0.6), xlabel="KD + LS minus KD without LS, test accuracy [points]")
        theme.rows(ax)

    files = sorted({path for gain in measured for path in gain.paths})
    said = "; ".join(f"{g.experiment}, over {BASELINES[g.baseline]}: {signed(_centre(g))}" for g in gains)
    return publish(
        draw,
        "gain",
        height=0.235 * (len(gains) + (1 + APART) * len(heads)) + 0.75,
        folder=folder,
        alt=f"KD with LS minus KD without, in points. {said}.",
        caption="<b>What LS adds to KD</b>, by the KD it is compared with. Above: run here, last epoch, a dot a seed; "
        f"bars are 95 % t-intervals of a mean where n ≥ {ENOUGH_SEEDS}, a hollow mark is a mean of fewer. Below: "
        "published, a dot a pair of networks, the line its median; tables are best epochs, and their KD is quoted from "
        f"earlier work. The axis is logarithmic beyond {LINEAR:g} points. {_mixed(measured)}".strip(),
        inputs=[*files, NUMBERS],
        data=frame(gains),
    )


def by_length(gains: Sequence[Gain], *, folder: Path | str) -> Published:
    """The gain over each baseline against the epochs of training, for runs of one data set."""
    drawn = [gain for gain in gains if gain.baseline != "best"]

    def draw(fig: Figure) -> None:
        ax = fig.subplots()
        for baseline, (hue, style) in LINES.items():
            line = sorted((gain for gain in drawn if gain.baseline == baseline), key=lambda gain: gain.epochs)
            if not line:
                continue
            x, mean, color = [g.epochs for g in line], [g.mean.mean for g in line], theme.look(hue).color
            ax.plot(x, mean, ls=style, color=color, lw=1.3, label=f"over {SHORT[baseline]}")
            for gain in line:
                _mark(ax, gain, gain.epochs, color, upright=True)
        ax.set_xscale("log")
        lengths = sorted({gain.epochs for gain in drawn})
        ax.set_xticks(lengths, labels=[f"{n}" for n in lengths])
        ax.minorticks_off()
        ax.set_xlim(min(lengths) / 1.3, max(lengths) * 1.3)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        _points(ax, axis="y")
        ax.axhline(0, color=theme.INK, lw=1.0)
        ax.grid(axis="y")
        ax.set(xlabel="epochs of training", ylabel="KD + LS minus KD [points]")

    said = "; ".join(f"{counted(g.epochs, 'epoch')}, over {BASELINES[g.baseline]}: {g.text}" for g in drawn)
    lengths = len({gain.epochs for gain in drawn})
    return publish(
        draw,
        "gain_by_length",
        height=3.0,
        folder=folder,
        alt=f"Gain of LS over KD by length of training. {said}.",
        caption=f"<b>The gain of LS as a function of training length</b>, {counted(lengths, 'length')} so far, last "
        f"epoch. A dot is a seed; bars are 95 % t-intervals where n ≥ {ENOUGH_SEEDS}, hollow marks are means of fewer. "
        f"The axis is logarithmic beyond {LINEAR:g} points. {_mixed(drawn)}".strip(),
        inputs=sorted({path for gain in drawn for path in gain.paths}),
        data=frame(list(drawn)).assign(epochs=[gain.epochs for gain in drawn]),
    )


def _centre(gain: Gain) -> float:
    return gain.mean.mean if gain.seeds else median(gain.values)


def _row(ax: Axes, gain: Gain, y: float) -> None:
    color = theme.look("kd_ls").color if gain.seeds else theme.look("alone").color
    _mark(ax, gain, y, color)
    words = f"{signed(_centre(gain))}"
    if not theme.is_narrow():
        words += f"   n = {gain.mean.n}" if gain.seeds else "   median" if gain.mean.n > 1 else ""
    ax.text(1.01, y, words, transform=ax.get_yaxis_transform(), fontsize=8, va="center", clip_on=False)


def _mark(ax: Axes, gain: Gain, place: float, color: str, *, upright: bool = False) -> None:
    """Values as dots and their centre, on a horizontal line at ``place`` or on an upright one."""

    def put(values: Sequence[float], at: Sequence[float], **look: Any) -> None:
        ax.plot(*((at, values) if upright else (values, at)), color=color, clip_on=False, **look)

    mean, centre = gain.mean, _centre(gain)
    if mean.n > 1:
        put(gain.values, [place] * mean.n, ls="none", marker="o", ms=3, alpha=0.45)
    if gain.seeds:
        enough = mean.n >= ENOUGH_SEEDS
        if enough:
            put([mean.low, mean.high], [place] * 2, lw=5, alpha=0.35, solid_capstyle="butt")
        put([centre], [place], marker="o", ms=7, mec=color, mew=1.6, mfc=color if enough else theme.PAPER, zorder=4)
    else:
        put([centre], [place], marker="d" if mean.n == 1 else "|", ms=7 if mean.n == 1 else 11, mew=2, zorder=4)


def _points(ax: Axes, *, axis: str) -> None:
    getattr(ax, f"set_{axis}scale")("symlog", linthresh=LINEAR, linscale=2.0)
    low, high = getattr(ax.dataLim, f"interval{axis}")
    marks = [v for v in (-40, -20, -10, -3, -2, -1, 0, 1, 2, 3, 10, 20, 40) if low - 0.5 <= v <= high + 0.5]
    which = getattr(ax, f"{axis}axis")
    which.set_ticks(marks)
    which.set_ticks([], minor=True)
    which.set_major_formatter(FuncFormatter(lambda v, _: signed(v, 0) if v else "0"))
    getattr(ax, f"set_{axis}lim")(min(low, -0.5) * 1.15, max(high, 0.5) * 1.15)


def _mixed(gains: Sequence[Gain]) -> str:
    """Where seeds of several trainers are averaged, that they are."""
    groups = dict.fromkeys((gain.experiment, gain.paths) for gain in gains)
    said = [(head, provenance([load_record(path) for path in paths])) for head, paths in groups]
    return " ".join(f"<b>{head}:</b> {words}" for head, words in said if words)
