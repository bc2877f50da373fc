"""Networks with the weights and inputs of the golden fixtures, and what is known of each network's shape.

Fill rule: every entry of a state dict is drawn from a generator seeded by the CRC-32 of ``salt + key``; scales keep
activations near one. ``golden/models.json.gz`` holds keys, shapes and sizes of the 34 networks.
"""

from __future__ import annotations

import functools
import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

GOLDEN = Path(__file__).parents[1] / "golden"


@functools.cache
def known_models() -> dict[str, dict[str, Any]]:
    """By name: input, logits, parameters, trainable, multiply_adds, pooled_feature, stages, state (key, shape)."""
    return json.loads(gzip.decompress((GOLDEN / "models.json.gz").read_bytes()))


def fill(model: torch.nn.Module, salt: str = "") -> torch.nn.Module:
    """Fill every parameter and buffer in place and return the model."""
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            tensor.copy_(torch.from_numpy(filled(key, tuple(tensor.shape), salt)))
    return model


def filled(key: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """The float64 values of one entry."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    generator = np.random.RandomState(zlib.crc32((salt + key).encode()))
    z = generator.standard_normal(math.prod(shape)).reshape(shape)
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(z)
    if not key.endswith("running_mean") and len(shape) >= 2:
        return z / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * z if key.endswith("weight") else 0.1 * z


def images(seed: int, shape: tuple[int, ...] = (4, 3, 32, 32)) -> torch.Tensor:
    """The float64 input of a fixture."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))
