"""Networks by name: which exist, what they cost, how to make one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from lskd.errors import LskdError, nearest
from lskd.models import deit, mobilenet, pit, pvt, pycls, resnet, shufflenet, t2t, vgg, wrn
from lskd.models.base import Family, Network
from lskd.models.own import create_external
from lskd.own_code import is_external

MODULES = (resnet, vgg, wrn, mobilenet, shufflenet, deit, t2t, pit, pvt, pycls)
FAMILIES: tuple[Family, ...] = tuple(family for module in MODULES for family in module.FAMILIES)

# Other spellings in use, as far as the rule in `_plain` does not cover them.
ALIASES = {
    "DeiT-Tiny (with distillation token, ENABLE_LOGIT)": "DeiT-Tiny-distilled",
    "DeiT-Tiny_distilled": "DeiT-Tiny-distilled",
    "pycls ResNet-56": "pycls-ResNet-56",
    "pycls_ResNet-56": "pycls-ResNet-56",
    "MobileNetV1": "imagenet/MobileNetV1",
}


class ModelNameError(LskdError, ValueError):
    """No network has this name."""


@dataclass(frozen=True)
class ModelInfo:
    """What a network is and costs.

    Attributes:
        parameters: how many, fixed ones included.
        multiply_adds: of convolutions and linear layers for one image; biases, normalisation, pooling and attention
            products are not counted.
        features: width of the pooled features.
        input_size: height and width of the image these numbers refer to.
    """

    name: str
    family: str
    parameters: int
    multiply_adds: int
    features: int
    input_size: int
    classes: int


def list_models() -> list[str]:
    """Names of the paper's networks. Families take other depths and widths too, for example ``wrn_28_4``."""
    return [name for family in FAMILIES for name in family.listed]


def create_model(name: str, num_classes: int | None = None) -> Network:
    """A new network with the initial weights of the released code, drawn from torch's global generator.

    Args:
        name: one of :func:`list_models`, another depth or width of a family, or "module:function" for a network
            of one's own (:func:`lskd.models.own.create_external`).
        num_classes: number of logits; None means 100, and 1000 for ImageNet networks.

    Raises:
        ModelNameError: (a ValueError) no such network; the message names near ones, or the depths that exist.
    """
    if is_external(name):
        return cast(Network, create_external(name, 100 if num_classes is None else num_classes))
    family, match = find(name)
    classes = family.classes if num_classes is None else num_classes
    if classes < 1:
        raise ValueError(f"{name}: num_classes is {classes}; expected 1 or more")
    try:
        return family.build(classes, *match.groups())
    except ValueError as error:
        raise ModelNameError(f"no network is called {name!r}; {_hint(name)}{family.forms}: {error}") from None


@cache
def model_info(name: str, num_classes: int | None = None) -> ModelInfo:
    """Size and cost of a network, counted while it sees one empty picture; draws nothing from the global generator.

    Raises:
        ModelNameError: no such network.
    """
    family, _ = find(name)
    with torch.random.fork_rng(devices=[]):  # on the device "meta" PyTorch would load its compiler, for seconds
        network = create_model(name, num_classes).eval()
    image = torch.zeros(1, 3, family.input_size, family.input_size)
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        # One output value costs as many multiply-adds as one output channel has weights.
        total += output.numel() * weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        features, logits = network.forward_with_features(image)
    return ModelInfo(
        name=_plain(name),
        family=family.name,
        parameters=sum(p.numel() for p in network.parameters()),
        multiply_adds=total,
        features=features.shape[-1],
        input_size=family.input_size,
        classes=logits.shape[-1],
    )


def _plain(name: str) -> str:
    """The name that families know: without the folder ``vit/`` and without a remark in brackets."""
    name = name.removeprefix("vit/")
    name = ALIASES.get(name, name)
    name = name.partition(" (")[0]
    return ALIASES.get(name, name)


def find(name: str) -> tuple[Family, re.Match[str]]:
    """The family that a name belongs to, and the depths and widths that it names.

    Raises:
        ModelNameError: none knows it.
    """
    for family in FAMILIES:
        if match := re.fullmatch(family.pattern, _plain(name)):
            return family, match
    forms = "; ".join(dict.fromkeys(family.forms for family in FAMILIES if family.forms not in family.listed))
    raise ModelNameError(
        f"no network is called {name!r}; {_hint(name)}Networks: {', '.join(list_models())}. Other sizes: {forms}"
    )


def _hint(name: str) -> str:
    near = nearest(_plain(name), list_models(), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}? " if near else ""
