"""Files are whole or not there; values of the reader's are declared types, or refused by name."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lskd.checked import Count, arguments, convert, parse_settings
from lskd.data.pixels import read_rgb
from lskd.errors import LskdError
from lskd.files import atomic_path, atomic_write, read_arrays, read_json, sha256_file, write_json


def test_success_replaces_and_a_failure_keeps_the_previous_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "sub folder" / "a.npz"
    for content in (b"one", "before"):
        atomic_write(target, content)

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            assert temporary.parent == target.parent
            assert temporary.suffix == ".npz"
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_path(target):
        pass
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"), atomic_path(target) as temporary:
        shutil.copyfile(tmp_path / "absent.npz", temporary)
    assert target.read_text() == "before"
    assert [p.name for p in target.parent.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o644), (0o750, 0o640), (0o700, 0o600)])
def test_who_reads_the_folder_reads_the_file(tmp_path: Path, folder: int, file: int) -> None:
    """safetensors writes for its owner alone, and colleagues on a cluster could not load the weights."""
    tmp_path.chmod(folder)
    with atomic_path(tmp_path / "a.safetensors") as temporary:
        temporary.touch(0o600)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == file


def test_json_round_trip_keeps_order_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": ')
    with pytest.raises(LskdError, match=r"a\.json: not valid JSON"):
        read_json(path)
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
    (tmp_path / "a.npz").write_bytes(archive(a=np.array([{}], dtype=object), b=np.ones(2)))
    assert list(read_arrays(tmp_path / "a.npz", "", ["b"])) == ["b"]  # what nobody asks for is not read


# --- values as declared types ----------------------------------------------------------------------------------------


Even = Annotated[int, msgspec.Meta(ge=8, multiple_of=2)]
Mean = tuple[float, float, float]


class Teacher(msgspec.Struct, forbid_unknown_fields=True):
    network: str
    seed: int = 0


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    epochs: Count
    teacher: Teacher | None = None
    members: dict[str, Teacher] = {}


def function(
    *, path: str, size: Count = 3, mean: Mean | None = None, flip: bool = True, own: Path | None = None
) -> None:
    """Something with options."""


def test_numbers_paths_and_lists_serve_where_they_mean_the_same() -> None:
    given = {"path": Path("x"), "size": np.int64(4), "mean": [1, 0.5, np.float32(0.25)], "own": "as it is"}
    assert arguments(function, given, "it") == {"path": "x", "size": 4, "mean": (1.0, 0.5, 0.25), "own": "as it is"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": "big"}, r"it: size is 'big' \(str\); expected int$"),
        ({"size": 16.0}, r"it: size is 16\.0 \(float\); expected int$"),
        ({"size": True}, r"it: size is True \(bool\); expected int$"),
        ({"size": 0}, r"it: size is 0 \(int\); expected int >= 1$"),
        ({"flip": "False"}, r"it: flip is 'False' \(str\); expected bool$"),
        ({"flip": 0}, r"it: flip is 0 \(int\); expected bool$"),
        ({"path": ["x"]}, r"it: path is \['x'\] \(list\); expected str$"),
        ({"mean": [1, 2]}, r"it: mean is \[1, 2\] \(list\); expected list of length 3$"),
        ({"mean": [1, "a", 2]}, r"it: mean\[1\] is 'a' \(str\); expected float$"),
        ({"mean": [1, math.nan, 2]}, r"it: mean\[1\] is nan; expected a finite number$"),
        ({"sze": 1}, r"it has no option 'sze'; did you mean 'size'\? It has path, size"),
        ({"temperature": 1}, r"it has no option 'temperature'; it has path, size"),  # nothing is near
    ],
)
def test_other_options_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises((LskdError, ValueError), match=message):
        arguments(function, {"path": "x"} | given, "it")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "^plan needs epochs$"),
        ({"epoch": 1}, r"^plan has no 'epoch'; did you mean 'epochs'\? It has epochs, teacher, members$"),
        ({"epochs": 1, "teacher": {"network": 3}}, r"^plan: teacher\.network is 3 \(int\); expected str$"),
        ({"epochs": 1, "teacher": 3}, r"^plan: teacher is 3 \(int\); expected table$"),
        ({"epochs": 1, "members": {"a": {"network": "x"}, "b-c": {"network": 2}}}, r"members\.b-c\.network is 2"),
        ({"epochs": 1, "members": {"kd": {"network": "x", "sed": 1}}}, r"members\.kd has no 'sed'; did you mean"),
    ],
)
def test_keys_of_nested_tables_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LskdError, match=message):
        convert(given, Plan, "plan: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60,120", (60, 120)),
        (".05", 0.05),
        ("(.5, 1, 0)", (0.5, 1, 0)),
        ("{'epochs': 2}", {"epochs": 2}),
        ("{'a', 'b'}", "{'a', 'b'}"),
        ("kd,kd_ls", "kd,kd_ls"),
        ("[1, vit]", [1, "vit"]),
        ("[", "["),
        ("b'x'", "b'x'"),
        ("01", "01"),
    ],
)
def test_settings_may_be_written_as_in_python(text: str, value: Any) -> None:
    assert parse_settings([f"x={text}"]) == {"x": value}


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers()))


@given(values)
def test_a_value_is_taken_as_it_is_or_refused_with_a_sentence(value: Any) -> None:
    for wanted, meant in (
        (Count, type(value) is int and value >= 1),
        (bool, type(value) is bool),
        (str, type(value) is str),
        (float, type(value) in (int, float) and math.isfinite(value)),
        (Even | None, value is None or (type(value) is int and value >= 8 and value % 2 == 0)),
    ):
        if meant:
            found = convert(value, wanted, "x")
            assert found == value
            assert type(found) is (float if wanted is float else type(value))
        else:
            with pytest.raises(LskdError, match=r"(?s)^x(\[\d+\])? is .*expected "):
                convert(value, wanted, "x")
