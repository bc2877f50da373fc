"""How a device computes: precision, optimiser kernel, order of launch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lskd.errors import LskdError
from lskd.trainer.options import Options


def bf16_units() -> list[str]:
    """The processor's units for bf16, of "amx" and "avx512_bf16"; asked of the processor, each time."""
    asked = {"amx": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
    return [name for name, question in asked.items() if getattr(torch.cpu, question, bool)()]


class Emulated(TorchFunctionMode):
    """Convolutions and linear layers as units for bf16 compute them, forward and backward: of numbers rounded to bf16,
    summed in float32, rounded. Only the order of sums differs, as between two kinds of units."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (F.conv2d, F.linear):
            return func(*args, **kwargs or {})
        with torch.autocast("cpu", enabled=False):
            rounded = [a.bfloat16().float() if isinstance(a, Tensor) else a for a in args]
            return func(*rounded, **kwargs or {}).bfloat16()


@dataclass(frozen=True)
class Execution:
    """What is really used. Device, precision and fused are part of what a run is, because they change bits.

    Attributes:
        precision: "float32"; "tf32", products of 10-bit mantissas in convolutions and matrix products; "bf16",
            forward passes under autocast, with logits, losses (products in tf32 on a GPU), weights and updates in
            float32.
        fused, graph, streams: see :class:`lskd.trainer.options.Options`.
        emulated: bf16 on a processor without units for it (:class:`Emulated`); no part of what a run is.
    """

    device: str = "cpu"
    precision: str = "float32"
    fused: bool = False
    graph: bool = False
    streams: bool = False
    emulated: bool = False

    @classmethod
    def choose(cls, device: torch.device, options: Options) -> Execution:
        """From what is asked for to what the device does; "auto" is float32 on a CPU and tf32 on a GPU.

        Raises:
            LskdError: a precision for which the device has no units: a processor without AMX or AVX512-BF16 is 15 to
                100 times slower in PyTorch's bf16 than in float32.
        """
        precision = options.precision
        if device.type != "cuda":
            if precision == "tf32" or (precision == "bf16" and not bf16_units()):
                bf16 = "; bf16-emulated goes on with what was begun in bf16, as fast as float32" * (precision == "bf16")
                raise LskdError(
                    f"precision {precision}: this processor has no units for it and would be far slower than in "
                    f"float32; take --precision float32, which is the default{bf16}"
                )
            known = {"auto": "float32", "bf16-emulated": "bf16"}
            return cls(precision=known.get(precision, precision), emulated=precision == "bf16-emulated")
        if precision == "bf16-emulated":
            raise LskdError("precision bf16-emulated: it is for processors without units for bf16; take bf16 on a GPU")
        if precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise LskdError(f"precision bf16: {torch.cuda.get_device_name(device)} has none; use tf32 or float32")
        precision = "tf32" if precision == "auto" else precision
        return cls("cuda", precision, options.fused, options.graph, options.streams)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Around forward passes."""
        lower = torch.autocast(self.device, torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with lower, Emulated() if self.emulated else nullcontext():
            yield

    def forward(self, network: nn.Module, inputs: Tensor | None, kind: str = "") -> Any:
        """What a network gives, or its ``forward_<kind>``: in float32, whatever it computed in."""
        with self.autocast():
            found = getattr(network, f"forward_{kind}")(inputs) if kind else network(inputs)
        return _float32(found)

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

    def identity_part(self) -> dict[str, Any]:
        """What decides bits, for a run's identity. Graph and streams are order of launch, not of arithmetic."""
        return {"device": self.device, "precision": self.precision, "fused": self.fused, "channels_last": True}


PLAIN = Execution()


def _float32(found: Any) -> Any:
    return found.float() if isinstance(found, Tensor) else tuple(map(_float32, found))
