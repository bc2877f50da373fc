"""Weights into networks: what is written comes back, what was written elsewhere is found."""

from __future__ import annotations

import gzip
import itertools
import pickle
import re
import tarfile
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lskd.models import CheckpointError, create_model, load_checkpoint, save_checkpoint, state_digest
from lskd.models.weight_files import read_weights


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def write(content: Any, path: Path, form: str) -> None:
    if form == "safetensors":
        save_checkpoint(content, path)
    elif form == "plain":
        path.write_bytes(pickle.dumps(content))
    elif form == "protocol 4":
        torch.save(content, path, pickle_protocol=4)
    elif form == "protocol 2":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")


STATE = dict(small(1).state_dict())


def refused(path: Path | str, message: str, kind: type[Exception] = CheckpointError) -> None:
    """A small network does not take the file, and stays as it was."""
    model = small(0)
    with pytest.raises(kind, match=message):
        load_checkpoint(model, path)
    assert equal(model, small(0))


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
    half = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_checkpoint(half, path)
    load_checkpoint(other, path)
    assert all(torch.equal(value, half[key].to(value.dtype)) for key, value in other.state_dict().items())


BASE = torch.arange(24.0).view(4, 6)
ODD: dict[str, Tensor] = {
    "b": torch.arange(6).view(2, 3),
    "a": torch.tensor(1.5),
    "empty": torch.zeros(0, 4),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flag": torch.tensor([True, False]),
    "wide": torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=torch.channels_last),
    "complex": torch.tensor([1 + 2j]),
    "parameter": nn.Parameter(torch.ones(2)),
    **{"shared": BASE, "again": BASE, "turned": BASE.t(), "part": BASE[1:3, ::2], "expanded": BASE[:1].expand(4, 6)},
}


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_views_and_odd_tensors_keep_their_values(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    write(ODD, path, form)
    found = read_weights(path)
    assert found.keys() == ODD.keys()
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in ODD.items())
    if form == "safetensors":
        with safe_open(str(path), framework="pt") as file:
            assert file.metadata() == {"lskd_sha256": state_digest(ODD)}


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


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(2, dtype=torch.complex128), "Tensor.*complex128"),
        (torch.zeros(2).to_sparse(), "Tensor.*sparse"),
        (torch.empty(2, device="meta"), "Tensor.*meta"),
        ({"step": 3}, "dict"),
        (None, "NoneType"),
    ],
)
def test_saving_refuses_what_it_cannot_keep(tmp_path: Path, value: Any, found: str) -> None:
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: a is (?=.*cannot hold){found}"):
        save_checkpoint({"a": value}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"weights\.pth: weights are written as \.safetensors"):
        save_checkpoint(small(), tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_fails_while_weights_are_read_is_no_matter_of_their_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "cpu", Mock(side_effect=RuntimeError("CUDA error: device-side assert")))
    with pytest.raises(RuntimeError, match="CUDA error: device-side assert"):
        save_checkpoint(small(), tmp_path / "a.safetensors")


def test_a_changed_byte_is_found_or_changes_no_weight(tmp_path: Path) -> None:
    path, model, saved, missed = tmp_path / "a.safetensors", small(0), small(1), 0
    save_checkpoint(saved, path)
    whole, before = path.read_bytes(), state_digest(model.state_dict())
    for position, change in zip(range(len(whole)), itertools.cycle((0x01, 0x20, 0x80, 0xFF)), strict=False):
        damaged = bytearray(whole)
        damaged[position] ^= change
        path.write_bytes(damaged)
        try:
            load_checkpoint(model, path)
        except CheckpointError:
            assert state_digest(model.state_dict()) == before
        else:
            assert equal(model, saved)
            model, missed = small(0), missed + 1
    assert missed < 20  # letters of the digest's key, or spaces


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_damaged_files_are_errors(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    write(STATE, path, form)
    whole = path.read_bytes()
    load_checkpoint(small(), path)
    for kept in (0, 1, 7, 8, 20, len(whole) // 3, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:kept])
        refused(path, rf"{path.name}: .*damaged")
    if form != "legacy":  # which has no checksum
        weight = STATE["0.weight"].numpy().tobytes()
        path.write_bytes(whole.replace(weight, weight[::-1]))
        refused(path, rf"{path.name}: (its sha256 differs .*\(file damaged\)|damaged.*checksum)")


@pytest.mark.parametrize("name", ["foreign.safetensors", "foreign.bin"])
def test_files_are_read_by_content_not_by_ending(tmp_path: Path, name: str) -> None:
    model = small(0)
    save_file({f"module.{k}": v for k, v in STATE.items()}, str(tmp_path / name), metadata={"format": "pt"})
    load_checkpoint(model, tmp_path / name)
    assert equal(model, small(1))
    torch.save(STATE, tmp_path / "pickle.safetensors")
    load_checkpoint(small(0), tmp_path / "pickle.safetensors")


def archive(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "cifar_teachers/resnet56_vanilla/ckpt_epoch_240.pth")


OTHER_FILES: dict[str, Any] = {
    "page": b"\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "text": b"Not Found: the file is not here\n",
    "json": b'{"error": "rate limit exceeded"}',
    "gz": gzip.compress(b"x" * 99),
    "tar": archive,
    "zip": lambda path: zipfile.ZipFile(path, "w").writestr("readme.txt", "x"),
    "npy": b"\x93NUMPY\x01\x00v\x00{}",
    "noise": bytes(range(1, 200)),
    "script": lambda path: torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path),
    "folder": lambda path: path.mkdir(),
}
NAMED = {"script": "a TorchScript program", "folder": "a folder; name a file"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_files_are_called_what_they_are(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    content = OTHER_FILES[kind]
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    beginning = re.escape(repr(path.read_bytes()[:60])) if kind not in NAMED else ""
    message = NAMED.get(kind, f"damaged, or no file of .*it begins with {beginning}.*; unpack an archive")
    refused(path, rf"a\.{ending}: {message}")


def test_missing_file(tmp_path: Path) -> None:
    for name in ("a.pth", "a.safetensors", "a.pth#model", "#model"):
        refused(
            f"{tmp_path}/{name}", rf"{name[:1]}{name[1:].partition('#')[0]}: no such file of weights", FileNotFoundError
        )
    refused("~/absent.pth", f"^{Path.home()}/absent.pth", FileNotFoundError)  # a recipe's ~ is the home folder


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
        ({"criterion.weight": torch.ones(2), **{f"model.{k}": v for k, v in STATE.items()}}, "model"),
    ],
)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_there_is_one_way_to_mean_it(tmp_path: Path, content: Any, place: str, form: str) -> None:
    path, model = tmp_path / "published.pth", small(0)
    write(content, path, form)
    assert load_checkpoint(model, path) == load_checkpoint(model, f"{path}#module.{place}") == place
    assert equal(model, small(1))


def test_averaged_copies_are_mentioned_two_of_a_kind_are_not_guessed_and_all_can_be_chosen(tmp_path: Path) -> None:
    path, model = tmp_path / "timm.pth.tar", small(0)
    torch.save({"state_dict": STATE, "state_dict_ema": small(2).state_dict(), "arch": "x"}, path)
    with pytest.warns(UserWarning, match=r"took state_dict; averaged ones are .*timm\.pth\.tar#state_dict_ema$"):
        load_checkpoint(model, path)
    assert equal(model, small(1))
    assert load_checkpoint(model, f"{path}#state_dict_ema") == "state_dict_ema"
    assert equal(model, small(2))
    refused(f"{path}#ema", r"under 'ema'; there are .*#state_dict; .*#state_dict_ema")
    torch.save({"last": STATE, "best": small(3).state_dict()}, path)  # nothing says which of the two
    refused(path, r"more than once; choose one: .*timm\.pth\.tar#last; .*timm\.pth\.tar#best")
    torch.save({"last": STATE, "best": {k: v for k, v in STATE.items() if "num_batches" not in k}}, path)
    assert load_checkpoint(model, path) == "last"  # the same but for counters, which one has not
    torch.save({"last": STATE, "best": small(3).state_dict()}, path)
    load_checkpoint(model, f"{path}#best")
    assert equal(model, small(3))
    torch.save({**STATE, "best": small(3).state_dict()}, path)
    refused(f"{path}#last", r"under 'last'; there are .*timm\.pth\.tar#; .*timm\.pth\.tar#best")
    assert load_checkpoint(model, f"{path}#") == ""  # those at the top
    assert equal(model, small(1))
    torch.save({"model": small(3).state_dict(), **{f"model.{k}": v for k, v in STATE.items()}}, path)
    refused(path, r"more than once; choose one: .*timm\.pth\.tar#model; .*timm\.pth\.tar#model\.$")


def test_content_that_holds_itself_ends_and_keys_that_begin_like_a_nesting_are_left_alone(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": STATE}
    content["self"] = content
    wide: Any = []
    for _ in range(60):
        wide = [wide, wide]
    torch.save(content | {"wide": wide}, tmp_path / "a.pth")
    assert load_checkpoint(small(0), tmp_path / "a.pth") == "model"
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
