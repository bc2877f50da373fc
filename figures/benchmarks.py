"""The benchmarks for readers: the comparisons as a table, the cost of the book, and how cost grows."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from figures import theme
from figures.publish import Published, publish
from figures.table import Table, interval
from paper.benchmarks import Row, gpu_goals, gpu_rates, rows
from paper.members import label, order
from paper.statistics import ENOUGH_SEEDS, summarize
from paper.text import duration


def comparison(result: Mapping[str, Any]) -> Table:
    """A row a comparison of ``cpu.json``."""
    out = [[f"{row.what}, {row.unit}/s", *_cells(row)] for row in rows(result)]
    headings = ["what", "ours", "baseline", "ratio", "goal", "verdict", "of matrix products"]
    repeats = result["repeats"]
    networks = f"{result['cohort6']['teacher']} teaches {result['cohort6']['student']}"
    caption = (
        f'<b class="lskd-overview">Ours and a plain loop.</b> {networks}, batch {result["cohort6"]["batch"]}. '
        f"Medians of {repeats} repeats ({max(1, repeats - 2)} of cohorts), in turns with the baseline. "
        f"{machine_text(result)} The last column compares with the product of two large float32 matrices there, "
        f"{result['multiply_adds_per_s'] / 1e9:.0f} billion multiply-adds a second: a scale, not a limit."
    )
    return Table(headings, out, caption)


def _cells(row: Row) -> list[str]:
    cells = [
        f"{row.ours:,.0f}",
        row.baseline is not None and f"{row.baseline:,.0f}",
        row.ratio is not None and f"{row.ratio:.2f}",
        row.goal is not None and (f"{row.goal:,.0f}/s" if row.goal >= 100 else f"ratio {row.goal:g}"),
        row.verdict,
        row.share is not None and f"{100 * row.share:.0f} %",
    ]
    return [(cell or "–").replace(" ", "\u00a0") for cell in cells]


def machine_text(result: Mapping[str, Any]) -> str:
    """Machine, versions, load and day of a measurement in one sentence."""
    machine, versions = result["machine"], result["versions"]
    place = str(machine.get("name", "a machine"))
    if "threads" in machine:
        place += f", {machine['threads']} threads"
    if "load_before" in machine:
        place += f", load {machine['load_before']:.1f} at the start"
    return f"{place}; PyTorch {versions['torch']}; {str(result['finished'])[:10]}."


def book_table(result: Mapping[str, Any]) -> Table:
    """Time and memory of ``make book`` from ``make_book.json``."""
    out = []
    for key, words in (("packages", "packages, once"), ("first", "make book, first"), ("second", "make book, again")):
        seconds, peak = (result[key][k] for k in ("seconds", "peak_bytes"))
        out.append([words, duration(seconds), f"{peak / 2**30:.1f} GiB"])
    machine = result["machine"]
    caption = (
        f"A fresh clone on {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, no GPU; "
        f"{result['date']}. Memory is the largest sum over all processes."
    )
    return Table(["step", "time", "peak memory"], out, caption)


def precision_table(result: Mapping[str, Any]) -> Table:
    """bf16 minus float32 by member, seed by seed, from ``precision.json``: accuracy and the logits' spread."""
    apart: dict[str, bool] = {}
    out, compared = [], 0
    for name in order(result["members"]):
        sides = result["members"][name]
        seeds = sorted(sides["float32"].keys() & sides["bf16"].keys())
        told = [label(name), f"{len(seeds)}"]
        for key, digits in (("accuracy", 2), ("deviation", 3)):
            both = [(sides["bf16"][seed], sides["float32"][seed]) for seed in seeds]
            mean = summarize([a[key] - b[key] for a, b in both if key in a and key in b])
            excludes = not mean.low <= 0 <= mean.high and mean.n >= ENOUGH_SEEDS
            told.append(interval(mean, plus=True, digits=digits) + " *" * excludes if mean.n else "–")
            apart |= {f"{label(name)}'s {key}": mean.mean > 0} if excludes else {}
            compared += mean.n >= ENOUGH_SEEDS
        out.append(told)
    machine = next(iter(result["machine"].values()))
    caption = (
        f'<b class="lskd-overview">bf16 minus float32.</b> Recipe {result["recipe"]}, the same seeds and '
        "teacher: test accuracy at the last epoch in points, and the mean standard deviation of a row of test logits; "
        f"± 95 % t-interval over paired seeds. {machine['name']}, PyTorch {machine['torch']}. "
        + (f"* The interval excludes zero: {', '.join(apart)}. " if apart else "Every interval includes zero. ")
        + f"There are {compared} intervals, not corrected for their number; chance leaves zero out of one in twenty."
        + (" Those that leave it out lie on both sides of it." if len({*apart.values()}) == 2 else "")
    )
    return Table(["member", "seeds", "accuracy", "logit deviation"], out, caption)


def losses_table(result: Mapping[str, Any]) -> Table:
    """A row a loss of ``losses.json``: its time with its gradient in times KD's, by classes; then memory."""
    ratios, own = result["ratios"], result["kd_microseconds"].values()
    out = [[label(loss), *(f"{ratios[n][loss]:.1f}" for n in ratios)] for loss in order(next(iter(ratios.values())))]
    headings = [f"{int(n):,} classes, {result['rows'][n]} rows" for n in ratios]
    caption = (
        '<b class="lskd-overview">A loss with its gradient, in times KD\'s.</b> '
        f"Median of {result['turns']} turns, one thread; KD itself takes "
        f"{', '.join(f'{value / 1000:,.1f}' for value in own)} milliseconds. "
        f"{_memory_text(result['memory'])} {machine_text(result)}"
    )
    return Table(["loss", *headings], out, caption)


def _memory_text(memory: Mapping[str, Any]) -> str:
    """The peak beyond the two inputs, in tensors of the inputs' size, of KD with LS as a whole and in pieces."""
    parts = []
    for count, found in memory["bytes_by_rows"].items():
        extra = {k: (found[k] - found["inputs"]) / found["tensor"] for k in ("plain", "chunked") if k in found}
        whole = f"{extra['plain']:.1f} as a whole, " if "plain" in extra else "not measured as a whole, "
        parts.append(f"{int(count):,} rows: {whole}{extra['chunked']:.1f} in pieces")
    return (
        f"Peak memory of KD + LS beyond the logits, {memory['classes']:,} classes in {memory['dtype']}, "
        "in times the logits of one side, of which the gradient is one: "
        f"{'; '.join(parts)} of {memory['chunk']} rows."
    )


def gpu_table(result: Mapping[str, Any]) -> Table:
    """The goals of ``gpu.json``, then student-images a second as pieces of the fast path are switched on."""
    rows = [[name, _amount(reached), "", _amount(aim), verdict] for name, aim, reached, verdict in gpu_goals(result)]
    for name, rate, times in gpu_rates(result):
        rows.append([f"{name}, student-images/s", _amount(rate), f"{times:.1f}" if times else "–", "–", "–"])
    checks, networks = result["checks"], result["networks"]
    failed = [check["check"] for check in checks if not check["passed"]]
    caption = (
        f'<b class="lskd-overview">On a GPU.</b> {networks["teacher"]} teaches {networks["student"]}, batch '
        f"{result['batch']}. {machine_text(result)} {len(checks) - len(failed)} of {len(checks)} checks of "
        "the fast path against the plain one passed"
        + (f"; <b>failed: {html.escape('; '.join(failed))}</b>." if failed else ".")
    )
    rows = [[cell or "–" for cell in row] for row in rows]
    return Table(["what", "ours", "times plain", "goal", "verdict"], rows, caption)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


# --- growth ----------------------------------------------------------------------------------------------------------


def growth_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """Milliseconds of one step by what grows: columns grows, series, size, milliseconds.

    ``members``: a step of a cohort; ``batch``: a step of one KD + LS student; ``classes``: the same, and the loss alone
    with its gradient.
    """
    batch = int(result["cohort6"]["batch"])
    out: list[tuple[str, str, int, float]] = []
    images = {"members": lambda size: size * batch, "batch": lambda size: size, "classes": lambda size: batch}
    for grows, of in images.items():  # of a step
        rates = result["growth"][grows]
        out += [(grows, "whole step", int(size), 1000 * of(int(size)) / rate) for size, rate in rates.items()]
    for size, losses in result["growth"]["loss_microseconds_by_classes"].items():
        out += [("classes", member, int(size), microseconds / 1000) for member, microseconds in losses.items()]
    return pd.DataFrame(out, columns=["grows", "series", "size", "milliseconds"])


def growth(result: Mapping[str, Any], *, folder: Path | str, files: list[Path | str]) -> Published:
    """Three panels: milliseconds of a step over members, batch and classes; dotted, what proportional would be."""
    frame = growth_frame(result)
    parts, sizes = {}, []
    for key, words in (("members", "students"), ("batch", "images a batch"), ("classes", "classes")):
        part = parts[key] = frame[frame["grows"] == key]
        cost = part[part["series"] == "whole step"].set_index("size")["milliseconds"].sort_index()
        times = cost.iloc[-1] / cost.iloc[0]
        sizes.append(f"{cost.index[0]} to {cost.index[-1]} {words}: {times:.1f} times the cost")

    def draw(fig: Figure) -> None:
        axes = fig.subplots(1, 3)
        titles = {"members": "students in a cohort", "batch": "images in a batch", "classes": "classes"}
        for ax, (key, title) in zip(axes, titles.items(), strict=True):
            _panel(ax, parts[key])
            ax.set_title(title)
            ax.set_xlabel(title.rpartition(" ")[2] if key != "members" else "students")
            ticks = sorted(set(parts[key]["size"]))
            ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
            ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axes[0].set_ylabel("milliseconds")

    return publish(
        draw,
        "growth",
        height=2.9,
        folder=folder,
        alt="Milliseconds of a training step over what grows. " + "; ".join(sizes) + ".",
        caption=f"<b>How cost grows.</b> {result['cohort6']['teacher']} teaches "
        f"{result['cohort6']['student']}; milliseconds of one step, teacher and data included; right also of a "
        "loss with its gradient alone. Dotted: in proportion to the first point. "
        f"{'; '.join(sizes)}. One process, median or one measurement each; {machine_text(result)}",
        inputs=files,
        data=frame,
    )


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    proportional = part["grows"].iloc[0] != "classes"
    for name, line in part.groupby("series", sort=False):
        x, y = line["size"].to_numpy(), line["milliseconds"].to_numpy()
        if name == "whole step":
            ax.plot(x, y, color=theme.INK, marker="o", label="whole step")
        else:
            look = theme.look(str(name))
            ax.plot(x, y, color=look.color, linestyle=look.linestyle, label=label(str(name)), **look.points())
        if proportional:
            ax.plot(x, y[0] * x / x[0], color=theme.MUTED, linestyle=":", linewidth=1.2)
    if part["grows"].iloc[0] == "members":
        ax.set_ylim(bottom=0)
    else:
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    if part["series"].nunique() > 1:
        ax.legend(loc="best")
