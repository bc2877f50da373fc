"""The Z-score, live: its origin in an entropy, what it forgets, what it keeps, and where it leaves nothing."""

from __future__ import annotations

import math
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
from figures.live.softmax import CLASSES
from figures.networks import Networks
from figures.publish import publish
from lskd.losses import kd_loss, standardize
from paper.theory import z_score_bounds
from paper.toy import TOY, gradient

ASIDE = (1.0, 1.0, -1.0, -1.0)  # sums to zero, also weighted by the teacher's logits of the toy case
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DRAWS, MOST = 4, 1000
SHAPES = {
    "normal": "random, normal",
    "heavy": "random, normal cubed",
    "halves": "half high, half low",
    "one": "one class apart",
    "ends": "one up, one down",
}
TEMPERATURE = 2.0
LITERAL = theme.look("mlkd").color
DEVIATIONS = (-10, 1)  # powers of ten that the slider reaches


def entropy(folder: Path | str) -> live.Live:
    """Among all distributions with one average logit the softmax has the largest entropy; that fixes T."""
    logits = torch.tensor(TOY["teacher"], dtype=torch.float64)
    grid = np.geomspace(0.05, 200, 80)
    average = [float(torch.softmax(logits / t, -1) @ logits) for t in grid]

    def draw(fig: Figure) -> None:
        left, right = fig.subplots(1, 2)
        left.bar(CLASSES, torch.softmax(logits, -1).numpy(), color=TEACHER)
        left.set(ylabel="probability", title="temperature 1")
        right.semilogx(grid, average, color=TEACHER)
        right.set(xlabel="temperature", ylabel="average logit")

    picture = publish(
        draw, "entropy", height=2.5, folder=folder, inputs=[],
        data=pd.DataFrame({"temperature": grid, "average_logit": average}),
        alt="The softmax of four logits, and the average logit under it as the temperature rises: from the largest "
        "logit down to the plain mean.",
        caption="<b>Each average logit belongs to one temperature.</b>",
    )  # fmt: skip
    probability = live.plot("class", "probability", ticks=CLASSES, y_range=(0, 1))
    live.bars(probability, "softmax", [k - 0.2 for k in range(4)], TEACHER, width=0.38)
    live.bars(probability, "other", [k + 0.2 for k in range(4)], PLAIN, width=0.38)
    temperature = live.plot("temperature", "average logit", x_axis_type="log")
    live.curve(temperature, "average", TEACHER)
    live.points(temperature, "here", [1], TEACHER, size=10, marker="circle")
    return live.Live(
        name="entropy",
        controls=[
            live.slider("average", "average, in deviations", 0.05, 1.1, 0.05, 0.6, digits=2),
            live.slider("scale", "all logits, times", -1, 1, 0.05, 0, digits=2, log=True),
            live.slider("aside", "step aside", -1, 1, 0.05, 0, digits=2),
        ],
        plots={"probability": probability, "temperature": temperature},
        data={"logits": list(TOY["teacher"]), "aside": list(ASIDE)},
        readout=(
            f"{live.key(TEACHER, 'softmax')}{live.key(PLAIN, 'another distribution')}<br>Average logit of both "
            "[average]. Entropy: softmax [entropy], the other [other].<br>Temperature [temperature], deviation of the "
            "logits [sigma], one divided by the other [ratio]."
        ),
        caption="<b>Where a temperature comes from.</b> The logits are those of the toy case's teacher. Fix their "
        "average, in deviations above the mean: the softmax of one temperature has it. <i>Step aside</i> leads to "
        "other distributions with the same average; none has more entropy.",
        picture=picture,
    )


def invariance(networks: Networks, folder: Path | str) -> live.Live:
    """Shift and stretch the student's logits: the plain loss follows, the standardised one does not move."""
    shown, images = rows.members(networks), rows.of_all_kinds(networks)
    student, teacher = rows.middle(networks, shown[0])
    scales, center = np.geomspace(0.1, 10, 61), student.mean()
    data = pd.DataFrame({"scale": scales})
    for name, on in (("plain", False), ("standardized", True)):
        stretched = (center + a * (student - center) for a in scales.tolist())
        data[name] = [float(kd_loss(row, teacher, temperature=2.0, standardize=on)) for row in stretched]
    picture = rows.lines(
        "invariance", folder, data,
        {"plain": (PLAIN, "-", "plain"), "standardized": (STANDARD, "--", "standardised")},
        x="student's logits, times", y="loss at temperature 2", log="x", height=2.6,
        inputs=networks.paths("teacher", *shown),
        alt="Loss over a factor on the student's logits. The plain loss has one minimum and rises on both sides; the "
        "standardised loss is a horizontal line.",
        caption="<b>Stretching the student's logits</b> about their mean, one image.",
    )  # fmt: skip
    classes = len(networks.teacher.class_names)
    panels = {}
    for name, text, end in (("raw", "logit", ""), ("z", "Z-score", "-z")):
        panels[name] = live.plot("class", text, height=260)
        live.bars(panels[name], f"student{end}", range(classes), STUDENT, width=0.8)
        live.points(panels[name], f"teacher{end}", range(classes), TEACHER, size=5)
        live.zero(panels[name])

    told = {"plain": "plain", "with LS": "standardized"}
    ends = ("", "_length", "_shift", "_spread")
    return live.Live(
        name="invariance",
        controls=[
            live.slider("shift", "add to the student's logits", -10, 10, 0.1, 0),
            live.slider("scale", "stretch them, times", -1, 1, 0.02, -0.3, digits=2, log=True),
            live.slider("temperature", "temperature", 0.5, 8, 0.1, 2),
            rows.student_choice(networks, shown),
            rows.image_slider(images),
        ],
        plots=panels,
        data=rows.logit_rows(networks, images, shown),
        readout=(
            f"{live.key(TEACHER, 'teacher (marks)')}{live.key(STUDENT, 'student (bars)')} Deviation of the student's "
            "logits: [sigma]."
            + rows.told_table(
                ("loss", "gradient", "along shift", "along spread"),
                {text: [f"[{name}{end}]" for end in ends] for text, name in told.items()},
            )
        ),
        caption="<b>Move the first two sliders.</b> First logits, then Z-scores. The table has the loss, the length of "
        f"its gradient, and the length of the gradient's parts along two directions. {rows.source(networks, images)}",
        picture=picture,
    )


def bound(folder: Path | str) -> live.Live:
    """Random logits and extreme ones against the bound; order is kept whatever they are."""
    classes = np.unique(np.geomspace(2, 1000, 40).astype(int))
    data = pd.DataFrame(
        [(k, *z_score_bounds(k), *z_score_bounds(k, correction=0)) for k in classes.tolist()],
        columns=["classes", "largest", "apart", "largest_population", "apart_population"],
    )

    picture = rows.lines(
        "bound", folder, data,
        {"largest": (STUDENT, "-", "largest Z-score"), "apart": (PLAIN, "--", "largest difference")},
        x="classes K", y="bound", log="xy", height=2.6,
        alt="Bounds of a Z-score and of the difference of two, over the number of classes: both grow as its root.",
        caption="<b>How large a Z-score can be.</b>",
    )  # fmt: skip
    made = live.plot("logit, in units of the largest", "Z-score", height=320, x_range=(-1.1, 1.1))
    live.curve(made, "upper", PLAIN, line_dash="dashed")
    live.curve(made, "lower", PLAIN, line_dash="dashed")
    live.points(made, "scores", [], STUDENT, size=6, marker="circle", fill_alpha=0.5)
    live.zero(made)
    noise = np.random.default_rng(0).normal(size=(DRAWS, MOST))
    return live.Live(
        name="bound",
        controls=[
            live.choice("classes", "classes", {str(k): f"{k:,}" for k in (100, 2, 3, 10, 1000)}, numbers=True),
            live.choice("shape", "logits", SHAPES),
            live.slider("draw", "draw number", 0, DRAWS - 1, 1, 0, digits=0),
            live.check("population", "divide by K, as the paper prints"),
            live.slider("temperature", "base temperature", 0.5, 8, 0.1, 2),
        ],
        plots={"scores": made},
        data={"noise": live.pack(noise), "most": MOST},
        readout=(
            "Largest Z-score [largest]; the bound is [bound] (dashed). Furthest apart [apart]; at most [gap]. Order: "
            "[order].<br>Largest probability at this base temperature [probability]; no logits can give more than "
            "[most]."
        ),
        caption="<b>Bound and order.</b> A point is a class. Points that rise from left to right keep their order; "
        "no point leaves the strip between the dashed lines.",
        picture=picture,
    )


def two_classes(folder: Path | str) -> live.Live:
    """With two classes the Z-score is a sign: the standardised loss is a step."""
    margins = np.linspace(-8, 8, 161)
    teacher = torch.tensor([[1.5, -1.5]], dtype=torch.float64)

    def losses(on: bool) -> list[float]:
        out = []
        for margin in margins.tolist():
            student = torch.tensor([[margin / 2, -margin / 2]], dtype=torch.float64)
            seen = [x / x.std() if on and margin else x for x in (student, teacher)]  # Z of a centred row
            out.append(float(kd_loss(seen[0], seen[1], temperature=1.0)) if margin or not on else math.nan)
        return out

    data = pd.DataFrame({"margin": margins, "plain": losses(False), "standardized": losses(True)})

    picture = rows.lines(
        "two_classes", folder, data,
        {"plain": (PLAIN, "-", "plain"), "standardized": (STANDARD, "--", "standardised")},
        x="student's first logit minus its second", y="loss at temperature 1", height=2.6,
        alt="Two classes: the plain loss is a smooth curve with its zero at the teacher's margin; the standardised "
        "one is zero for every student on the teacher's side and a constant for every other.",
        caption="<b>Two classes.</b> The teacher's margin is 3.",
    )  # fmt: skip
    made = live.plot("student's first logit minus its second", "loss", height=280)
    live.curve(made, "plain", PLAIN, line_width=3)
    live.curve(made, "standardized", STANDARD, line_dash="dashed", line_width=3)
    live.points(made, "here", [0, 0], TEACHER, size=9, marker="circle")
    return live.Live(
        name="two_classes",
        controls=[
            live.slider("student", "the student's margin", -8, 8, 0.1, -2),
            live.slider("teacher", "the teacher's margin", -8, 8, 0.1, 3),
            live.slider("temperature", "temperature", 0.5, 8, 0.1, 1),
        ],
        plots={"loss": made},
        data={},
        readout=(
            f"{live.key(PLAIN, 'plain')}{live.key(STANDARD, 'standardised (dashed)')}<br>First Z-score: student [z], "
            "teacher [z_teacher]. Plain: loss [plain], slope [plain_slope]. Standardised: loss [standardized], slope "
            "[standardized_slope]."
        ),
        caption="<b>A step has no slope.</b> Move the margin of this student, which is wrong: the standardised loss "
        "does not tell it in which direction to go. The circles are at its margin; slopes are without sign.",
        picture=picture,
    )


def stored(row: Tensor, format: str) -> Tensor:
    """What is left of float64 logits that were kept in a format for a while."""
    return row.float().to(FORMATS[format]).double()


def precision(networks: Networks, folder: Path | str) -> live.Live:
    """Z-scores of logits that were kept in 16 bits, with a common offset that uses the bits up."""
    images = rows.of_all_kinds(networks)
    _, teacher = rows.middle(networks, rows.members(networks)[0])
    shifts = np.geomspace(0.1, 1000, 49)
    found = pd.DataFrame({"shift": shifts})
    for name in FORMATS:
        exact = [teacher + s for s in shifts.tolist()]
        found[name] = [float((standardize(stored(x, name)) - standardize(x)).abs().max()) for x in exact]

    looks = zip(FORMATS, (TEACHER, PLAIN, STANDARD), (":", "-", "--"), strict=True)
    picture = rows.lines(
        "precision", folder, found, {name: (color, line, name) for name, color, line in looks},
        x="added to every logit", y="largest error of a Z-score", log="xy", inputs=networks.paths("teacher"),
        alt="Largest error of a Z-score over an offset common to all logits, for three number formats. The error "
        "grows with the offset; bfloat16 is worst, float16 eight times better, float32 thousands of times better.",
        caption="<b>An offset uses up the digits</b> of logits that are stored in 16 bits.",
    )  # fmt: skip
    classes = len(networks.teacher.class_names)
    made = live.plot("class", "Z-score", height=300)
    live.bars(made, "exact", range(classes), STUDENT, width=0.8)
    live.points(made, "rounded", range(classes), PLAIN, size=7, marker="circle")
    live.zero(made)
    return live.Live(
        name="precision",
        controls=[
            live.choice("format", "logits are stored as", {name: name for name in ("bfloat16", "float16", "float32")}),
            live.slider("shift", "added to every logit", -1, 3, 0.05, 2, digits=1, log=True),
            live.slider("scale", "all logits, times", -2, 1, 0.05, 0, digits=2, log=True),
            rows.image_slider(images),
        ],
        plots={"z": made},
        data=rows.logit_rows(networks, images, []),
        readout=(
            f"{live.key(STUDENT, 'exact (bars)')}{live.key(PLAIN, 'of the stored logits (circles)')}<br>Largest error "
            "of a Z-score [error]. Different values that are left for [classes] "
            "classes: [distinct]. Loss between the two rows at temperature 2: [loss]."
        ),
        caption="<b>Standardise before you round.</b> The teacher's logits of one image, shifted, stretched, stored "
        f"and standardised. {rows.source(networks, images)}",
        picture=picture,
    )


# --- vanishing spread ------------------------------------------------------------------------------------------------


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

    def draw(fig: Figure) -> None:
        left, right = fig.subplots(1, 2)
        for power, color, line in ((-7, STANDARD, "-"), (-5, STUDENT, "--"), (-3, PLAIN, ":")):
            look = {"color": color, "ls": line, "label": f"ε = 1e{power}".replace("-", "−")}
            left.semilogx(grid, data[f"z_eps_1e{power}"], **look)
            right.loglog(grid, data[f"gradient_eps_1e{power}"], **look)
        left.set(xlabel="deviation of the logits", ylabel="deviation of the Z-scores")
        right.set(xlabel="deviation of the logits", ylabel="length of the gradient")
        right.legend()

    picture = publish(
        draw, "epsilon", height=2.7, folder=folder, inputs=networks.paths("teacher", *shown), data=data,
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
            live.slider("deviation", "deviation s", *DEVIATIONS, 0.1, -7, digits=2, log=True),
            live.slider("epsilon", "ε", -12, 0, 0.5, -7, digits=2, log=True),
            live.choice(
                "format", "logits are stored as", {"float64": "float64 (exact)", **{name: name for name in FORMATS}}
            ),
            live.choice(
                "offset", "around", {o: o for o in ("0", "0.1", "1", "10")}, numbers=True, when="format!=float64"
            ),
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
        "stored around a number and standardised in float64. Below: the deviation of its Z-scores, and "
        "s / (s + ε). Then: length of the gradient of the loss at base temperature "
        f"{TEMPERATURE:g} with respect to the logits. {rows.source(networks, images)}",
        picture=picture,
    )
