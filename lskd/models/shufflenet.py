"""ShuffleNets for 32 x 32 images (protocol section 6): V1 with three groups, V2 at width 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models.base import Network, after_each, convolution, only

STEM = 24
V1_GROUPS = 3
V1_STAGES = ((240, 4), (480, 8), (960, 4))  # channels, units
V2_STAGES = ((116, 4), (232, 8), (464, 4))
V2_LAST = 1024


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` equal parts."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, groups, channels // groups, height, width)
    return parts.transpose(1, 2).reshape(batch, channels, height, width)


class V1Unit(nn.Module):
    """Grouped 1 x 1, shuffle, 3 x 3 depthwise, grouped 1 x 1; added to the input, or joined to it, pooled, at stride 2.

    The unit after the stem does not group its first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        produced = outputs - inputs if stride == 2 else outputs
        middle = produced // 4
        self.first_groups = 1 if inputs == STEM else V1_GROUPS
        self.conv1, self.bn1 = convolution(inputs, middle, groups=self.first_groups)
        self.conv2, self.bn2 = convolution(middle, middle, 3, stride, groups=middle)
        self.conv3, self.bn3 = convolution(middle, produced, groups=V1_GROUPS)

    def forward(self, x: Tensor) -> Tensor:
        y = shuffle(F.relu(self.bn1(self.conv1(x)), inplace=True), self.first_groups)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y = torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1) if self.stride == 2 else y + x
        return F.relu(y, inplace=True)


class V2Unit(nn.Module):
    """1 x 1, 3 x 3 depthwise, 1 x 1 on the second half of the channels; the first half passes by; shuffle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = convolution(half, half)
        self.conv2, self.bn2 = convolution(half, half, 3, 1, groups=half)
        self.conv3, self.bn3 = convolution(half, half)

    def forward(self, x: Tensor) -> Tensor:
        kept, y = x.chunk(2, 1)
        y = F.relu(self.bn1(self.conv1(y)), inplace=True)
        y = F.relu(self.bn3(self.conv3(self.bn2(self.conv2(y)))), inplace=True)
        return shuffle(torch.cat([kept, y], 1), 2)


class V2Down(nn.Module):
    """Halves the resolution in two branches of half the outputs each; shuffle."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1, self.bn1 = convolution(inputs, inputs, 3, 2, groups=inputs)
        self.conv2, self.bn2 = convolution(inputs, half)
        self.conv3, self.bn3 = convolution(inputs, half)
        self.conv4, self.bn4 = convolution(half, half, 3, 2, groups=half)
        self.conv5, self.bn5 = convolution(half, half)

    def forward(self, x: Tensor) -> Tensor:
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))), inplace=True)
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = F.relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))), inplace=True)
        return shuffle(torch.cat([left, right], 1), 2)


class ShuffleNet(Network):
    """1 x 1 stem, stages ``layer1`` to ``layer3``; what follows differs between versions. PyTorch's default weights."""

    head_name = "linear"

    def __init__(self, stages: list[nn.Sequential]) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(3, STEM)
        self.layer1, self.layer2, self.layer3 = stages

    def stage_features(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return after_each(x, (self.layer1, self.layer2, self.layer3))


class ShuffleV1(ShuffleNet):
    """Global average pooling and a linear classifier after the last stage."""

    def __init__(self, num_classes: int) -> None:
        channels, stages = STEM, []
        for outputs, units in V1_STAGES:
            down = V1Unit(channels, outputs, 2)
            stages.append(nn.Sequential(down, *(V1Unit(outputs, outputs, 1) for _ in range(units - 1))))
            channels = outputs
        super().__init__(stages)
        self.linear = nn.Linear(channels, num_classes)


class ShuffleV2(ShuffleNet):
    """1 x 1 to 1024 channels, global average pooling and a linear classifier after the last stage."""

    def __init__(self, num_classes: int) -> None:
        channels, stages = STEM, []
        for outputs, units in V2_STAGES:
            stages.append(nn.Sequential(V2Down(channels, outputs), *(V2Unit(outputs) for _ in range(units - 1))))
            channels = outputs
        super().__init__(stages)
        self.conv2, self.bn2 = convolution(channels, V2_LAST)
        self.linear = nn.Linear(V2_LAST, num_classes)

    def neck(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(x)), inplace=True)


FAMILIES = (only("ShuffleV1", "ShuffleV1", ShuffleV1), only("ShuffleV2", "ShuffleV2", ShuffleV2))
