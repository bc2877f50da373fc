"""Answers of the exercises on the losses, from the losses, the default recipe and this run's logits."""

from __future__ import annotations

import torch

from book.exercises.model import Answer, one_digit
from figures.networks import Networks
from lskd.losses import kd_loss, standardize
from lskd.recipes import load_recipe
from paper.theory import opposite_signs_loss
from paper.toy import gradient


def answers(networks: Networks) -> dict[str, Answer]:
    """By exercise."""
    pair, teacher = (torch.tensor([[x, -x]], dtype=torch.float64) for x in (0.1, 9.0))
    z, v = _two(pair), _two(teacher)
    slope = gradient(lambda x: kd_loss(_two(x), v, temperature=2.0), pair)
    length = slope.norm().item()

    pack = networks.teacher
    label = torch.from_numpy(pack.label[pack.logits_index]).long()[:, None]
    rows = torch.from_numpy(pack.logits).double()
    sure = {
        name: torch.softmax(x / t, dim=-1).gather(-1, label).quantile(0.5).item()
        for name, x, t in (("sure", rows, 1.0), ("hot", rows, 4.0), ("standard", standardize(rows), 2.0))
    }
    settings = load_recipe("digit-pairs").members["dkd_ls"]
    alpha, beta, weight = (float(settings[name]) for name in ("alpha", "beta", "kd_weight"))
    doubt = 1 - sure["sure"]
    return {
        "two_classes": Answer(
            right="nothing" if length < 1e-6 else "up" if slope[0, 0] < 0 else "down",
            shown={
                "z": z.max().item(),
                "paper": z.max().item() * 2**0.5,
                "loss": abs(kd_loss(z, v, temperature=2.0).item()),
                "gradient": length,
                "plain": kd_loss(pair, teacher, temperature=2.0).item(),
                "opposite": opposite_signs_loss(2.0),
            },
        ),
        "doubt": Answer(
            right=doubt,
            tolerance=one_digit(max(0.003, 0.05 * doubt)),
            near={"sure": sure["sure"], "one": 1.0},
            shown={"hot": 1 - sure["hot"], "standard": 1 - sure["standard"]},
        ),
        "switch": Answer(
            right=beta * weight,
            tolerance=0.5,
            whole=True,
            near={"unchanged": beta, "summed": beta + weight, "alpha": alpha * weight},
            shown={"weight": weight},
        ),
    }


def _two(logits: torch.Tensor) -> torch.Tensor:
    """Z-scores of two classes, without the warning that :func:`lskd.losses.standardize` has for them."""
    centred = logits - logits.mean(dim=-1, keepdim=True)
    return centred / (logits.std(dim=-1, keepdim=True) + 1e-7)
