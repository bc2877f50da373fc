"""Knowledge distillation with logit standardization in PyTorch Lightning: python examples/lightning_module.py"""

from __future__ import annotations

import generated
import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lskd.losses import kd_loss


class Distillation(lightning.LightningModule):
    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        # Inside a list the teacher is no part of the module: not switched to training with it, where its batch
        # normalisation would change, not trained and not saved.
        self.teachers = [teacher.eval().requires_grad_(False)]
        self.losses: list[float] = []

    def on_fit_start(self) -> None:
        self.teachers[0].to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        with torch.no_grad():
            teacher_logits = self.teachers[0](images)
        student_logits = self.student(images)
        distillation = kd_loss(
            student_logits,
            teacher_logits,
            temperature=2.0,
            standardize=True,
        )
        loss = 0.1 * F.cross_entropy(student_logits, labels) + 9.0 * distillation
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        self.log("accuracy", (self.student(images).argmax(1) == labels).float().mean(), on_epoch=True)

    def predict_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self.student(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return generated.optimizer(self.student)


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    module = Distillation(generated.teacher(), generated.student())
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, DataLoader(generated.dataset(steps), batch_size=generated.BATCH_SIZE))
    return module.student, module.losses


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
