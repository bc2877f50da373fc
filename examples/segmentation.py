"""Distillation of a dense predictor, place by place: python examples/segmentation.py"""

from __future__ import annotations

import generated
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lskd.losses import kd_loss

IGNORED = 255


def network(width: int, seed: int) -> nn.Module:
    """Images ``[batch, 3, height, width]`` to logits ``[batch, classes, height, width]``."""
    torch.manual_seed(seed)
    first = nn.Conv2d(3, width, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), nn.Conv2d(width, generated.CLASSES, 1))


def dataset(steps: int) -> TensorDataset:
    """The generated images, every place labelled like its image and the upper rows not at all."""
    images, labels = generated.dataset(steps).tensors
    maps = labels[:, None, None].repeat(1, 16, 16)
    maps[:, :4] = IGNORED
    return TensorDataset(images, maps)


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    teacher, student = network(32, seed=1).eval(), network(8, seed=2)
    optimizer = generated.optimizer(student)
    losses = []
    for images, maps in DataLoader(dataset(steps), batch_size=generated.BATCH_SIZE):
        with torch.no_grad():
            teacher_logits = teacher(images)
        student_logits = student(images)
        counts = maps != IGNORED
        distillation = kd_loss(
            student_logits,
            teacher_logits,
            temperature=2.0,
            standardize=True,
            dim=1,
            mask=counts,
        )
        loss = 0.1 * F.cross_entropy(student_logits, maps, ignore_index=IGNORED) + 9.0 * distillation
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return student, losses


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
