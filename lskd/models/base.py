"""What every network offers, and how families are described and found by name."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor, nn
from torch.nn import functional as F


class Network(nn.Module, ABC):
    """A classifier: stages, a pooled feature vector, logits.

    A family defines :meth:`stage_features`; :meth:`neck` where something stands between the last stage and the
    pooling; ``head_name`` where its classifier is not called ``fc``. Pooling is global, so any input size that survives
    the strides works.
    """

    head_name = "fc"

    @abstractmethod
    def stage_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the stages, ``[batch, channels, height, width]`` each, without the stem, first stage first."""

    def neck(self, x: Tensor) -> Tensor:
        """From the last stage to the map that is pooled."""
        return x

    def classify(self, features: Tensor) -> Tensor:
        """Logits ``[batch, classes]`` of pooled features ``[batch, features]``."""
        return self.get_submodule(self.head_name)(features)

    def pooled_features(self, x: Tensor) -> Tensor:
        """Images ``[batch, 3, height, width]`` to the features before the classifier, ``[batch, features]``."""
        return self.forward_with_features(x)[0]

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features and logits of one pass."""
        features = self.neck(self.stage_features(x)[-1]).mean((-2, -1))
        return features, self.classify(features)

    def forward_with_stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Stage features and logits of one pass, as losses on intermediate features need them."""
        stages = self.stage_features(x)
        return stages, self.classify(self.neck(stages[-1]).mean((-2, -1)))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[batch, 3, height, width]`` to logits ``[batch, classes]``."""
        return self.forward_with_features(x)[1]

    def use_released_batchnorm(self) -> None:
        """Update running statistics as the released forward does; a family in which that differs overrides this."""


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

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.forward_with_features(self._resized(x))

    def forward_with_stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        return self.network.forward_with_stages(self._resized(x))


@dataclass(frozen=True)
class Family:
    """Networks that one file describes.

    Attributes:
        name: what the family is called in tables.
        pattern: regular expression of all its names; groups are depth and width.
        forms: the same for people, shown in error messages.
        listed: the names of the paper.
        build: from a number of classes and the groups to a network; ValueError for a depth that does not exist.
        input_size: height and width the published numbers refer to.
        classes: number of classes unless one is given.
    """

    name: str
    pattern: str
    forms: str
    listed: tuple[str, ...]
    build: Callable[..., Network]
    input_size: int = 32
    classes: int = 100


def only(name: str, family: str, make: Callable[[int], Network], **more: int) -> Family:
    """A family of one network, which ``make`` makes for a number of classes."""
    return Family(family, re.escape(name), name, (name,), make, **more)


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution without bias, padded to keep the size at stride 1, and the BatchNorm after it."""
    made = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return made, nn.BatchNorm2d(outputs)


def after_each(x: Tensor, layers: Iterable[nn.Module]) -> list[Tensor]:
    """What every layer gives for the output of the one before it."""
    return list(accumulate(layers, lambda x, layer: layer(x), initial=x))[1:]


def six_n_plus(rest: int, depth: int) -> int:
    """n of a depth 6n + ``rest``, which networks of three stages have.

    Raises:
        ValueError: there is no such n.
    """
    if depth < 6 + rest or depth % 6 != rest:
        first = ", ".join(str(6 * n + rest) for n in range(1, 10))
        raise ValueError(f"depth is 6n + {rest} with n = 1, 2, ...: {first}, ...")
    return depth // 6


def init_convolutions(network: nn.Module) -> None:
    """Normal weights of variance 2 / (kernel area x output channels), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_linear(linear: nn.Linear, std: float | None = None) -> None:
    """Bias 0; normal weights of deviation ``std``, or PyTorch's default when None."""
    nn.init.zeros_(linear.bias)
    if std is not None:
        nn.init.normal_(linear.weight, std=std)
