"""A training step as a CUDA graph: hundreds of small kernels of all members become one launch.

What a step reads lies in tensors that stay where they are and are overwritten before each launch. Numbers that
Python knows (learning rate, warm-up of DKD, curriculum of CTKD, who is still running) are frozen into a graph, so
a graph is made again when one of them changes: about thirty times in 240 epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from lskd.trainer.batches import BatchIndex

READ = tuple(f.name for f in fields(BatchIndex) if f.name not in ("epoch", "step", "scale"))
WARM_UP = 3  # steps of a shape that are launched kernel by kernel: they make what later steps overwrite


class StepGraph:
    """Carries out steps; from the fourth of a shape on by replaying a graph, if ``enabled``."""

    def __init__(self, device: torch.device, *, enabled: bool = True) -> None:
        self.device = device
        self.enabled = enabled
        self.refused: str | None = None
        self.captures = 0
        self._warm: dict[Hashable, int] = {}
        self._constants: Hashable = None
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, BatchIndex]] = {}

    def __call__(self, step: Callable[[BatchIndex], None], draw: BatchIndex, constants: Hashable) -> None:
        """One step.

        Args:
            step: what to do with a draw; must not wait for the device.
            draw: the batch; its shape and whether it has strong views select the graph.
            constants: everything else that decides what ``step`` launches.

        A step that cannot be captured goes on kernel by kernel; ``refused`` says why then.
        """
        if constants != self._constants:
            self._graphs.clear()
            self._constants = constants
        shape = (len(draw.index), draw.strong is not None)
        if not self.enabled or self._warm.get(shape, 0) < WARM_UP:
            self._warm[shape] = self._warm.get(shape, 0) + 1
            step(draw)
            return
        if shape not in self._graphs:
            try:
                self._graphs[shape] = self._capture(step, draw)
            except RuntimeError as error:  # of the end of a capture; what ended it is its context
                self.refused, self.enabled = str(error.__context__ or error).splitlines()[0], False
                self._graphs.clear()
                step(draw)
                return
        graph, inputs = self._graphs[shape]
        assert isinstance(inputs.step, Tensor)
        inputs.step.fill_(draw.step)
        for name in READ:
            place, value = getattr(inputs, name), getattr(draw, name)
            if place is not None:
                place.copy_(value)
        graph.replay()

    def _capture(self, step: Callable[[BatchIndex], None], draw: BatchIndex) -> tuple[torch.cuda.CUDAGraph, BatchIndex]:
        """Record the launches of a step, without carrying them out."""
        given = {name: getattr(draw, name) for name in READ}
        copies: dict[str, Any] = {name: None if value is None else value.clone() for name, value in given.items()}
        inputs = BatchIndex(epoch=draw.epoch, step=torch.zeros((), dtype=torch.int64, device=self.device), **copies)
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        stream = torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph):
                step(inputs)
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails stays on its own
        self.captures += 1
        return graph, inputs
