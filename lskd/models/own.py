"""The reader's own networks: what ``module:function`` makes, with the one method that evidence needs."""

from __future__ import annotations

import inspect
from functools import partial

import torch
from torch import Tensor, nn

from lskd.errors import LskdError
from lskd.own_code import load_function

GIVEN = "_lskd_given"


def create_external(name: str, num_classes: int) -> nn.Module:
    """Call the function with ``num_classes`` and check what it makes.

    The network maps images ``[batch, 3, H, W]`` to logits ``[batch, num_classes]``. If it has no
    ``forward_with_features(x) -> (features, logits)``, the input of the last linear layer that a pass goes through
    serves as features. Buffers that are one value seen many times get memory of their own, to be loaded into.

    Raises:
        LskdError: no such function, one that does not take ``num_classes``, or a result that is no such network, or is
            one that it gave before.
    """
    function = load_function(name)
    try:
        inspect.signature(function).bind(num_classes=num_classes)
    except TypeError as error:
        raise LskdError(f"network {name!r} is called with num_classes={num_classes} alone: {error}") from None
    network = function(num_classes=num_classes)
    if not isinstance(network, nn.Module):
        raise LskdError(f"network {name!r} returned {type(network).__name__}; expected a torch.nn.Module")
    if vars(network).get(GIVEN):
        raise LskdError(
            f"network {name!r} returned the same network twice, which all would train; make a new one a call"
        )
    setattr(network, GIVEN, True)
    if not hasattr(network, "forward_with_features"):
        if not any(isinstance(m, nn.Linear) for m in network.modules()):
            raise LskdError(
                f"network {name!r} has no linear layer to take features from; give it a method "
                "forward_with_features(x) that returns (features, logits)"
            )
        network.forward_with_features = partial(_input_of_last_linear, network)  # type: ignore[assignment]
    for module in network.modules():
        for key, buffer in module.named_buffers(recurse=False):
            if buffer.layout == torch.strided and 0 in buffer.stride():
                setattr(module, key, buffer.clone(memory_format=torch.contiguous_format))
    return network


def _input_of_last_linear(self: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features ``[batch, F]`` and logits of one pass."""
    seen: list[Tensor] = []
    handles = [
        linear.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        for linear in self.modules()
        if isinstance(linear, nn.Linear)
    ]
    try:
        logits = self(x)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise LskdError("no linear layer takes part; give it a method forward_with_features(x) -> (features, logits)")
    return seen[-1].flatten(1), logits
