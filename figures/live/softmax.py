"""The softmax and its temperature, live: the paper's toy case (Fig. 2), soft labels, how hard they push, and what one
temperature for two asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from figures import theme
from figures.live import figure as live
from figures.live import rows
from figures.live.rows import PLAIN, SHOWN, STANDARD, STUDENT, TEACHER
from figures.networks import Networks
from figures.publish import publish
from lskd.data import Dataset
from lskd.losses import kd_loss, standardize
from paper.toy import TOY, gradient

CLASSES = ("cat", "dog", "bird", "frog")
NAMES = {"teacher": "teacher", "s1": "student 1 (wrong)", "s2": "student 2 (right)"}
COLORS = {"teacher": theme.look("teacher").color, "s1": theme.look("dkd").color, "s2": theme.look("kd").color}
PLACES = {"teacher": -0.27, "s1": 0.0, "s2": 0.27}
LOGITS = {name: torch.tensor([row], dtype=torch.float64) for name, row in TOY.items()}


def seen(*, standardized: bool) -> dict[str, np.ndarray]:
    """What the loss compares, by network: four logits each, or their Z-scores."""
    return {name: (standardize(row) if standardized else row)[0].numpy() for name, row in LOGITS.items()}


def losses(*, standardized: bool) -> dict[str, float]:
    """Of both students at temperature 1, as :func:`lskd.losses.kd_loss` computes them."""
    teacher = LOGITS["teacher"]
    return {
        name: kd_loss(LOGITS[name], teacher, temperature=1.0, standardize=standardized).item() for name in ("s1", "s2")
    }


def toy(folder: Path | str) -> live.Live:
    """Sliders for temperature and for student 2's spread, a box for standardisation."""

    def draw(fig: Figure) -> None:
        for ax, on in zip(fig.subplots(1, 2), (False, True), strict=True):
            for name, values in seen(standardized=on).items():
                ax.bar(np.arange(4) + PLACES[name], values, width=0.25, color=COLORS[name], label=NAMES[name])
            ax.axhline(0, color=theme.MUTED, lw=0.8)
            ax.set_xticks(range(4), labels=CLASSES)
            found = losses(standardized=on)
            ax.set_ylabel("Z-score" if on else "logit")
            ax.set_title(f"loss: student 1 {found['s1']:.4f}, student 2 {abs(found['s2']):.4f}", fontsize=9)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)

    data = [{"network": n, "class": c, "logit": v} for n, row in TOY.items() for c, v in zip(CLASSES, row, strict=True)]
    picture = publish(
        draw,
        "toy",
        height=2.6,
        folder=folder,
        alt="Logits and Z-scores of a teacher and two students over four classes. Student 1 has nearly the right "
        "spread and the wrong order, student 2 the right order and a tenth of the spread. The plain loss prefers "
        "student 1, the standardised one student 2.",
        caption="<b>One teacher, two students</b>, the logits behind the paper's Fig. 2. Losses are at temperature 1.",
        data=pd.DataFrame(data),
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
            "input": panel("logit", [*LOGITS]),
            "probability": panel("probability", [*LOGITS], y_range=(0, 1)),
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


# --- soft labels -----------------------------------------------------------------------------------------------------


def distillation(networks: Networks, folder: Path | str, dataset: Dataset | None = None) -> live.Live:
    """Probabilities of both at any temperature, the loss, and where its gradient pushes the student's logits."""
    shown, images = rows.members(networks), rows.of_all_kinds(networks)
    student, teacher = rows.middle(networks, shown[0])
    first = torch.argsort(teacher[0], descending=True)[:SHOWN]
    names = [str(networks.teacher.class_names[k]) for k in first.tolist()]

    def draw(fig: Figure) -> None:
        for ax, t in zip(fig.subplots(1, 3, sharey=True), (1, 2, 6), strict=True):
            for values, color, shift in ((teacher, TEACHER, -0.2), (student, STUDENT, 0.2)):
                p = torch.softmax(values[0] / t, dim=-1)[first].numpy()
                ax.bar(np.arange(len(first)) + shift, p, width=0.4, color=color)
            ax.set_title(f"temperature {t}")
            ax.set_xticks(range(len(first)), labels=names, rotation=90)

    picture = publish(
        draw, "distillation", height=2.5, folder=folder, inputs=networks.paths("teacher", *shown),
        data=pd.DataFrame({"class": names, "teacher": teacher[0, first].numpy(), "student": student[0, first].numpy()}),
        alt="Bars: probabilities of teacher and student for eight classes at three temperatures. The higher the "
        "temperature, the more alike the bars.",
        caption="<b>Soft labels of one image</b>, dark: teacher, colour: student, at three temperatures.",
    )  # fmt: skip
    probability = rows.leading(networks, "probability", height=280, y_range=(0, 1))
    live.bars(probability, "teacher", [], TEACHER, width=0.38)
    live.bars(probability, "student", [], STUDENT, width=0.38)
    push = rows.leading(networks, "push on the student's logit", height=280)
    live.bars(push, "push", [], PLAIN, width=0.6)
    live.zero(push)
    sprites, thumb = rows.thumbnail(dataset, networks.teacher.logits_index[images], "distillation")
    return live.Live(
        name="distillation",
        controls=[
            rows.student_choice(networks, shown, own="numbers of your own"),
            rows.image_slider(images, when="network!=own"),
            live.entry("teacher", "teacher's logits", "0 3 2 1", when="network=own"),
            live.entry("student", "student's logits", "0 1.8 2 1", when="network=own"),
            live.slider("temperature", "temperature", 0.5, 20, 0.1, 2),
            live.check("shared", "one temperature for both", True),
            live.slider("student_temperature", "the student's temperature", 0.5, 20, 0.1, 2, when="shared=false"),
            live.check("factor", "times T²", True),
        ],
        plots={"probability": probability, "push": push},
        data=rows.logit_rows(networks, images, shown),
        readout=(
            f"{thumb}{live.key(TEACHER, 'teacher')}{live.key(STUDENT, 'student')}<b "
            'data-say="problem" class="lskd-problem"></b><br>True class [truth]. The teacher says [top] with '
            "probability [top_p] and leaves [wrong_p] to all others; the student says [answer].<br>Divergence [kl], "
            'loss [loss], length of its gradient [length].<br style="clear:both">'
        ),
        caption="<b>What the student is shown.</b> First: softened probabilities of the teacher's first classes, the "
        "true one ticked. Second: minus the gradient with respect to the student's logits; up means <i>raise this "
        f"one</i>. Choose <i>numbers of your own</i> to type logits. {rows.source(networks, images)}",
        picture=picture,
        sprites=sprites,
    )


def push_sizes(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, float]:
    """Length of the gradient of the KD loss with the factor T² and without."""
    length = float(gradient(lambda z: kd_loss(z, teacher, temperature=temperature), student).norm())
    return length, length / temperature**2


def factor(networks: Networks, folder: Path | str) -> live.Live:
    """How hard the loss pushes, over temperature, with T² and without, and the limit of very high temperatures."""
    shown, images = rows.members(networks), rows.of_all_kinds(networks)
    student, teacher = rows.middle(networks, shown[0])
    sizes = [(t, *push_sizes(student, teacher, t)) for t in np.geomspace(0.5, 100, 60).tolist()]
    centred = student - student.mean() - teacher + teacher.mean()
    limit = float(centred.norm() / student.shape[-1])
    picture = rows.lines(
        "factor", folder, pd.DataFrame(sizes, columns=["temperature", "with", "without"]),
        {"with": (STUDENT, "-", "with T²"), "without": (PLAIN, "--", "without")},
        x="temperature", y="length of the gradient", log="xy", inputs=networks.paths("teacher", *shown),
        more=lambda ax: ax.axhline(limit, color=theme.MUTED, lw=1, ls=":", label="limit"),
        alt="Length of the gradient over temperature, both on logarithmic scales. Without the factor it falls by two "
        "decades for each decade of temperature; with it, it levels off at the limit.",
        caption="<b>The factor T²</b> at one image of the student trained alone.",
    )  # fmt: skip
    made = live.plot("temperature", "length of the gradient", height=300, x_axis_type="log", y_axis_type="log")
    live.curve(made, "with", STUDENT, line_width=3)
    live.curve(made, "without", PLAIN, line_dash="dashed")
    live.curve(made, "limit", TEACHER, line_dash="dotted", line_width=1.5)
    live.points(made, "here", [1, 1], TEACHER, size=9, marker="circle")
    return live.Live(
        name="factor",
        controls=[
            rows.student_choice(networks, shown),
            rows.image_slider(images),
            live.slider("temperature", "temperature", -0.3, 2, 0.02, 0.3, digits=2, log=True),
        ],
        plots={"size": made},
        data=rows.logit_rows(networks, images, shown),
        readout=(
            f"{live.key(STUDENT, 'with T²')}{live.key(PLAIN, 'without (dashed)')}"
            f"{live.key(TEACHER, 'limit (dotted)')}<br>"
            "Here: with [with], without [without]; limit [limit]."
        ),
        caption="<b>Why the factor.</b> Length of the gradient with respect to the student's logits. Both axes are "
        f"logarithmic. {rows.source(networks, images)}",
        picture=picture,
    )


def spread_losses(
    teacher: Tensor, spread: float, temperature: float, student_temperature: float
) -> tuple[float, float]:
    """Divergence of a student whose logits are the teacher's times ``spread``: plain, and between Z-scores."""
    student = spread * teacher
    plain = kd_loss(student / student_temperature, teacher / temperature, temperature=1.0)
    standardized = kd_loss(student, teacher, temperature=temperature, standardize=True) / temperature**2
    return abs(float(plain)), abs(float(standardized))


def spread(networks: Networks, folder: Path | str) -> live.Live:
    """A student with the teacher's relations and a spread of its own: which spread does the loss want?"""
    images = rows.of_all_kinds(networks)
    _, teacher = rows.middle(networks, rows.members(networks)[0])
    data = pd.DataFrame({"spread": np.geomspace(0.1, 10, 61)})
    looks = {}
    for t, style in ((1.0, ":"), (2.0, "-"), (4.0, "--")):
        data[f"student_at_{t:g}"] = [spread_losses(teacher, a, 2.0, t)[0] for a in data["spread"]]
        looks[f"student_at_{t:g}"] = (PLAIN, style, f"student's temperature {t:g}")
    picture = rows.lines(
        "spread", folder, data, looks,
        x="student's spread, in units of the teacher's", y="divergence", log="x", inputs=networks.paths("teacher"),
        more=lambda ax: ax.axhline(0, color=STANDARD, label="between Z-scores"),
        alt="Divergence over the student's spread. With equal temperatures it is zero only at the teacher's spread; "
        "with half or twice the teacher's temperature the zero moves to half or twice the spread. Between Z-scores it "
        "is zero everywhere.",
        caption="<b>One temperature for both asks for the teacher's spread.</b> The teacher's temperature is 2.",
    )  # fmt: skip
    made = live.plot("student's spread, in units of the teacher's", "divergence", height=300, x_axis_type="log")
    live.curve(made, "plain", PLAIN, line_width=3)
    live.curve(made, "standardized", STANDARD, line_dash="dashed", line_width=3)
    live.points(made, "best", [1], PLAIN, size=13, marker="inverted_triangle")
    live.points(made, "here", [1, 1], TEACHER, size=9, marker="circle")
    return live.Live(
        name="spread",
        controls=[
            live.slider("spread", "the student's spread, times", -1, 1, 0.02, -0.7, digits=2, log=True),
            live.slider("temperature", "the teacher's temperature", 1, 8, 0.1, 2),
            live.slider("student_temperature", "the student's temperature", 1, 8, 0.1, 2),
            rows.image_slider(images),
        ],
        plots={"loss": made},
        data=rows.logit_rows(networks, images, []),
        readout=(
            f"{live.key(PLAIN, 'plain')}{live.key(STANDARD, 'between Z-scores (dashed)')}<br>Standard deviation of "
            "logits: teacher [sigma_teacher], student [sigma_student]. Divergence: plain [plain], between Z-scores "
            "[standardized]. Plain is zero at [best] times the teacher's spread."
        ),
        caption="<b>A student that knows everything the teacher knows.</b> Its logits are the teacher's, times a "
        "number; the circles are at that number. The triangle is where the plain divergence is zero. "
        f"{rows.source(networks, images)}",
        picture=picture,
    )
