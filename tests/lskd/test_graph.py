"""The logic around CUDA graphs, with a stand-in that replays in Python; `benchmarks/gpu.py` checks the real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from small_runs import CPU, SETTINGS, cohort, results

from lskd.trainer import graph, proof
from lskd.trainer.batches import BatchIndex
from lskd.trainer.cohort import Cohort
from lskd.trainer.execution import Execution
from lskd.trainer.graph import WARM_UP, StepGraph


class Replayed(StepGraph):
    """Keeps the step and the tensors it was recorded with, and runs it on them."""

    def _capture(self, step: Callable[[BatchIndex], None], draw: BatchIndex) -> Any:
        read = {name: value for name in graph.READ if (value := getattr(draw, name)) is not None}
        blank = {name: torch.zeros_like(value) for name, value in read.items()}
        inputs = BatchIndex(epoch=draw.epoch, step=torch.tensor(-1), **blank)
        self.captures += 1
        # What Python knew at this time stays in the recording: weights of terms, learning rate.
        return Mock(replay=lambda: step(inputs)), inputs


# Curricula change with every epoch; MLKD has none and meets the lower rate of epoch 3.
@pytest.mark.parametrize(("members", "captures"), [(["alone", "kd", "dkd_ls", "ctkd"], 3), (["mlkd"], 2)])
def test_replayed_steps_are_the_steps(members: list[str], captures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "epochs": 3,
        "milestones": [2],
        "batch_size": 32,
        "data": {"train_size": 300, "test_size": 100},  # nine batches of 32 and one of 12
        "members.mlkd": {"method": "mlkd", "temperature": 2.0, "kd_weight": 9.0, "standardize": True},
        "members.dkd_ls.warmup": 20,
    }

    def trained(graph: StepGraph | None) -> dict[str, Any]:
        torch.manual_seed(0)
        made = cohort(members, settings=settings)
        if graph is not None:
            made.graph = graph
            monkeypatch.setattr(made, "_side_by_side", made._on_device)
        made.run(window=1)
        return results(made)

    plain = trained(StepGraph(CPU, enabled=False))
    replayed = Replayed(CPU)
    assert trained(replayed) == plain
    assert replayed.captures == captures  # and the small batch would be warm from epoch 4 on
    side = trained(None)
    for name, (_, history) in side.items():  # the teacher saw other batch sizes: rounding
        assert history[-1]["train_loss"] == pytest.approx(plain[name][1][-1]["train_loss"], rel=1e-3)


def draw(step: int, size: int = 4) -> BatchIndex:
    return BatchIndex(epoch=1, step=step, index=torch.full((size,), step), view=torch.full((size,), -step))


def test_a_graph_is_made_after_the_warm_up_and_anew_when_a_constant_changes() -> None:
    seen: list[tuple[int, int]] = []
    replayed = Replayed(CPU)

    def step(given: BatchIndex) -> None:
        seen.append((int(given.step), int(given.index[0])))

    for number in range(6):
        replayed(step, draw(number), "first")
    assert replayed.captures == 1
    replayed(step, draw(6), "second")
    assert replayed.captures == 2
    replayed(step, draw(7, size=3), "second")  # another shape is warmed up by itself
    assert replayed.captures == 2
    assert seen == [(n, n) for n in range(8)]
    assert WARM_UP == 3
    off = Replayed(CPU, enabled=False)
    for number in range(8, 14):
        off(step, draw(number), "same")
    assert (off.captures, seen[8:]) == (0, [(n, n) for n in range(8, 14)])


def test_a_step_that_cannot_be_captured_goes_on_kernel_by_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> object:
        raise RuntimeError("operation not permitted when stream is capturing\nand more lines")

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    made, seen = graph.StepGraph(CPU), []
    for number in range(WARM_UP + 2):
        made(lambda given: seen.append(given.step), draw(number), "same")
    assert seen == list(range(WARM_UP + 2))
    assert made.refused == "operation not permitted when stream is capturing"


class Wrong(Replayed):
    """Replays the first batch for ever: what a graph does that does not see new inputs."""

    def __call__(self, step: Callable[[BatchIndex], None], draw: BatchIndex, constants: object) -> None:
        self.first = getattr(self, "first", draw) if self.enabled else draw
        super().__call__(step, self.first, constants)


class Refused(StepGraph):
    def _capture(self, step: Callable[[BatchIndex], None], draw: BatchIndex) -> Any:
        raise RuntimeError("out of memory\nand more lines")


@pytest.mark.parametrize(
    ("stand_in", "why"), [(Replayed, None), (Wrong, "of their change away from"), (Refused, "out of memory")]
)
def test_a_piece_that_fails_or_deviates_is_switched_off(
    stand_in: type[StepGraph], why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cohort, "_side_by_side", Cohort._on_device)
    monkeypatch.setattr("lskd.trainer.cohort.StepGraph", stand_in)
    torch.manual_seed(0)
    made = cohort(["kd_ls", "alone"], settings=SETTINGS | {"epochs": 3, "milestones": [2]})
    train = proof.short_training(made.recipe, made.dataset, made.teacher, CPU)
    proved, off = proof.prove(Execution("cuda", graph=True), train)
    assert (proved.graph, set(off)) == (why is None, set() if why is None else {"graph"})
    assert (why or "") in off.get("graph", "")


def test_pieces_are_proved_one_upon_the_other_and_what_is_not_finite_is_wrong() -> None:
    tried = []

    def train(how: Execution) -> Any:
        tried.append(how)
        if how.fused:
            raise RuntimeError("no such kernel")
        end = torch.tensor([float("nan") if how.streams else 1.0 + 0.05 * (how.precision == "tf32")])
        return {"kd": torch.zeros(1)}, {"kd": end}

    proved, off = proof.prove(Execution("cuda", "tf32", True, True, True), train)
    assert proved == Execution("cuda", "tf32", graph=True)
    assert off["fused"] == "no such kernel"
    assert "inf of their change" in off["streams"]
    assert tried[-1] == proved  # the graph was tried in tf32, without what had been switched off
    assert proof.prove(Execution("cuda"), train)[1] == {}
