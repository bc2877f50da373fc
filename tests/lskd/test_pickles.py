"""Pickles read as data: bookkeeping beside weights is let in, what would run something is refused by name."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import os
import pathlib
import pickle
import random
import shutil
import subprocess
import sys
import types
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lskd.models import CheckpointError, create_model, load_checkpoint


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


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


def schedulers() -> dict[str, Any]:
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    return {
        "cycle": torch.optim.lr_scheduler.OneCycleLR(sgd, 0.1, total_steps=4),
        "steps": torch.optim.lr_scheduler.MultiStepLR(sgd, [1, 2]),
        "optimizer": sgd,
        "class": torch.optim.SGD,
    }


BOOKKEEPING = [
    argparse.Namespace(lr=0.05, model="resnet8"),
    types.SimpleNamespace(a=1),
    np.float64(72.3),
    np.float32(1),
    np.arange(3),
    np.dtype("int16"),
    np.random.default_rng(0),
    np.random.RandomState(0).get_state(),
    random.getstate(),
    torch.get_rng_state(),
    Path("/tmp/x"),
    pathlib.PureWindowsPath("c:/x"),
    collections.defaultdict(list, a=[1]),
    collections.Counter("aab"),
    collections.deque([1, 2], 3),
    OrderedDict(a=1),
    {1, 2},
    frozenset({1}),
    slice(1, 2),
    range(3),
    1j,
    b"bytes",
    datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.5"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=3),
    functools.partial(int, base=2),
    torch.device("cpu"),
    torch.float16,
    torch.Size([1]),
    Phase.WARM,
    Config(),
    Options(a=Options(b=1)),
    Items([1, 2]),
    Point(1, 2),
    small(0).eval(),
    schedulers(),
    types.SimpleNamespace,
]


@pytest.mark.parametrize("value", BOOKKEEPING, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("form", ["zip", "legacy", "plain", "protocol 4"])
def test_bookkeeping_beside_weights_is_no_attack(tmp_path: Path, form: str, value: Any) -> None:
    path, model = tmp_path / "a.pth", create_model("resnet8", 2)
    content = {"first": value, "model": create_model("resnet8", 2).state_dict(), "list": [value, {"again": value}]}
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    elif form == "protocol 4":
        torch.save(content, path, pickle_protocol=4)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert load_checkpoint(model, path) == "model"
    assert all(torch.equal(v, content["model"][k]) for k, v in model.state_dict().items())


def test_nothing_that_a_file_names_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01cantigravity\nThing\nq\x02)\x81q\x03u.")
    with pytest.raises(CheckpointError, match=r"found a \(antigravity\.Thing\)"):
        load_checkpoint(small(), tmp_path / "a.pth")
    assert "antigravity" not in sys.modules


def touch(path: str) -> None:
    Path(path).touch()


class Evil:
    """Runs something when it is unpickled."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("form", ["zip", "legacy", "plain", "protocol 4"])
@pytest.mark.parametrize(
    ("call", "named"),
    [
        ((os.system, "touch {mark}"), r"(posix|nt)\.system\('touch .*ran'\)"),
        ((Path.touch, "{path}"), r"pathlib\.Path\.touch"),
        ((eval, "__import__('pathlib').Path({mark!r}).touch()"), r"builtins\.eval\("),
        ((exec, "import pathlib; pathlib.Path({mark!r}).touch()"), r"builtins\.exec\("),
        ((shutil.copyfile, __file__, "{mark}"), r"shutil\.copyfile\("),
        ((subprocess.Popen, "touch {mark}", -1, None, None, None, None, None, True, True), r"subprocess\.Popen\("),
        ((subprocess.check_output, ["touch", "{mark}"]), r"subprocess\.check_output\(list\)"),
        ((touch, "{mark}"), r"test_pickles\.touch\("),
        ((__import__, "antigravity"), r"builtins\.__import__\('antigravity'\)"),
        ((torch.save, 1, "{mark}"), r"torch\.serialization\.save\("),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_attack_is_refused_and_named(tmp_path: Path, form: str, call: tuple[Any, ...], named: str) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    told = [
        a.format(mark=str(mark), path="")
        if isinstance(a, str)
        else [x.format(mark=mark) for x in a]
        if isinstance(a, list)
        else a
        for a in call[1:]
    ]
    content = {"model": small().state_dict(), "extra": Evil(call[0], *[mark if a == "" else a for a in told])}
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    elif form == "protocol 4":
        torch.save(content, path, pickle_protocol=4)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=rf"evil\.pth: refused: to open it is to run .*{named}") as caught:
        load_checkpoint(small(), path)
    assert not mark.exists()
    assert "weights_only" not in str(caught.value)
    assert "safe_globals" not in str(caught.value)
    if call[0] not in (subprocess.Popen, __import__):
        pickle.loads(path.read_bytes()) if form == "plain" else torch.load(path, weights_only=False)
        assert mark.exists()  # the file is as dangerous as it claims
