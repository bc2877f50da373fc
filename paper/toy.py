"""Small cases to try the losses on: the toy of the paper's Fig. 2, and random logits with a seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lskd.losses import kd_loss

TOY = {"teacher": (0.0, 3.0, 2.0, 1.0), "s1": (0.0, 1.8, 2.0, 1.0), "s2": (0.0, 0.3, 0.2, 0.1)}


def random_logits(*shape: int, spread: float = 3.0, seed: int) -> Tensor:
    """Normal logits of deviation ``spread``, float64."""
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Of a loss on logits, of their shape."""
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


def toy_facts() -> dict[str, str]:
    """Losses of the toy case at temperature 1: plain, standardised, and standardised by the paper's formula."""
    rows = {name: torch.tensor([row], dtype=torch.float64) for name, row in TOY.items()}
    out = {}
    for student in ("s1", "s2"):
        for suffix, ls in (("", False), ("_ls", True)):
            loss = kd_loss(rows[student], rows["teacher"], temperature=1.0, standardize=ls)
            out[f"toy_{student}{suffix}"] = f"{abs(loss.item()):.4f}"
    paper = kd_loss(rows["s1"], rows["teacher"], temperature=1.0, standardize=True, correction=0)
    return {
        **out,
        "toy_s1_paper": f"{paper.item():.4f}",
        "z_bound_100": f"{(100 - 1) / math.sqrt(100):.1f}",
        "deviations_differ_100": f"{100 * (math.sqrt(100 / 99) - 1):.1f}",
        "deviations_differ_4": f"{100 * (math.sqrt(4 / 3) - 1):.0f}",
    }
