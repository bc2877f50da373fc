"""The typed parameters of a notebook: read from its tagged cell without running it, checked before a kernel starts.

The cell tagged ``parameters`` holds annotated assignments with literal defaults and nothing else::

    recipe: str = "digit-pairs"
    epochs: int | None = None  # all of the recipe's when None
    members: list[str] = []
"""

from __future__ import annotations

import ast
import contextlib
import io
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lskd.checked import convert, read_text
from lskd.errors import LskdError, hint

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: its name, type as written, default value and comment."""

    name: str
    type: str
    default: Any
    comment: str = ""


def read(cells: Sequence[Mapping[str, Any]], where: str) -> list[Parameter]:
    """The parameters that a notebook declares, in their order, from its cells as they are in its JSON.

    Raises:
        LskdError: no cell or several cells tagged ``parameters``, or a line that is not an annotated assignment of a
            literal of that type; says ``where``.
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
        try:
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
                raise ValueError(node)
            name, type_name = node.target.id, ast.unparse(node.annotation)
            default = ast.literal_eval(node.value)
            convert(default, _type(type_name), where)
        except (ValueError, TypeError, LskdError):
            raise LskdError(
                f"{where}, parameters cell, line {node.lineno}: found `{ast.unparse(node)}`; expected `name: type = "
                f"default`, a literal value of that type, made of {', '.join(TYPES)} and None with list[...], "
                "dict[str, ...] and |"
            ) from None
        if name in found:
            raise LskdError(f"{where}, parameters cell, line {node.lineno}: parameter {name} is declared twice")
        found[name] = Parameter(name, type_name, default, comments.get(node.end_lineno or node.lineno, ""))
    return list(found.values())


def bind(parameters: Sequence[Parameter], given: Mapping[str, object], where: str) -> dict[str, Any]:
    """The given values alone, of the declared types, in the order of declaration.

    Text is read as the command line gives it (:func:`lskd.checked.readings`). An int serves for a float; a bool never
    serves for a number.

    Raises:
        LskdError: a name that is not an identifier or not declared, or a value of another type.
    """
    declared = {p.name: p for p in parameters}
    for name in given:
        if not isinstance(name, str) or not name.isidentifier():
            raise LskdError(f"{where}: parameter name {name!r} is not a Python identifier")
        if name not in declared:
            listed = (f"{p.name}: {p.type}" for p in parameters)
            meant = hint(name, listed, "its parameters are", among=declared)
            raise LskdError(f"{where}: unknown parameter {name!r}{meant}")
    return {name: _converted(given[name], parameter, where) for name, parameter in declared.items() if name in given}


def _converted(value: object, parameter: Parameter, where: str) -> Any:
    read = read_text if isinstance(value, str) else convert
    try:
        return read(value, _type(parameter.type), where)  # type: ignore[arg-type]
    except LskdError:
        found = f"{value!r} ({type(value).__name__})"
        raise LskdError(f"{where}: parameter {parameter.name} is {found}; expected {parameter.type}") from None


def _type(text: str) -> Any:
    """A type as written, of a few known words alone; ValueError for another."""
    tree = ast.parse(text, mode="eval")
    if {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} <= set(TYPES) and not any(
        isinstance(node, ast.Call | ast.Attribute) for node in ast.walk(tree)
    ):
        with contextlib.suppress(TypeError):
            wanted = eval(compile(tree, "<type>", "eval"), {"__builtins__": {}}, TYPES)
            msgspec.inspect.type_info(wanted)
            return wanted
    raise ValueError(text)


def _comments(source: str) -> dict[int, str]:
    """Trailing comments by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
