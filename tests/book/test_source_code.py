"""Code on a page: the lines that run, in their order, less their docstrings."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import pytest

from book.source_code import Code
from lskd import losses, objectives

SHOWN = [losses.standardize, losses.kd_loss, losses.CurriculumTemperature, objectives.DKD, objectives.LocalityGuidance]


def commented() -> int:
    """Gone.

    Gone as well.
    """

    # stays
    text = """not a docstring"""
    return len(text)


class Bare:
    """All that there is."""


@pytest.mark.parametrize("thing", SHOWN)
def test_what_is_shown_is_the_source_that_runs(thing: Any) -> None:
    source = textwrap.dedent(inspect.getsource(thing))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
    shown = Code(thing).text
    assert ast.dump(ast.parse(shown)) == ast.dump(tree)
    assert all(line in source.split("\n") for line in shown.split("\n"))
    assert Code(thing)._repr_mimebundle_() == {"text/markdown": f"```python\n{shown}\n```", "text/plain": shown}


def test_docstrings_go_and_comments_stay() -> None:
    expected = ["    # stays", '    text = """not a docstring"""', "    return len(text)"]
    assert Code(commented).text.split("\n")[1:] == expected
    assert Code(Bare).text.count("\n") == 1  # without its docstring it would be no class
