"""The source of a function or class as a page shows it: what is read is what ran."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Code:
    """A function or a class of this package, shown in a notebook and on the page made of it as highlighted Python.

    Without its docstrings: the reference has them.
    """

    thing: Callable[..., Any]

    @property
    def text(self) -> str:
        return _without_docstrings(textwrap.dedent(inspect.getsource(self.thing)).rstrip())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": f"```python\n{self.text}\n```", "text/plain": self.text}


def _without_docstrings(source: str) -> str:
    """The same lines, less those of docstrings and the empty ones below them; comments stay."""
    lines, dropped = source.split("\n"), set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or len(node.body) < 2:
            continue
        if ast.get_docstring(node, clean=False) is not None:
            end = node.body[0].end_lineno or node.body[0].lineno
            while end < len(lines) and not lines[end].strip():
                end += 1
            dropped |= set(range(node.body[0].lineno - 1, end))
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped)
