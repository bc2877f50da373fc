"""The source of a function or class as a page shows it: what is read is what ran."""

from __future__ import annotations

import inspect
import re
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
        source = textwrap.dedent(inspect.getsource(self.thing)).rstrip()
        return re.sub(r'(?<=:\n) *"""[\s\S]*?"""\n(?:\s*\n)?(?= *\S)', "", source)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": f"```python\n{self.text}\n```", "text/plain": self.text}
