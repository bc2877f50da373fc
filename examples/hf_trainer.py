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
    """Distillation of any network; here it takes ``x`` and gives logits. Checkpoints hold the student alone."""

    def __init__(self, *args: Any, teacher: nn.Module, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher.eval().requires_grad_(False).to(self.args.device)
        self.label_names = ["labels"]  # otherwise what the student's forward names, and it may name none
        self.model_accepts_loss_kwargs = True  # have the labels of a step counted, whatever that forward accepts

    def logits(self, network: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        return network(inputs["x"])

    def summed_loss(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        distillation = kd_loss(
            student_logits,
            teacher_logits,
            temperature=2.0,
            standardize=True,
        )
        return len(labels) * (0.1 * F.cross_entropy(student_logits, labels) + 9.0 * distillation)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            teacher_logits = self.logits(self.teacher, inputs)
        student_logits = self.logits(model, inputs)
        loss = self.summed_loss(student_logits, teacher_logits, inputs["labels"]) / num_items_in_batch
        if self.args.average_tokens_across_devices:  # labels of all processes were counted; gradients are averaged
            loss = loss * self.accelerator.num_processes
        return (loss, {"logits": student_logits}) if return_outputs else loss

    def prediction_step(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        def named(**unlabelled: Tensor) -> dict[str, Tensor]:
            return {"logits": self.logits(model, unlabelled)}

        return super().prediction_step(model if "labels" in inputs else named, inputs, *args, **kwargs)


def settings(folder: str, **changed: Any) -> TrainingArguments:
    defaults = {
        "per_device_train_batch_size": generated.BATCH_SIZE,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,  # the default keeps what the student's forward names
        "max_grad_norm": 0.0,  # the default clips gradients to length 1
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=folder, **{**defaults, **changed})


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    student = generated.student()
    optimizer = generated.optimizer(student)
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    samples = [{"x": image, "labels": label} for image, label in generated.dataset(steps)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = DistillationTrainer(
            student,
            settings(folder),
            train_dataset=samples,
            optimizers=(optimizer, constant),
            teacher=generated.teacher(),
        )
        trainer.train()
    return student, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
