"""``T2T-ViT-7`` (Yuan et al.; protocol section 6): tokens from overlapping windows, condensed twice by a performer."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models import transformer as vit
from lskd.models.base import after_each, only

SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # window, stride, padding
TOKEN_WIDTH, RANDOM_FEATURES = 64, 32
WIDTH, DEPTH, HEADS, RATIO = 256, 7, 4, 2
SIDE = vit.IMAGE_SIZE // 16
EPSILON = 1e-8


class Performer(nn.Module):
    """Attention of one head through fixed random features, linear in the number of tokens; computed in float32.

    phi(x) = exp(x W' - |x|^2 / 2) / sqrt(m), y = phi(q) (phi(k)' v) / (phi(q) . sum of phi(k)); y is projected and
    the values are added. The fixed W is a parameter that is not trained, because published state dicts count it so.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        orthogonal = nn.init.orthogonal_(torch.empty(RANDOM_FEATURES, TOKEN_WIDTH))
        self.w = nn.Parameter(orthogonal * math.sqrt(RANDOM_FEATURES), requires_grad=False)
        self.qkv_transform = nn.Linear(inputs, 3 * TOKEN_WIDTH)
        self.projection = nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH)

    def random_features(self, x: Tensor) -> Tensor:
        """``[batch, tokens, 64]`` to phi, ``[batch, tokens, 32]``."""
        return torch.exp(x @ self.w.to(x.dtype).T - x.square().sum(-1, keepdim=True) / 2) / math.sqrt(RANDOM_FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        transformed = self.qkv_transform(x)
        device = transformed.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            wide = transformed if transformed.dtype == torch.float64 else transformed.float()
            keys, queries, values = wide.chunk(3, -1)  # in this order
            keys, queries = self.random_features(keys), self.random_features(queries)
            norm = queries @ keys.sum(1).unsqueeze(-1)
            attended = queries @ (keys.transpose(1, 2) @ values) / (norm + EPSILON)
        return (values + self.projection(attended.to(self.projection.weight.dtype))).to(x.dtype)


class PerformerLayer(nn.Module):
    """Performer attention, which changes the width and so has no shortcut, then a residual MLP."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = vit.layer_norm(inputs)
        self.attn = Performer(inputs)
        self.norm2 = vit.layer_norm(TOKEN_WIDTH)
        self.mlp = vit.MLP(TOKEN_WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TokensToToken(nn.Module):
    """Windows to tokens, three times, with a performer between; ``[batch, 3, 224, 224]`` to ``[batch, 196, 256]``."""

    def __init__(self) -> None:
        super().__init__()
        areas = [window * window for window, _, _ in SPLITS]
        self.attention = nn.ModuleList([PerformerLayer(3 * areas[0]), PerformerLayer(TOKEN_WIDTH * areas[1])])
        self.projection = nn.Linear(TOKEN_WIDTH * areas[2], WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        for i, (window, stride, padding) in enumerate(SPLITS):
            tokens = F.unfold(x, window, padding=padding, stride=stride).transpose(1, 2)
            side //= stride
            if i < len(self.attention):
                x = vit.to_map(self.attention[i](tokens), side, side)
        return self.projection(tokens)


class T2TViT(vit.TokenNetwork):
    """Token-to-token module, class token, fixed sinusoidal positions, seven layers without bias in their queries."""

    guided = (0, 3, 6)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(sinusoids(SIDE * SIDE + 1, WIDTH), requires_grad=False)
        self.t2t_module = TokensToToken()
        rates = vit.drop_path_rates(DEPTH)
        self.layers = nn.ModuleList(
            vit.Layer(WIDTH, vit.Attention(WIDTH, HEADS, bias=False), RATIO, rate) for rate in rates
        )
        self.norm = vit.layer_norm(WIDTH)
        self.head = nn.Linear(WIDTH, num_classes)
        vit.init_transformer(self, nn.init.normal_)
        nn.init.normal_(self.cls_token, std=vit.TOKEN_STD)

    def run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.t2t_module(x)], 1) + self.pos_embed
        states = after_each(tokens, self.layers)
        return [vit.to_map(state, SIDE, SIDE) for state in states], self.norm(states[-1])


def sinusoids(positions: int, width: int) -> Tensor:
    """``[1, positions, width]``: sine in even, cosine in odd columns, wavelengths up to 10000 turns of 2 pi."""
    column = torch.arange(width, dtype=torch.float64)
    rate = 10000 ** (-2 * torch.div(column, 2, rounding_mode="floor") / width)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * rate
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    return table.to(torch.get_default_dtype())[None]


FAMILIES = (only("T2T-ViT-7", "T2T-ViT", T2TViT, input_size=vit.IMAGE_SIZE),)
