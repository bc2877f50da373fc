"""Logit standardization in a fork of mdistiller, where a method is a Distiller: python examples/mdistiller_fork.py"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import generated
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lskd.losses import kd_loss


class Distiller(nn.Module):
    """What the fork has already, in short: both networks return logits and features, the teacher stays as it is."""

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: Any) -> None:
        super().__init__()
        self.student, self.teacher, self.cfg = student, teacher, cfg

    def train(self, mode: bool = True) -> Distiller:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, image: Tensor, **kwargs: Any) -> Any:
        return self.forward_train(image, **kwargs) if self.training else self.student(image)[0]


class KD(Distiller):
    def forward_train(self, image: Tensor, target: Tensor, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits_student, _ = self.student(image)
        with torch.no_grad():
            logits_teacher, _ = self.teacher(image)
        loss_ce = self.cfg.KD.LOSS.CE_WEIGHT * nn.functional.cross_entropy(logits_student, target)
        loss_kd = kd_loss(
            logits_student,
            logits_teacher,
            temperature=self.cfg.KD.TEMPERATURE,
            standardize=True,
        )
        return logits_student, {"loss_ce": loss_ce, "loss_kd": self.cfg.KD.LOSS.KD_WEIGHT * loss_kd}


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    student, teacher = generated.student(), generated.teacher()
    for network in (student, teacher):  # as networks of such a fork: logits and features
        network.register_forward_hook(lambda network, image, logits: (logits, {}))
    cfg = SimpleNamespace(TEMPERATURE=2.0, LOSS=SimpleNamespace(CE_WEIGHT=0.1, KD_WEIGHT=9.0))
    distiller = KD(student, teacher, SimpleNamespace(KD=cfg)).train()
    optimizer, losses = generated.optimizer(student), []
    for image, target in DataLoader(generated.dataset(steps), batch_size=generated.BATCH_SIZE):
        _, losses_dict = distiller(image=image, target=target, epoch=1)
        loss = torch.stack([term.mean() for term in losses_dict.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return student, losses


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
