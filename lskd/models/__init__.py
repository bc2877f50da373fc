"""The networks of the paper, by name.

``create_model("resnet8x4")`` makes one; keys and shapes of its state dict are those of the published checkpoints,
which :func:`load_checkpoint` reads. Needs torch alone; safetensors files need safetensors and NumPy at
the call.
"""

from __future__ import annotations

from lskd.models.base import Network
from lskd.models.checkpoints import load_checkpoint
from lskd.models.pickles import CheckpointError
from lskd.models.registry import ModelInfo, create_model, list_models, model_info
from lskd.models.weight_files import save_checkpoint, state_digest

__all__ = [
    "CheckpointError", "ModelInfo", "Network", "create_model", "list_models", "load_checkpoint", "model_info",
    "save_checkpoint", "state_digest",
]  # fmt: skip
