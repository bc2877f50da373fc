"""Residual networks for 32 x 32 images (protocol section 6).

``resnetN`` (He et al., CIFAR section): three stages of n blocks, N = 6n + 2, widths 16, 32, 64. ``resnetNxW`` is W
times as wide with a stem of 8 W channels (x4: 32 | 64, 128, 256), so its first stage has a projection.
``ResNet18`` and its deeper relatives with a capital letter are the ImageNet layout, four stages from width 64, with
a 3 x 3 stem and no pooling; ``resnet50`` and ``ResNet50`` are different networks. ``imagenet/ResNet18`` is the network
for ImageNet itself: names, function and initial weights of torchvision's, a 7 x 7 stem of stride 2 and pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models.base import Family, Network, after_each, convolution, init_convolutions, six_n_plus

# Blocks of each stage, and whether they are bottlenecks.
LAYOUTS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
EXPANSION = 4


class Block(nn.Module):
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1; the shortcut joins before the last ReLU."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool, shortcut: str) -> None:
        super().__init__()
        self.outputs = width * EXPANSION if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        self.depth = len(kernels)
        channels = inputs
        for i, kernel in enumerate(kernels, start=1):
            following = self.outputs if i == self.depth else width
            step = stride if i == kernels.index(3) + 1 else 1
            conv, bn = convolution(channels, following, kernel, step)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", bn)
            channels = following
        self.shortcut_name = shortcut
        if stride != 1 or inputs != self.outputs:
            self.add_module(shortcut, nn.Sequential(*convolution(inputs, self.outputs, 1, stride)))
        else:
            self.add_module(shortcut, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.depth:
                y = F.relu(y, inplace=True)
        return F.relu(y + getattr(self, self.shortcut_name)(x), inplace=True)


class ResNet(Network):
    """Stem, stages ``layer1``, ``layer2``, ..., global average pooling, linear classifier.

    Args:
        stem: channels after the 3 x 3 stem.
        widths: width of each stage's blocks; every stage but the first halves the resolution.
        depths: blocks of each stage.
        bottleneck: blocks of three convolutions with four times as many outputs.
        names: names of the blocks' shortcut and of the classifier, which published checkpoints carry.
        num_classes: number of logits.
        large_images: a quarter of the resolution before the first stage.
    """

    def __init__(
        self,
        stem: int,
        widths: Sequence[int],
        depths: Sequence[int],
        bottleneck: bool,
        names: tuple[str, str],
        num_classes: int,
        *,
        large_images: bool = False,
    ) -> None:
        super().__init__()
        shortcut, self.head_name = names
        self.large_images = large_images
        kernel, stride = (7, 2) if large_images else (3, 1)
        self.conv1, self.bn1 = convolution(3, stem, kernel, stride)
        self.stage_names = [f"layer{i}" for i in range(1, len(widths) + 1)]
        channels = stem
        for name, width, depth in zip(self.stage_names, widths, depths, strict=True):
            blocks = []
            for position in range(depth):
                stride = 2 if position == 0 and name != "layer1" else 1
                blocks.append(Block(channels, width, stride, bottleneck, shortcut))
                channels = blocks[-1].outputs
            self.add_module(name, nn.Sequential(*blocks))
        self.add_module(self.head_name, nn.Linear(channels, num_classes))
        init_convolutions(self)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1) if self.large_images else x
        return after_each(x, map(self.get_submodule, self.stage_names))


def _build_small(num_classes: int, depth: str, width: str | None) -> ResNet:
    blocks, wide = six_n_plus(2, int(depth)), int(width or 1)
    stem = 16 if wide == 1 else 8 * wide
    widths = [16 * wide, 32 * wide, 64 * wide]
    return ResNet(stem, widths, [blocks] * 3, False, ("downsample", "fc"), num_classes)


def _build_large(num_classes: int, depth: str, *, imagenet: bool = False) -> ResNet:
    if int(depth) not in LAYOUTS:
        raise ValueError(f"depth is one of {', '.join(map(str, LAYOUTS))}")
    names = ("downsample", "fc") if imagenet else ("shortcut", "linear")
    return ResNet(64, [64, 128, 256, 512], *LAYOUTS[int(depth)], names, num_classes, large_images=imagenet)


SMALL = (*(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)), "resnet8x4", "resnet32x4")
FAMILIES = (
    Family("resnet", r"resnet(\d+)(?:x([1-9]\d*))?", "resnetN, resnetNxW", SMALL, _build_small),
    Family("ResNet", r"ResNet(\d+)", "ResNetN", ("ResNet18", "ResNet50"), _build_large),
    Family(
        "imagenet/ResNet",
        r"imagenet/ResNet(\d+)",
        "imagenet/ResNetN",
        tuple(f"imagenet/ResNet{depth}" for depth in (18, 34, 50, 101)),
        partial(_build_large, imagenet=True),
        input_size=224,
        classes=1000,
    ),
)
