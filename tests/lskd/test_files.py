"""Atomic files: whole or not there, nothing left behind."""

from __future__ import annotations

import io
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from lskd.data.pixels import read_rgb
from lskd.errors import LskdError
from lskd.files import atomic_path, atomic_write, read_arrays, read_json, sha256_file, write_json


def test_a_failure_keeps_the_previous_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "sub folder" / "a.npz"
    atomic_write(target, "before")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            assert temporary.parent == target.parent
            assert temporary.suffix == ".npz"
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "before"
    assert [p.name for p in target.parent.iterdir()] == ["a.npz"]


def test_success_replaces(tmp_path: Path) -> None:
    target = tmp_path / "a"
    for content in (b"one", b"two"):
        atomic_write(target, content)
        assert target.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o644), (0o750, 0o640), (0o700, 0o600)])
def test_who_reads_the_folder_reads_the_file(tmp_path: Path, folder: int, file: int) -> None:
    """safetensors writes for its owner alone, and colleagues on a cluster could not load the weights."""
    tmp_path.chmod(folder)
    with atomic_path(tmp_path / "a.safetensors") as temporary:
        temporary.touch(0o600)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == file


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_path(tmp_path / "a"):
        pass


def test_json_round_trip_keeps_order(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"b": [1, 2.5, None, True], "a": {"λ": "é"}}
    write_json(path, value)
    assert read_json(path) == value
    assert list(read_json(path)) == ["b", "a"]
    assert path.read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"a": [1.0, {"loss": float("nan")}]}, r"value\['a'\]\[1\]\['loss'\] is nan"),
        ([float("inf")], r"value\[0\] is inf"),
        ({"a": Path("x")}, r"value\['a'\] is of type"),
        ({(1, 2): 3}, r"key \(1, 2\)"),
    ],
)
def test_unsuitable_values_are_named_and_nothing_is_written(tmp_path: Path, value: object, named: str) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(LskdError, match=named):
        write_json(path, value)
    assert list(tmp_path.iterdir()) == []


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(LskdError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_what_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    for module, name in ((np, "load"), (Image, "open")):
        monkeypatch.setattr(module, name, Mock(side_effect=PermissionError))
    with pytest.raises(PermissionError):
        read_arrays(tmp_path / "a", "delete it")
    with pytest.raises(PermissionError):
        read_rgb(tmp_path / "a")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def archive(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "no NumPy archive, or one of objects"),
        (b"", "No data left in file"),
        (b"PK\x03\x04 cut short", "File is not a zip file"),
        (archive(a=np.array([{}], dtype=object)), "no NumPy archive, or one of objects"),
    ],
)
def test_what_is_no_archive_of_arrays_is_named(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.npz: cannot be read \({why}\); make it again$"):
        read_arrays(tmp_path / "a.npz", "make it again")


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(archive(a=np.array([{}], dtype=object), b=np.ones(2)))
    assert list(read_arrays(tmp_path / "a.npz", "", ["b"])) == ["b"]
