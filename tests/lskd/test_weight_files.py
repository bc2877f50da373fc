"""Files of weights: what is written comes back, damage is found, what is none is called what it is."""

from __future__ import annotations

import gzip
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_weights import equal, small, write
from torch import Tensor, nn

from lskd.errors import LskdError
from lskd.models import CheckpointError, create_model, load_checkpoint, save_checkpoint, state_digest
from lskd.models.weight_files import read_weights


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
    save_checkpoint(ODD, path) if form == "safetensors" else write(ODD, path, form)
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


def test_half_precision_loads_rounded(tmp_path: Path) -> None:
    model = create_model("resnet8")
    state = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_checkpoint(state, tmp_path / "half.safetensors")
    load_checkpoint(model, tmp_path / "half.safetensors")
    assert all(torch.equal(value, state[key].to(value.dtype)) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(2, dtype=torch.complex128), "Tensor.*complex128"),
        (torch.zeros(2).to_sparse(), "Tensor.*memory format"),
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


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80, 0xFF])
def test_a_changed_byte_is_found_or_changes_no_weight(tmp_path: Path, change: int) -> None:
    path, model, saved = tmp_path / "a.safetensors", small(0), small(1)
    save_checkpoint(saved, path)
    whole, before = path.read_bytes(), state_digest(model.state_dict())
    missed = []
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= change
        path.write_bytes(damaged)
        try:
            load_checkpoint(model, path)
        except CheckpointError:
            assert state_digest(model.state_dict()) == before
        else:
            assert equal(model, saved)
            missed.append(whole[position])
            model = small(0)
    assert len(missed) < 20  # letters of the digest's key, or spaces


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_damaged_files_are_errors(tmp_path: Path, form: str) -> None:
    path, model = tmp_path / f"a.{form}", small()
    save_checkpoint(small(1), path) if form == "safetensors" else write(small(1).state_dict(), path, form)
    whole = path.read_bytes()
    load_checkpoint(model, path)
    for kept in (0, 1, 7, 8, 20, len(whole) // 3, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(CheckpointError, match=rf"{path.name}: .*damaged"):
            load_checkpoint(model, path)
    if form != "legacy":  # which has no checksum
        weight = small(1).state_dict()["0.weight"].numpy().tobytes()
        path.write_bytes(whole.replace(weight, weight[::-1]))
        with pytest.raises(LskdError, match=rf"{path.name}: (its sha256 differs .*\(file damaged\)|damaged.*checksum)"):
            load_checkpoint(model, path)


@pytest.mark.parametrize("name", ["foreign.safetensors", "foreign.bin"])
def test_files_are_read_by_content_not_by_ending(tmp_path: Path, name: str) -> None:
    model = small(0)
    save_file(
        {f"module.{k}": v for k, v in small(1).state_dict().items()}, str(tmp_path / name), metadata={"format": "pt"}
    )
    load_checkpoint(model, tmp_path / name)
    assert equal(model, small(1))
    torch.save(small(1).state_dict(), tmp_path / "pickle.safetensors")
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
    with pytest.raises(CheckpointError, match=rf"a\.{ending}: {message}"):
        load_checkpoint(small(), path)


def test_missing_file(tmp_path: Path) -> None:
    for name in ("a.pth", "a.safetensors", "a.pth#model"):
        with pytest.raises(FileNotFoundError, match=rf"{name.partition('#')[0]}: no such file of weights"):
            load_checkpoint(small(), tmp_path / name)
    with pytest.raises(FileNotFoundError, match=f"^{Path.home()}/absent.pth"):  # a recipe's ~ is the home folder
        load_checkpoint(small(), "~/absent.pth")
