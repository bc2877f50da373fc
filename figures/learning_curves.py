"""Test accuracy over epochs, and the temperature that CTKD learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures import theme
from figures.publish import Published, publish
from lskd.errors import LskdError
from paper.members import LITERATURE, label, order, pairs
from paper.statistics import accuracies


def history(record: dict[str, Any]) -> pd.DataFrame:
    """One row a member and epoch: member, epoch, learning_rate, train_accuracy, test_accuracy [%], temperature."""
    rows = [{"member": m, **epoch} for m in order(record["members"]) for epoch in record["members"][m]["epochs"]]
    columns = ["member", "epoch", "learning_rate", "train_accuracy", "test_accuracy", "temperature"]
    return pd.DataFrame(rows, columns=columns).astype({"temperature": float})


def figure(record: dict[str, Any], *, folder: Path | str, source: Path | str) -> Published:
    """A panel a method, without and with LS, beside the student alone and the teacher; last and best epoch marked."""
    data = history(record)
    members = list(dict.fromkeys(data["member"]))
    if not members:
        raise LskdError(f"{source}: every member stopped in its first epoch, there is nothing to draw; see its record")
    twins = [(without, with_ls, f"{without}{LITERATURE}") for without, with_ls in pairs(members)]
    shown = [[m for m in group if m in members] for group in twins] or [[m] for m in members]
    heated = [m for m in members if data.loc[data["member"] == m, "temperature"].notna().any()]
    taught = (record.get("teacher") or {}).get("test_accuracy")  # by a teacher of this accuracy
    looks = {m: theme.look(m, record["members"][m]) for m in members}
    count = len(shown) + bool(heated)
    lines = -(-count // 2)

    def draw(fig: Figure) -> None:
        axes = fig.subplots(lines, min(count, 2), squeeze=False).ravel()
        for ax in axes[count:]:
            ax.set_axis_off()
        low, high = data["test_accuracy"].min(), max(data["test_accuracy"].max(), taught or 0)
        for ax, group in zip(axes, shown, strict=False):
            if taught is not None:
                ax.axhline(taught, color=theme.look("teacher").color, lw=1.1)
                ax.annotate(f"teacher {taught:.1f}", (1, taught), (0, 2), textcoords="offset points", fontsize=8)
            for member in dict.fromkeys(m for m in ("alone", *group) if m in members):
                _curve(ax, data[data["member"] == member], "test_accuracy", looks[member], mark=True)
            span = max(high - low, 1.0)
            ax.set_ylim(low - 0.05 * span, high + 0.1 * span)
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel("test accuracy [%]")
            _finish(ax)
        if heated:
            ax = axes[len(shown)]
            for member in heated:
                _curve(ax, data[data["member"] == member], "temperature", looks[member], mark=False)
            ax.set_ylabel("learned temperature")
            ax.set_ylim(bottom=0)
            _finish(ax)
        for ax in axes[:count][-2:]:
            ax.set_xlabel("epoch")

    final = accuracies([record]).set_index("member")
    described = "; ".join(f"{label(m)} {final.loc[m, 'last']:.1f} %" for m in members if m in final.index)
    tested = record["dataset"]["test_size"]
    return publish(
        draw,
        "learning_curves",
        height=2.8 * lines + 0.1 if count > 1 else 3.2,
        folder=folder,
        alt=f"Test accuracy over {data['epoch'].max()} epochs. At the last epoch: {described}.",
        caption="<b>Test accuracy after each epoch.</b> A dot marks the last epoch, a ring the best one; the best is "
        "chosen on the test set and therefore flatters."
        + (" The last panel shows the temperature that CTKD learns." if heated else "")
        + f" n = 1 run a network (recipe <code>{record['name']}</code>, seed {record['seed']}), measured on "
        f"{tested:,} test images.",
        inputs=[source],
        data=data,
    )


def _curve(ax: Axes, rows: pd.DataFrame, column: str, look: theme.Look, *, mark: bool) -> None:
    ax.plot(rows["epoch"], rows[column], color=look.color, ls=look.linestyle, label=look.label)
    if mark:
        epochs, values = rows["epoch"].to_numpy(), rows[column].to_numpy()
        best = int(values.argmax())
        ax.plot(epochs[best], values[best], "o", mfc="none", mec=look.color, ms=8.5, mew=1.1)
        ax.plot(epochs[-1], values[-1], "o", color=look.color, ms=4.5)


def _finish(ax: Axes) -> None:
    ax.grid(axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, handlelength=2, columnspacing=1.2, borderaxespad=0.2)
