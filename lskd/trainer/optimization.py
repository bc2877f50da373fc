"""What moves the weights: optimiser, parameter groups and learning rates, as a recipe's ``[optimization]`` says.

Without that table it is SGD with learning rates in steps (protocol section 2); vision transformers and their teacher
have AdamW or SGD with Nesterov's momentum, half a cosine, and parameters without decay (protocol 4.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from msgspec import structs
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lskd.errors import LskdError
from lskd.models.transformer import DropPath
from lskd.recipes import Optimization, Recipe

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
# What has no effect with a schedule or an optimiser, and the choice that it belongs to.
VOID = (
    ("steps", 'schedule="cosine"', ("warmup_epochs", "first_rate", "final_rate")),
    ("cosine", 'schedule="steps"', ("milestones", "decay")),
    ("adamw", 'optimizer="sgd"', ("momentum", "nesterov")),
    ("sgd", 'optimizer="adamw"', ("betas",)),
)
TOKENS = {"class token": "cls_token", "position embedding": "pos_embed", "distillation token": "distill_token"}


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Rate of epoch 1, 2, ...: in steps, or half a cosine.

    The first epochs of a cosine with warm-up rise linearly instead; the cosine does not wait for them, so the rate
    drops a little where it sets in.
    """
    asked, base, done = recipe.optimizing, recipe.learning_rate, epoch - 1
    if asked.schedule == "steps":
        return step_learning_rate(base, epoch, recipe.milestones, decay=recipe.decay)
    if done < asked.warmup_epochs:
        return float(asked.first_rate + done * (base - asked.first_rate) / asked.warmup_epochs)
    share = 0.5 * (base - asked.final_rate) * (1 + math.cos(math.pi * done / recipe.epochs))
    return float(asked.final_rate + share)


def step_learning_rate(base: float, epoch: int, milestones: Sequence[int], *, decay: float) -> float:
    """``base · decay^n`` with n milestones strictly below the epoch: 150, 180, 210 lower it in 151, 181 and 211."""
    return float(base * decay ** sum(m < epoch for m in milestones))


def check(recipe: Recipe) -> None:
    """Refuse, by an LskdError, more epochs of warm-up than there are epochs, Nesterov's momentum without any, and what
    another setting leaves without effect."""
    asked, warmup = recipe.optimizing, recipe.optimizing.warmup_epochs
    for choice, other, keys in VOID:
        void = [key for key in keys if _set_to(recipe, key) != _set_to(recipe, key, usual=True)]
        if void and choice in (asked.schedule, asked.optimizer):
            raise LskdError(
                f"recipe {recipe.name}: {void[0]} is {_set_to(recipe, void[0])!r} and has no effect with {choice!r}; "
                f"leave it at {_set_to(recipe, void[0], usual=True)!r}, or set optimization.{other}"
            )
    if recipe.optimizing.nesterov and not recipe.momentum:
        raise LskdError(
            f"recipe {recipe.name}: optimization.nesterov is set and momentum is 0; give it, or leave that out"
        )
    if warmup > recipe.epochs:
        raise LskdError(
            f"recipe {recipe.name}: {warmup} epochs of warm-up and {recipe.epochs} in all; lower the first too, "
            "--set optimization.warmup_epochs=0"
        )


def _set_to(recipe: Recipe, key: str, *, usual: bool = False) -> Any:
    owner = recipe.optimizing if key in Optimization.__struct_fields__ else recipe
    if usual:
        return next(field.default for field in structs.fields(owner) if field.name == key)
    return getattr(owner, key)


def create_optimizer(
    recipe: Recipe, model: nn.Module, objective: nn.Module, *, fused: bool = False, graph: bool = False
) -> torch.optim.Optimizer:
    """The recipe's optimiser on a student and what its objective owns; ``graph``: its step will be captured in one."""
    asked, owned = recipe.optimizing, [*model.parameters(), *objective.parameters()]
    without = exempt(model, asked.exempt_from_decay) | exempt(objective, asked.exempt_from_decay)
    groups: list[dict[str, Any]] = [{"params": [p for p in owned if p not in without]}]
    if without:
        groups.append({"params": [p for p in owned if p in without], "weight_decay": 0.0})
    common: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": fused}
    if asked.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=asked.betas, capturable=graph, **common)
    return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=asked.nesterov, **common)


def exempt(module: nn.Module, kinds: Sequence[str]) -> set[nn.Parameter]:
    """The parameters of these kinds: "biases", "norms" (weights and biases), or tokens by name."""
    starts = tuple(TOKENS[kind] for kind in kinds if kind in TOKENS)
    found = {parameter for name, parameter in module.named_parameters() if name.startswith(starts)}
    if "biases" in kinds:
        found |= {p for name, p in module.named_parameters() if name.rpartition(".")[2] == "bias"}
    if "norms" in kinds:
        found |= {p for part in module.modules() if isinstance(part, NORMS) for p in part.parameters(recurse=False)}
    return found


def set_drop_path(model: nn.Module, largest: float, *, name: str) -> None:
    """Scale the rates at which a network's residual branches are dropped, so that the largest is ``largest``.

    Raises:
        LskdError: the network has no such branches.
    """
    paths = [part for part in model.modules() if isinstance(part, DropPath)]
    if not paths and largest > 0:
        raise LskdError(f"{name}: optimization.drop_path is {largest}; this network has no drop path, leave it out")
    for path in paths:
        path.rate = path.share * largest
