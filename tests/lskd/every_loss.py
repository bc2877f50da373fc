"""Every loss by name, its inputs and its gradient, for what is tried of all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lskd import losses
from lskd.losses import dkd_loss, dkd_terms, kd_loss

K = 7
# Every loss of two sides' logits, as (student, teacher, labels, **rows) -> loss.
LOSSES: dict[str, Callable[..., Tensor]] = {
    "kd": lambda s, v, y, **o: kd_loss(s, v, **{"temperature": 2.0} | o),
    "kd_ls": lambda s, v, y, **o: kd_loss(s, v, standardize=True, **{"temperature": 2.0} | o),
    "kd_chunk": lambda s, v, y, **o: kd_loss(s, v, standardize=True, chunk=8, **{"temperature": 2.0} | o),
    "dkd": dkd_loss,
    "dkd_ls": partial(dkd_loss, standardize=True),
    "tckd": lambda s, v, y, **o: dkd_terms(s, v, y, **{"temperature": 3.0} | o)[0],
    "normkd": lambda s, v, y, **o: losses.normkd_loss(s, v, **o),
    "luminet": lambda s, v, y, **o: losses.luminet_loss(s, v, alpha=3.0, **o),
    "dist": lambda s, v, y, **o: losses.dist_loss(s, v, **o),
    "ttm": lambda s, v, y, **o: losses.ttm_loss(s, v, **{"gamma": 0.5} | o),
    "wttm": lambda s, v, y, **o: losses.wttm_loss(s, v, **{"gamma": 0.5} | o),
    "rld": losses.rld_loss,
    "rld_ls": partial(losses.rld_loss, standardize=True),
    "gdkd": lambda s, v, y, **o: losses.gdkd_loss(s, v, **{"k": 3} | o),
    "gdkd_ls": lambda s, v, y, **o: losses.gdkd_loss(s, v, standardize=True, **{"k": 3} | o),
}
OF_A_BATCH = ("luminet", "dist")


def mlkd(s: Tensor, v: Tensor, y: Tensor, **o: Any) -> Tensor:
    options = {"temperature": 2.0, "kd_weight": 9.0} | o
    return sum(losses.mlkd_terms(s, s.flip(0), v, v.flip(0), y, **options).values())


def vit(s: Tensor, v: Tensor, y: Tensor, **o: Any) -> Tensor:
    return sum(losses.vit_logit_terms(s, s.flip(0), v, y, temperature=2.0, **o).values())


# Those whose inputs have another form, on samples; the second view, or head, is that of another sample.
OTHERS: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": lambda s, v, y: losses.cross_entropy(s, y),
    "mlkd": mlkd,
    "mlkd_ls": partial(mlkd, standardize=True),
    "mlkd_all": partial(mlkd, standardize_correlations=True, strong_terms="all", masks="elementwise", standardize=True),
    "vit": vit,
    "vit_ls": partial(vit, standardize=True),
}


def draw(seed: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(*shape, K, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(), teacher, torch.randint(K, shape, generator=generator)


def with_gradient(name: str, student: Tensor, *others: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    loss = LOSSES[name](student, *others, **options)
    return loss, torch.autograd.grad(loss.sum(), student)[0]


every = pytest.mark.parametrize("name", LOSSES)
