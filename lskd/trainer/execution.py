"""How a device computes: precision and optimiser kernel. On a CPU there is one way, and the record says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lskd.errors import LskdError

__all__ = ["PRECISIONS", "Execution"]

PRECISIONS = ("auto", "float32", "tf32", "bf16")


@dataclass(frozen=True)
class Execution:
    """What is really used. Precision and fused are part of what a run is, because they change bits.

    Attributes:
        precision: "float32"; "tf32", products of 10-bit mantissas in convolutions and matrix products; "bf16",
            forward passes under autocast, with logits, losses, weights and updates in float32.
        fused: one kernel for an optimiser step instead of several per parameter.
        graph: a step of all members is a CUDA graph, see :mod:`lskd.trainer.graph`.
        streams: members compute side by side on a GPU.
    """

    precision: str = "float32"
    fused: bool = False
    graph: bool = False
    streams: bool = False

    @classmethod
    def choose(
        cls,
        device: torch.device,
        *,
        precision: str = "auto",
        fused: bool = True,
        graph: bool = True,
        streams: bool = True,
    ) -> Execution:
        """From what is asked for to what the device does.

        A CPU computes in float32 whatever is asked for (bf16 is 50 to 100 times slower where it has no units for
        it); a GPU takes tf32 for "auto".

        Raises:
            LskdError: unknown precision, or bf16 on a GPU without it.
        """
        if precision not in PRECISIONS:
            raise LskdError(f"precision is {precision!r}; expected {', '.join(PRECISIONS)}")
        if device.type != "cuda":
            return cls()
        if precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise LskdError(f"precision bf16: {torch.cuda.get_device_name(device)} has none; use tf32 or float32")
        return cls("tf32" if precision == "auto" else precision, fused, graph, streams)

    def autocast(self) -> AbstractContextManager[Any]:
        """Around forward passes; what leaves them goes through ``.float()``."""
        return torch.autocast("cuda", torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def forward(self, model: nn.Module, inputs: Tensor | None) -> Tensor:
        """Logits in float32, whatever the network computed in."""
        with self.autocast():
            logits: Tensor = model(inputs)
        return logits.float()

    def with_stages(self, model: nn.Module, inputs: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Feature maps of the stages, and logits in float32."""
        with self.autocast():
            stages, logits = model.forward_with_stages(inputs)  # type: ignore[operator]
        return tuple(stages), logits.float()

    def heads(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits in float32 of the class head and of the distillation head."""
        with self.autocast():
            logits, distilled = model.forward_heads(inputs)  # type: ignore[operator]
        return logits.float(), distilled.float()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Global switches of PyTorch as this run wants them; restored at the end."""
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        exact = self.precision == "float32"
        try:
            torch.set_float32_matmul_precision("highest" if exact else "high")
            torch.backends.cudnn.allow_tf32 = not exact
            yield
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]

    def facts(self) -> dict[str, Any]:
        """What decides bits, for a run's identity. Graph and streams are order of launch, not of arithmetic."""
        return {"precision": self.precision, "fused": self.fused, "channels_last": True}
