"""torchvision where it is asked for, or the sentence that says how to get it."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []  # a library lives as long as somebody holds it


def import_torchvision() -> ModuleType:
    """Torchvision, also where its compiled part cannot load.

    That part of the usual wheel needs CUDA libraries; beside a CPU build of torch it is skipped in silence, and
    ``import torchvision`` then stops at the first reference to one of its operators. Declaring the two operators
    lets the import go through; networks, datasets and transforms do not use them.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise ImportError(
            "torchvision is not installed, and ImageNet's published weights come from it; install the release that "
            "pairs with your torch without touching torch itself, for torch 2.13.0: pip install --no-deps "
            "torchvision==0.28.0"
        ) from None
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _declared:
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return importlib.import_module("torchvision")
