"""Training objectives: the terms of a loss, their weights, and the state that a method owns.

A method is a class with its title and its settings (:class:`Objective`) and a place in METHODS; recipes, tables and
plans read the rest from it. Settings are keywords, the same keys that a recipe's member has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lskd import losses
from lskd.errors import check_keywords, pick
from lskd.losses import CurriculumTemperature, cross_entropy, curriculum_reversal
from lskd.objective_base import Count, Distilled, Logits, Objective, Positive, WarmedUp, Weight
from lskd.rows import Rows, deviation, reduced

__all__ = [
    "CTKD", "DIST", "DKD", "GDKD", "KD", "METHODS", "MLKD", "RLD", "TTM", "WTTM", "Distilled", "Locality",
    "LocalityGuidance", "Logits", "LumiNet", "NormKD", "Objective", "Plain", "WarmedUp", "create_objective",
]  # fmt: skip


class Plain(Objective):
    """Cross-entropy alone: a teacher, or a student without one."""

    title = "student alone"
    needs_teacher = False
    ce_weight: Weight = 1.0

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        return {"ce": self.ce_weight * cross_entropy(logits.student, logits.target)}


class KD(Distilled):
    """``ce_weight · CE + kd_weight · KL_T`` (protocol 1.2).

    With ``effective_weight`` each image's loss is divided by the deviations of its two logit vectors, as constants:
    at high temperatures the weight that LS gives it, without its standardisation.
    """

    title = "KD"
    function = staticmethod(losses.kd_loss)
    temperature: Positive
    kd_weight: Weight
    ce_weight: Weight = 0.1
    standardize: bool = False
    correction: int = 1
    effective_weight: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.effective_weight and self.standardize:
            raise ValueError("effective_weight stands in place of standardize; set one of them")

    def loss(self, student: Tensor, teacher: Tensor, target: Tensor, **more: Any) -> Tensor:
        if not self.effective_weight:
            return super().loss(student, teacher, target, **more)
        rows = super().loss(student, teacher, target, reduction="none", **more)
        pair, by = Rows(student.detach(), teacher), self.correction
        product = pair.student.std(-1, correction=by) * pair.teacher.std(-1, correction=by)
        if (out := pair.excluded) is not None:  # on a GPU always, mostly of no class
            of_others = deviation(pair.student, out, by) * deviation(pair.teacher, out, by)
            product = torch.where(out.any(-1), of_others, product)
        # A row without spread is not scaled, as under LS.
        return reduced(rows / torch.where(product <= 1e-7, 1.0, product), None, None, "mean")


class CTKD(Distilled):
    """KD whose temperature is learned against the student (protocol 1.4)."""

    title = "CTKD"
    function = staticmethod(losses.kd_loss)
    kd_weight: Weight
    ce_weight: Weight = 0.1
    t_start: Positive = 1.0
    t_end: Weight = 20.0
    loops: Count = 10
    standardize: bool = False
    correction: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.temperature = CurriculumTemperature(self.t_start, self.t_end)

    def at_epoch(self, epoch: int) -> float:
        return curriculum_reversal(epoch, loops=self.loops)

    def loss(self, student: Tensor, teacher: Tensor, target: Tensor, **more: Any) -> Tensor:
        return super().loss(student, teacher, target, temperature=self.temperature(self.of_epoch), **more)

    def diagnostics(self) -> dict[str, float]:
        return {"temperature": float(self.temperature(0.0).detach())}


class DKD(WarmedUp):
    """``CE + min(epoch / warmup, 1) · kd_weight · (alpha TCKD + beta NCKD)`` (protocol 1.3).

    With LS the released code multiplies alpha and beta by the weight; without it the weight is 1.
    """

    title = "DKD"
    temperature: Positive = 4.0
    alpha: Weight = 1.0
    beta: Weight = 8.0
    kd_weight: Weight = 1.0
    ce_weight: Weight = 1.0
    warmup: Count = 20
    standardize: bool = False
    correction: int = 1

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        tckd, nckd = losses.dkd_terms(
            logits.facing_teacher,
            logits.of_teacher(self),
            logits.target,
            temperature=self.temperature,
            standardize=self.standardize,
            correction=self.correction,
        )
        ce = cross_entropy(logits.student, logits.target)
        return {
            "ce": self.ce_weight * ce,
            "tckd": self.of_epoch * (self.alpha * self.kd_weight) * tckd,
            "nckd": self.of_epoch * (self.beta * self.kd_weight) * nckd,
        }


class MLKD(Objective):
    """Multi-level logit distillation on a weak and a strong view (protocol 1.5)."""

    title = "MLKD"
    needs_strong = True
    temperature: Positive
    kd_weight: Weight
    ce_weight: Weight = 0.1
    standardize: bool = False
    correction: int = 1
    masks: Literal["mean", "elementwise"] = "mean"
    strong_terms: Literal["released", "all"] = "released"
    standardize_correlations: bool = False

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        if logits.student_strong is None or logits.teacher_strong is None:
            raise ValueError("mlkd: logits of the strong view are missing; pass student_strong and teacher_strong")
        return losses.mlkd_terms(
            logits.student,
            logits.student_strong,
            logits.of_teacher(self),
            logits.teacher_strong,
            logits.target,
            **self.settings(),
        )


class NormKD(Distilled):
    """NormKD: LS whose samples weigh the square of their teacher's deviation (:func:`lskd.losses.normkd_loss`)."""

    title = "NormKD"
    function = staticmethod(losses.normkd_loss)
    temperature: Positive = 2.0
    kd_weight: Weight = 0.9
    ce_weight: Weight = 0.1


class LumiNet(WarmedUp):
    """LumiNet: logits standardised over the batch (:func:`lskd.losses.luminet_loss`)."""

    title = "LumiNet"
    function = staticmethod(losses.luminet_loss)
    alpha: Weight = 33.0
    temperature: Positive = 4.0
    kd_weight: Weight = 1.0
    ce_weight: Weight = 2.0
    warmup: Count = 20


class DIST(Distilled):
    """DIST: correlations of rows and of columns (:func:`lskd.losses.dist_loss`)."""

    title = "DIST"
    function = staticmethod(losses.dist_loss)
    beta: Weight = 2.0
    gamma: Weight = 2.0
    temperature: Positive = 4.0
    kd_weight: Weight = 1.0
    ce_weight: Weight = 1.0


class TTM(Distilled):
    """TTM: a power of the teacher's probabilities alone (:func:`lskd.losses.ttm_loss`)."""

    title = "TTM"
    function = staticmethod(losses.ttm_loss)
    gamma: Positive
    kd_weight: Weight
    ce_weight: Weight = 1.0


class WTTM(TTM):
    """WTTM: TTM whose samples weigh what the teacher doubts (:func:`lskd.losses.wttm_loss`)."""

    title = "WTTM"
    function = staticmethod(losses.wttm_loss)


class RLD(WarmedUp):
    """RLD: the teacher's confidence, and the classes that it puts below the label (:func:`lskd.losses.rld_loss`)."""

    title = "RLD"
    function = staticmethod(losses.rld_loss)
    alpha: Weight = 1.0
    beta: Weight = 8.0
    temperature: Positive = 4.0
    alpha_temperature: Positive = 1.0
    kd_weight: Weight = 1.0
    ce_weight: Weight = 1.0
    warmup: Count = 20
    standardize: bool = False


class GDKD(WarmedUp):
    """GDKD: the teacher's top k classes and the others (:func:`lskd.losses.gdkd_loss`)."""

    title = "GDKD"
    function = staticmethod(losses.gdkd_loss)
    k: Count = 5
    w0: Weight = 1.0
    w1: Weight = 2.0
    w2: Weight = 8.0
    temperature: Positive = 4.0
    kd_weight: Weight = 1.0
    ce_weight: Weight = 1.0
    warmup: Count = 20
    standardize: bool = False


class LocalityGuidance(nn.Module):
    """Guidance of a vision transformer by a convolutional teacher's feature maps, 2.5 times the sum (protocol 1.6).

    Owns one learned 1 x 1 convolution a map, from the student's channels to the teacher's: give its parameters to
    the optimiser. Both lists of maps are what ``stage_features`` of the networks returns. To be added to
    :func:`lskd.losses.cross_entropy`; no logits of the teacher take part, hence no LS.

    Args:
        student_channels, teacher_channels: of each map, in order.
        weight: factor on the sum.
    """

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], *, weight: float = 2.5
    ) -> None:
        super().__init__()
        pairs = zip(student_channels, teacher_channels, strict=True)
        self.projections = nn.ModuleList(nn.Conv2d(inner, outer, 1) for inner, outer in pairs)
        self.weight = weight

    def forward(self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
        if not len(student_maps) == len(teacher_maps) == len(self.projections):
            raise ValueError(
                f"LocalityGuidance: {len(student_maps)} student and {len(teacher_maps)} teacher maps; "
                f"it was made for {len(self.projections)} of each"
            )
        triples = zip(self.projections, student_maps, teacher_maps, strict=True)
        terms = [losses.locality_guidance_loss(project(x), y) for project, x, y in triples]
        return self.weight * torch.stack(terms).sum()


class Locality(Objective):
    """``CE + guidance_weight · Σ`` over maps (protocol 1.6); :class:`LocalityGuidance` is optimised with the student.

    Args:
        guidance_weight: factor on the sum.
        blocks: layers of the student, from 0, whose maps are compared with the teacher's stages, one each; by
            default those that the network names.
    """

    title = "locality guidance"
    needs_stages = True
    guidance_weight: Weight = 2.5
    ce_weight: Weight = 1.0
    blocks: list[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.guidance: LocalityGuidance | None = None

    def attach(self, student: nn.Module, teacher: nn.Module | None, image: Tensor) -> None:
        if teacher is None or not hasattr(student, "guided"):
            raise ValueError(f"locality: needs a teacher and a vision transformer; {type(student).__name__} is none")
        if self.blocks is not None:
            setattr(student, "guided", tuple(self.blocks))  # noqa: B010 (it is no module)
        channels = []
        for network in (student, teacher):
            training = network.training
            with torch.no_grad():
                channels.append([m.shape[1] for m in network.eval().stage_features(image)])  # type: ignore[operator]
            network.train(training)
        if len(channels[0]) != len(channels[1]):
            raise ValueError(f"locality: {len(channels[0])} blocks, and the teacher has {len(channels[1])} stages")
        self.guidance = LocalityGuidance(*channels, weight=self.guidance_weight)

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        if self.guidance is None:
            raise ValueError("locality: call attach with the two networks first; its projections depend on both")
        ce = cross_entropy(logits.student, logits.target)
        guidance = self.guidance(logits.student_stages, logits.teacher_stages)
        return {"ce": self.ce_weight * ce, "guidance": guidance}


# By the name that a recipe uses, in the order of tables.
METHODS: dict[str, type[Objective]] = {
    objective.__name__.lower(): objective
    for objective in (Plain, KD, CTKD, DKD, MLKD, NormKD, LumiNet, DIST, TTM, WTTM, RLD, GDKD, Locality)
}


def create_objective(method: str, **settings: Any) -> Objective:
    """Build an objective by its recipe name, refusing settings that the method does not have.

    Raises:
        ValueError: unknown method, unknown or missing setting; names the nearest valid one.
    """
    objective = pick("method", method, METHODS)
    check_keywords(f"method {method!r}", "setting", objective, settings)
    return objective(**settings)
