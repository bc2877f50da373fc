"""Values from recipes, commands and notebooks as the types that functions declare: one strict check for all of them."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from lskd.errors import LskdError, check_keywords, hint

Natural = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
WORDS = {"`": "", " | null": "", "array": "list", "object": "table"}


def arguments(
    function: Callable[..., Any], given: Mapping[str, Any], owner: str, word: str = "option"
) -> dict[str, Any]:
    """``given`` as keyword arguments of ``function``: known ones, all that it needs, each of its declared type.

    Args:
        owner: what has them, such as "data set 'folder'". word: what it calls them.

    Raises:
        LskdError: a value of another type or out of its range.
        ValueError: unknown or missing ones; names a near one.
    """
    check_keywords(owner, word, function, given)
    known = _types(function)
    return {k: convert(v, known[k], f"{owner}: {k}") if k in known else v for k, v in given.items()}


def convert(value: Any, wanted: Any, where: str) -> Any:
    """``value`` as the type ``wanted``, strictly: 1 serves as 1.0 and a list as a tuple, but no text as a number.

    Args:
        wanted: what :func:`msgspec.convert` takes, Structs and ranges (``Annotated[int, msgspec.Meta(ge=1)]``) too.
        where: what the value is called; for a Struct what comes before its keys, "recipe mine: ".

    Raises:
        LskdError: another type, out of range, not finite, an unknown or a missing key; names the place.
    """
    value = _plain(value, where)
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
    for index, key in re.findall(r"\[(\d+)]|\.(\w+)", path.partition("[...]")[0]):
        where = f"{where}[{index}]" if index else _at(where, key)
        value = value[int(index) if index else key]
        wanted = _fields(wanted).get(key, Any) if key else (*typing.get_args(_bare(wanted)), Any)[0]
    if "[...]" in path:  # of a dictionary, whose key msgspec does not say
        for key, one in value.items():
            convert(one, typing.get_args(_bare(wanted))[1], _at(where, key))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        raise LskdError(f"{where.rstrip(': .')} has no {unknown[1]!r}{hint(unknown[1], _fields(wanted), 'it has')}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        raise LskdError(f"{where.rstrip(': .')} needs {missing[1]}")
    if problem.startswith("Invalid enum value"):
        kinds = [kind for kind in _alternatives(wanted) if typing.get_origin(kind) is Literal]
        choices = [str(choice) for kind in kinds for choice in typing.get_args(kind)]
        raise LskdError(f"{where} is {value!r}{hint(str(value), choices, 'expected one of')}")
    expected = re.sub(r", got .*", "", problem.removeprefix("Expected "))
    for old, new in WORDS.items():
        expected = expected.replace(old, new)
    raise LskdError(f"{where} is {value!r} ({type(value).__name__}); expected {expected}")


def parse_settings(items: Iterable[str]) -> dict[str, Any]:
    """``["epochs=2", "members.kd.temperature=3.0"]`` to a dictionary; values as :func:`readings` has them first."""
    out: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise LskdError(f"setting {item!r}: expected key=value, for example epochs=2")
        out[key.strip()] = next(readings(text))
    return out


def read_text(text: str, wanted: Any, where: str) -> Any:
    """What somebody wrote in a command as the type ``wanted``: the first of :func:`readings` that it can be.

    Raises:
        LskdError: none can; names the place.
    """
    for reading in readings(text):
        with contextlib.suppress(LskdError):
            return convert(reading, wanted, where)
    return convert(text, wanted, where)


def readings(text: str) -> Iterator[Any]:
    """What a text may mean, likeliest first: TOML, in any case, None, JSON, Python (``.5``, ``1,2``), itself, words."""
    stripped = text.strip()
    for spelled in (stripped, stripped.lower()):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            found = tomllib.loads(f"value = {spelled}")
            if set(found) == {"value"} and not hasattr(found["value"], "isoformat"):  # a date is text here
                yield found["value"]
    if stripped.lower() == "none":
        yield None
    with contextlib.suppress(ValueError):
        yield json.loads(stripped)
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if isinstance(found := ast.literal_eval(stripped), float | tuple | list | dict):
            yield found
    if stripped.startswith("[") and stripped.endswith("]"):  # [vit]: words that TOML wants in quotes
        yield [next(readings(item.strip())) for item in stripped[1:-1].split(",")]
    yield text
    if not stripped.startswith("["):
        yield [item.strip() for item in stripped.split(",")] if stripped else []


def _at(where: str, key: str) -> str:
    return f"{where}{'' if where.endswith((' ', '.')) else '.'}{key}"


def _plain(value: Any, where: str) -> Any:
    """Paths as text and NumPy's numbers as Python's; refuses numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(v, _at(where, key)) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, os.PathLike | np.generic):
        return os.fspath(value) if isinstance(value, os.PathLike) else _plain(value.item(), where)
    if isinstance(value, float) and not math.isfinite(value):
        raise LskdError(f"{where} is {value}; expected a finite number")
    return value


@functools.cache
def _types(function: Callable[..., Any]) -> dict[str, Any]:
    """The declared types of a function's parameters that can be checked; another's own may be anything."""
    try:
        made = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
        declared = typing.get_type_hints(made, include_extras=True)
    except Exception:  # names that exist for a type checker alone
        return {}
    return {name: wanted for name, wanted in declared.items() if wanted is not Any and _is_plain(wanted)}


def _is_plain(wanted: Any) -> bool:
    try:
        return "CustomType" not in repr(msgspec.inspect.type_info(wanted))
    except TypeError:  # a union that cannot be told apart
        return False


def _bare(wanted: Any) -> Any:
    """A type without its ranges."""
    return _bare(typing.get_args(wanted)[0]) if typing.get_origin(wanted) is Annotated else wanted


def _alternatives(wanted: Any) -> list[Any]:
    """The parts of a union, or the one type."""
    union = typing.get_origin(bare := _bare(wanted)) in (typing.Union, types.UnionType)
    return [_bare(kind) for kind in typing.get_args(bare)] if union else [bare]


def _fields(wanted: Any) -> dict[str, Any]:
    """The keys of a Struct, which may be optional, and their types."""
    for kind in _alternatives(wanted):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return {field.name: field.type for field in msgspec.structs.fields(kind)}
    return {}
