"""The losses of lskd as torchdistill criteria, chosen in a YAML file: python examples/torchdistill_loss.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import generated
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from torchdistill.core.distillation import DistillationBox, get_distillation_box
from torchdistill.losses.registry import register_mid_level_loss

from lskd.losses import dkd_loss, kd_loss


class LogitLoss(nn.Module):
    """A loss on the outputs of both networks, with the settings of its YAML entry; ``.`` is the whole network."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, student: dict[str, Any], teacher: dict[str, Any], targets: Tensor | None = None) -> Tensor:
        return self.loss(student["."]["output"], teacher["."]["output"], targets)

    def loss(self, student_logits: Tensor, teacher_logits: Tensor, targets: Tensor | None) -> Tensor:
        return kd_loss(student_logits, teacher_logits, **self.settings)


class DecoupledLoss(LogitLoss):
    def loss(self, student_logits: Tensor, teacher_logits: Tensor, targets: Tensor | None) -> Tensor:
        return dkd_loss(student_logits, teacher_logits, targets, **self.settings)


register_mid_level_loss(LogitLoss, key="lskd.kd")
register_mid_level_loss(DecoupledLoss, key="lskd.dkd")


def box(teacher: nn.Module, student: nn.Module, data: Dataset, **optimizer: Any) -> DistillationBox:
    """What trains as the YAML file says, with some settings of its optimizer changed."""
    config = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    config["train_data_loader"]["sampler"] = {"class_or_func": SequentialSampler}
    config["optimizer"].update(optimizer)
    return get_distillation_box(
        teacher, student, {"train": data}, config, torch.device("cpu"), device_ids=None, distributed=False, lr_factor=1
    )


def train(box: DistillationBox) -> list[float]:
    losses = []
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for images, targets, extra in box.train_data_loader:
            loss = box.forward_process(images, targets, extra)
            losses.append(loss.item())
            box.post_forward_process(loss=loss)
        box.post_epoch_process()
    return losses


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    student = generated.student()
    return student, train(box(generated.teacher(), student, generated.dataset(steps)))


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
