"""What a network in training is worth on images that it does not learn from."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lskd.data.dataset import Dataset
from lskd.data.views import Normalize
from lskd.trainer.distributed import ALONE, World

BATCH = {"cpu": 500, "cuda": 2500}  # images of up to 64 x 64, a tenth of larger ones
TOP5_ABOVE = 100  # classes


class Measured(NamedTuple):
    """What a network does on images: mean cross-entropy, percent right, and percent among the five largest logits.

    The last is None up to :data:`TOP5_ABOVE` classes: papers report it for ImageNet.
    """

    loss: float
    accuracy: float
    top5: float | None = None


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset, *, world: World = ALONE) -> Measured:
    """Measure a network in eval mode on images as they are; processes share the images."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    correct, among = (torch.zeros((), dtype=torch.int64, device=images.device) for _ in range(2))
    five = dataset.classes > TOP5_ABOVE
    prepare, size = Normalize(dataset, images.device), BATCH.get(images.device.type, 500)
    if max(images.shape[2:]) > 64:
        size //= 10
    for start in range(0, len(images), size)[world.rank :: world.size]:
        target = labels[start : start + size]
        logits = model(prepare(images[start : start + size]))
        loss += F.cross_entropy(logits, target, reduction="sum").double()
        correct += (logits.argmax(dim=-1) == target).sum()
        if five:
            among += (logits.topk(5, dim=-1).indices == target[:, None]).sum()
    for total in (loss, correct, among) if five else (loss, correct):
        world.all_sum(total)
    top5 = 100 * float(among) / len(images) if five else None
    return Measured(float(loss) / len(images), 100 * float(correct) / len(images), top5)
