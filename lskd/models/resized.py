"""A network that sees images at a size of its own, whatever size it is given."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lskd.models.base import Network


class Resized(Network):
    """Resizes images bilinearly, corners not aligned: what the teacher of vision transformers sees (protocol 1.6).

    Args:
        network: what sees them.
        size: height and width.
    """

    def __init__(self, network: Network, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def _resized(self, x: Tensor) -> Tensor:
        if x.shape[-2:] == (self.size, self.size):
            return x
        return F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        return self.network.stage_features(self._resized(x))

    def classify(self, features: Tensor) -> Tensor:
        return self.network.classify(features)

    def pooled_features(self, x: Tensor) -> Tensor:
        return self.network.pooled_features(self._resized(x))

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.forward_with_features(self._resized(x))

    def forward_with_stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        return self.network.forward_with_stages(self._resized(x))
