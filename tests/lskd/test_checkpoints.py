"""Weights on disk: what is written comes back, damage is found, published nestings open, nothing runs code."""

from __future__ import annotations

import json
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lskd.errors import LskdError
from lskd.models import CheckpointError, create_model, load_checkpoint, save_checkpoint, state_digest


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "resnet8.safetensors"
    torch.manual_seed(0)
    model, other = create_model("resnet8"), create_model("resnet8")
    model(torch.randn(4, 3, 16, 16))  # moves the running statistics
    save_checkpoint(model, path)
    assert not equal(model, other)
    load_checkpoint(other, path)
    assert equal(model, other)
    save_checkpoint(model.state_dict(), str(tmp_path / "again.safetensors"))
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["resnet8.safetensors"]  # no temporary file is left


def test_safetensors_reads_own_files(tmp_path: Path) -> None:
    state = {
        "b": torch.arange(6).view(2, 3),
        "a": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]),
        "wide": torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=torch.channels_last),
    }
    save_checkpoint(state, tmp_path / "all.safetensors")
    with safe_open(str(tmp_path / "all.safetensors"), framework="pt") as file:
        assert file.metadata() == {"format": "pt", "writer": "lskd", "lskd_sha256": state_digest(state)}
        assert sorted(file.keys()) == sorted(state)
        for name, tensor in state.items():
            assert file.get_tensor(name).dtype == tensor.dtype
            assert torch.equal(file.get_tensor(name), tensor)


def test_digest_is_of_names_types_shapes_and_values() -> None:
    state = {"a": torch.randn(2, 3, 4, 4), "b": torch.arange(4)}
    digest = state_digest(state)
    assert len(digest) == 64
    assert digest == state_digest(dict(reversed(state.items())))
    assert digest == state_digest({**state, "a": state["a"].to(memory_format=torch.channels_last)})
    assert digest == state_digest({**state, "a": state["a"].transpose(0, 1).contiguous().transpose(0, 1)})
    changed = state["a"].clone()
    changed[1, 2, 3, 3] += 1e-6
    for other in (
        {**state, "a": changed},
        {"A": state["a"], "b": state["b"]},
        {**state, "b": state["b"].int()},
        {**state, "b": state["b"].view(2, 2)},
        {"a": state["a"]},
    ):
        assert state_digest(other) != digest


def test_saving_refuses_what_it_cannot_keep(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights\.pth: weights are written as \.safetensors"):
        save_checkpoint(small(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"a is torch\.complex64"):
        save_checkpoint({"a": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_write_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(small(0), path)
    before = path.read_bytes()
    calls = []

    def fails(tensor: torch.Tensor) -> memoryview:
        calls.append(tensor)
        if len(calls) > 12:  # after the digest, in the middle of the tensors
            raise OSError("disk full")
        return original(tensor)

    import lskd.models.checkpoints as checkpoints

    original = checkpoints._bytes
    monkeypatch.setattr(checkpoints, "_bytes", fails)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(small(1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80, 0xFF])
def test_any_changed_byte_is_found(tmp_path: Path, change: int) -> None:
    path, model = tmp_path / "a.safetensors", small(0)
    save_checkpoint(small(1), path)
    whole = path.read_bytes()
    before = state_digest(model.state_dict())
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= change
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_checkpoint(model, path)
    assert state_digest(model.state_dict()) == before
    path.write_bytes(whole)
    load_checkpoint(model, path)


def test_changed_value_is_named_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "resnet8.safetensors"
    save_checkpoint(create_model("resnet8"), path)
    damaged = bytearray(path.read_bytes())
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(LskdError, match=r"resnet8\.safetensors: its sha256 differs from .* \(file damaged\); get it"):
        load_checkpoint(create_model("resnet8"), path)


def test_spaces_after_the_header_count_too(tmp_path: Path) -> None:
    path, model = tmp_path / "a.safetensors", small()
    save_checkpoint(model, path)
    whole = path.read_bytes()
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    header = whole[8:end].rstrip()
    for extra in (b"\n", b"\t"):
        text = header + extra * (-len(header) % 8 or 8)
        path.write_bytes(struct.pack("<Q", len(text)) + text + whole[end:])
        with pytest.raises(CheckpointError, match="sha256 differs"):
            load_checkpoint(model, path)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "legacy.pth"])
def test_truncated_files_are_errors(tmp_path: Path, kind: str) -> None:
    path, model = tmp_path / f"a.{kind}", small()
    if kind == "safetensors":
        save_checkpoint(small(1), path)
    else:
        torch.save(small(1).state_dict(), path, _use_new_zipfile_serialization=kind == "pth")
    whole = path.read_bytes()
    load_checkpoint(model, path)
    for kept in (0, 1, 7, 8, 20, len(whole) // 3, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(CheckpointError, match=rf"{path.name}: .*(damaged|truncated)"):
            load_checkpoint(model, path)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_malicious_pickle_is_refused(tmp_path: Path, form: str) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"model": small().state_dict(), "extra": Evil(mark)}
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"evil\.pth: refused, .*could run code.*; save the state dict alone"):
        load_checkpoint(small(), path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if form != "plain" else pickle.loads(path.read_bytes())
    assert mark.exists()  # the file is as dangerous as it claims


STATE = dict(small(1).state_dict())
PREFIXED = {f"module.{key}": value for key, value in STATE.items()}
DISTILLER = {
    **{f"module.student.{key}": value for key, value in STATE.items()},
    **{f"module.teacher.{key}": torch.zeros(1) for key in STATE},
    "module.temperature": torch.ones(1),
}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        PREFIXED,
        {f"_orig_mod.{key}": value for key, value in STATE.items()},
        {f"_orig_mod.module.{key}": value for key, value in STATE.items()},
        {"epoch": 240, "model": STATE, "accuracy": torch.tensor(72.3), "optimizer": {"state": {}, "param_groups": []}},
        {"state_dict": PREFIXED, "arch": "x", "best_acc1": 71.2},
        {"model_state": STATE, "cfg": "text", "epoch": 3},
        {"model": {"state_dict": STATE}},
        {"model": DISTILLER, "best_acc": 70.0},
        {f"student.{key}": value for key, value in STATE.items()},
        {f"student.module.{key}": value for key, value in STATE.items()},
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_published_nestings_open(tmp_path: Path, content: dict[str, Any], legacy: bool) -> None:
    path, model = tmp_path / "published.pth", small(0)
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    load_checkpoint(model, path)
    assert equal(model, small(1))


def test_names_that_begin_like_a_nesting_are_left_alone(tmp_path: Path) -> None:
    model = create_model("imagenet/MobileNetV1", 3)  # its keys begin with "model."
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "a.pth"
    )
    other = create_model("imagenet/MobileNetV1", 3)
    load_checkpoint(other, tmp_path / "a.pth")
    assert equal(model, other)


def test_foreign_safetensors_open(tmp_path: Path) -> None:
    path, model = tmp_path / "foreign.safetensors", small(0)
    save_file(PREFIXED, str(path), metadata={"format": "pt"})
    load_checkpoint(model, path)
    assert equal(model, small(1))


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


def test_weights_of_another_network_are_described(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(create_model("resnet14", 10), path)
    model = create_model("resnet8x4")
    before = state_digest(model.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, path)
    message = str(caught.value)
    assert "a.safetensors: not weights of this ResNet with 62 entries" in message
    assert "6 missing (layer1.0.downsample.0.weight; " in message
    assert "36 unexpected (" in message
    assert "; ...)" in message
    assert "conv1.weight is [16, 3, 3, 3], expected [32, 3, 3, 3]" in message
    assert "number of classes" in message
    assert state_digest(model.state_dict()) == before


def test_another_number_of_classes_names_the_classifier(tmp_path: Path) -> None:
    save_checkpoint(create_model("resnet8", 10), tmp_path / "a.safetensors")
    with pytest.raises(
        CheckpointError, match=r"2 of another shape \(fc.weight is \[10, 64\], expected \[100, 64\]; fc"
    ):
        load_checkpoint(create_model("resnet8"), tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list, expected a dictionary of tensors"),
        ({}, "holds dict, expected a dictionary of tensors"),
        (torch.zeros(3), "holds Tensor"),
        ({"epoch": 3, "weight": torch.zeros(3)}, r"found epoch \(int\)"),
        ({1: torch.zeros(3)}, "found unnamed entries"),
    ],
)
def test_other_content_is_described(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(small(), tmp_path / "a.pth")


def test_missing_file(tmp_path: Path) -> None:
    for name in ("a.pth", "a.safetensors"):
        with pytest.raises(FileNotFoundError, match=rf"{name}: no such file of weights"):
            load_checkpoint(small(), tmp_path / name)


def test_header_is_plain_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(small(), path)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    offsets = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    assert [begin for begin, _ in offsets] == [0, *(end for _, end in offsets[:-1])]
    assert 8 + length + offsets[-1][1] == len(data)
