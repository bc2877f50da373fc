"""Training objectives: the terms of a loss, their weights, and the state that a method owns.

An objective is an ``nn.Module`` so that a learned temperature (CTKD) is optimised, moved and checkpointed
with the student it belongs to. ``start_epoch`` sets what depends on the epoch (DKD's warm-up, CTKD's
curriculum); calling the objective returns named scalar terms whose sum is the loss.

Every class is constructed from keyword settings only, the same keys that a recipe's member has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lskd.errors import check_keywords, pick
from lskd.losses import (
    CurriculumTemperature,
    cross_entropy,
    curriculum_reversal,
    dkd_terms,
    kd_loss,
    locality_guidance_loss,
    mlkd_terms,
)

__all__ = [
    "CTKD",
    "DKD",
    "KD",
    "METHODS",
    "MLKD",
    "Locality",
    "LocalityGuidance",
    "Logits",
    "Objective",
    "Plain",
    "create_objective",
]


@dataclass(frozen=True)
class Logits:
    """What a step hands to an objective.

    Attributes:
        student, teacher: logits ``[batch, classes]``; target: int64 ``[batch]``.
        student_strong, teacher_strong: of strong views, only for objectives with ``needs_strong``.
        student_distilled: of a distillation head, where the student has one: compared with the teacher in place of
            the class head's, which face the labels (protocol 1.6).
        student_stages, teacher_stages: feature maps, only for objectives with ``needs_stages``.
    """

    student: Tensor
    target: Tensor
    teacher: Tensor | None = None
    student_strong: Tensor | None = None
    teacher_strong: Tensor | None = None
    student_distilled: Tensor | None = None
    student_stages: Sequence[Tensor] = ()
    teacher_stages: Sequence[Tensor] = ()

    @property
    def facing_teacher(self) -> Tensor:
        """The student's logits that are compared with the teacher's."""
        return self.student if self.student_distilled is None else self.student_distilled


class Objective(nn.Module):
    """Base class. ``needs_*`` tell the trainer what to compute: teacher, strong views, stages' feature maps."""

    needs_teacher = True
    needs_strong = False
    needs_stages = False

    def attach(self, student: nn.Module, teacher: nn.Module | None, image: Tensor) -> None:
        """Make what depends on the two networks, once, before training; ``image`` is ``[1, 3, H, W]``."""

    def start_epoch(self, epoch: int) -> None:
        """Prepare for epoch 1, 2, ..."""

    def epoch_constants(self) -> tuple[float, ...]:
        """The numbers that ``start_epoch`` has set; a CUDA graph of a step is good for as long as they are the same."""
        return ()

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        raise TypeError(f"{type(self).__name__} computes no terms; choose one of {', '.join(METHODS)}")

    def diagnostics(self) -> dict[str, float]:
        """State worth a line in the record of an epoch, such as a learned temperature."""
        return {}


class Plain(Objective):
    """Cross-entropy alone: a teacher, or a student without one."""

    needs_teacher = False

    def __init__(self, *, ce_weight: float = 1.0) -> None:
        super().__init__()
        self.ce_weight = ce_weight

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        return {"ce": self.ce_weight * cross_entropy(logits.student, logits.target)}


class KD(Objective):
    """``ce_weight · CE + kd_weight · KL_T`` (protocol 1.2); CE always sees the raw logits."""

    def __init__(
        self,
        *,
        temperature: float,
        kd_weight: float,
        ce_weight: float = 0.1,
        standardize: bool = False,
        correction: int = 1,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.kd_weight = kd_weight
        self.ce_weight = ce_weight
        self.standardize = standardize
        self.correction = correction

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        kd = kd_loss(
            logits.facing_teacher,
            _teacher(self, logits),
            temperature=self.temperature,
            standardize=self.standardize,
            correction=self.correction,
        )
        ce = cross_entropy(logits.student, logits.target)
        return {"ce": self.ce_weight * ce, "kd": self.kd_weight * kd}


class DKD(Objective):
    """``CE + min(epoch / warmup, 1) · kd_weight · (alpha TCKD + beta NCKD)`` (protocol 1.3).

    With LS the released code multiplies alpha and beta by the weight; without it the weight is 1.
    """

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        kd_weight: float = 1.0,
        ce_weight: float = 1.0,
        warmup: int = 20,
        standardize: bool = False,
        correction: int = 1,
    ) -> None:
        super().__init__()
        if warmup < 1:
            raise ValueError(f"dkd: warmup is {warmup}; it counts epochs from 1 (1 switches it off)")
        self.temperature = temperature
        self.alpha = alpha * kd_weight
        self.beta = beta * kd_weight
        self.ce_weight = ce_weight
        self.warmup = warmup
        self.standardize = standardize
        self.correction = correction
        self.factor = 1.0

    def start_epoch(self, epoch: int) -> None:
        self.factor = min(epoch / self.warmup, 1.0)

    def epoch_constants(self) -> tuple[float, ...]:
        return (self.factor,)

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        tckd, nckd = dkd_terms(
            logits.facing_teacher,
            _teacher(self, logits),
            logits.target,
            temperature=self.temperature,
            standardize=self.standardize,
            correction=self.correction,
        )
        ce = cross_entropy(logits.student, logits.target)
        return {
            "ce": self.ce_weight * ce,
            "tckd": self.factor * self.alpha * tckd,
            "nckd": self.factor * self.beta * nckd,
        }


class CTKD(Objective):
    """KD whose temperature is learned against the student (protocol 1.4)."""

    def __init__(
        self,
        *,
        kd_weight: float,
        ce_weight: float = 0.1,
        t_start: float = 1.0,
        t_end: float = 20.0,
        loops: int = 10,
        standardize: bool = False,
        correction: int = 1,
    ) -> None:
        super().__init__()
        self.temperature = CurriculumTemperature(t_start, t_end)
        self.kd_weight = kd_weight
        self.ce_weight = ce_weight
        self.loops = loops
        self.standardize = standardize
        self.correction = correction
        self.reversal = curriculum_reversal(1, loops=loops)

    def start_epoch(self, epoch: int) -> None:
        self.reversal = curriculum_reversal(epoch, loops=self.loops)

    def epoch_constants(self) -> tuple[float, ...]:
        return (self.reversal,)

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        kd = kd_loss(
            logits.facing_teacher,
            _teacher(self, logits),
            temperature=self.temperature(self.reversal),
            standardize=self.standardize,
            correction=self.correction,
        )
        ce = cross_entropy(logits.student, logits.target)
        return {"ce": self.ce_weight * ce, "kd": self.kd_weight * kd}

    def diagnostics(self) -> dict[str, float]:
        return {"temperature": float(self.temperature(self.reversal).detach())}


class MLKD(Objective):
    """Multi-level logit distillation on a weak and a strong view (protocol 1.5)."""

    needs_strong = True

    def __init__(
        self,
        *,
        temperature: float,
        kd_weight: float,
        ce_weight: float = 0.1,
        standardize: bool = False,
        correction: int = 1,
        masks: str = "mean",
        strong_terms: str = "released",
        standardize_correlations: bool = False,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "temperature": temperature,
            "kd_weight": kd_weight,
            "ce_weight": ce_weight,
            "standardize": standardize,
            "correction": correction,
            "masks": masks,
            "strong_terms": strong_terms,
            "standardize_correlations": standardize_correlations,
        }

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        if logits.student_strong is None or logits.teacher_strong is None:
            raise ValueError("mlkd: logits of the strong view are missing; pass student_strong and teacher_strong")
        return mlkd_terms(
            logits.student,
            logits.student_strong,
            _teacher(self, logits),
            logits.teacher_strong,
            logits.target,
            **self.settings,
        )


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
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        weight: float = 2.5,
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
        terms = [locality_guidance_loss(project(x), y) for project, x, y in triples]
        return self.weight * torch.stack(terms).sum()


class Locality(Objective):
    """``CE + guidance_weight · Σ`` over maps (protocol 1.6); :class:`LocalityGuidance` is optimised with the student.

    Args:
        guidance_weight: factor on the sum.
        blocks: layers of the student, from 0, whose maps are compared with the teacher's stages, one each; by
            default those that the network names.
    """

    needs_stages = True

    def __init__(
        self, *, guidance_weight: float = 2.5, ce_weight: float = 1.0, blocks: list[int] | None = None
    ) -> None:
        super().__init__()
        self.guidance_weight = guidance_weight
        self.ce_weight = ce_weight
        self.blocks = blocks
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


METHODS: dict[str, type[Objective]] = {
    "plain": Plain,
    "kd": KD,
    "dkd": DKD,
    "ctkd": CTKD,
    "mlkd": MLKD,
    "locality": Locality,
}


def create_objective(method: str, **settings: Any) -> Objective:
    """Build an objective by its recipe name, refusing settings that the method does not have.

    Raises:
        ValueError: unknown method, unknown or missing setting; names the nearest valid one.
    """
    objective = pick("method", method, METHODS)
    check_keywords(f"method {method!r}", "setting", objective, settings)
    return objective(**settings)


def _teacher(objective: Objective, logits: Logits) -> Tensor:
    if logits.teacher is None:
        raise ValueError(f"{type(objective).__name__} needs teacher logits and got none")
    return logits.teacher
