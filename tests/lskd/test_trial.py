"""Networks are tried before training: what would end a run is said first, what can be held is held to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import CPU

from lskd.data.dataset import Dataset
from lskd.errors import LskdError
from lskd.models import state_digest
from lskd.trainer import run
from lskd.trainer.log import Log
from lskd.trainer.trial import enough_memory, try_network

CODE = """
import types

import numpy as np
import torch
from torch import nn


def images():
    rng = np.random.default_rng(0)
    return tuple([(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), i % 3) for i in range(n)] for n in (9, 6))


class Plain(nn.Module):
    def __init__(self, num_classes, channels=3):
        super().__init__()
        self.stem, self.fc = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4, num_classes)

    def features(self, x):
        return torch.relu(self.stem(x)).mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


class Buffers(Plain):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("whole", torch.zeros(4))
        self.register_buffer("part", self.whole[1:3])
        self.register_buffer("turned", torch.ones(2, dtype=torch.complex64))
        self.register_buffer("alike", torch.zeros(1).expand(4))
        self.register_buffer("none", torch.zeros(0, 3))
        self.count = torch.zeros(())

    def features(self, x):
        if self.training:
            self.part += 0.1
            self.turned *= 1j
            self.count += 1
        return super().features(x) + self.whole + self.turned.real.sum() + self.count + self.alike

    def get_extra_state(self):
        return self.count

    def set_extra_state(self, state):
        self.count = state


class Hidden(Plain):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def features(self, x):
        self.seen += self.training
        return super().features(x)


def having(**methods):
    return type("Changed", (Plain,), methods)


def gives(change):
    return having(forward=lambda self, x: change(self, Plain.forward(self, x)))


def full(self, x):
    if len(x) > 2:
        raise torch.OutOfMemoryError("out of memory. Tried to allocate 20 MiB.\\nmore")
    return Plain.forward(self, x)


def in_place(self, y):
    y = torch.sigmoid(y)
    y += y * y
    return y.exp_()


Auxiliary = gives(lambda self, y: (y, y.detach()) if self.training else y)
Output = gives(lambda self, y: types.SimpleNamespace(logits=y))
Dictionary = gives(lambda self, y: {"logits": y})
Answers = gives(lambda self, y: y.argmax(1))
Frozen = gives(lambda self, y: y.detach())
Softmax = gives(lambda self, y: y.softmax(1))
Dropout = gives(lambda self, y: nn.functional.dropout(y, 0.5, self.training))
InPlace = gives(in_place)
Full = having(forward=full)
Centring = having(forward=lambda self, x: Plain.forward(self, x.sub_(0.5)))
Extra = having(get_extra_state=lambda self: {"step": 3}, set_extra_state=lambda self, state: None)
Strict = having(load_state_dict=lambda self, s: Plain.load_state_dict(self, {k: 2 * v for k, v in s.items()}))
Swapped = having(forward_with_features=lambda self, x: (self(x), self.features(x)))
Alone = having(forward_with_features=lambda self, x: self(x))
ONE = Plain(3)
one = lambda num_classes: ONE
ten = lambda num_classes: Plain(10)
grey = lambda num_classes: Plain(num_classes, channels=1)


def made(change):
    def network(num_classes):
        made = Plain(num_classes)
        change(made)
        return made

    return network


def tie(network):
    network.block = network.again = nn.Linear(4, 4)
    network.third = nn.Linear(4, 4)
    network.third.weight = network.block.weight
    network.fc = nn.Sequential(network.block, network.again, network.third, network.fc)


Tied = made(tie)
Unused = made(lambda network: network.add_module("other", nn.Linear(7, 7)))
Flat = made(lambda network: network.add_module("fc", nn.Sequential(nn.BatchNorm1d(4), network.fc)))
Wide = made(lambda network: network.register_buffer("turned", torch.ones(2, dtype=torch.complex128)))
lazy = made(lambda network: network.add_module("fc", nn.LazyLinear(3)))
"""
RECIPE = """
dataset = "mine.py:images"
student = "mine.py:Plain"
epochs = 2
batch_size = 4
learning_rate = 0.05

[members.one]
method = "plain"
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "own.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(out: str, network: str, **settings: Any) -> dict[str, Any]:
    chosen = {"student": f"mine.py:{network}", "batch_size": 3, **settings}
    return run.train("own.toml", out, settings=chosen, progress=False, runs="runs", device="cpu")


TEACHER = {"teacher.network": "resnet8", "teacher.checkpoint": "absent.pth"}
KD = {"members.one.method": "kd", "members.one.temperature": 2.0, "members.one.kd_weight": 1.0}
REFUSED = {
    "Auxiliary": r"'mine.py:Auxiliary' in training mode: gives a tuple of 2 .*expected logits \[2, 3\]: return",
    "Output": r"in eval mode: gives an object of type SimpleNamespace",
    "Dictionary": r"gives a dict with logits",
    "Answers": r"gives int64 \[2\]",
    "Frozen": r"its logits do not depend on anything that can be trained",
    "Softmax": r"gives probabilities; expected logits: leave its softmax out",
    "Centring": r"changes its images in place",
    "grey": r"does not take images \[2, 3, 8, 8\] \(batch, channels, .*1 channels, but got 3",
    "ten": r"gives float32 \[2, 10\] .*the data has 3 classes",
    "Extra": r"'mine.py:Extra': _extra_state is dict, which a file of weights cannot hold",
    "Wide": r"turned is Tensor \(strided, complex128, cpu\), which a file of weights cannot hold",
    "Hidden": r"seen changes while it trains and is not in its state dict",
    "Strict": r"comes back changed",
    "lazy": r"fc\.weight gets its size from a first batch",
    "Swapped": r"forward_with_features gives \(logits, features\); return \(features, logits\)",
    "Alone": r"forward_with_features: gives float32 \[3\] .*expected logits \[2, 3\]: return \(features, logits\)",
    "InPlace": r"no gradient passes through it: RuntimeError.*inplace",
}


@pytest.mark.parametrize("network", REFUSED)
def test_what_would_end_a_run_is_said_before_it(here: Path, network: str) -> None:
    with pytest.raises(LskdError, match=rf"^student .*{REFUSED[network]}"):
        train("out", network)
    assert not (here / "out").exists()


@pytest.mark.parametrize("network", ["Output", "grey", "Extra", "ten"])
def test_a_teacher_is_tried_before_it_is_loaded_or_trained(here: Path, network: str) -> None:
    teacher = TEACHER | KD | {"teacher.network": f"mine.py:{network}"}
    with pytest.raises(LskdError, match=rf"^teacher 'mine.py:{network}'"):
        train("out", "Plain", **teacher)
    assert not (here / "out").exists()
    with pytest.raises(LskdError, match=r"absent\.pth: no such file"):  # what it does in training is nobody's business
        train("out", "Plain", **{**teacher, "teacher.network": "mine.py:Auxiliary"})


def test_a_last_batch_of_one_is_known_from_the_sizes_and_random_numbers_stay_as_they_were(here: Path) -> None:
    with pytest.raises(LskdError, match=r"trained on one image.*batch_size.*optimization\.drop_last_batch"):
        train("out", "Flat", batch_size=4)  # of 9 images
    assert not (here / "out").exists()
    train("plain", "Plain", batch_size=4)
    train("dropped", "Flat", batch_size=4, **{"optimization.drop_last_batch": True})
    with pytest.raises(LskdError, match="one image"):  # one that comes with the project
        try_network("resnet8", role="s", classes=3, image_shape=(3, 4, 4), device=CPU, smallest=1)
    with pytest.raises(LskdError, match=r"network 'mine\.py:one' returned the same network twice"):
        train("out", "one")  # it is made anew for every member
    before = torch.get_rng_state()
    try_network("resnet8", role="student", classes=3, image_shape=(3, 8, 8), device=CPU, smallest=4)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("network", ["Tied", "Buffers", "Unused", "Dropout"])
def test_odd_states_train_resume_to_the_bit_and_end_with_weights(
    here: Path, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("whole", network)

    def interrupted(log: Log, histories: dict[str, Any]) -> None:
        if any(histories.values()):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Log, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train("stopped", network)
    assert [path.name for path in (here / "stopped" / "checkpoints").iterdir()] == ["step-00000003"]
    resumed = train("stopped", network)
    assert resumed["sessions"] == 2
    assert resumed["members"]["one"]["weights"]["digest"] == whole["members"]["one"]["weights"]["digest"]
    assert (here / "stopped" / "one.safetensors").read_bytes() == (here / "whole" / "one.safetensors").read_bytes()


def test_weights_of_named_epochs_are_kept(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LskdError, match=r"--keep-epochs 1,3: '3' is no epoch from 1 to 2"):
        run.train("own.toml", "out", progress=False, device="cpu", keep_epochs="1,3")
    assert not (here / "out").exists()
    record = run.train("own.toml", "out", progress=False, device="cpu", keep_epochs="1, 2")
    first, last = (state_digest(load_file(here / "out" / f"one.epoch-{epoch}.safetensors")) for epoch in (1, 2))
    assert last == record["members"]["one"]["weights"]["digest"] != first
    (here / "out" / "one.epoch-1.safetensors").unlink()
    run.train("own.toml", "out", device="cpu", keep_epochs="1,2")
    assert "epoch 1 was over before its weights were asked for\n" in capfd.readouterr().err
    run.train("own.toml", "flat", device="cpu", settings={"milestones": [1, 2, 9]})
    assert "own: the learning rate does not fall at milestones 2, 9, it ends at 2;" in capfd.readouterr().err


def test_the_end_of_memory_is_a_sentence(here: Path) -> None:
    with pytest.raises(LskdError, match=r"recipe own: the memory of cpu is at its end \(out of memory.*MiB\.\)"):
        train("out", "Full")
    for error in (
        MemoryError("x"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: out of memory"),
    ):
        with pytest.raises(LskdError, match=r"^one: the memory of cpu"), enough_memory("one", CPU):
            raise error
    with pytest.raises(RuntimeError, match="another"), enough_memory("one", CPU):
        raise RuntimeError("another")


def test_no_teacher_is_sought_where_no_member_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    record = train("out", "Plain", **TEACHER)
    assert record["teacher"] is None
    assert record["config"]["teacher"]["network"] == "resnet8"
    with pytest.raises(LskdError, match=r"no member that needs a teacher"):
        run.build_table("own.toml", settings={"student": "mine.py:Plain", **TEACHER}, options=run.Options(device="cpu"))
    monkeypatch.setattr(Dataset, "view_count", None)
    taught = {"student": "mine.py:Plain", **TEACHER, **KD}
    with pytest.raises(LskdError, match="more views than a table can hold"):
        run.build_table("own.toml", settings=taught, options=run.Options(device="cpu"))
    with pytest.raises(LskdError, match="more views than a table can hold"):  # also before the teacher is sought
        run.train("own.toml", "other", settings=TEACHER | KD, progress=False, device="cpu", teacher_logits="table")
