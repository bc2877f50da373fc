"""What the vision transformers share: attention, MLP, layer, drop path, initial weights (protocol section 6)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lskd.models.base import Network

layer_norm = partial(nn.LayerNorm, eps=1e-6)
TOKEN_STD = 0.02
DROP_PATH = 0.1
IMAGE_SIZE = 224


def truncated_normal(*shape: int) -> nn.Parameter:
    """A parameter for tokens or positions."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=TOKEN_STD))


def init_transformer(network: nn.Module, init: Callable[..., Tensor] = nn.init.trunc_normal_) -> None:
    """Weights of all linear layers from ``init`` with deviation 0.02, biases 0; LayerNorm starts as 1 and 0 anyway."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            init(module.weight, std=TOKEN_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def drop_path_rates(depth: int, *, reach_end: bool = True) -> list[float]:
    """Rate of each layer, rising from 0 to 0.1, which the last layer has, or would have one layer later."""
    steps = max(depth - 1 if reach_end else depth, 1)
    return [DROP_PATH * i / steps for i in range(depth)]


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """The last ``height * width`` of ``[batch, tokens, channels]`` as a map ``[batch, channels, height, width]``."""
    patches = tokens[:, -height * width :]
    return patches.transpose(1, 2).reshape(tokens.shape[0], -1, height, width)


class DropPath(nn.Module):
    """In training, zero a sample's residual branch with probability ``rate`` and scale up what is kept.

    Which samples comes from torch's global generator, or inside :func:`dropping` from numbers that are given.
    ``share`` is the rate as a share of the largest that networks have by default.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.share = rate / DROP_PATH
        self.given: Iterator[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = x.shape[0], *[1] * (x.dim() - 1)
        if self.given is None:
            mask = x.new_empty(shape).bernoulli_(keep)
        else:
            mask = (next(self.given) < keep).view(shape).to(x.dtype)
        return x * mask / keep


def drop_path_columns(network: nn.Module) -> int:
    """How many numbers decide what a sample drops: two a layer, for attention and MLP."""
    return 2 * sum(isinstance(part, DropPath) and part.rate > 0 for part in network.modules())


@contextmanager
def dropping(network: nn.Module, uniform: Tensor | None) -> Iterator[None]:
    """Decide by ``uniform``, in [0, 1), ``[batch, drop_path_columns]``, what one pass of each sample drops."""
    paths = [] if uniform is None else [part for part in network.modules() if isinstance(part, DropPath)]
    columns = iter(()) if uniform is None else iter(uniform.unbind(1))
    for path in paths:
        path.given = columns
    try:
        yield
    finally:
        for path in paths:
            path.given = None


class Attention(nn.Module):
    """Multi-head self-attention on ``[batch, tokens, width]``."""

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_transform = nn.Linear(width, 3 * width, bias=bias)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv_transform(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.projection(attended.transpose(1, 2).reshape(batch, tokens, width))


class MLP(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Layer(nn.Module):
    """Attention and MLP, each after a LayerNorm and added to its input; ``size`` is for attention that asks for it."""

    def __init__(self, width: int, attention: nn.Module, ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = layer_norm(width)
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.norm2 = layer_norm(width)
        self.mlp = MLP(width, ratio)

    def forward(self, x: Tensor, *size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), *size))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class TokenNetwork(Network):
    """A network whose features are its class token.

    Families define :meth:`run`. Attributes: ``guided`` lists the layers, from 0, whose maps locality guidance compares
    with the teacher's three stages (protocol 1.6); ``any_size`` says whether images other than 224 x 224 are taken.
    """

    guided: tuple[int, ...] = ()
    any_size = False
    head_name = "head"
    head: nn.Linear

    @abstractmethod
    def run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The map after every layer, and the normalised tokens ``[batch, tokens, width]``, class token first."""

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, classes]`` of normalised tokens."""
        return self.classify(tokens[:, 0])

    def stage_features(self, x: Tensor) -> list[Tensor]:
        """Maps after the guided layers, one for each stage of the teacher."""
        return self.forward_with_stages(x)[0]

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self._checked(x)[1]
        return tokens[:, 0], self.logits(tokens)

    def forward_with_stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        maps, tokens = self._checked(x)
        return [maps[i] for i in self.guided], self.logits(tokens)

    def _checked(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        height, width = x.shape[-2:]
        if not self.any_size and (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(
                f"{type(self).__name__} has positions for {IMAGE_SIZE} x {IMAGE_SIZE} images, got {height} x {width}; "
                "resize the images"
            )
        return self.run(x)
