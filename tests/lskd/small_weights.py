"""A small network, and files of weights in every form that PyTorch wrote."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

FORMS = ("zip", "legacy", "plain", "protocol 4")


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def write(content: Any, path: Path, form: str) -> None:
    """As PyTorch writes today, as it wrote before 1.6, as Python does, in another protocol."""
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    elif form == "protocol 4":
        torch.save(content, path, pickle_protocol=4)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
