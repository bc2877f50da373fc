"""The typed parameters of a notebook: read from its tagged cell without running it, checked before a kernel starts.

The cell tagged ``parameters`` holds annotated assignments with literal defaults and nothing else::

    recipe: str = "digit-pairs"
    epochs: int | None = None  # all of the recipe's when None
    members: list[str] = []
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lskd.errors import LskdError

__all__ = ["Parameter", "bind", "read"]

SCALARS = ("str", "int", "float", "bool", "None")
CONTAINERS = ("list", "dict")


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: its name, type as written, default value and comment."""

    name: str
    type: str
    default: Any
    comment: str = ""


def read(cells: Sequence[Mapping[str, Any]], where: str) -> list[Parameter]:
    """The parameters that a notebook declares, in their order.

    Args:
        cells: the notebook's cells, as in its JSON.
        where: the notebook's name, for messages.

    Raises:
        LskdError: no cell or several cells tagged ``parameters``, or a line that is not an annotated
            assignment of a literal of that type.
    """
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise LskdError(f"{where}: {len(tagged) or 'no'} cells are tagged 'parameters'; expected exactly one")
    if tagged[0].get("cell_type") != "code":
        raise LskdError(f"{where}: the cell tagged 'parameters' is not a code cell")
    source = "".join(tagged[0]["source"])
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise LskdError(f"{where}, parameters cell, line {error.lineno}: not valid Python ({error.msg})") from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for node in tree.body:
        place = f"{where}, parameters cell, line {node.lineno}"
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            raise LskdError(f"{place}: expected `name: type = default`, found `{ast.unparse(node)}`")
        name, type_name = node.target.id, ast.unparse(node.annotation)
        if name in found:
            raise LskdError(f"{place}: parameter {name} is declared twice")
        _check_type(type_name, f"{place}: parameter {name}")
        if node.value is None:
            raise LskdError(f"{place}: parameter {name} has no default")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise LskdError(
                f"{place}: the default of {name} is `{ast.unparse(node.value)}`; expected a literal value"
            ) from None
        if not _fits(default, type_name):
            raise LskdError(f"{place}: the default of {name} is {_describe(default)}; expected {type_name}")
        found[name] = Parameter(name, type_name, default, comments.get(node.end_lineno or node.lineno, ""))
    return list(found.values())


def bind(parameters: Sequence[Parameter], given: Mapping[str, object], where: str) -> dict[str, Any]:
    """Check given values against declared parameters and convert text to the declared types.

    Text for a parameter that is not declared ``str`` is read as the command line gives it: ``none``, ``true``,
    ``false`` in any case, numbers, JSON for lists and dictionaries, ``a,b`` for lists of strings.
    An int serves for a float; a bool never serves for a number.

    Returns:
        The given values alone, converted, in the order of declaration.

    Raises:
        LskdError: a name that is not an identifier or not declared, or a value of another type.
    """
    declared = {p.name: p for p in parameters}
    for name in given:
        if not isinstance(name, str) or not name.isidentifier():
            raise LskdError(f"{where}: parameter name {name!r} is not a Python identifier")
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f" did you mean {near[0]!r}?" if near else ""
            listed = ", ".join(f"{p.name}: {p.type}" for p in parameters) or "none"
            raise LskdError(f"{where}: unknown parameter {name!r};{hint} its parameters are {listed}")
    return {name: _converted(given[name], parameter, where) for name, parameter in declared.items() if name in given}


def _converted(value: object, parameter: Parameter, where: str) -> Any:
    if isinstance(value, str):
        for alternative in sorted(_alternatives(parameter.type), key=lambda t: t == "str"):
            converted = _from_text(value, alternative)
            if converted is not _NOTHING and _fits(converted, alternative):
                return converted
    elif type(value) is int and {"float", "int"} & set(_alternatives(parameter.type)) == {"float"}:
        value = float(value)
    if isinstance(value, str) or not _fits(value, parameter.type):
        raise LskdError(f"{where}: parameter {parameter.name} is {_describe(value)}; expected {parameter.type}")
    return value


_NOTHING = object()


def _from_text(text: str, type_name: str) -> Any:
    """``text`` as a value of one type without alternatives, or ``_NOTHING``."""
    stripped, base = text.strip(), type_name.partition("[")[0]
    if base == "str":
        return text
    if base == "None":
        return None if stripped.lower() == "none" else _NOTHING
    if base == "bool":
        return {"true": True, "false": False}.get(stripped.lower(), _NOTHING)
    if base == "int":
        return int(stripped) if re.fullmatch(r"[+-]?[0-9]+", stripped) else _NOTHING
    if base == "float":
        try:
            return float(stripped)
        except ValueError:
            return _NOTHING
    if type_name == "list[str]" and not stripped.startswith("["):
        return [item.strip() for item in stripped.split(",")] if stripped else []
    try:
        return json.loads(stripped, parse_constant=lambda name: _NOTHING)  # NaN and Infinity are not JSON
    except ValueError:
        return _NOTHING


def _fits(value: object, type_name: str) -> bool:
    return any(_fits_one(value, alternative) for alternative in _alternatives(type_name))


def _fits_one(value: object, type_name: str) -> bool:
    base, inner = _split(type_name)
    if base == "None":
        return value is None
    if base == "bool":
        return isinstance(value, bool)
    if base == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if base == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if base == "str":
        return isinstance(value, str)
    if base == "list":
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value if inner)
    keys, values = inner if inner else ("str", "")
    return isinstance(value, dict) and all(
        _fits(key, keys) and (not values or _fits(item, values)) for key, item in value.items()
    )


def _alternatives(type_name: str) -> list[str]:
    """``"int | None"`` to its parts; a union inside brackets stays whole."""

    def parts(node: ast.expr) -> list[str]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return parts(node.left) + parts(node.right)
        return [ast.unparse(node)]

    return parts(ast.parse(type_name, mode="eval").body)


def _split(type_name: str) -> tuple[str, list[str]]:
    """``"dict[str, int]"`` to ``("dict", ["str", "int"])``."""
    node = ast.parse(type_name, mode="eval").body
    if not isinstance(node, ast.Subscript):
        return type_name, []
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return ast.unparse(node.value), [ast.unparse(item) for item in inner]


def _check_type(type_name: str, place: str) -> None:
    for alternative in _alternatives(type_name):
        base, inner = _split(alternative)
        expected = {"list": (0, 1), "dict": (0, 2)}.get(base, (0,))
        if base not in SCALARS + CONTAINERS or len(inner) not in expected:
            raise LskdError(
                f"{place} has type {type_name}; expected {', '.join(SCALARS + CONTAINERS)}, list[...], "
                "dict[str, ...] or a union of these with |"
            )
        for item in inner:
            _check_type(item, place)


def _describe(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"


def _comments(source: str) -> dict[int, str]:
    """Trailing comments by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
