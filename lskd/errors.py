"""The one error class that commands print as a sentence, without a traceback."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar


class LskdError(Exception):
    """Something the caller can put right: the message names it, what was found, what was expected, what to do."""


T = TypeVar("T")
NEAR = 0.75  # of difflib's ratio: one letter of four; "ant" is not near "cat"


def nearest(word: str, choices: Iterable[str], *, n: int = 1, cutoff: float = 0.0) -> list[str]:
    """The ``n`` choices that look most like ``word``, nearest first; none below ``cutoff``, difflib's ratio."""
    folded = {choice.lower(): choice for choice in choices}
    return [folded[match] for match in difflib.get_close_matches(word.lower(), folded, n=n, cutoff=cutoff)]


def hint(word: str, choices: Iterable[str], have: str = "there are", among: Iterable[str] | None = None) -> str:
    """The end of an error: "; did you mean 'x'? There are x, y" when one is near, else "; there are x, y".

    Args:
        among: which of the choices may be meant, by default all.
    """
    choices = list(choices)
    near = nearest(word, choices if among is None else among, cutoff=NEAR)
    many = f"{len(choices)}, such as " if len(choices) > 24 else ""
    listed = f"{have} {many}{', '.join(nearest(word, choices, n=3) if many else choices) or 'none'}"
    return f"; did you mean {near[0]!r}? {listed[0].upper()}{listed[1:]}" if near else f"; {listed}"


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table.

    Raises:
        ValueError: there is none of this name; ``kind`` says of what.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}{hint(name, table)}")
    return table[name]


def check_keywords(owner: str, word: str, function: Callable[..., Any], given: Iterable[str]) -> None:
    """Refuse a keyword that a function does not have, and a call without one that it needs.

    Args:
        owner: what has them, such as "method 'kd'". word: what it calls them, such as "setting".

    Raises:
        ValueError: unknown or missing ones; names the nearest valid one.
    """
    known = dict(inspect.signature(function).parameters)
    anything = [known.pop(k).kind for k, p in list(known.items()) if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    given = list(given)
    for key in given:
        if key not in known and inspect.Parameter.VAR_KEYWORD not in anything:
            raise ValueError(f"{owner} has no {word} {key!r}{hint(key, known, 'it has')}")
    missing = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in given]
    if missing:
        raise ValueError(f"{owner} needs {' and '.join(missing)} among its {word}s")
