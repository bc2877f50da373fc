"""What a training objective is: an ``nn.Module`` of settings that returns the named terms of a loss.

A learned temperature (CTKD) is so optimised, moved and checkpointed with the student it belongs to. ``start_epoch``
sets what depends on the epoch (DKD's warm-up, CTKD's curriculum); calling the objective returns scalar terms whose sum
is the loss. The methods are in :mod:`lskd.objectives`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, dataclass_transform

from torch import Tensor, nn

from lskd.losses import cross_entropy


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

    def of_teacher(self, objective: Objective) -> Tensor:
        """The teacher's logits, which an objective cannot do without."""
        if self.teacher is None:
            raise ValueError(f"{objective.title} needs teacher logits and got none")
        return self.teacher

    @property
    def facing_teacher(self) -> Tensor:
        """The student's logits that are compared with the teacher's."""
        return self.student if self.student_distilled is None else self.student_distilled


# Types of settings with their ranges, which a constructor checks.
Positive = Annotated[float, "> 0"]
Weight = Annotated[float, ">= 0"]
Count = Annotated[int, ">= 1"]


@dataclass_transform(kw_only_default=True, eq_default=False)
class Objective(nn.Module):
    """Base class. The annotated attributes of a class are its settings: keywords of the constructor, which checks them.

    Attributes:
        title: what readers call the method.
        needs_teacher, needs_strong, needs_stages: what the trainer has to compute: the teacher, strong views, stages'
            feature maps.
    """

    title: ClassVar[str]
    needs_teacher: ClassVar[bool] = True
    needs_strong: ClassVar[bool] = False
    needs_stages: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        super().__init__()
        for name, wanted in _declared(type(self)).items():  # type: ignore[arg-type]
            _check(name, getattr(self, name), wanted)
        self._of_epoch: float | None = None

    def settings(self) -> dict[str, Any]:
        """The settings by name."""
        return {name: getattr(self, name) for name in type(self).__dataclass_fields__}  # type: ignore[attr-defined]

    def attach(self, student: nn.Module, teacher: nn.Module | None, image: Tensor) -> None:
        """Make what depends on the two networks, once, before training; ``image`` is ``[1, 3, H, W]``."""

    def start_epoch(self, epoch: int) -> None:
        """Prepare for epoch 1, 2, ...; not part of a state dict, so a loop that was resumed calls it too."""
        self._of_epoch = self.at_epoch(epoch)

    def at_epoch(self, epoch: int) -> float | None:
        """The number that depends on the epoch, for methods that have one: :attr:`of_epoch`."""

    @property
    def of_epoch(self) -> float:
        """What ``start_epoch`` has set."""
        if self._of_epoch is None:
            raise ValueError(
                f"{self.title}: its loss depends on the epoch, which is not known; call start_epoch, with 1 for the "
                "first, before an epoch's batches, also after loading a state dict"
            )
        return self._of_epoch

    def epoch_constants(self) -> tuple[float, ...]:
        """:attr:`of_epoch`, if there is one; a CUDA graph of a step is good for as long as it is the same."""
        return () if self._of_epoch is None else (self._of_epoch,)

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} computes no terms; see lskd.objectives.METHODS")

    def diagnostics(self) -> dict[str, float]:
        """State worth a line in the record of an epoch, such as a learned temperature."""
        return {}


class Distilled(Objective):
    """``ce_weight · CE + kd_weight · loss(student, teacher)``; CE always sees the raw logits."""

    if typing.TYPE_CHECKING:  # what every method of this kind declares, its settings in an order of its own
        function: ClassVar[Callable[..., Tensor]]
        kd_weight: Weight
        ce_weight: Weight

    def __post_init__(self) -> None:
        super().__post_init__()
        known = inspect.signature(getattr(self, "function", self.loss)).parameters
        self.passed = [name for name in self.settings() if name in known]
        self.labelled = "target" in known

    def loss(self, student: Tensor, teacher: Tensor, target: Tensor, **more: Any) -> Tensor:
        """The method's own loss, a scalar, weight 1: its ``function`` with the settings that this has as keywords."""
        own = {name: getattr(self, name) for name in self.passed} | more
        return self.function(student, teacher, *[target] * self.labelled, **own)

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        kd = self.loss(logits.facing_teacher, logits.of_teacher(self), logits.target)
        ce = cross_entropy(logits.student, logits.target)
        return {"ce": self.ce_weight * ce, "kd": self.kd_weight * kd}


class WarmedUp(Distilled):
    """:class:`Distilled` with ``min(epoch / warmup, 1) · kd_weight``; a warm-up of 1 is none."""

    if typing.TYPE_CHECKING:
        warmup: Count

    def at_epoch(self, epoch: int) -> float:
        if epoch < 1:
            raise ValueError(f"{self.title}: epoch is {epoch}; epochs count from 1")
        return min(epoch / self.warmup, 1.0)

    def forward(self, logits: Logits) -> dict[str, Tensor]:
        terms = super().forward(logits)
        return terms | {"kd": self.of_epoch * terms["kd"]}


@functools.cache
def _declared(objective: type[Any]) -> dict[str, Any]:
    """Names and types of the settings of a method."""
    types = typing.get_type_hints(objective, include_extras=True)
    return {field.name: types[field.name] for field in dataclasses.fields(objective)}


def _check(name: str, value: Any, wanted: Any) -> None:
    """Refuse a setting that is out of its range or none of its choices; types are the recipes' to check."""
    if typing.get_origin(wanted) is Annotated:
        kind, rule = typing.get_args(wanted)
        least = float(rule.split()[1])
        if not isinstance(value, int | kind) or not (least < value < math.inf or (value == least and "=" in rule)):
            raise ValueError(f"{name} is {value!r} ({type(value).__name__}); expected {kind.__name__} {rule}")
        return
    choices = (True, False) if wanted is bool else typing.get_args(wanted)  # the text "False" is true
    if (wanted is bool or typing.get_origin(wanted) is Literal) and value not in choices:
        raise ValueError(f"{name} is {value!r}; expected {' or '.join(map(repr, choices))}")
