"""The paper's toy case (Fig. 2), live: two students, one teacher; which one does the loss prefer?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from figures import theme
from figures.live import figure as live
from figures.publish import publish
from lskd.losses import kd_loss, standardize
from paper.toy import TOY

CLASSES = ("cat", "dog", "bird", "frog")
NAMES = {"teacher": "teacher", "s1": "student 1 (wrong)", "s2": "student 2 (right)"}
COLORS = {"teacher": theme.look("teacher").color, "s1": theme.look("dkd").color, "s2": theme.look("kd").color}
PLACES = {"teacher": -0.27, "s1": 0.0, "s2": 0.27}
ROWS = {name: torch.tensor([row], dtype=torch.float64) for name, row in TOY.items()}


def seen(*, standardized: bool) -> dict[str, np.ndarray]:
    """What the loss compares, by network: four logits each, or their Z-scores."""
    return {name: (standardize(row) if standardized else row)[0].numpy() for name, row in ROWS.items()}


def losses(*, standardized: bool) -> dict[str, float]:
    """Of both students at temperature 1, as :func:`lskd.losses.kd_loss` computes them."""
    teacher = ROWS["teacher"]
    return {
        name: kd_loss(ROWS[name], teacher, temperature=1.0, standardize=standardized).item() for name in ("s1", "s2")
    }


def toy(folder: Path | str) -> live.Live:
    """Sliders for temperature and for student 2's spread, a box for standardisation."""

    def draw() -> Figure:
        fig = theme.figure(2.6)
        for ax, on in zip(fig.subplots(1, 2), (False, True), strict=True):
            for name, values in seen(standardized=on).items():
                ax.bar(np.arange(4) + PLACES[name], values, width=0.25, color=COLORS[name], label=NAMES[name])
            ax.axhline(0, color=theme.MUTED, lw=0.8)
            ax.set_xticks(range(4), labels=CLASSES)
            found = losses(standardized=on)
            ax.set_ylabel("Z-score" if on else "logit")
            ax.set_title(f"loss: student 1 {found['s1']:.4f}, student 2 {abs(found['s2']):.4f}", fontsize=9)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return fig

    rows = [{"network": n, "class": c, "logit": v} for n, row in TOY.items() for c, v in zip(CLASSES, row, strict=True)]
    picture = publish(
        draw,
        "toy",
        folder=folder,
        alt="Logits and Z-scores of a teacher and two students over four classes. Student 1 has the right spread and "
        "the wrong order, student 2 the right order and a tenth of the spread. The plain loss prefers student 1, the "
        "standardised one student 2.",
        caption="<b>One teacher, two students</b>, the logits behind the paper's Fig. 2. Losses are at temperature 1.",
        data=pd.DataFrame(rows),
    )

    def panel(y_label: str, members: Sequence[str], **options: Any) -> Any:
        made = live.plot("", y_label, ticks=CLASSES, **options)
        for name in members:
            live.bars(made, name, [i + PLACES[name] for i in range(4)], COLORS[name], width=0.25)
        live.zero(made)
        return made

    return live.Live(
        name="toy",
        controls=[
            live.check("standardize", "standardise both (LS)"),
            live.slider("temperature", "temperature", 0.5, 8, 0.1, 1),
            live.slider("scale", "spread of student 2, times", -1, 1.5, 0.05, 0, digits=2, log=True),
        ],
        plots={
            "input": panel("logit", [*ROWS]),
            "probability": panel("probability", [*ROWS], y_range=(0, 1)),
            "gradient": panel("where the gradient pushes a logit", ["s1", "s2"]),
        },
        data={name: list(row) for name, row in TOY.items()},
        readout=(
            live.key(COLORS["teacher"], "teacher")
            + live.key(COLORS["s1"], "student 1: sees a bird")
            + live.key(COLORS["s2"], "student 2: sees a dog, as the teacher")
            + "<br>Loss of student 1: [s1], of student 2: [s2]. [verdict]"
        ),
        caption="<b>Move the sliders.</b> First: what enters the softmax. Second: what comes out of it. Third: minus "
        "the gradient of the loss. The logits are those behind the paper's Fig. 2.",
        picture=picture,
    )
