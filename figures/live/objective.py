"""The whole objective, live: what the label and what the teacher push, and how their weights set the balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from figures import theme
from figures.live import figure as live
from figures.live import rows
from figures.live.rows import PLAIN, STANDARD, TEACHER
from figures.networks import Networks
from figures.table import Table
from lskd.data import Dataset
from lskd.losses import cross_entropy, kd_loss
from lskd.recipes import load_recipe

LABEL = theme.look("mlkd").color  # what the label pushes
CIFAR, IMAGENET = "cifar100/resnet32x4-resnet8x4", "imagenet/ResNet34-ResNet18"
PUBLISHED = {  # name: (recipe, member, words)
    "ls": (CIFAR, "kd_ls", "KD + LS, CIFAR-100"),
    "literature": (CIFAR, "kd", "KD in the literature"),
    "like": (CIFAR, "kd_like_for_like", "KD at the settings of LS"),
    "imagenet_ls": (IMAGENET, "kd_ls", "KD + LS, ImageNet"),
    "imagenet": (IMAGENET, "kd", "KD, ImageNet"),
}
WEIGHTS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 12.0, 15.0, 18.0, 24.0, 30.0)


@dataclass(frozen=True)
class Setting:
    """``ce_weight · CE + kd_weight · T² KL``, the divergence between Z-scores or logits.

    ``assumed`` names those that no source gives.
    """

    temperature: float
    kd_weight: float
    ce_weight: float
    standardize: bool
    assumed: tuple[str, ...] = ()

    def controls(self) -> dict[str, float | bool]:
        """Values of the live figure's controls."""
        return {key: value for key, value in asdict(self).items() if key != "assumed"}

    @property
    def at(self) -> str:
        return f"T {self.temperature:g}, weight {self.kd_weight:g}"

    @property
    def text(self) -> str:
        words = {"temperature": "T", "kd_weight": "weight", "ce_weight": "label"}
        values = ((word, getattr(self, key), key in self.assumed) for key, word in words.items())
        return ", ".join(f"{word} {value:g}{' (assumed)' * assumed}" for word, value, assumed in values)


def published() -> dict[str, Setting]:
    """The settings of :data:`PUBLISHED`, from the recipes that train with them."""
    out = {}
    for name, (recipe, member, _) in PUBLISHED.items():
        loaded = load_recipe(recipe, for_training=False)
        found, assumed = loaded.members[member], loaded.about[member].assumed
        values = {key: float(found[key]) for key in ("temperature", "kd_weight", "ce_weight")}
        out[name] = Setting(**values, standardize=bool(found.get("standardize", False)), assumed=assumed)
    return out


def pushes(student: Tensor, teacher: Tensor, target: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
    """Weighted gradients of both terms with respect to each student row, as if it were a batch of its own.

    Args:
        student, teacher: logits ``[n, classes]``; target: int64 ``[n]``.

    Returns:
        ``(label, teacher)``, each ``[n, classes]``; the push on a logit is minus its gradient.
    """
    z = student.detach().clone().requires_grad_()
    kd = kd_loss(z, teacher, temperature=setting.temperature, standardize=setting.standardize)
    terms = (setting.ce_weight * cross_entropy(z, target), setting.kd_weight * kd)
    label, distilled = (torch.autograd.grad(term * len(z), z)[0] for term in terms)
    return label, distilled


def lengths(
    student: Tensor, teacher: Tensor, target: Tensor, setting: Setting, scales: Sequence[float]
) -> list[tuple[float, float]]:
    """Lengths of both pushes on one row ``[1, classes]`` whose logits are stretched about their mean."""
    center = student.mean()
    found = (pushes(center + a * (student - center), teacher, target, setting) for a in scales)
    return [(float(label.norm()), float(distilled.norm())) for label, distilled in found]


@dataclass(frozen=True)
class Loudness:
    """How hard label and teacher push the students of a run: mean lengths over all rows that are kept whole.

    Attributes:
        settings: by the name of their column; the label's weight is that of the first.
        table: a row a student: ``name``, ``deviation`` of its logits, ``label``, and a column a setting.
        teacher: mean deviation of the teacher's logits.
        n: rows.
    """

    settings: Mapping[str, Setting]
    table: pd.DataFrame
    teacher: float
    n: int

    def to_table(self) -> Table:
        """For readers."""
        label = f"label (weight {next(iter(self.settings.values())).ce_weight:g})"
        columns = {"student": "{name}", "deviation of its logits": "{deviation:.2f}", label: "{label:.3f}"}
        columns |= {f"{short(name)} ({setting.at})": f"{{{name}:.3f}}" for name, setting in self.settings.items()}
        return Table.of(
            self.table,
            columns,
            f"Length of the gradient with respect to the student's logits, by term; means over {self.n} test images of "
            f"which all logits are kept; one run of each network (n = 1 seed). The teacher's mean deviation is "
            f"{self.teacher:.2f}.",
        )

    def text(self) -> str:
        """What the table says about its first student, Markdown."""
        row = self.table.iloc[0]
        product, weight = row["deviation"] * self.teacher, self.settings["ls"].kd_weight
        times = {key: f"{row[key] / row['label']:.0f} times" for key in ("literature", "like", "ls")}
        return (
            f"Take the first row, the {row['name']}. At the literature's settings the teacher is {times['literature']} "
            f"as loud as the label. The settings of LS *without* LS make it {times['like']}. Switch the Z-scores on, "
            f"and it is {times['ls']}. By {{eq}}`weightrule` a weight of {weight:g} on Z-scores is worth "
            f"{weight / product:.2f} on logits, because the two deviations multiply to {product:.1f} here; they would "
            f"have to multiply to {weight:g} to make it worth one."
        )


def loudness(networks: Networks, settings: Mapping[str, Setting]) -> Loudness:
    """Measure :class:`Loudness`; ``settings`` holds at least "literature", "like" and "ls"."""
    target = labels(networks, np.arange(len(networks.teacher.logits)))
    v, body = torch.from_numpy(networks.teacher.logits).double(), []
    for name, pack in networks.students.items():
        z = torch.from_numpy(pack.logits).double()
        found = {key: pushes(z, v, target, setting) for key, setting in settings.items()}
        size = {"label": next(iter(found.values()))[0], **{key: distilled for key, (_, distilled) in found.items()}}
        means = {key: float(gradient.norm(dim=-1).mean()) for key, gradient in size.items()}
        body.append({"name": networks.look(name).label, "deviation": float(z.std(dim=-1).mean()), **means})
    return Loudness(settings, pd.DataFrame(body), float(v.std(dim=-1).mean()), len(v))


def short(name: str) -> str:
    """A published setting in few words."""
    return PUBLISHED[name][2].partition(",")[0]


def labels(networks: Networks, images: np.ndarray) -> Tensor:
    """True classes of images, given by their places in the evidence's ``logits``; int64."""
    teacher = networks.teacher
    return torch.from_numpy(teacher.label[teacher.logits_index[images]].astype(np.int64))


def telling(networks: Networks, member: str, setting: Setting) -> int:
    """Number of the image, as the slider counts, on which label and teacher are most nearly equally loud."""
    images = rows.of_all_kinds(networks)
    student, teacher = (torch.from_numpy(networks.packs[m].logits[images]).double() for m in (member, "teacher"))
    label, distilled = (x.norm(dim=-1) for x in pushes(student, teacher, labels(networks, images), setting))
    return int((label.log() - distilled.log()).abs().argmin())


def objective(networks: Networks, folder: Path | str, dataset: Dataset | None = None) -> live.Live:
    """Pushes of label and teacher on each logit, and how hard both push over the student's spread."""
    shown, images, settings = rows.members(networks), rows.of_all_kinds(networks), published()
    begin = telling(networks, shown[0], settings["ls"])
    student, teacher = rows.middle(networks, shown[0], begin)
    target, scales = labels(networks, images[[begin]]), np.geomspace(0.1, 10, 41)
    deviation = float(student.std(correction=0))
    drawn = {name: lengths(student, teacher, target, settings[name], scales.tolist()) for name in list(PUBLISHED)[:3]}
    data = pd.DataFrame({"deviation": scales * deviation, "label": [ce for ce, _ in drawn["ls"]]})
    data = data.assign(**{name: [kd for _, kd in values] for name, values in drawn.items()})

    looks = {"label": (LABEL, "-.", "label")}
    for name, look in {"ls": (STANDARD, "--"), "literature": (PLAIN, ":"), "like": (PLAIN, "-")}.items():
        looks[name] = (*look, f"{short(name)} ({settings[name].at})")
    picture = rows.lines(
        "objective", folder, data, looks, inputs=networks.paths("teacher", *shown), log="xy", height=3.0,
        x="deviation of the student's logits", y="length of the gradient",
        legend={"loc": "center left", "bbox_to_anchor": (1, 0.5)},
        more=lambda ax: ax.axvline(deviation, color=theme.MUTED, lw=1),
        alt="Length of the gradient over the deviation of the student's logits, both on logarithmic scales. Plain "
        "distillation at the weight of LS pushes far harder than at the literature's; with LS the same weight "
        "pushes about as hard as the literature's does where the student's logits are small, and ever less where "
        "they are larger.",
        caption="<b>How hard each term pushes</b> at three published settings, one image of the student trained "
        "alone, its logits stretched about their mean; the vertical line is where they are.",
    )  # fmt: skip
    push = rows.leading(networks, "push on the student's logit", height=300)
    live.bars(push, "ce", [], LABEL, width=0.24)
    live.bars(push, "kd", [], STANDARD, width=0.24)
    live.arrows(push, "sum", [], TEACHER)
    live.zero(push)
    size = live.plot(
        "deviation of the student's logits",
        "length of the gradient",
        height=300,
        x_axis_type="log",
        y_axis_type="log",
        y_range=(1e-4, 100),
    )
    live.curve(size, "ce-length", LABEL, line_dash="dotdash")
    live.curve(size, "plain-length", PLAIN)
    live.curve(size, "standardized-length", STANDARD, line_dash="dashed")
    live.points(size, "here", [1, 1], TEACHER, size=9, marker="circle")

    start = settings["ls"]
    options = {name: f"{PUBLISHED[name][2]}: {setting.text}" for name, setting in settings.items()}
    options["own"] = "none: the sliders decide"
    reference = settings["literature"]
    sprites, thumb = rows.thumbnail(dataset, networks.teacher.logits_index[images], "objective")
    return live.Live(
        name="objective",
        controls=[
            live.choice("setting", "published setting", options, wide=True),
            live.steps("kd_weight", "weight of the teacher", WEIGHTS, start.kd_weight),
            live.slider("ce_weight", "weight of the label", 0, 1, 0.1, start.ce_weight),
            live.check("standardize", "Z-scores (LS)", start.standardize),
        ],
        more=[
            live.slider("temperature", "temperature", 0.5, 8, 0.5, start.temperature),
            rows.student_choice(networks, shown),
            rows.image_slider(images, begin),
            live.slider("scale", "student's logits, times", -1, 1, 0.02, 0, digits=2, log=True),
        ],
        plots={"push": push, "length": size},
        data={
            **rows.logit_rows(networks, images, shown),
            "settings": {name: setting.controls() for name, setting in settings.items()},
            "reference": reference.controls(),
            "colors": {"plain": live.both(PLAIN), "standardized": live.both(STANDARD)},
        },
        readout=(
            f"{live.key(LABEL, 'label')}{live.key(PLAIN, 'teacher, plain')}{live.key(STANDARD, 'teacher, Z-scores')}"
            f"{live.key(TEACHER, 'sum (arrows)')}<br>{thumb}"
            "True class [truth], to which the student gives [sure]. Deviation of the "
            'logits: student [sigma], teacher [sigma_teacher].<br style="clear:both">'
            + rows.told_table(
                ("loss", "times its weight", "push", "share"),
                {
                    "label": ("[ce]", "[ce_weighted]", "[ce_length]", "[ce_share]"),
                    "teacher": ("[kd]", "[kd_weighted]", "[kd_length]", "[kd_share]"),
                    "sum": ("", "[total]", "[total_length]", ""),
                },
            )
            + "Angle between the two pushes [angle]. <i>Plain</i> distillation at temperature "
            f"{reference.temperature:g} would push as hard as this teacher does with weight [equal]."
        ),
        caption="<b>Two voices, two weights.</b> First: minus the gradient of each weighted term with respect to the "
        "student's logits; up means <i>raise this one</i>, the arrow is where it goes, the true class is ticked. "
        "Second: lengths of these gradients at the chosen weights and temperature, if the student's logits had another "
        "spread; both axes are logarithmic, circles are at the logits of the first panel. "
        f"{rows.source(networks, images)}",
        sprites=sprites,
        picture=picture,
        alt="First, bars for eight classes and the others: what label and teacher push; arrows: their sum. "
        "Second, lengths of the gradients over the deviation of the student's logits. The gradient between Z-scores "
        "falls as one over the deviation.",
    )
