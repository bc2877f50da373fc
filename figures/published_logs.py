"""The training logs that the paper's authors released: best and last epoch, spread, curves, and what is irregular.

All 57 CIFAR-100 runs are with LS. Every number here is computed from the epochs in the logs, except the reported
accuracies, which are those of the paper's tables.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from figures import theme
from figures.publish import Published, publish
from figures.table import Table
from lskd.errors import LskdError, nearest
from paper import published
from paper.text import signed

METHODS = ("kd", "ctkd", "dkd", "mlkd")
PRINTED = published.find(metric="top1_test", source="released README (= paper Tables 1-2")
PAIRS = list(dict.fromkeys((n.teacher, n.student) for n in PRINTED if n.method == "kd" and n.standardize))  # in order
LABELS = [" → ".join(pair) for pair in PAIRS]
DECAYS = (150, 180, 210)  # the last epochs before each decay of the learning rate
LAST = 10  # epochs, over which the spread at the end is measured
JUMP = 0.3  # a relative change of the training loss from one epoch to the next
SETTLED = 20  # epochs, before which the loss may change by as much
SOURCE = "Logs released by the paper's authors (repository at <code>f6e5aa5</code>); not runs of this project."


@functools.cache
def epochs() -> pd.DataFrame:
    """One row a run and epoch: method, teacher, student, pair, run, epoch, and what the log says of it, as numbers."""
    frame = pd.DataFrame(published.curves())
    frame["method"] = frame["method"].str.lower()
    frame["pair"] = frame["teacher"] + " → " + frame["student"]
    numeric = [c for c in frame.columns if c not in ("method", "teacher", "student", "pair")]
    frame[numeric] = frame[numeric].apply(lambda column: pd.to_numeric(column.replace("", None)))
    return frame


@functools.cache
def runs() -> pd.DataFrame:
    """One row a run, by method and in the order of the paper's tables.

    Columns: method, pair, run, epochs, best, best_epoch, last, mean and sd (n - 1) of the last ten epochs, reported
    (the paper's table), first_loss, last_loss; accuracies in percent.
    """
    log = epochs()
    found = log.groupby(["method", "pair", "run"], sort=False).agg(
        epochs=("epoch", "size"),
        best=("test_acc", "max"),
        best_epoch=("test_acc", "idxmax"),
        last=("test_acc", "last"),
        mean=("test_acc", lambda values: values.tail(LAST).mean()),
        sd=("test_acc", lambda values: values.tail(LAST).std()),
        first_loss=("train_loss", "first"),
        last_loss=("train_loss", "last"),
    )
    printed = {(n.method, f"{n.teacher} → {n.student}"): n.value for n in PRINTED if n.standardize}
    found["best_epoch"] = log.loc[found["best_epoch"], "epoch"].to_numpy()
    found.insert(6, "reported", [printed[method, pair] for method, pair, _ in found.index])
    order = sorted(found.index, key=lambda run: (METHODS.index(run[0]), LABELS.index(run[1]), run[2]))
    return found.loc[order].reset_index()


def jumps() -> pd.DataFrame:
    """Epochs in which a run's training loss changed by more than :data:`JUMP`, relative to the epoch before.

    Epochs that follow a decay of the learning rate, and the first twenty, are left out: changes are expected there.
    Columns: method, pair, run, epoch, before, after, accuracy_change (training accuracy, points).
    """
    log = epochs()
    before = log.groupby(["method", "pair", "run"], sort=False)[["train_loss", "train_acc"]].shift()
    log = log.assign(before=before["train_loss"], after=log["train_loss"])
    log["accuracy_change"] = (log["train_acc"] - before["train_acc"]).round(2)
    expected = (log["epoch"] <= SETTLED) | (log["epoch"] - 1).isin(DECAYS)
    found = log[((log["after"] - log["before"]).abs() > JUMP * log["before"]) & ~expected]
    return found[["method", "pair", "run", "epoch", "before", "after", "accuracy_change"]].reset_index(drop=True)


def methods_table() -> Table:
    """Best against last epoch and against the reported value, by method."""
    rows = []
    for method, found in runs().groupby("method", sort=False):
        gain, reported = found["best"] - found["last"], found["reported"] - found["last"]
        equal = (found["reported"] == found["best"]).sum()
        cells = [f"{str(method).upper()} + LS", f"{len(found)}", f"{gain.mean():.2f}", f"{gain.max():.2f}"]
        rows.append([*cells, f"{found['sd'].mean():.2f}", signed(reported.mean()), f"{equal} of {len(found)}"])
    headings = ["method", "runs", "best − last, mean", "largest", "sd of the last ten epochs", "reported − last"]
    caption = "Test accuracy in the released logs, points. The last column counts runs whose best epoch is the "
    caption += "reported value to the digit, although the paper says that it reports means of four trials."
    return Table([*headings, "reported = best"], rows, caption)


def reported(method: str) -> str:
    """How many of a method's published values are nearer to the last epoch than to the best, in words."""
    found = runs()[runs()["method"] == method]
    above, below = found["reported"] - found["last"], found["reported"] - found["best"]
    return f"{int((above.abs() < below.abs()).sum())} of {len(found)} runs of {method.upper()}"


def jumps_table() -> Table:
    """:func:`jumps` for readers."""
    found = jumps().assign(method=lambda frame: frame["method"].str.upper())
    columns = {
        "run": "{method} + LS, {pair}", "epoch": "{epoch}", "training loss": "{before:.2f} → {after:.2f}",
        "training accuracy, points": "{accuracy_change:+.2f}",
    }  # fmt: skip
    caption = f"Changes of the training loss by more than {100 * JUMP:.0f} % from one epoch to the next, after epoch "
    caption += f"{SETTLED} and away from the decays of the learning rate, in all {len(runs())} runs."
    return Table.of(found, columns, caption)


def gains() -> dict[str, float]:
    """Median gain by LS over the 14 pairs in the paper's Tables 1 and 2, points, by method: with LS minus without."""
    value = {(n.method, n.standardize, n.teacher, n.student): n.value for n in PRINTED}
    return {m: float(np.median([value[m, True, *pair] - value[m, False, *pair] for pair in PAIRS])) for m in METHODS}


def twice() -> pd.DataFrame:
    """Runs whose log holds the same setting twice: the only seed-to-seed spread that the logs show."""
    found = runs()
    return found[found.duplicated(["method", "pair"], keep=False)].reset_index(drop=True)


def best_and_last(*, folder: Path | str) -> Published:
    """A row a pair and a panel a method: last, best and reported accuracy, from the mean of the last ten epochs."""
    data = runs()

    def draw(fig: Figure) -> None:
        axes = fig.subplots(1, len(METHODS), sharey=True, sharex=True)
        for ax, method in zip(axes, METHODS, strict=True):
            look = theme.look(f"{method}_ls")
            found = data[data["method"] == method]
            for row in found.to_dict("records"):
                several = len(found[found["pair"] == row["pair"]]) > 1
                y = -LABELS.index(row["pair"]) + (0.2 * (3 - 2 * row["run"]) if several else 0)
                best, last, reported = (row[k] - row["mean"] for k in ("best", "last", "reported"))
                ax.plot([-2 * row["sd"], 2 * row["sd"]], [y, y], color=look.color, lw=5, alpha=0.3)
                ax.plot(last, y, "o", ms=4.2, mfc=theme.PAPER, mec=look.color, mew=1.1)
                ax.plot(best, y, marker=">", ls="none", ms=5, color=look.color)
                ax.plot(reported, y, marker="|", ls="none", ms=9, mew=1.6, color=theme.INK)
            ax.set_title(look.label)
            ax.axvline(0, color=theme.MUTED, lw=0.8)
            theme.rows(ax)
        axes[0].set_yticks([-i for i in range(len(LABELS))], labels=LABELS)
        axes[0].set_ylim(-len(LABELS) + 0.4, 0.6)
        shape: dict[str, Any] = {"color": theme.INK, "ls": "none"}
        marks = [
            Line2D([], [], **shape, marker="o", ms=4.2, mfc=theme.PAPER, label="last epoch"),
            Line2D([], [], **shape, marker=">", ms=5, label="best epoch"),
            Line2D([], [], **shape, marker="|", ms=9, mew=1.6, label="reported"),
            Line2D([], [], color=theme.INK, lw=5, alpha=0.3, label="± 2 sd of the last ten epochs"),
        ]
        fig.legend(handles=marks, loc="outside upper right", ncols=4, handletextpad=0.4, columnspacing=1.5)
        fig.supxlabel("test accuracy minus its mean over the last ten epochs [points]", fontsize=9)

    gain = data["best"] - data["last"]
    return publish(
        draw,
        "published_best_last",
        height=5.0,
        folder=folder,
        alt=f"Last, best and reported test accuracy of {len(data)} released runs, relative to the mean of the last ten "
        f"epochs. Best minus last is {gain.mean():.2f} points on average and {gain.max():.2f} at most.",
        caption="<b>What the choice of the epoch adds.</b> Ring: last epoch. Triangle: best epoch, chosen on the test "
        "set. Upright line: the value reported in the paper. Band: two standard deviations of the last ten epochs "
        "around their mean, which is zero here. Rows without marks have no log. n = 1 run a row and panel; three CTKD "
        f"rows have two. {SOURCE}",
        inputs=[published.CURVES, published.NUMBERS],
        data=data.round(3),
    )


def curves(*, folder: Path | str, pair: str) -> Published:
    """Test accuracy over epochs of every released run, a panel a method, with one pair drawn strong.

    Args:
        pair: "TEACHER → STUDENT", or with "->".

    Raises:
        LskdError: no released run of this pair; names the nearest.
    """
    data = epochs()
    pair = " → ".join(word.strip() for word in pair.replace("->", "→").split("→"))
    if pair not in set(data["pair"]):
        raise LskdError(f"no released log of {pair!r}; did you mean {nearest(pair, data['pair'].unique())[0]!r}?")
    chosen = data[data["pair"] == pair]

    def draw(fig: Figure) -> None:
        for ax, method in zip(fig.subplots(2, 2, sharey=True).ravel(), METHODS, strict=True):
            look = theme.look(f"{method}_ls")
            mine = data[data["method"] == method]
            for _, run in mine.groupby(["pair", "run"], sort=False):
                strong = run["pair"].iloc[0] == pair
                style = {"color": look.color, "lw": 1.4, "zorder": 3} if strong else {"color": theme.MUTED, "lw": 0.45}
                shown = run if strong else run.iloc[::3]  # of thin grey lines a third is enough, and a third as large
                ax.plot(shown["epoch"], shown["test_acc"], alpha=1 if strong else 0.55, **style)
            count = mine.groupby(["pair", "run"]).ngroups
            missing = "" if (chosen["method"] == method).any() else "; no log of this pair"
            ax.set_title(f"{look.label}: {count} runs{missing}")
            for decay in DECAYS:
                ax.axvline(decay, color=theme.GRID, lw=0.8, zorder=0)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
            ax.set_xlim(0, mine["epoch"].max() + 2)
            ax.set_ylim(40, 80)
            ax.grid(axis="y")
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel("test accuracy [%]")
            if ax.get_subplotspec().is_last_row():
                ax.set_xlabel("epoch")

    columns = ["method", "pair", "run", "epoch", "test_acc", "train_acc", "train_loss", "test_loss"]
    return publish(
        draw,
        "published_curves",
        height=5.0,
        folder=folder,
        alt=f"Test accuracy over epochs of {len(runs())} released runs in four panels; {pair} is drawn strong. All "
        "rise in steps at epochs 150, 180 and 210, where the learning rate falls, and are flat afterwards.",
        caption=f"<b>Learning curves of the released runs</b>, coloured for {pair}, grey for other pairs (every third "
        "epoch); the first epochs lie below the panels. Upright lines are decays of the learning rate; MLKD trains on "
        f"for 270 or 750 epochs at a thousandth of it. n = 1 run a line. {SOURCE}",
        inputs=[published.CURVES],
        data=chosen[columns],
    )


def irregular(*, folder: Path | str) -> Published:
    """Four panels: two runs whose loss jumps, one whose loss is too small for its weight, and CTKD's temperature."""
    data = epochs()
    learned = data[data["method"] == "ctkd"].groupby(["pair", "run"])["ctkd_temperature"].last()
    low, high = f"{learned.min():.1f}", f"{learned.max():.1f}"
    settled = f"{float(low):g}" if low == high else f"{low} to {high}"

    def draw(fig: Figure) -> None:
        (a, b), (c, d) = fig.subplots(2, 2)
        kd, mlkd, ctkd = (theme.look(f"{m}_ls").color for m in ("kd", "mlkd", "ctkd"))
        _loss(a, "kd", ("wrn_40_2", "resnet8x4"), color=theme.MUTED, lw=1.0)
        _loss(a, "kd", ("resnet32x4", "resnet8x4"), color=kd)
        a.set(title="KD + LS: the loss halves, twice", ylim=(0, 8), xlim=(0, 258), ylabel="training loss")
        for pair in PAIRS:
            weight_one = pair in (("ResNet50", "MobileNetV2"), ("resnet32x4", "ShuffleV2"))
            _loss(b, "kd", pair, color=kd if weight_one else theme.MUTED, lw=1.7 if weight_one else 0.7)
        b.set(title="KD + LS: a loss too small for its weight", yscale="log", xlim=(0, 242), ylabel="training loss")
        _loss(c, "mlkd", ("vgg13", "MobileNetV2"), color=theme.MUTED, lw=1.0)
        _loss(c, "mlkd", ("ResNet50", "MobileNetV2"), color=mlkd)
        c.set(title="MLKD + LS: the loss jumps back", xlim=(0, 240), xlabel="epoch", ylabel="training loss")
        for ax, x, y, text, color in (
            (a, 25, 5.5, "resnet32x4 → resnet8x4", kd),
            (a, 25, 2.7, "wrn_40_2 → resnet8x4", theme.MUTED),
            (a, 156, 2.7, "epoch 150", kd),
            (a, 213, 0.85, "epoch 210", kd),
            (b, 25, 7.5, "all others, weights 9 and 12", theme.MUTED),
            (b, 22, 0.83, "ResNet50 → MobileNetV2, weight 1", kd),
            (b, 3, 0.125, "resnet32x4 → ShuffleV2, weight “9”", kd),
            (c, 95, 25.0, "ResNet50 → MobileNetV2", mlkd),
            (c, 142, 21.0, "vgg13 → MobileNetV2", theme.MUTED),
        ):
            ax.text(x, y, text, color=color, fontsize=8)
        for _, run in data[data["method"] == "ctkd"].groupby(["pair", "run"], sort=False):
            d.plot(run["epoch"][:12], run["ctkd_temperature"][:12], color=ctkd, lw=0.9, alpha=0.7)
        d.axhline(2, color=theme.MUTED, lw=0.9)
        d.axhline(1, color=theme.MUTED, lw=0.9, ls=(0, (3, 2)))
        d.text(12, 2.12, f"{settled}: where all {len(learned)} runs settle", fontsize=8, ha="right", color=theme.INK)
        d.text(12, 1.06, "1: where the released script starts its range", fontsize=8, ha="right", color=theme.INK)
        d.set(title="CTKD + LS: temperatures", yscale="log", xlabel="epoch", ylabel="learned temperature")
        d.set_yticks([1, 2, 5, 10, 20, 30], labels=["1", "2", "5", "10", "20", "30"])
        d.minorticks_off()
        for ax in (a, b, c, d):
            ax.grid(axis="y")

    found = jumps()
    described = "; ".join(f"{r['method'].upper()} {r['pair']} at epoch {r['epoch']}" for r in found.to_dict("records"))
    halved, risen = (
        " and ".join(map(str, found["epoch"][(found["method"] == method) & ((found["after"] > found["before"]) == up)]))
        for method, up in (("kd", False), ("mlkd", True))
    )
    return publish(
        draw,
        "published_irregular",
        height=5.4,
        folder=folder,
        alt=f"Training losses of irregular released runs beside regular ones. The loss jumps in {described}. The KD "
        "run of resnet32x4 to ShuffleV2 has a loss as small as the run of weight 1. CTKD's temperatures settle at "
        f"{settled}.",
        caption=f"<b>What is irregular in the released logs.</b> <i>Halves, twice</i>: at epochs {halved}, "
        "each one epoch before a regular decay. <i>Too small for its weight</i>: a run named for weight 9 has the loss "
        f"of weight 1 (logarithmic scale). <i>Jumps back</i>: a run that nearly collapses at epochs {risen}. "
        "<i>Temperatures</i> that the released script's range, 1 to 21, could not have produced. n = 1 run a line. "
        f"{SOURCE}",
        inputs=[published.CURVES],
        data=found,
    )


def _loss(ax: Axes, method: str, pair: Sequence[str], *, color: str, lw: float = 1.4) -> None:
    data = epochs()
    rows = data[(data["method"] == method) & (data["pair"] == " → ".join(pair))]
    ax.plot(rows["epoch"], rows["train_loss"], color=color, lw=lw)
