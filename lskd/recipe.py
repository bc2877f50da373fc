"""What a recipe is: a cohort's protocol, its members, and what is known about each.

:mod:`lskd.recipes` reads and checks them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from lskd.data import DATASETS
from lskd.external import is_external, source_digest
from lskd.objectives import METHODS

__all__ = ["LATER_DATASETS", "LATER_METHODS", "OPTIMIZATION", "About", "Recipe", "Teacher"]

# What recipes can say and the trainer cannot do yet. Known here, so that a misspelt name is still an error.
LATER_DATASETS = {
    "imagenet": "the data set ImageNet cannot be read",
    "cifar100_224": "CIFAR-100 enlarged to 224 x 224 with RandAugment and erasing cannot be made",
}
LATER_METHODS = {
    "locality": ("locality guidance is not among the objectives", {"guidance_weight": "float", "blocks": "list"}),
}
OPTIMIZATION = {
    "optimizer": "str",
    "betas": "list",
    "nesterov": "bool",
    "schedule": "str",
    "warmup_epochs": "int",
    "first_rate": "float",
    "final_rate": "float",
    "drop_last_batch": "bool",
    "drop_path": "float",
    "exempt_from_decay": "list",
}


@dataclass(frozen=True)
class Teacher:
    """Where a cohort's teacher comes from: a recipe that trains it on the same data, or a checkpoint.

    Attributes:
        network: name for :func:`lskd.models.create_model`.
        recipe: name of the recipe that trains it.
        seed: the seed of that run; one teacher serves the students of all seeds.
        settings: changes to that recipe, dotted keys.
        checkpoint: path of a ``.safetensors`` or published ``.pth`` file, used instead of ``recipe``.
    """

    network: str
    recipe: str | None = None
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None


@dataclass(frozen=True)
class About:
    """What is known about a member. Nothing here decides what is trained.

    Attributes:
        published: the published test accuracy in percent; None where nothing is published at these settings.
        published_top5: the same for the five largest logits.
        sources: where the value and the settings come from.
        assumed: settings that no source gives.
        doubts: where sources disagree or something is unknown, names in ``recipes/doubts.toml`` or sentences.
    """

    published: float | None = None
    published_top5: float | None = None
    sources: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe. Epochs count from 1; ``milestones`` are the last epochs before each decay.

    ``optimization`` is empty for what the trainer does: SGD with steps. ``about`` has an entry for every member.
    ``threads`` is what one network computes with on a CPU. It decides the order of sums, hence bits; members are
    trained side by side on the threads there are, so more than 1 is for a network that is trained alone.
    """

    name: str
    dataset: str
    student: str
    epochs: int
    batch_size: int
    learning_rate: float
    members: dict[str, dict[str, Any]]
    description: str = ""
    teacher: Teacher | None = None
    data: dict[str, Any] = field(default_factory=dict)
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    threads: int = 1
    optimization: dict[str, Any] = field(default_factory=dict)
    about: dict[str, About] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """Everything that decides a run's result, as plain JSON values."""
        out = json.loads(json.dumps(dataclasses.asdict(self)))
        usual = [key for key, value in (("optimization", {}), ("threads", 1)) if out[key] == value]
        for key in ("description", "about", *usual):
            del out[key]
        own = {name: source_digest(name) for name in self._external()}
        return out | ({"external": own} if own else {})

    def _external(self) -> list[str]:
        """Functions of the reader's own code that this recipe names."""
        names = (self.dataset, self.student, self.teacher.network if self.teacher else "")
        return sorted({name for name in names if is_external(name)})

    def obstacles(self) -> list[str]:
        """Why the trainer cannot run this recipe, one reason each; empty when it can."""
        reasons = []
        if self.dataset in LATER_DATASETS and self.dataset not in DATASETS:
            reasons.append(LATER_DATASETS[self.dataset])
        if self.optimization:
            asked = [self.optimization.get(k) for k in ("optimizer", "schedule")]
            named = ", ".join(str(word) for word in asked if word) or ", ".join(self.optimization)
            reasons.append(f"the trainer has SGD with learning rates in steps; this asks for {named}")
        methods = dict.fromkeys(settings["method"] for settings in self.members.values())
        return reasons + [LATER_METHODS[method][0] for method in methods if method not in METHODS]
