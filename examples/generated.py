"""What the examples train on: generated images of ten classes or texts, an untrained teacher, a small student.

Replace it by your own data and networks. Samples are drawn in random order, so no example shuffles them, and all of
them take the same steps: their losses can be compared.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lskd.models import create_model
from lskd.torchvision import import_torchvision

BATCH_SIZE = 16
CLASSES = 10
TOKENS = 50

# The frameworks import torchvision when it is there, and its usual wheel stops beside a CPU build of torch. This
# call repairs that; it changes nothing where torchvision works, and is not needed there.
with contextlib.suppress(ImportError):
    import_torchvision()


def dataset(steps: int) -> TensorDataset:
    """Images float32 ``[steps * BATCH_SIZE, 3, 16, 16]``, one noisy pattern a class, and labels."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(CLASSES, 3, 16, 16, generator=generator)
    labels = torch.randint(CLASSES, (steps * BATCH_SIZE,), generator=generator)
    return TensorDataset(patterns[labels] + torch.randn(len(labels), 3, 16, 16, generator=generator), labels)


def texts(count: int) -> list[dict[str, Tensor]]:
    """Tokens of 5 to 16 a text; nothing is learned from the first two, the prompt."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 17, (count,), generator=generator).tolist()
    tokens = [torch.randint(TOKENS, (n,), generator=generator) for n in lengths]
    return [{"input_ids": x, "labels": torch.cat([torch.tensor([-100, -100]), x[2:]])} for x in tokens]


def teacher() -> nn.Module:
    """In eval mode and without gradients. Yours: ``load_checkpoint(create_model("resnet56"), "weights.pth")``."""
    torch.manual_seed(1)
    return create_model("resnet14", CLASSES).eval().requires_grad_(False)


def student() -> nn.Module:
    torch.manual_seed(2)
    return create_model("resnet8", CLASSES)


def optimizer(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
