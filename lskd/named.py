"""Things that are chosen by name: the one that was meant, or an error that says which is nearest."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

__all__ = ["check_keywords", "nearest", "pick"]

T = TypeVar("T")


def nearest(word: str, choices: Iterable[str], *, n: int = 1) -> list[str]:
    """The ``n`` choices that look most like ``word``, nearest first, whatever their distance."""
    folded = {choice.lower(): choice for choice in choices}
    return [folded[match] for match in difflib.get_close_matches(word.lower(), folded, n=n, cutoff=0)]


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table.

    Raises:
        ValueError: there is none of this name; ``kind`` says of what.
    """
    if name not in table:
        near = nearest(name, table)[0]
        raise ValueError(f"unknown {kind} {name!r}; did you mean {near!r}? There are {', '.join(table)}")
    return table[name]


def check_keywords(owner: str, word: str, function: Callable[..., Any], given: Iterable[str]) -> None:
    """Refuse a keyword that a function does not have, and a call without one that it needs.

    Args:
        owner: what has them, such as "method 'kd'". word: what it calls them, such as "setting".

    Raises:
        ValueError: unknown or missing ones; names the nearest valid one.
    """
    known = inspect.signature(function).parameters
    given = list(given)
    for key in given:
        if key not in known:
            near = nearest(key, known)[0]
            raise ValueError(f"{owner} has no {word} {key!r}; did you mean {near!r}? It has {', '.join(known)}")
    missing = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in given]
    if missing:
        raise ValueError(f"{owner} needs {' and '.join(missing)} among its {word}s")
