"""Distillation as a lab writes it on the first day: what the trainer is measured against.

A DataLoader with Pillow transforms, one student at a time, the teacher's forward in every batch, float32, SGD. Same
networks, same batches' size, same mathematics as lskd.trainer; nothing here is slow on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
BLACK = (0, 0, 0)


def weak(image: Image.Image) -> Image.Image:
    """Zero padding of 4, a crop of the original size, a mirror with probability 1/2."""
    width, height = image.size
    left, top = random.randint(0, 8), random.randint(0, 8)
    image = ImageOps.expand(image, border=4, fill=0).crop((left, top, left + width, top + height))
    return ImageOps.mirror(image) if random.random() < 0.5 else image


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=BLACK)


# name: lowest value, highest value, operation (protocol section 3.1)
OPERATIONS: dict[str, tuple[float, float, Callable[[Image.Image, float], Image.Image]]] = {
    "identity": (0, 0, lambda i, v: i),
    "autocontrast": (0, 0, lambda i, v: ImageOps.autocontrast(i)),
    "equalize": (0, 0, lambda i, v: ImageOps.equalize(i)),
    "brightness": (0.05, 0.95, lambda i, v: ImageEnhance.Brightness(i).enhance(v)),
    "color": (0.05, 0.95, lambda i, v: ImageEnhance.Color(i).enhance(v)),
    "contrast": (0.05, 0.95, lambda i, v: ImageEnhance.Contrast(i).enhance(v)),
    "sharpness": (0.05, 0.95, lambda i, v: ImageEnhance.Sharpness(i).enhance(v)),
    "posterize": (4, 8, lambda i, v: ImageOps.posterize(i, min(int(v), 7))),
    "rotate": (-30, 30, lambda i, v: i.rotate(v)),
    "shear x": (-0.3, 0.3, lambda i, v: _affine(i, (1, v, 0, 0, 1, 0))),
    "shear y": (-0.3, 0.3, lambda i, v: _affine(i, (1, 0, 0, v, 1, 0))),
    "solarize": (0, 256, lambda i, v: ImageOps.solarize(i, v)),
    "translate x": (-0.3, 0.3, lambda i, v: _affine(i, (1, 0, v * i.size[0], 0, 1, 0))),
    "translate y": (-0.3, 0.3, lambda i, v: _affine(i, (1, 0, 0, 0, 1, v * i.size[1]))),
}


def strong(image: Image.Image) -> Image.Image:
    """A weak view, two random operations, one cutout."""
    image = weak(image)
    for low, high, operation in random.choices(list(OPERATIONS.values()), k=2):
        image = operation(image, random.uniform(low, high))
    width, height = image.size
    side = random.uniform(0, 0.5) * width
    left = int(max(0, random.uniform(0, width) - side / 2))
    top = int(max(0, random.uniform(0, height) - side / 2))
    box = (left, top, min(width, left + side), min(height, top + side))
    image = image.copy()
    ImageDraw.Draw(image).rectangle(box, (125, 123, 114))
    return image


def to_tensor(image: Image.Image) -> Tensor:
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


class Images(Dataset[tuple[Tensor, int]]):
    """uint8 images ``[n, H, W, 3]`` and labels, through a Pillow transform."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Image.Image]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_tensor(self.transform(Image.fromarray(self.images[index]))), int(self.labels[index])


def loader(dataset: Images, *, batch_size: int, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=True)


def z_score(x: Tensor) -> Tensor:
    return (x - x.mean(dim=1, keepdim=True)) / (x.std(dim=1, keepdim=True) + 1e-7)


def kd(z: Tensor, v: Tensor, t: float | Tensor) -> Tensor:
    return F.kl_div((z / t).log_softmax(1), (v / t).softmax(1), reduction="none").sum(1).mean() * t**2


def dkd(z: Tensor, v: Tensor, y: Tensor, t: float, alpha: float, beta: float) -> Tensor:
    mask = F.one_hot(y, z.shape[1]).bool()
    q, p = (z / t).softmax(1), (v / t).softmax(1)
    pairs = [torch.stack((x[mask], x[~mask].view(len(y), -1).sum(1)), 1) for x in (q, p)]
    tckd = F.kl_div(pairs[0].log(), pairs[1], reduction="batchmean") * t**2
    rest_q = (z / t - 1000 * mask).log_softmax(1)
    rest_p = (v / t - 1000 * mask).softmax(1)
    return alpha * tckd + beta * F.kl_div(rest_q, rest_p, reduction="batchmean") * t**2


class Distiller(nn.Module):
    """One student's loss by the name of its method: kd, dkd or ctkd, with ``_ls`` for standardised logits."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method, _, ls = method.partition("_")
        self.standardize = ls == "ls"
        self.theta = nn.Parameter(torch.ones(1)) if self.method == "ctkd" else None

    def forward(self, z: Tensor, v: Tensor, y: Tensor) -> Tensor:
        ce = F.cross_entropy(z, y)
        if self.standardize:
            z, v = z_score(z), z_score(v)
        if self.method == "dkd":
            return ce + dkd(z, v, y, 2.0, 9.0, 72.0)
        t: float | Tensor = 2.0
        if self.theta is not None:
            t = 1 + 20 * torch.sigmoid(self.theta).squeeze()
            t = t.detach() - (t - t.detach())  # the gradient on the temperature is reversed
        return 0.1 * ce + 9 * kd(z, v, t)


def train(
    student: nn.Module, teacher: nn.Module, method: str, batches: DataLoader[tuple[Tensor, Tensor]]
) -> Iterator[float]:
    """Train one student; yields the loss of every step."""
    distiller = Distiller(method)
    parameters = [*student.parameters(), *distiller.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)
    student.train()
    teacher.eval()
    for images, labels in batches:
        with torch.no_grad():
            teacher_logits = teacher(images)
        loss = distiller(student(images), teacher_logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
