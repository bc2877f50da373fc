"""``pycls-ResNet-N``, the teacher of the vision transformers (protocol section 6).

The function of ``resnetN`` under the names and with the initial weights of the pycls code base.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models.base import Family, Network, after_each, convolution, init_convolutions, init_linear, six_n_plus

WIDTHS = (16, 32, 64)
LINEAR_STD = 0.01


class Branch(nn.Module):
    """3 x 3, BN, ReLU, 3 x 3, BN."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.a, self.a_bn = convolution(inputs, outputs, 3, stride)
        self.b, self.b_bn = convolution(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b_bn(self.b(F.relu(self.a_bn(self.a(x)), inplace=True)))


class Block(nn.Module):
    """A branch added to its input, which is projected where shapes change; ReLU after."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.projects = stride != 1 or inputs != outputs
        if self.projects:
            self.proj, self.bn = convolution(inputs, outputs, 1, stride)
        self.f = Branch(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn(self.proj(x)) if self.projects else x
        return F.relu(shortcut + self.f(x), inplace=True)


class PyclsResNet(Network):
    """Stem, stages ``s1`` to ``s3``, global average pooling, linear classifier.

    ``stage_features`` are the targets of locality guidance (protocol 1.6): 16 x 32 x 32, 32 x 16 x 16, 64 x 8 x 8.
    """

    head_name = "head.fc"
    s1: nn.Module
    s2: nn.Module
    s3: nn.Module

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv, self.stem.bn = convolution(3, WIDTHS[0], 3)
        channels = WIDTHS[0]
        for i, width in enumerate(WIDTHS, start=1):
            stage = nn.Sequential()
            for position in range(1, blocks + 1):
                stage.add_module(f"b{position}", Block(channels, width, 2 if i > 1 and position == 1 else 1))
                channels = width
            self.add_module(f"s{i}", stage)
        self.head = nn.Module()
        self.head.fc = nn.Linear(channels, num_classes)
        init_convolutions(self)
        init_linear(self.head.fc, LINEAR_STD)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.stem.bn(self.stem.conv(x)), inplace=True)  # type: ignore[operator]
        return after_each(x, (self.s1, self.s2, self.s3))


FAMILIES = (
    Family(
        "pycls-ResNet",
        r"pycls-ResNet-(\d+)",
        "pycls-ResNet-N",
        ("pycls-ResNet-56",),
        lambda num_classes, depth: PyclsResNet(six_n_plus(2, int(depth)), num_classes),
    ),
)
