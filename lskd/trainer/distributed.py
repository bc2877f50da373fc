"""Several processes that train one run together, a part of every batch each; started by ``torchrun``.

PyTorch's DistributedDataParallel averages gradients. Draws are those of one process: each takes its share of every
batch. The first process alone reads and writes files and decides; the others hear of it. Outside ``torchrun`` there
is one process, and everything here is the identity.
"""

from __future__ import annotations

import atexit
import datetime
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lskd.errors import LskdError

# The others wait while the first process writes evidence, or downloads a teacher.
PATIENCE = datetime.timedelta(hours=2)
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """How many processes there are, which this is, from 0, and whether BatchNorm sees the batches of all."""

    size: int = 1
    rank: int = 0
    sync_batchnorm: bool = False

    @property
    def first(self) -> bool:
        return self.rank == 0

    def shard(self, rows: slice) -> slice:
        """This process's part of positions ``rows``; parts differ by one at most."""
        count = rows.stop - rows.start
        return slice(rows.start + count * self.rank // self.size, rows.start + count * (self.rank + 1) // self.size)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over processes."""
        if self.size == 1:
            return module
        if self.sync_batchnorm:
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its older name
        options: dict[str, Any] = {switch: False}
        return nn.parallel.DistributedDataParallel(module, **options)

    def broadcast(self, value: T) -> T:
        """The first process's value, in all."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box)
        return box[0]

    def on_rank_zero(self, do: Callable[[], T]) -> T:
        """Let the first process do something; all get its result, or an LskdError with its error's text."""
        if self.size == 1:
            return do()
        outcome: Any = None
        if self.first:
            try:
                outcome = (do(),)
            except BaseException as error:
                self.broadcast(LskdError(f"the first process stopped: {error}"))
                raise
        outcome = self.broadcast(outcome)
        if isinstance(outcome, LskdError):
            raise outcome
        return outcome[0]

    def all_sum(self, value: Tensor) -> Tensor:
        """Summed over processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def all_min(self, value: Tensor) -> Tensor:
        """The smallest over processes, in place."""
        if self.size > 1:
            dist.all_reduce(value, dist.ReduceOp.MIN)
        return value

    def all_gather(self, value: Tensor) -> Tensor:
        """The values of all of several processes, ``[size, ...]``."""
        parts = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(parts, value)
        return torch.stack(parts)

    def broadcast_weights(self, module: nn.Module) -> None:
        """Give weights and buffers of the first process's module to the others'."""
        for tensor in (*module.parameters(), *module.buffers()) if self.size > 1 else ():
            value = tensor.detach().contiguous()
            dist.broadcast(value, 0)
            tensor.detach().copy_(value)


ALONE = World()


def world() -> World:
    """The processes of this run."""
    return World(dist.get_world_size(), dist.get_rank()) if dist.is_available() and dist.is_initialized() else ALONE


def is_rank_zero() -> bool:
    """Whether this process is the one that speaks; before and after the processes have met too."""
    return os.environ.get("RANK", "0") == "0" or "WORLD_SIZE" not in os.environ


def join(device: torch.device) -> torch.device:
    """Meet the other processes that ``torchrun`` started, if it did; gives this process's device.

    They stay together until they end, so later runs of the same processes find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda":
        number = int(os.environ.get("LOCAL_RANK", "0"))
        if number >= torch.cuda.device_count():
            raise LskdError(
                f"process {number + 1} of this host has no GPU, there are {torch.cuda.device_count()}; "
                "start as many processes as there are GPUs (torchrun --nproc-per-node)"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return device
