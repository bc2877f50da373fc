"""MobileNets (protocol section 6): V2 at half width for 32 x 32 images, V1 for ImageNet.

The released code calls the ImageNet network MobileNetV2; it is V1.
"""

from __future__ import annotations

from torch import Tensor, nn

from lskd.models.base import Network, after_each, convolution, init_convolutions, init_linear, only

# Expansion, channels, repeats, stride of the first.
V2_GROUPS = ((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1))
V2_STEM, V2_LAST = 16, 1280
V2_STAGES = (1, 2, 4, 6)  # groups whose outputs are the released feature list
LINEAR_STD = 0.01

# Channels and stride of the separable blocks; blocks, counted with the stem, that end a stage.
V1_STEM = 32
V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
V1_STAGES = (3, 5, 11, 13)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [*convolution(inputs, outputs, kernel, stride, groups), nn.ReLU(inplace=True)]


class InvertedResidual(nn.Module):
    """1 x 1 expansion, 3 x 3 depthwise, 1 x 1 projection without activation; identity added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.conv = nn.Sequential(
            *_convolution(inputs, hidden, 1),
            *_convolution(hidden, hidden, 3, stride, groups=hidden),
            *_convolution(hidden, outputs, 1)[:-1],
        )
        self.identity = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.identity else self.conv(x)


class MobileNetV2(Network):
    """Stride-2 stem, groups of inverted residuals, 1 x 1 to 1280 channels, global average pooling, linear classifier.

    The classifier sits in a sequence of one, where published checkpoints look for it.
    """

    head_name = "classifier"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_convolution(3, V2_STEM, 3, stride=2))
        channels, groups = V2_STEM, []
        for expansion, outputs, repeats, stride in V2_GROUPS:
            blocks = []
            for position in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, stride if position == 0 else 1, expansion))
                channels = outputs
            groups.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*groups)
        self.conv2 = nn.Sequential(*_convolution(channels, V2_LAST, 1))
        linear = nn.Linear(V2_LAST, num_classes)
        self.classifier = nn.Sequential(linear)
        init_convolutions(self)
        init_linear(linear, LINEAR_STD)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        groups = after_each(self.conv1(x), self.blocks)
        return [groups[i] for i in V2_STAGES]

    def neck(self, x: Tensor) -> Tensor:
        return self.conv2(x)


class MobileNetV1(Network):
    """Stride-2 stem, thirteen depthwise-separable blocks, global average pooling, linear classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        blocks, channels = [nn.Sequential(*_convolution(3, V1_STEM, 3, stride=2))], V1_STEM
        for outputs, stride in V1_BLOCKS:
            depthwise = _convolution(channels, channels, 3, stride, groups=channels)
            blocks.append(nn.Sequential(*depthwise, *_convolution(channels, outputs, 1)))
            channels = outputs
        self.model = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, num_classes)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        blocks = after_each(x, self.model)
        return [blocks[i] for i in V1_STAGES]


FAMILIES = (
    only("MobileNetV2", "MobileNetV2", MobileNetV2),
    only("imagenet/MobileNetV1", "MobileNetV1", MobileNetV1, input_size=224, classes=1000),
)
