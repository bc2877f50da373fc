"""Knowledge distillation with logit standardization in a plain PyTorch loop: python examples/plain_loop.py"""

from __future__ import annotations

import generated
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from lskd.losses import kd_loss


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    teacher, student = generated.teacher(), generated.student()
    optimizer = generated.optimizer(student)
    losses = []
    student.train()
    for images, labels in DataLoader(generated.dataset(steps), batch_size=generated.BATCH_SIZE):
        with torch.no_grad():
            teacher_logits = teacher(images)
        student_logits = student(images)
        distillation = kd_loss(
            student_logits,
            teacher_logits,
            temperature=2.0,
            standardize=True,
        )
        loss = 0.1 * F.cross_entropy(student_logits, labels) + 9.0 * distillation
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return student, losses


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
