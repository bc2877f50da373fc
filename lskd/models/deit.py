"""``DeiT-Tiny`` and ``DeiT-Tiny-distilled`` (Touvron et al.; protocol section 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lskd.models import transformer as vit
from lskd.models.base import Family, after_each

PATCH, WIDTH, DEPTH, HEADS, RATIO = 16, 192, 12, 3, 4
SIDE = vit.IMAGE_SIZE // PATCH


class DeiT(vit.TokenNetwork):
    """Patches of 16, class token, twelve layers; both heads start at zero.

    With a distillation token there is a second head. In training the logits are the class head's, in evaluation the
    mean of both heads, as released; :meth:`forward_heads` gives the two apart, as the distillation loss needs them.
    """

    guided = (0, 6, 11)

    def __init__(self, num_classes: int, *, distilled: bool = False) -> None:
        super().__init__()
        self.distilled = distilled
        self.cls_token = vit.truncated_normal(1, 1, WIDTH)
        self.pos_embed = vit.truncated_normal(1, SIDE * SIDE + 1 + distilled, WIDTH)
        if distilled:
            self.distill_token = vit.truncated_normal(1, 1, WIDTH)
        self.patch_embed = nn.Module()
        self.patch_embed.projection = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        rates = vit.drop_path_rates(DEPTH)
        self.layers = nn.ModuleList(vit.Layer(WIDTH, vit.Attention(WIDTH, HEADS), RATIO, rate) for rate in rates)
        self.norm = vit.layer_norm(WIDTH)
        self.head = nn.Linear(WIDTH, num_classes)
        vit.init_transformer(self)
        nn.init.zeros_(self.head.weight)
        if distilled:
            self.distill_head = nn.Linear(WIDTH, num_classes)
            nn.init.zeros_(self.distill_head.weight)
            nn.init.zeros_(self.distill_head.bias)

    def run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        patches = self.patch_embed.projection(x).flatten(2).transpose(1, 2)  # type: ignore[operator]
        extra = [self.cls_token, self.distill_token] if self.distilled else [self.cls_token]
        tokens = torch.cat([*(token.expand(len(x), -1, -1) for token in extra), patches], 1) + self.pos_embed
        states = after_each(tokens, self.layers)
        return [vit.to_map(state, SIDE, SIDE) for state in states], self.norm(states[-1])

    def logits(self, tokens: Tensor) -> Tensor:
        of_class = self.head(tokens[:, 0])
        if not self.distilled or self.training:
            return of_class
        return (of_class + self.distill_head(tokens[:, 1])) / 2

    def forward_heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the class head and of the distillation head, which is the class head's where there is no second."""
        tokens = self._checked(x)[1]
        of_class = self.head(tokens[:, 0])
        return of_class, self.distill_head(tokens[:, 1]) if self.distilled else of_class


FAMILIES = (
    Family(
        "DeiT",
        "DeiT-Tiny(-distilled)?",
        "DeiT-Tiny, DeiT-Tiny-distilled",
        ("DeiT-Tiny", "DeiT-Tiny-distilled"),
        lambda num_classes, distilled: DeiT(num_classes, distilled=distilled is not None),
        input_size=vit.IMAGE_SIZE,
    ),
)
