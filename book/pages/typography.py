"""Small things that a reader's eye trips over, mended on built pages: numbers stay with what they count."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["bound", "in_text", "write"]

SPACE = "\u00a0"
# Left as they are: tags, and what is no running text. Formulas are still LaTeX in a built page.
_VERBATIM = re.compile(
    r"(<(?P<tag>script|style|pre|code|svg|a|title)\b.*?</(?P=tag)>|<[^>]*>|\\\(.*?\\\)|\\\[.*?\\\])", re.DOTALL
)
_APART = re.compile(r"(?<=\d) (?=%)|(?<=±) (?=\d)|(?<=\bn) (?==)|(?<=\bn =) (?=\d)|(?<=\d) (?=→ \S)|(?<=→) (?=\d)")


def in_text(page: str, change: Callable[[str], str]) -> str:
    """The page with its running text changed, piece by piece: no tags, code, formulas or links."""
    pieces = _VERBATIM.split(page)  # text, then what is left alone and the name of its tag, and so on
    pieces[::3] = (change(text) for text in pieces[::3])
    return "".join(piece for place, piece in enumerate(pieces) if place % 3 != 2)


def bound(page: str) -> str:
    """The page with spaces that do not break in "90 %", "± 0.5", "n = 5" and "4 → 2"."""
    return in_text(page, lambda text: _APART.sub(SPACE, text))


def write(html: Path) -> None:
    """Mend every page of a built book."""
    for path in sorted(html.rglob("*.html")):
        if "_static" not in path.parts:
            path.write_text(bound(path.read_text(encoding="utf-8")), encoding="utf-8")
