"""How steps are executed: lanes of threads, a stand-in for CUDA graphs, pieces that are proved, the speed."""

from __future__ import annotations

import contextlib
import copy
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from small_runs import CPU, DATA, SETTINGS, cohort, images, results
from torch import nn

from lskd.errors import LskdError
from lskd.models import model_info
from lskd.recipes import load_recipe
from lskd.trainer import graph, proof
from lskd.trainer import speed as module
from lskd.trainer.batches import BatchIndex
from lskd.trainer.cohort import Cohort
from lskd.trainer.cpu_threads import MemberThreads
from lskd.trainer.execution import Execution
from lskd.trainer.graph import WARM_UP, StepGraph
from lskd.trainer.options import select_device
from lskd.trainer.speed import product_rate, speed


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Conv2d(8, 16, 3, padding=1, groups=2), (4, 8, 9, 9)), (nn.Linear(32, 16), (4, 32))]
)
def test_emulated_bf16_rounds_operands_and_sums_and_nothing_between(layer: nn.Module, shape: tuple[int, ...]) -> None:
    def computed(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
        out = layer(x.requires_grad_())
        upstream = torch.arange(out.numel()).double().sin().bfloat16().to(out.dtype).view(out.shape)
        return [out, *torch.autograd.grad(out, [x, *layer.parameters()], upstream)]

    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = copy.deepcopy(layer).bfloat16().double()
    with Execution("cpu", "bf16", emulated=True).autocast():
        found = computed(layer, x.clone())
    assert [value.dtype for value in found[:2]] == [torch.bfloat16, torch.float32]
    for value, expected in zip(found, computed(exact, x.bfloat16().double()), strict=True):
        assert (value.bfloat16() != expected.bfloat16()).double().mean() < 0.02  # sums beside a limit of rounding
        assert (value.bfloat16() == value).all()


@pytest.mark.parametrize("most", [1, 3])
def test_units_of_a_job_keep_their_order_and_every_job_ends(most: int, three_threads: None) -> None:
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": [], "d": []}

    def job(name: str, units: int) -> Iterator[None]:
        for unit in range(units):
            seen[name].append(unit)
            yield

    with MemberThreads(most=most) as lanes:
        assert lanes.count == most
        lanes.run([job("a", 5), job("b", 0), job("c", 7), job("d", 2)])
    assert seen == {"a": list(range(5)), "b": [], "c": list(range(7)), "d": [0, 1]}


def test_jobs_run_side_by_side_with_the_threads_of_their_lanes(three_threads: None) -> None:
    meeting = threading.Barrier(3, timeout=20)  # broken when the three are not there at once
    found = []

    def job() -> Iterator[None]:
        meeting.wait()
        found.append(torch.get_num_threads())
        yield

    with MemberThreads(1) as lanes:
        lanes.run([job() for _ in range(3)])
        assert torch.get_num_threads() == 1
    assert found == [1, 1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("most", [1, 3])
def test_an_error_in_a_job_comes_out_and_the_lanes_close(most: int, three_threads: None) -> None:
    def job() -> Iterator[None]:
        yield
        raise ValueError("a unit went wrong")

    def endless() -> Iterator[None]:
        while True:
            yield

    with pytest.raises(ValueError, match="a unit went wrong"), MemberThreads(most=most) as lanes:
        lanes.run([endless(), job(), endless()])
    assert not [t for t in threading.enumerate() if t.name.startswith("lane")]


def test_bits_do_not_depend_on_the_number_of_lanes_or_the_window(three_threads: None) -> None:
    members: dict[str, Any] = {
        "one": {"method": "kd", "temperature": 2.0, "kd_weight": 9.0, "standardize": True},
        "two": {"method": "plain"},
        "three": {"method": "mlkd", "temperature": 4.0, "kd_weight": 0.9},
    }

    def trained(lanes: int, window: int) -> dict[str, Any]:
        torch.manual_seed(0)
        made = cohort(settings={"data": DATA, "epochs": 1, "milestones": [], "members": members})
        made.lanes = MemberThreads(made.recipe.threads, most=lanes)
        seen: list[int] = []
        made.run(after_step=lambda: seen.append(made.step), window=window)
        assert seen == ([5] if lanes > 1 and window > 64 else [1, 2, 3, 4, 5])
        return results(made)

    alone = trained(1, 512)
    assert trained(3, 512) == alone
    assert trained(3, 1) == alone


def test_the_teacher_takes_as_many_turns_as_a_member_or_it_goes_on_alone_at_the_end(three_threads: None) -> None:
    made = cohort()
    turns: list[int] = []

    def run(jobs: list[Iterator[None]], all_of_them: Any = made.lanes.run) -> None:
        taken: Counter[int] = Counter()

        def counted(number: int, job: Iterator[None]) -> Iterator[None]:
            for _ in job:
                taken[number] += 1
                yield

        all_of_them([counted(number, job) for number, job in enumerate(jobs)])
        turns.extend(taken.values())

    made.lanes.run = run  # type: ignore[method-assign]
    made.run(window=128)
    assert max(turns) == 2  # of 64 images each


# --- a stand-in for CUDA graphs; `benchmarks/gpu.py` checks the real ones --------------------------------------------


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
        "data": {"train_size": 150, "test_size": 100},  # four batches of 32 and one of 22
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
    @contextlib.contextmanager
    def capture(given: object) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    def step(given: BatchIndex) -> None:
        if isinstance(given.step, torch.Tensor):  # of a graph
            raise RuntimeError("operation not permitted when stream is capturing\nand more lines")
        seen.append(given.step)

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "before")
    monkeypatch.setattr(torch.cuda, "set_stream", back := Mock())
    made, seen = graph.StepGraph(CPU), []
    for number in range(WARM_UP + 2):
        made(step, draw(number), "same")
    assert seen == list(range(WARM_UP + 2))
    assert made.refused == "operation not permitted when stream is capturing"
    back.assert_called_once_with("before")


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


def test_what_dropout_draws_is_no_deviation(tmp_path: Path) -> None:
    network = "from torch import nn\n\ndef net(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Dropout(), "
    (tmp_path / "mine.py").write_text(network + "nn.Linear(192, num_classes))\n")
    settings = SETTINGS | {"student": f"{tmp_path / 'mine.py'}:net", "batch_size": 2}
    recipe = load_recipe("digit-pairs", settings=settings, members=["alone"])
    train = proof.short_training(recipe, images(100), None, CPU)
    before = torch.get_rng_state()
    assert proof.deviation(train(Execution()), train(Execution())) == 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_is_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, found in ((False, "no"), (True, "1")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(LskdError, match=f"device 'cuda:1': PyTorch finds {found} CUDA device here"):
            select_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "set_device", chosen := Mock())
    assert select_device("cuda:0").index == 0
    chosen.assert_called_once_with(torch.device("cuda:0"))  # where graphs are captured


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


# --- speed -----------------------------------------------------------------------------------------------------------


def data(images: int, side: int) -> Any:
    return types.SimpleNamespace(train_labels=[0] * images, image_shape=(3, side, side), classes=100)


def test_a_rate_counts_students_and_a_share_counts_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "product_rate", lambda device: 1e10)
    recipe = load_recipe("cifar100-resnet56-resnet20-short-30")
    assert len(recipe.members) == 4
    facts: Any = {
        "dataset": data(3000 // recipe.epochs, side=32),
        "seconds": 40.0,
        "device": CPU,
        "epochs": 4 * recipe.epochs,
    }
    student, teacher = (model_info(name, 100).multiply_adds for name in ("resnet20", "resnet56"))
    live = speed(recipe, live=True, **facts)
    assert live["student_images_per_s"] == 300.0
    assert live["share"] == pytest.approx(300 * (3 * student + teacher / 4) / 1e10)
    assert speed(recipe, live=False, **facts)["share"] == pytest.approx(300 * 3 * student / 1e10)

    recipe = load_recipe("digit-pairs")  # images of 16 pixels, networks whose cost is counted at 32
    found = speed(recipe, data(10, side=16), epochs=7, seconds=1.0, live=True, device=CPU)  # others stopped early
    assert found["share"] is None
    assert found["student_images_per_s"] == 70


def test_measuring_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    assert product_rate(CPU, size=32) > 0
    assert torch.equal(torch.get_rng_state(), before)
