"""The reader's own networks: what ``module:function`` makes, with the one method that evidence needs."""

from __future__ import annotations

import inspect
from types import MethodType

from torch import Tensor, nn

from lskd.errors import LskdError
from lskd.own_code import load_function

__all__ = ["create_external"]


def create_external(name: str, num_classes: int) -> nn.Module:
    """Call the function with ``num_classes`` and check what it makes.

    The network maps images ``[batch, 3, H, W]`` to logits ``[batch, num_classes]``. If it has no
    ``forward_with_features(x) -> (features, logits)``, the input of its last linear layer serves as features.

    Raises:
        LskdError: no such function, one that does not take ``num_classes``, or a result that is no such network.
    """
    function = load_function(name)
    try:
        inspect.signature(function).bind(num_classes=num_classes)
    except TypeError as error:
        raise LskdError(f"network {name!r} is called with num_classes={num_classes} alone: {error}") from None
    network = function(num_classes=num_classes)
    if not isinstance(network, nn.Module):
        raise LskdError(f"network {name!r} returned {type(network).__name__}; expected a torch.nn.Module")
    if not hasattr(network, "forward_with_features"):
        if not any(isinstance(m, nn.Linear) for m in network.modules()):
            raise LskdError(
                f"network {name!r} has no linear layer to take features from; give it a method "
                "forward_with_features(x) that returns (features, logits)"
            )
        network.forward_with_features = MethodType(_input_of_last_linear, network)  # type: ignore[assignment]
    return network


def _input_of_last_linear(self: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features ``[batch, F]`` and logits of one pass."""
    last = [m for m in self.modules() if isinstance(m, nn.Linear)][-1]
    seen: list[Tensor] = []
    handle = last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    try:
        logits = self(x)
    finally:
        handle.remove()
    return seen[-1].flatten(1), logits
