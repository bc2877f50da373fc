"""What the paper's CIFAR-100 networks cost and what they reach alone, with lines from teachers to students."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from figures import theme
from figures.publish import Published, publish
from figures.published_logs import PAIRS
from lskd.models import list_models, model_info
from paper import published
from paper.text import markdown_table

FAMILIES = {  # drawn alike: (marker, whose hue)
    **dict.fromkeys(("resnet", "ResNet"), ("o", "kd")),
    "wrn": ("s", "ctkd"),
    "vgg": ("^", "dkd"),
    **dict.fromkeys(("MobileNetV2", "ShuffleV1", "ShuffleV2"), ("D", "mlkd")),
}
# Points: where a name stands beside its circle, where right of it another would be covered.
BESIDE = {"wrn_40_2": (-7, 5), "wrn_16_2": (7, 3), "resnet110": (-7, 4), "resnet56": (-7, 1), "vgg13": (7, -9),
          "resnet32": (7, -8), "resnet8x4": (8, -1), "wrn_40_1": (7, -3), "ResNet50": (-9, -16), "ShuffleV2": (-7, -3),
          "ShuffleV1": (-7, -3), "resnet32x4": (-8, 1), "vgg8": (7, -6)}  # fmt: skip


def alone(dataset: str = "cifar100") -> dict[str, float]:
    """Published test accuracy, percent, of each network trained on the labels alone; the first source of each."""
    found: dict[str, float] = {}
    for number in published.find(dataset=dataset, teacher="", method="plain"):
        if number.metric.startswith("top1"):
            found.setdefault(number.student, number.value)
    return found


def costs(table: pd.DataFrame, folder: Path | str) -> Published:
    """Accuracy over multiply-adds of :func:`networks`; a circle's area is the number of parameters."""
    accuracy = alone()
    shown = table[table["name"].isin(accuracy) & table["family"].isin(FAMILIES)]
    shown = shown.assign(accuracy=[accuracy[name] for name in shown["name"]]).reset_index(drop=True)
    at = {row["name"]: row for row in shown.to_dict("records")}
    joined = [pair for pair in PAIRS if set(pair) <= set(at)]

    def draw(fig: Figure) -> None:
        ax = fig.subplots()
        for teacher, student in joined:
            ends = ([at[name][key] for name in (teacher, student)] for key in ("multiply_adds", "accuracy"))
            ax.plot(*ends, color=theme.GRID, lw=1.2, zorder=1)
        halo = [withStroke(linewidth=2.5, foreground=theme.PAPER)]
        for name, row in at.items():
            marker, hue = FAMILIES[row["family"]]
            color = theme.look(hue).color
            area = 14 + row["parameters"] / 4e4
            ax.scatter(row["multiply_adds"], row["accuracy"], s=area, marker=marker, color=color, alpha=0.75, lw=0)
            x, y = BESIDE.get(name, (7, -3))
            ax.annotate(name, (row["multiply_adds"], row["accuracy"]), (x, y), textcoords="offset points", size=8,
                        color=theme.INK, ha="right" if x < 0 else "left", path_effects=halo, zorder=3)  # fmt: skip
        ax.set(xscale="log", xlabel="multiply-adds of one image", ylabel="test accuracy [%], trained alone (published)")
        ax.set_xlim(shown["multiply_adds"].min() / 1.6, shown["multiply_adds"].max() * 1.8)
        ax.grid(axis="y")

    smaller = [t for t in joined if all(at[t[0]][key] > at[t[1]][key] for key in ("multiply_adds", "accuracy"))]
    rule = "every" if len(smaller) == len(joined) else f"in {len(smaller)} of them the"
    cheapest, best = min(at, key=lambda n: at[n]["multiply_adds"]), max(at, key=lambda n: at[n]["accuracy"])
    return publish(
        draw,
        "network_cost",
        height=4.6,
        folder=folder,
        alt=f"Published test accuracy over multiply-adds for {len(at)} networks, from {cheapest} "
        f"({at[cheapest]['accuracy']:.1f} %) to {best} ({at[best]['accuracy']:.1f} %). Lines join the teachers and "
        f"students of {len(joined)} pairs; {rule} student costs less than its teacher and is less accurate.",
        caption="<b>What the networks cost and reach alone.</b> CIFAR-100 at 32 × 32 pixels, multiply-adds on a "
        "logarithmic scale; the larger a mark, the more parameters. Lines run from teachers to students of Tables 1 "
        "and 2. Costs are measured on this project's code; accuracies are the paper's, not ours, and n is not given.",
        inputs=[published.NUMBERS],
        data=shown[["name", "family", "parameters", "multiply_adds", "accuracy"]],
    )


FACTS = ["name", "family", "parameters", "multiply_adds", "features", "input_size", "classes"]
DATA = {  # of input size and classes: title, name among the published numbers
    (32, 100): ("CIFAR-100", "cifar100"),
    (224, 1000): ("ImageNet", "imagenet"),
    (224, 100): ("Vision transformers, CIFAR-100 enlarged", "cifar100_224"),
}


def networks() -> pd.DataFrame:
    """One row a network, by family."""
    return pd.DataFrame([asdict(model_info(name)) for name in list_models()], columns=FACTS)


def by_data(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(whose images, Markdown: what all of these networks take, and a table by family), one for each of DATA."""
    for (size, classes), (title, dataset) in DATA.items():
        rows = table[(table["input_size"] == size) & (table["classes"] == classes)]
        published = alone(dataset)
        cells = [
            (
                f"`{row['name'].rpartition('/')[2]}`",
                f"{row['parameters']:,}",
                f"{row['multiply_adds'] / 1e6:,.1f}",
                row["features"],
                f"{published[row['name']]:.2f}" if row["name"] in published else "–",
            )
            for row in rows.to_dict("records")
        ]
        header = ("network", "parameters", "multiply-adds (million)", "features", "published, alone (%)")
        prefix = {name.rpartition("/")[0] for name in rows["name"]} - {""}
        named = f" Their names begin with `{prefix.pop()}/`." if prefix else ""
        takes = f"{size} × {size} pixels, {classes:,} classes.{named}"
        yield title, f"{takes}\n\n{markdown_table(header, cells, align='lrrrr')}"
