"""Knowledge distillation with logit standardization in the Hugging Face Trainer: python examples/hf_trainer.py"""

from __future__ import annotations

import tempfile
from typing import Any

import generated
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from lskd.losses import kd_loss


class DistillationTrainer(Trainer):
    """Inputs are ``x`` and ``labels``; of a transformers model take ``model(...).logits``."""

    def __init__(self, *args: Any, teacher: nn.Module, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher.eval().requires_grad_(False).to(self.args.device)
        self.losses: list[float] = []

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Tensor | tuple[Tensor, Tensor]:
        with torch.no_grad():
            teacher_logits = self.teacher(inputs["x"])
        student_logits = model(inputs["x"])
        distillation = kd_loss(student_logits, teacher_logits, temperature=2.0, standardize=True)
        loss = 0.1 * F.cross_entropy(student_logits, inputs["labels"]) + 9.0 * distillation
        self.losses.append(loss.item())
        return (loss, student_logits) if return_outputs else loss


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    student = generated.student()
    optimizer = generated.optimizer(student)
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    samples = [{"x": image, "labels": label} for image, label in generated.dataset(steps)]
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=generated.BATCH_SIZE,
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,  # the default keeps what the student's forward names: the labels would go
            max_grad_norm=0.0,  # the default clips gradients to length 1
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = DistillationTrainer(
            student, settings, train_dataset=samples, optimizers=(optimizer, constant), teacher=generated.teacher()
        )
        trainer.train()
    return student, trainer.losses


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
