"""What a recipe is: a cohort's protocol, its members, and what is known about each.

:mod:`lskd.recipes` reads and checks them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from importlib import util
from typing import Any

from lskd.own_code import is_external, source_digest

__all__ = ["OPTIMIZATION", "OPTIMIZATION_CHOICES", "About", "Recipe", "Teacher"]

# What data sets need beside torch and NumPy. torchvision has ImageNet's networks too.
PACKAGES = {"imagenet": ("torchvision", "PIL"), "cifar100_224": ("PIL",), "folder": ("PIL",)}
# What the table [optimization] may say.
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
OPTIMIZATION_CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("steps", "cosine"),
    "exempt_from_decay": ("biases", "norms", "class token", "position embedding", "distillation token"),
}


@dataclass(frozen=True)
class Teacher:
    """Where a cohort's teacher comes from: a recipe that trains it on the same data, or a checkpoint.

    Attributes:
        network: name for :func:`lskd.models.create_model`.
        recipe: name of the recipe that trains it.
        seed: the seed of that run; one teacher serves the students of all seeds.
        settings: changes to that recipe, dotted keys.
        checkpoint: path of a ``.safetensors`` or published ``.pth`` file, used instead of ``recipe``; for
            ImageNet ResNets also "torchvision:" and the name of its weights, such as ``torchvision:IMAGENET1K_V1``.
        input_size: height and width of the images that it sees, resized from the students' (bilinear, protocol
            1.6); None: the students' own. A recipe that trains it gets the same number as ``data.size``.
    """

    network: str
    recipe: str | None = None
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    input_size: int | None = None


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

    ``optimization`` is empty for SGD with steps (:mod:`lskd.trainer.optimization`). ``about`` has an entry for every
    member.
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
        if self.teacher is not None and self.teacher.input_size is None:
            del out["teacher"]["input_size"]
        own = {name: source_digest(name) for name in self._external()}
        return out | ({"external": own} if own else {})

    def _external(self) -> list[str]:
        """Functions of the reader's own code that this recipe names."""
        names = (self.dataset, self.student, self.teacher.network if self.teacher else "")
        return sorted({name for name in names if is_external(name)})

    def obstacles(self) -> list[str]:
        """Why the recipe cannot be trained with what is installed, one reason each; empty when it can."""
        missing = [package for package in PACKAGES.get(self.dataset, ()) if util.find_spec(package) is None]
        return [f"{self.dataset} needs {package}, which is not installed" for package in missing]
