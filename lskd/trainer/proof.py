"""Before a run on a GPU: each piece of the fast path is tried for a few steps against plain launches in float32.

From the same weights and the same batches, a piece that raises or moves the weights elsewhere than plain launches do
is switched off. A sentence says which and why, and so does the record. Nothing that makes a run faster can end it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lskd.data.dataset import Dataset
from lskd.errors import LskdError
from lskd.recipes import Recipe
from lskd.trainer.cohort import Cohort
from lskd.trainer.execution import Execution

STEPS = 8  # a graph replays from the fifth on
# Largest distance of the weights from those of plain launches, as a share of their change in these steps.
LIMITS = {"float32": 0.02, "tf32": 0.1, "bf16": 0.5}
PIECES = ("fused", "precision", "streams", "graph")

Weights = dict[str, Tensor]  # by member, all parameters in one vector
Trained = tuple[Weights, Weights]  # before and after


def prove(wanted: Execution, train: Callable[[Execution], Trained]) -> tuple[Execution, dict[str, str]]:
    """What of ``wanted`` does what plain launches do, and by piece why it was switched off.

    ``train`` is a short training, always from the same state, see :func:`short_training`.
    """
    proved = Execution(wanted.device)
    asked = {name: getattr(wanted, name) for name in PIECES if getattr(wanted, name) != getattr(proved, name)}
    off: dict[str, str] = {}
    plain = train(proved) if asked else None
    for name, value in asked.items():
        tried = replace(proved, **{name: value})
        limit = LIMITS[tried.precision]
        try:
            found = deviation(plain, train(tried)) if plain else 0.0
        except (RuntimeError, LskdError) as error:
            off[name] = str(error).splitlines()[0]
            continue
        if found <= limit:
            proved = tried
        else:
            off[name] = (
                f"weights end {found:.2g} of their change away from those of plain launches, allowed are {limit}"
            )
    return proved, off


def short_training(
    recipe: Recipe, dataset: Dataset, teacher: torch.nn.Module | None, device: torch.device, *, steps: int = STEPS
) -> Callable[[Execution], Trained]:
    """A function that trains a recipe's members for so many steps from their first weights."""

    def train(how: Execution) -> Trained:
        cohort = Cohort(recipe, dataset, seed=0, teacher=teacher, device=device, execution=how)
        before = weights_of(cohort)
        with torch.random.fork_rng([device] if device.type == "cuda" else []), how.active():
            torch.manual_seed(0)  # what dropout draws
            cohort.run(until=steps, window=1)
        if cohort.graph.refused:
            raise RuntimeError(cohort.graph.refused)
        return before, weights_of(cohort)

    return train


def weights_of(cohort: Cohort) -> Weights:
    def vector(model: torch.nn.Module) -> Tensor:
        return torch.cat([p.detach().double().cpu().reshape(-1) for p in model.parameters()])

    return {m.name: vector(m.model) for m in cohort.members}


def deviation(reference: Trained, other: Trained) -> float:
    """Largest over members: distance of the weights as a share of their change; not finite counts as infinite."""
    before, after = reference
    shares = [float((other[1][m] - after[m]).norm() / (after[m] - before[m]).norm()) for m in after]
    return max((share if share == share else float("inf") for share in shares), default=0.0)
