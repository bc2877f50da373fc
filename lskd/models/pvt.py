"""``PVT-Tiny`` (Wang et al.; protocol section 6): a pyramid of four stages, keys and values on a coarser grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models import transformer as vit
from lskd.models.base import only

# Patch side, width, layers, heads, MLP ratio, reduction of keys and values along each side.
STAGES = ((4, 64, 2, 1, 8, 8), (2, 128, 2, 2, 8, 4), (2, 320, 2, 5, 4, 2), (2, 512, 2, 8, 4, 1))


class ReducedAttention(nn.Module):
    """Attention whose keys and values come from a strided convolution of the map, normalised."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = vit.layer_norm(width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        batch, tokens, width = x.shape
        q = self.q(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
        if self.reduction > 1:
            x = self.norm(self.sr(vit.to_map(x, *size)).flatten(2).transpose(1, 2))
        k, v = self.kv(x).view(batch, x.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))


class PatchEmbedding(nn.Module):
    """Patches of a map to tokens, normalised."""

    def __init__(self, inputs: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, width, patch, patch)
        self.norm = vit.layer_norm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        grid = self.proj(x)
        return self.norm(grid.flatten(2).transpose(1, 2)), (grid.shape[-2], grid.shape[-1])


class PVT(vit.TokenNetwork):
    """Stages ``patch_embed1``, ``block1``, ...; the class token joins in the last. Positions are resized."""

    guided = (0, 3, 7)
    any_size = True

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        rates = iter(vit.drop_path_rates(sum(depth for _, _, depth, *_ in STAGES)))
        channels, side = 3, vit.IMAGE_SIZE
        self.sides: list[int] = []
        for i, (patch, width, depth, heads, ratio, reduction) in enumerate(STAGES, start=1):
            side //= patch
            self.sides.append(side)
            self.add_module(f"patch_embed{i}", PatchEmbedding(channels, width, patch))
            self.register_parameter(f"pos_embed{i}", vit.truncated_normal(1, side * side + (i == len(STAGES)), width))
            layers = nn.ModuleList()
            for _ in range(depth):
                layers.append(vit.Layer(width, ReducedAttention(width, heads, reduction), ratio, next(rates)))
            self.add_module(f"block{i}", layers)
            channels = width
        self.norm = vit.layer_norm(channels)
        self.cls_token = vit.truncated_normal(1, 1, channels)
        self.head = nn.Linear(channels, num_classes)
        vit.init_transformer(self)

    def run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        maps: list[Tensor] = []
        for i, side in enumerate(self.sides, start=1):
            tokens, size = getattr(self, f"patch_embed{i}")(maps[-1] if maps else x)
            positions = getattr(self, f"pos_embed{i}")
            if i == len(self.sides):
                tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1)
            tokens = tokens + resized(positions, side, size)
            for layer in getattr(self, f"block{i}"):
                tokens = layer(tokens, size)
                maps.append(vit.to_map(tokens, *size))
        return maps, self.norm(tokens)


def resized(positions: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Positions of a ``side`` x ``side`` grid, a class token's perhaps before them, for a grid of another size."""
    if size == (side, side):
        return positions
    grid = F.interpolate(vit.to_map(positions, side, side), size=size, mode="bilinear", align_corners=False)
    return torch.cat([positions[:, : -side * side], grid.flatten(2).transpose(1, 2)], 1)


FAMILIES = (only("PVT-Tiny", "PVT", PVT, input_size=vit.IMAGE_SIZE),)
