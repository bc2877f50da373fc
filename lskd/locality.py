"""Locality guidance: a vision transformer follows a convolutional teacher's feature maps (protocol 1.6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lskd.losses import cross_entropy, locality_guidance_loss
from lskd.objective_base import Logits, Objective, Weight


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
        terms = [locality_guidance_loss(project(x), y) for project, x, y in triples]
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
