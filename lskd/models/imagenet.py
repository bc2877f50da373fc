"""ImageNet ResNets, taken from torchvision, and the one place where torchvision is imported."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from lskd.errors import LskdError
from lskd.models.base import Family, Network, after_each
from lskd.torchvision import import_torchvision

DEPTHS = (18, 34, 50, 101, 152)
STAGES = ("layer1", "layer2", "layer3", "layer4")


class ImageNetResNet(Network):
    """torchvision's layers under torchvision's names, with this package's methods."""

    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    fc: nn.Module

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        self.depth = depth
        published = getattr(import_torchvision().models, f"resnet{depth}")(num_classes=num_classes)
        for name, module in published.named_children():
            self.add_module(name, module)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return after_each(x, map(self.get_submodule, STAGES))


def load_torchvision(network: nn.Module, weights: str) -> None:
    """Put published weights into a ResNet, from torch's cache of downloads or, the first time, from the network.

    Args:
        network: an :class:`ImageNetResNet` with 1000 classes.
        weights: such as "IMAGENET1K_V1", the files that the paper's teachers are.

    Raises:
        LskdError: not such a network, no such weights, or they are neither in the cache nor to be had.
    """
    torchvision = import_torchvision()
    if not isinstance(network, ImageNetResNet):
        raise LskdError(f"torchvision:{weights}: torchvision's weights are for ImageNet ResNets, not for this network")
    choices = {w.name: w for w in torchvision.models.get_model_weights(f"resnet{network.depth}")}
    if weights not in choices:
        raise LskdError(f"torchvision:{weights}: resnet{network.depth} has {', '.join(choices)}")
    try:
        network.load_state_dict(choices[weights].get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise LskdError(
            f"torchvision:{weights}: the weights of resnet{network.depth} are not in the cache and cannot be used from "
            f"{choices[weights].url} ({error}); put that file into {torch.hub.get_dir()}/checkpoints, or name a copy "
            "of it with --set teacher.checkpoint=FILE"
        ) from None


def _build(match: re.Match[str], num_classes: int) -> ImageNetResNet:
    if (depth := int(match["depth"])) not in DEPTHS:
        raise ValueError(f"depth is one of {', '.join(map(str, DEPTHS))}")
    return ImageNetResNet(depth, num_classes)


FAMILIES = (
    Family(
        "imagenet/ResNet",
        re.compile(r"imagenet/ResNet(?P<depth>\d+)"),
        "imagenet/ResNetN",
        tuple(f"imagenet/ResNet{depth}" for depth in DEPTHS[:4]),
        _build,
        input_size=224,
        classes=1000,
    ),
)
