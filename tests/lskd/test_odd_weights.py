"""What is no file of weights, or of others, is called what it is; pickles are read as data."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import os
import pathlib
import pickle
import random
import shutil
import subprocess
import sys
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from test_weights import STATE, equal, refused, small, write
from torch import nn
from torch.optim import lr_scheduler

from lskd.errors import LskdError
from lskd.models import CheckpointError, create_model, load_checkpoint, save_checkpoint, state_digest
from lskd.models.checkpoints import load_torchvision
from lskd.torchvision import import_torchvision

# As PyTorch writes today and wrote before 1.6; as Python does.
FORMS = ("zip", "legacy", "plain", "protocol 4", "protocol 2")


MISSING = r"6 missing \(layer1\.0\.downsample\.0\.weight; .*; \.\.\.\), 36 unexpected \("


@pytest.mark.parametrize(
    ("name", "classes", "channels", "message"),
    [
        ("resnet14", 10, 3, r"a\.safetensors: not weights of this ResNet with 62 entries: " + MISSING),
        ("resnet8x4", 10, 3, r"tells 10 classes apart, this one 100 \(fc\.bias.*num_classes=10"),
        ("resnet8x4", 10, 3, r"set teacher\.recipe"),
        ("resnet8x4", 100, 4, r"1 of 62 have another shape or type \(conv1\.weight is float32 \[32, 3, 3, 3\], exp"),
    ],
)
def test_weights_of_another_network_are_described(
    tmp_path: Path, name: str, classes: int, channels: int, message: str
) -> None:
    save_checkpoint(create_model(name, classes), tmp_path / "a.safetensors")
    model = create_model("resnet8x4")
    model.conv1 = nn.Conv2d(channels, 32, 3, bias=False)
    before = state_digest(model.state_dict())
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(model, tmp_path / "a.safetensors")
    assert state_digest(model.state_dict()) == before


WEIGHT = STATE["0.weight"]
NANS = torch.full_like(WEIGHT, math.nan)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (STATE | {"0.weight": NANS}, r"not finite \(NaN or infinite\) in 1 of 7 \(0\.weight\)"),
        (STATE | {"0.weight": torch.full_like(WEIGHT, 1e300, dtype=torch.float64)}, r"not finite .* in 1 of 7"),
        (STATE | {"0.weight": NANS.to(torch.float8_e4m3fn)}, r"not finite .* in 1 of 7"),
        (STATE | {"0.weight": WEIGHT.to(torch.int8)}, r"0\.weight is int8 .*, expected float32"),
        (STATE | {"0.weight": WEIGHT.to(torch.complex64)}, r"0\.weight is complex64 .*, expected float32"),
        ({f"model.{k}": v for k, v in (STATE | {"criterion.weight": WEIGHT}).items()}, "weights of this Sequential"),
        ({f"1{k}": v for k, v in STATE.items()}, "not weights of this Sequential"),
        ([1, 2], "holds list, expected a dictionary of tensors"),
        ({}, "holds dict, expected a dictionary of tensors"),
        (torch.zeros(3), "holds Tensor"),
        (argparse.Namespace(a=1), "holds argparse.Namespace"),
        ({"epoch": 3, "wrong": torch.zeros(3)}, r"7 missing .*1 unexpected \(wrong\).*found epoch \(int\)"),
        ({"epoch": 3, "model": [1]}, r"found epoch \(int\); model \(list\)"),
        ({"weights": {"0.weight": np.zeros(3)}}, r"found weights \(dict\); .*arrays torch.from_numpy\(\) makes"),
        ({1: torch.zeros(3)}, r"7 missing .*1 unexpected \(1\)"),
    ],
)
def test_content_that_is_not_its_weights_is_described(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", message)


def test_weights_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = import_torchvision().models.ResNet34_Weights.IMAGENET1K_V1
    network, given_state = create_model("imagenet/ResNet34"), create_model("imagenet/ResNet34").state_dict()
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **options: given_state)
    load_torchvision(network, "imagenet/ResNet34", "IMAGENET1K_V1")
    assert torch.equal(network.state_dict()["fc.weight"], given_state["fc.weight"])
    monkeypatch.setattr(type(weights), "get_state_dict", Mock(side_effect=OSError("no network here")))
    for name, file, message in (
        ("imagenet/ResNet34", "IMAGENET1K_V9", "resnet34 has IMAGENET1K_V1"),
        ("resnet8", "IMAGENET1K_V1", "are for ImageNet ResNets, not for this network"),
        ("imagenet/ResNet34", "IMAGENET1K_V1", r"not in the cache .*no network here.*--set teacher.checkpoint=FILE"),
    ):
        with pytest.raises(LskdError, match=message):
            load_torchvision(network, name, file)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match=r"torchvision is not installed.*--no-deps torchvision=="):
        load_torchvision(network, "imagenet/ResNet34", "IMAGENET1K_V1")


class Phase(enum.Enum):
    WARM = 1


@dataclasses.dataclass
class Config:
    rate: float = 0.1


class Options(dict):  # type: ignore[type-arg]
    """As configurations of several frameworks are."""


class Items(list):  # type: ignore[type-arg]
    pass


Point = collections.namedtuple("Point", "x y")
SGD = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
BOOKKEEPING: dict[str, list[Any]] = {
    "options": [argparse.Namespace(lr=0.05), types.SimpleNamespace(a=1), types.SimpleNamespace, Config(), Phase.WARM],
    "classes": [Options(a=Options(b=1)), Items([1, 2]), Point(1, 2), functools.partial(int, base=2)],
    "containers": [{1, 2}, frozenset({1}), slice(1, 2), range(3), collections.OrderedDict(a=1), b"bytes", 1j],
    "collections": [collections.defaultdict(list, a=[1]), collections.Counter("aab"), collections.deque([1, 2], 3)],
    "numbers": [decimal.Decimal("1.5"), fractions.Fraction(1, 3), np.float64(72.3), np.float32(1), np.arange(3)],
    "numpy": [np.dtype("int16"), np.random.default_rng(0), np.random.RandomState(0).get_state()],
    "states": [random.getstate(), torch.get_rng_state(), torch.device("cpu"), torch.float16, torch.Size([1])],
    "dates": [datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(1), uuid.UUID(int=3)],
    "paths": [Path("/tmp/x"), pathlib.PureWindowsPath("c:/x")],
    "networks": [nn.Linear(2, 2), SGD, torch.optim.SGD],
    "schedules": [lr_scheduler.OneCycleLR(SGD, 0.1, total_steps=4), lr_scheduler.MultiStepLR(SGD, [1, 2])],
}


@pytest.mark.parametrize("kind", BOOKKEEPING)
@pytest.mark.parametrize("form", FORMS)
def test_bookkeeping_beside_weights_is_no_attack(tmp_path: Path, form: str, kind: str) -> None:
    path, model = tmp_path / "a.pth", small(0)
    for value in BOOKKEEPING[kind]:
        content = {"first": value, "model": small(1).state_dict(), "list": [value, {"again": value}]}
        write(content, path, form)
        assert load_checkpoint(model, path) == "model"
        assert equal(model, small(1))


def test_nothing_that_a_file_names_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01cantigravity\nThing\nq\x02)\x81q\x03u.")
    refused(tmp_path / "a.pth", r"found a \(antigravity\.Thing\)")
    assert "antigravity" not in sys.modules


def touch(path: str) -> None:
    Path(path).touch()


class Evil:
    """Runs something when it is unpickled."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


def test_files_are_read_where_pytorch_s_own_reader_is_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"model": STATE, "args": argparse.Namespace(a=1)}, tmp_path / "a.pth")
    torch.save(Evil(touch, str(tmp_path / "ran")), tmp_path / "b.pth")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    assert load_checkpoint(model := small(0), tmp_path / "a.pth") == "model"
    assert equal(model, small(1))
    refused(tmp_path / "b.pth", r"test_odd_weights\.touch\(")
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"


ATTACKS: list[tuple[Callable[[Path], tuple[Any, ...]], str]] = [
    (lambda mark: (os.system, f"touch {mark}"), r"(posix|nt)\.system\('touch .*ran'\)"),
    (lambda mark: (Path.touch, mark), r"pathlib\.Path\.touch"),
    (lambda mark: (eval, f"__import__('pathlib').Path({str(mark)!r}).touch()"), r"builtins\.eval\("),
    (lambda mark: (exec, f"import pathlib; pathlib.Path({str(mark)!r}).touch()"), r"builtins\.exec\("),
    (lambda mark: (shutil.copyfile, __file__, str(mark)), r"shutil\.copyfile\("),
    (lambda mark: (subprocess.Popen, f"touch {mark}", -1, *[None] * 5, True, True), r"subprocess\.Popen\("),
    (lambda mark: (subprocess.check_output, ["touch", str(mark)]), r"subprocess\.check_output\(list\)"),
    (lambda mark: (touch, str(mark)), r"test_odd_weights\.touch\("),
    (lambda mark: (__import__, "antigravity"), r"builtins\.__import__\('antigravity'\)"),
    (lambda mark: (torch.save, 1, str(mark)), r"torch\.serialization\.save\("),
    (lambda mark: (functools.partial(os.system), f"touch {mark}"), r"functools\.partial\('touch .*ran'\)"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("attack", "named"), ATTACKS)
def test_an_attack_is_refused_and_named(
    tmp_path: Path, form: str, attack: Callable[[Path], tuple[Any, ...]], named: str
) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    call = attack(mark)
    write({"model": small().state_dict(), "extra": Evil(*call)}, path, form)
    refused(path, rf"evil\.pth: refused: to open it is to run .*{named}")
    assert not mark.exists()
    if call[0] not in (subprocess.Popen, __import__):
        python = form in ("plain", "protocol 2")
        pickle.loads(path.read_bytes()) if python else torch.load(path, weights_only=False)
        assert mark.exists()  # the file is as dangerous as it claims
