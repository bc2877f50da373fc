"""The feature space in two dimensions (Fig. 4), with the numbers that keep one from reading too much into it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import scales, theme
from figures.networks import Networks
from figures.publish import Published, publish
from paper.embedding import Embedding, obstacle
from paper.members import label

COLUMNS = 4


def panels(
    networks: Networks,
    embeddings: Mapping[str, Embedding],
    *,
    folder: Path | str,
    perplexity: float,
    seed: int,
) -> Published:
    """One panel of equal size for every network, coloured by superclass.

    Methods stand in columns, without LS above with LS, the teacher above the student alone; on a telephone in lines.
    """
    groups = networks.teacher.superclass[networks.teacher.label]
    names = [str(s).replace("_", " ") for s in networks.teacher.superclass_names]

    def draw(fig: Figure) -> None:
        places = _places(list(networks.packs), networks.methods)
        lines, columns = (1 + max(numbers) for numbers in zip(*places.values(), strict=True))
        height = fig.get_figwidth() / columns * 1.2 * lines
        fig.set_figheight(height + (0.08 * len(names) if theme.is_narrow() else 0.3))
        axes = fig.add_gridspec(lines, columns).subplots(squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        colors = scales.group_colors(len(names))
        for member, (line, column) in places.items():
            ax = axes[line, column]
            if (embedding := embeddings.get(member)) is None:
                why = textwrap.fill(obstacle(networks.packs[member], perplexity) or "no picture", 18)
                ax.set_title(networks.look(member).label, pad=16)
                ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", fontsize=8, color=theme.MUTED)
                continue
            _scatter(ax, embedding.points, groups, colors)
            accuracy = 100 * float(networks.packs[member].correct.mean())
            ax.set_axis_on()
            ax.set_title(networks.look(member).label, pad=16)
            above = f"test {accuracy:.1f} %, 5-NN {embedding.neighbors:.1f} %"
            ax.text(0, 1.02, above, transform=ax.transAxes, fontsize=8)
        marks = [
            Line2D([], [], ls="none", marker=m, ms=5, mfc=c, mew=0, label=text)
            for (c, m), text in zip(colors, names, strict=True)
        ]
        per_line = 10 if max(map(len, names)) <= 4 else 4
        fig.legend(handles=marks, loc="outside lower center", ncols=per_line, handletextpad=0.0, columnspacing=1.0)

    known = networks.teacher.class_names
    data = networks.by_image(embeddings, lambda p: {"class": known[p.label], "prediction": known[p.prediction]})
    data[["x", "y"]] = np.concatenate([e.points.round(2) + 0 for e in embeddings.values()])  # no -0.0
    described = "; ".join(f"{label(m)} {e.neighbors:.1f} %" for m, e in embeddings.items())
    return publish(
        draw,
        "tsne",
        folder=folder,
        alt="t-SNE pictures of the features of all test images, one a network, coloured by superclass. "
        f"Five-nearest-neighbour accuracy in the original features: {described}.",
        caption="<b>Pooled features in two dimensions.</b> t-SNE (scikit-learn, perplexity "
        f"{perplexity:g}, PCA start, seed {seed}), one point a test image, coloured by superclass. Above each: test "
        "accuracy, and the accuracy of a vote of the five nearest other images in the original feature space. "
        f"Axes have no unit; sizes of and distances between clusters carry no meaning. {networks.source}",
        inputs=networks.paths(*embeddings),
        data=data,
    )


def table(networks: Networks, embeddings: Mapping[str, Embedding]) -> pd.DataFrame:
    """One row a network: label, features, test_accuracy [%], neighbors [%], silhouette, divergence."""
    return pd.DataFrame(
        {
            "member": name,
            "label": label(name),
            "features": networks.packs[name].feature_count,
            "test_accuracy": 100 * float(networks.packs[name].correct.mean()),
            "neighbors": e.neighbors,
            "silhouette": e.silhouette,
            "divergence": e.divergence,
        }
        for name, e in embeddings.items()
    )


def _places(members: list[str], pairs: list[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """(line, column) of each member's panel."""
    both = [pair for pair in pairs if set(pair) <= set(members)]
    single = [m for m in members if not any(m in pair for pair in both)]
    first, *rest = [tuple(single[i : i + 2]) for i in range(0, len(single), 2)] or [()]
    found = [(m, i, j) for i, column in enumerate([first, *both, *rest]) for j, m in enumerate(column)]
    return {m: (i, j) if theme.is_narrow() else (i // COLUMNS * 2 + j, i % COLUMNS) for m, i, j in found}


def _scatter(ax: Axes, points: np.ndarray, groups: np.ndarray, colors: list[tuple[str, str]]) -> None:
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    reach = float((points.max(axis=0) - points.min(axis=0)).max()) / 2 * 1.03
    size = 2.1 * min(1.0, (2000 / len(points)) ** 0.25)
    # Interleaved, so that no group hides the others by being drawn last.
    for start in range(4):
        for group, (color, marker) in enumerate(colors):
            chosen = points[groups == group][start::4]
            ax.plot(*chosen.T, marker, color=color, ms=size, mew=0, alpha=0.8, rasterized=True)
    ax.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach), aspect="equal")
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set(visible=True, linewidth=0.6)
