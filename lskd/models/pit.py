"""``PiT-Tiny`` (Heo et al.; protocol section 6): three stages of layers with pooling of tokens between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lskd.models import transformer as vit
from lskd.models.base import after_each, only

PATCH, STRIDE = 16, 8
STAGES = ((64, 2, 2), (128, 6, 4), (256, 4, 8))  # width, layers, heads
RATIO = 4
SIDE = (vit.IMAGE_SIZE - PATCH) // STRIDE + 1


class Pooling(nn.Module):
    """Depthwise 3 x 3 of stride 2 that doubles the map's channels; a linear map does so for the class token."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 2, 1, groups=inputs)
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, grid: Tensor, class_token: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(grid), self.fc(class_token)


class Stage(nn.Module):
    """Layers of one resolution, under the name that published checkpoints give them."""

    def __init__(self, width: int, heads: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(vit.Layer(width, vit.Attention(width, heads), RATIO, rate) for rate in rates)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Tokens after each layer."""
        return after_each(tokens, self.blocks)


class PiT(vit.TokenNetwork):
    """Overlapping patches, positions as a map, class token. Linear layers start as PyTorch's default."""

    guided = (0, 6, 11)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        widths = [width for width, _, _ in STAGES]
        self.pos_embed = vit.truncated_normal(1, widths[0], SIDE, SIDE)
        self.cls_token = vit.truncated_normal(1, 1, widths[0])
        self.patch_embed = nn.Module()
        self.patch_embed.conv = nn.Conv2d(3, widths[0], PATCH, STRIDE)
        rates = vit.drop_path_rates(sum(depth for _, depth, _ in STAGES), reach_end=False)
        self.transformers = nn.ModuleList()
        for width, depth, heads in STAGES:
            self.transformers.append(Stage(width, heads, rates[:depth]))
            rates = rates[depth:]
        self.pools = nn.ModuleList(Pooling(*pair) for pair in pairwise(widths))
        self.norm = vit.layer_norm(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)

    def run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        grid = self.patch_embed.conv(x) + self.pos_embed  # type: ignore[operator]
        class_token = self.cls_token.expand(len(x), -1, -1)
        maps = []
        for i, stage in enumerate(self.transformers):
            if i > 0:
                grid, class_token = self.pools[i - 1](grid, class_token)
            states = stage(torch.cat([class_token, grid.flatten(2).transpose(1, 2)], 1))
            maps += [vit.to_map(tokens, *grid.shape[-2:]) for tokens in states]
            grid, class_token = maps[-1], states[-1][:, :1]
        return maps, self.norm(class_token)


FAMILIES = (only("PiT-Tiny", "PiT", PiT, input_size=vit.IMAGE_SIZE),)
