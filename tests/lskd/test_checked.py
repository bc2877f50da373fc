"""Values of the reader's as declared types: strict, and a message with the place, what was found, what is right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lskd.checked import Count, arguments, convert, parse_settings
from lskd.errors import LskdError

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
        (
            {"epochs": 1, "members": {"kd": {"network": "x", "sed": 1}}},
            r"members\.kd has no 'sed'; did you mean 'seed'",
        ),
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
