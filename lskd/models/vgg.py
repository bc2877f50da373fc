"""VGG networks with BatchNorm, ``vggN`` (protocol section 6): five blocks of 3 x 3 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models.base import Family, Network, init_convolutions, init_linear

WIDTHS = (64, 128, 256, 512, 512)
LAYOUTS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
LINEAR_STD = 0.01


class VGG(Network):
    """Blocks ``block0`` to ``block4``, global average pooling, linear classifier.

    A 2 x 2 pooling follows each of the first three blocks, and the fourth in images 64 high only, as released.

    Args:
        depths: convolutions of each block.
        num_classes: number of logits.
    """

    head_name = "classifier"

    def __init__(self, depths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        channels = 3
        for i, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True)):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            self.add_module(f"block{i}", nn.Sequential(*layers))
        self.classifier = nn.Linear(channels, num_classes)
        init_convolutions(self)
        init_linear(self.classifier, LINEAR_STD)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        pooled_blocks = 4 if x.shape[-2] == 64 else 3
        stages = []
        for i in range(len(WIDTHS)):
            x = self.get_submodule(f"block{i}")(x)
            stages.append(x)
            if i < pooled_blocks:
                x = F.max_pool2d(x, 2)
        return stages


def _build(num_classes: int, depth: str) -> VGG:
    if int(depth) not in LAYOUTS:
        raise ValueError(f"depth is one of {', '.join(map(str, LAYOUTS))}")
    return VGG(LAYOUTS[int(depth)], num_classes)


FAMILIES = (Family("vgg", r"vgg(\d+)", "vggN", tuple(f"vgg{d}" for d in LAYOUTS), _build),)
