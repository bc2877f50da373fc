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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_weights import FORMS, equal, small, write
from torch import nn
from torch.optim import lr_scheduler

from lskd.models import CheckpointError, load_checkpoint


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


ATTACKS: list[tuple[Callable[[Path], tuple[Any, ...]], str]] = [
    (lambda mark: (os.system, f"touch {mark}"), r"(posix|nt)\.system\('touch .*ran'\)"),
    (lambda mark: (Path.touch, mark), r"pathlib\.Path\.touch"),
    (lambda mark: (eval, f"__import__('pathlib').Path({str(mark)!r}).touch()"), r"builtins\.eval\("),
    (lambda mark: (exec, f"import pathlib; pathlib.Path({str(mark)!r}).touch()"), r"builtins\.exec\("),
    (lambda mark: (shutil.copyfile, __file__, str(mark)), r"shutil\.copyfile\("),
    (lambda mark: (subprocess.Popen, f"touch {mark}", -1, *[None] * 5, True, True), r"subprocess\.Popen\("),
    (lambda mark: (subprocess.check_output, ["touch", str(mark)]), r"subprocess\.check_output\(list\)"),
    (lambda mark: (touch, str(mark)), r"test_pickles\.touch\("),
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
    with pytest.raises(CheckpointError, match=rf"evil\.pth: refused: to open it is to run .*{named}"):
        load_checkpoint(small(), path)
    assert not mark.exists()
    if call[0] not in (subprocess.Popen, __import__):
        pickle.loads(path.read_bytes()) if form == "plain" else torch.load(path, weights_only=False)
        assert mark.exists()  # the file is as dangerous as it claims
