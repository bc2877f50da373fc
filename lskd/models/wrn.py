"""Wide residual networks ``wrn_D_K`` (Zagoruyko and Komodakis; protocol section 6): depth D = 6n + 4, K times as wide.

Pre-activation blocks in three groups of widths 16 K, 32 K, 64 K.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models.base import Family, Network, after_each, init_convolutions, init_linear, six_n_plus


class Block(nn.Module):
    """BN, ReLU, 3 x 3, BN, ReLU, 3 x 3; where the width changes, the shortcut projects the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(activated)), inplace=True))


class Group(nn.Module):
    """Blocks of one resolution, under the name that published checkpoints give them."""

    def __init__(self, depth: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first = Block(inputs, outputs, stride)
        self.layer = nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(depth - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class TwiceUpdatedBatchNorm2d(nn.BatchNorm2d):
    """Running statistics as if every batch had been seen twice, at the cost of seeing it once.

    Two updates at momentum m with the same batch are one update at 1 - (1 - m)^2.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, momentum=1 - (1 - 0.1) ** 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return super().forward(x)


class WideResNet(Network):
    """Stem, groups ``block1`` to ``block3``, BN, ReLU, global average pooling, linear classifier.

    The released training code passes three layers' input through them a second time to collect features (protocol
    5.4.1), which moves their running statistics twice a step. :meth:`use_released_batchnorm` gives the same
    statistics; outputs in training mode are the same either way.
    """

    def __init__(self, blocks: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1 = Group(blocks, 16, 16 * width, 1)
        self.block2 = Group(blocks, 16 * width, 32 * width, 2)
        self.block3 = Group(blocks, 32 * width, 64 * width, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        init_convolutions(self)
        init_linear(self.fc)

    def stage_features(self, x: Tensor) -> list[Tensor]:
        return after_each(self.conv1(x), (self.block1, self.block2, self.block3))

    def neck(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(x), inplace=True)

    def use_released_batchnorm(self) -> None:
        owners: list[nn.Module] = [self.block2.layer[0], self.block3.layer[0], self]
        for owner in owners:
            plain = owner.bn1
            assert isinstance(plain, nn.BatchNorm2d)
            twice = TwiceUpdatedBatchNorm2d(plain.num_features).to(plain.weight.device, plain.weight.dtype)
            twice.load_state_dict(plain.state_dict())
            twice.weight, twice.bias = plain.weight, plain.bias  # an optimiser may have them already
            owner.bn1 = twice.train(plain.training)


FAMILIES = (
    Family(
        "wrn",
        r"wrn_(\d+)_([1-9]\d*)",
        "wrn_DEPTH_WIDTH",
        ("wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
        lambda num_classes, depth, width: WideResNet(six_n_plus(4, int(depth)), int(width), num_classes),
    ),
)
