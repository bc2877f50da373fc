"""``pycls-ResNet-N``, the teacher of the vision transformers (protocol section 6).

The function of ``resnetN`` under the names and with the initial weights of the pycls code base.
"""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models.base import Family, Network, init_convolutions, init_linear

WIDTHS = (16, 32, 64)
LINEAR_STD = 0.01


class Branch(nn.Module):
    """3 x 3, BN, ReLU, 3 x 3, BN."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.a_bn = nn.BatchNorm2d(outputs)
        self.b = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.b_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.b_bn(self.b(F.relu(self.a_bn(self.a(x)), inplace=True)))


class Block(nn.Module):
    """A branch added to its input, which is projected where shapes change; ReLU after."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.projects = stride != 1 or inputs != outputs
        if self.projects:
            self.proj = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(outputs)
        self.f = Branch(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn(self.proj(x)) if self.projects else x
        return F.relu(shortcut + self.f(x), inplace=True)


class PyclsResNet(Network):
    """Stem, stages ``s1`` to ``s3``, global average pooling, linear classifier.

    ``stage_features`` are the targets of locality guidance (protocol 1.6): 16 x 32 x 32, 32 x 16 x 16, 64 x 8 x 8.
    """

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.stem.bn = nn.BatchNorm2d(WIDTHS[0])
        channels = WIDTHS[0]
        for i, width in enumerate(WIDTHS, start=1):
            stage = nn.Sequential()
            for position in range(1, (depth - 2) // 6 + 1):
                stage.add_module(f"b{position}", Block(channels, width, 2 if i > 1 and position == 1 else 1))
                channels = width
            self.add_module(f"s{i}", stage)
        self.head = nn.Module()
        self.head.fc = nn.Linear(channels, num_classes)
        init_convolutions(self)
        init_linear(self.head.fc, LINEAR_STD)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.stem.bn(self.stem.conv(x)), inplace=True)  # type: ignore[operator]
        stages = []
        for i in range(1, len(WIDTHS) + 1):
            x = getattr(self, f"s{i}")(x)
            stages.append(x)
        return stages

    def classify(self, features: Tensor) -> Tensor:
        return self.head.fc(features)  # type: ignore[operator]


def _build(match: re.Match[str], num_classes: int) -> PyclsResNet:
    depth = int(match["depth"])
    if depth < 8 or depth % 6 != 2:
        raise ValueError("depth is 6n + 2 with n = 1, 2, ...: 8, 14, 20, 26, 32, 38, 44, 50, 56, ...")
    return PyclsResNet(depth, num_classes)


FAMILIES = (
    Family(
        "pycls-ResNet",
        re.compile(r"pycls-ResNet-(?P<depth>\d+)"),
        "pycls-ResNet-N",
        ("pycls-ResNet-56",),
        _build,
    ),
)
