"""Weights into networks: found wherever they lie, when there is one way to mean it."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_weights import equal, small, write
from torch import nn

from lskd.errors import LskdError
from lskd.models import CheckpointError, create_model, load_checkpoint, save_checkpoint, state_digest
from lskd.models.checkpoints import load_torchvision
from lskd.torchvision import import_torchvision

# --- where weights lie -----------------------------------------------------------------------------------------------

STATE = dict(small(1).state_dict())
KEYS = ["model", "net", "network", "state_dict", "model_state_dict", "model_state", "module", "weights", "student"]
PREFIXES = ["module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.backbone.", "student.", "any_name."]
BESIDE: dict[str, Any] = {
    "epoch": 240,
    "acc": 93.1,
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    "arch": "x",
    "hyper_parameters": {"lr": 0.1},
    "best": torch.tensor(72.3),
}


def profiled(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)}


@settings(max_examples=80)
@given(
    nesting=st.lists(st.sampled_from([*KEYS, 0]), max_size=3),
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3),
    beside=st.sets(st.sampled_from(sorted(BESIDE))),
    part=st.sampled_from(["", "module.", "_orig_mod."]),
    profile=st.booleans(),
    container=st.sampled_from([dict, OrderedDict]),
    form=st.sampled_from(["zip", "legacy"]),
)
def test_weights_are_found_in_any_nesting_under_any_prefix(
    nesting: list[Any], prefixes: list[str], beside: set[str], part: str, profile: bool, container: Any, form: str
) -> None:
    state = {f"0.{part}{k.removeprefix('0.')}" if k.startswith("0.") else k: v for k, v in STATE.items()}
    state = {"".join(prefixes) + key: value for key, value in (profiled(state) if profile else state).items()}
    content: Any = container(state)
    for key in reversed(nesting):
        content = [content] if key == 0 else container({key: content, **{k: BESIDE[k] for k in sorted(beside)}})
    model = small(0)
    with tempfile.TemporaryDirectory() as folder:
        write(content, Path(folder, "a.pth"), form)
        load_checkpoint(model, f"{folder}/a.pth")
    assert equal(model, small(1))


DISTILLER = {
    **{f"module.student.{key}": value for key, value in STATE.items()},
    **{f"module.teacher.{key}": torch.zeros_like(value) for key, value in STATE.items()},
    "module.temperature": torch.ones(1),
}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (STATE, ""),
        ({"epoch": 3, **STATE}, ""),
        ({"model": DISTILLER, "best_acc": 70.0}, "model.student"),
        ({"student": STATE, "teacher": small(2).state_dict()}, "student"),
        ({"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in STATE.items()}}, ""),
        ({"model_ema": STATE}, "model_ema"),
        ({"a": STATE, "b": dict(STATE)}, "a"),
        ({"net": small(1), "acc": 70.0}, "net"),
        (small(1), ""),
        (nn.DataParallel(small(1)), ""),
        ({"model.criterion.weight": torch.ones(2), **{f"model.{k}": v for k, v in STATE.items()}} | {}, None),
        ({"criterion.weight": torch.ones(2), **{f"model.{k}": v for k, v in STATE.items()}}, "model"),
        ({f"1{k}": v for k, v in STATE.items()}, None),
    ],
)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_there_is_one_way_to_mean_it(tmp_path: Path, content: Any, place: str | None, form: str) -> None:
    path, model = tmp_path / "published.pth", small(0)
    write(content, path, form)
    if place is None:
        with pytest.raises(CheckpointError, match="not weights of this Sequential"):
            load_checkpoint(model, path)
        assert equal(model, small(0))
    else:
        assert load_checkpoint(model, path) == load_checkpoint(model, f"{path}#module.{place}") == place
        assert equal(model, small(1))


def test_averaged_copies_are_mentioned_and_can_be_chosen(tmp_path: Path) -> None:
    path, model = tmp_path / "timm.pth.tar", small(0)
    torch.save({"state_dict": STATE, "state_dict_ema": small(2).state_dict(), "arch": "x"}, path)
    with pytest.warns(UserWarning, match=r"took state_dict; averaged ones are .*timm\.pth\.tar#state_dict_ema$"):
        load_checkpoint(model, path)
    assert equal(model, small(1))
    assert load_checkpoint(model, f"{path}#state_dict_ema") == "state_dict_ema"
    assert equal(model, small(2))
    with pytest.raises(CheckpointError, match=r"under 'ema'; there are .*#state_dict; .*#state_dict_ema"):
        load_checkpoint(model, f"{path}#ema")


def test_what_could_be_two_things_is_not_guessed(tmp_path: Path) -> None:
    path, model = tmp_path / "two.pth", small(0)
    torch.save({"last": STATE, "best": small(2).state_dict()}, path)
    with pytest.raises(CheckpointError, match=r"more than once; choose one: .*two\.pth#last; .*two\.pth#best"):
        load_checkpoint(model, path)
    assert equal(model, small(0))
    load_checkpoint(model, f"{path}#best")
    assert equal(model, small(2))


def test_content_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": STATE}
    content["self"] = content
    wide: Any = []
    for _ in range(60):
        wide = [wide, wide]
    torch.save(content | {"wide": wide}, tmp_path / "a.pth")
    assert load_checkpoint(small(0), tmp_path / "a.pth") == "model"


def test_names_that_begin_like_a_nesting_are_left_alone(tmp_path: Path) -> None:
    model, other = (create_model("imagenet/MobileNetV1", 3) for _ in range(2))  # its keys begin with "model."
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    load_checkpoint(other, tmp_path / "a.pth")
    assert equal(model, other)


def test_step_counters_may_be_absent_altogether_only(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({key: value for key, value in STATE.items() if "num_batches" not in key}, path)
    model = small(0)
    load_checkpoint(model, path)
    assert torch.equal(model[1].running_var, STATE["1.running_var"])
    resnet = create_model("resnet8").state_dict()
    del resnet["bn1.num_batches_tracked"]
    torch.save(resnet, path)
    with pytest.raises(CheckpointError, match=r"1 missing \(bn1.num_batches_tracked\)"):
        load_checkpoint(create_model("resnet8"), path)


# --- what is no weights, or not these --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classes", "channels", "message"),
    [
        ("resnet14", 10, 3, r"a\.safetensors: not weights of this ResNet with 62 entries"),
        ("resnet14", 10, 3, r"6 missing \(layer1\.0\.downsample\.0\.weight; .*; \.\.\.\)"),
        ("resnet14", 10, 3, r"36 unexpected \("),
        ("resnet8x4", 10, 3, r"tells 10 classes apart, this one 100 \(fc\.bias.*num_classes=10"),
        ("resnet8x4", 10, 3, r"set teacher\.recipe"),
        (
            "resnet8x4",
            100,
            4,
            r"1 of 62 have another shape or type \(conv1\.weight is float32 \[32, 3, 3, 3\], expected",
        ),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: torch.full_like(v, math.nan), r"not finite \(NaN or infinite\) in 1 of 7 \(0\.weight\)"),
        (lambda v: torch.full_like(v, 1e300, dtype=torch.float64), r"not finite .* in 1 of 7"),
        (lambda v: torch.full_like(v, math.nan).to(torch.float8_e4m3fn), r"not finite .* in 1 of 7"),
        (lambda v: v.to(torch.int8), r"0\.weight is int8 .*, expected float32"),
        (lambda v: v.to(torch.complex64), r"0\.weight is complex64 .*, expected float32"),
    ],
)
def test_values_that_cannot_be_weights_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    model = small(0)
    torch.save({**STATE, "0.weight": change(STATE["0.weight"])}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(model, tmp_path / "a.pth")
    assert equal(model, small(0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
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
def test_other_content_is_described(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(small(), tmp_path / "a.pth")


# --- weights of torchvision ------------------------------------------------------------------------------------------


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
