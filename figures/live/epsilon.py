"""The ε of the Z-score, live: rows whose spread vanishes, and what is left of them where numbers are rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from figures import theme
from figures.live import figure as live
from figures.live import rows
from figures.live.rows import PLAIN, STANDARD, STUDENT, TEACHER
from figures.live.zscore import FORMATS, stored
from figures.networks import Networks
from figures.publish import publish
from lskd.losses import kd_loss, standardize
from paper.toy import TOY, gradient

TEMPERATURE = 2.0
LITERAL = theme.look("mlkd").color
DEVIATIONS = (-10, 1)  # powers of ten that the slider reaches


def with_deviation(row: Tensor, deviation: float, offset: float = 0.0, format: str = "float64") -> Tensor:
    """A row ``[1, classes]`` stretched to a deviation (K − 1), shifted, and stored in a format for a while."""
    out = deviation * (row - row.mean()) / row.std() + offset
    return out if format == "float64" else stored(out, format)


def lengths(row: Tensor, teacher: Tensor, eps: float) -> tuple[float, float]:
    """Length of the gradient of the standardised loss at one row ``[1, classes]``: as this package computes it, and by
    (x − mean) / (deviation + ε) as it stands. Where the deviation is zero its slope is zero then, as in autograd.
    """

    def literal(x: Tensor) -> Tensor:
        centred = x - x.mean()
        deviation = (centred.square().sum() / (x.numel() - 1)).clamp_min(1e-300).sqrt()
        return kd_loss(centred / (deviation + eps), standardize(teacher, eps=eps), temperature=TEMPERATURE)

    def ours(x: Tensor) -> Tensor:
        return kd_loss(x, teacher, temperature=TEMPERATURE, standardize=True, eps=eps)

    return float(gradient(ours, row).norm()), float(gradient(literal, row).norm())


def constant_text(networks: Networks) -> str:
    """How flat the rows of this run's networks are, and what becomes of a row that is constant, Markdown."""
    flattest = {name: float(pack.logit_std.min()) for name, pack in networks.packs.items()}
    name = min(flattest, key=lambda member: flattest[member])
    teacher = torch.tensor([TOY["teacher"]], dtype=torch.float64)
    ours, literal = lengths(torch.zeros_like(teacher), teacher, 1e-7)
    return (
        f"How near do networks come? The flattest row that any network of this run has for one of {networks.n:,} test "
        f"images is by {networks.look(name).label}: its deviation is {flattest[name]:.2f}. So $\\varepsilon$ "
        f"changes no Z-score of this run by more than one part in {round(flattest[name] * 10):,.0f} million.\n\n"
        "A row may be exactly constant all the same, such as one of a head that was initialised with zeros. Then the "
        f"literal formula multiplies the gradient by {literal / ours:,.0f}, far more than "
        f"float16 can hold (its largest number is {np.finfo(np.float16).max:,.0f}). A row without a spread has no "
        "relations to standardise. This project centres it and does not scale it: its Z-score is zero, its gradient "
        "has the size that unscaled logits would have."
    )


def epsilon(networks: Networks, folder: Path | str) -> live.Live:
    """A real row of logits, pressed together until ε or the rounding of its storage decides what a Z-score is."""
    shown, images = rows.members(networks), rows.of_all_kinds(networks)
    student, teacher = rows.middle(networks, shown[0])
    grid = np.geomspace(1e-10, 10, 56)
    data = pd.DataFrame({"deviation": grid})
    for power in (-3, -5, -7):
        pressed = [with_deviation(student, s) for s in grid.tolist()]
        data[f"z_eps_1e{power}"] = [float(standardize(x, eps=10.0**power).std()) for x in pressed]
        data[f"gradient_eps_1e{power}"] = [lengths(x, teacher, 10.0**power)[0] for x in pressed]

    def draw() -> Figure:
        fig = theme.figure(2.7)
        left, right = fig.subplots(1, 2)
        for power, color, line in ((-7, STANDARD, "-"), (-5, STUDENT, "--"), (-3, PLAIN, ":")):
            look = {"color": color, "ls": line, "label": f"ε = 1e{power}".replace("-", "−")}
            left.semilogx(grid, data[f"z_eps_1e{power}"], **look)
            right.loglog(grid, data[f"gradient_eps_1e{power}"], **look)
        left.set(xlabel="deviation of the logits", ylabel="deviation of the Z-scores")
        right.set(xlabel="deviation of the logits", ylabel="length of the gradient")
        right.legend()
        return fig

    picture = publish(
        draw, "epsilon", folder=folder, inputs=networks.paths("teacher", *shown), data=data,
        alt="Two curves over the deviation of a row of logits, from a ten-billionth to ten. The deviation of its "
        "Z-scores is one until the logits' deviation comes down to epsilon, where it is one half, and falls to zero "
        "below. The length of the gradient grows as one over the deviation and levels off at epsilon.",
        caption="<b>A row that is pressed together</b>, at three values of ε.",
    )  # fmt: skip
    classes = len(networks.teacher.class_names)
    z = live.plot("class", "Z-score", height=230)
    live.bars(z, "exact", range(classes), STUDENT, width=0.8)
    live.points(z, "kept", range(classes), PLAIN, size=6, marker="circle")
    live.zero(z)
    spread = live.plot(
        "deviation of the logits", "deviation of the Z-scores", x_axis_type="log", powers=True, y_range=(-0.05, 1.15)
    )
    live.curve(spread, "rule", STUDENT, line_dash="dashed")
    live.curve(spread, "measured", PLAIN)
    live.points(spread, "here", [1], TEACHER, size=9, marker="circle")
    size = live.plot(
        "deviation of the logits", "length of the gradient", x_axis_type="log", y_axis_type="log", powers=True
    )
    live.curve(size, "literal", LITERAL, line_dash="dashed")
    live.curve(size, "length", STANDARD)
    live.points(size, "here-length", [1], TEACHER, size=9, marker="circle")
    return live.Live(
        name="epsilon",
        controls=[
            live.Slider("deviation", "deviation s", *DEVIATIONS, 0.1, -7, digits=2, log=True),
            live.Slider("epsilon", "ε", -12, 0, 0.5, -7, digits=2, log=True),
            live.Choice("format", "logits are stored as", [("float64", "float64 (exact)"), *FORMATS]),
            live.Choice("offset", "around", ("0", "0.1", "1", "10"), numbers=True, when="format!=float64"),
            rows.student_choice(networks, shown),
            rows.image_slider(images),
        ],
        plots={"z": z, "spread": spread, "size": size},
        wide=("z",),
        data=rows.logit_rows(networks, images, shown),
        readout=(
            f"{live.key(STUDENT, 'exact logits: without ε (bars), with (dashed)')}"
            f"{live.key(PLAIN, 'stored logits, with ε (circles, line)')}"
            f"{live.key(STANDARD, 'gradient (line)')}{live.key(LITERAL, 'by the literal formula (dashed)')}<br>"
            "Deviation of the Z-scores [z]; s / (s + ε) is [rule]. Different values that are left for [classes] "
            "classes: [distinct]. Largest error of a Z-score [error]. Length of the gradient [length], by the literal "
            "formula [literal]."
        ),
        caption="<b>Press a row together.</b> A student's logits of one image, scaled to the deviation s, "
        "stored around a number and standardised. Below: the deviation of its Z-scores, and "
        "s / (s + ε). Then: length of the gradient of the loss at base temperature "
        f"{TEMPERATURE:g} with respect to the logits. {rows.source(networks, images)}",
        picture=picture,
    )
