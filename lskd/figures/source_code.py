"""The source of a function or class as a page shows it: what is read is what ran."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Code"]


@dataclass(frozen=True)
class Code:
    """Shows itself in a notebook, and on the page made of it, as highlighted Python.

    Attributes:
        thing: a function or a class of this package.
    """

    thing: Callable[..., Any]

    @property
    def text(self) -> str:
        return textwrap.dedent(inspect.getsource(self.thing)).rstrip()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": f"```python\n{self.text}\n```", "text/plain": self.text}
