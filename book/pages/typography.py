"""Small things that a reader's eye trips over, mended on built pages: numbers stay with what they count."""

from __future__ import annotations

import re
from collections.abc import Callable

from book.pages import Pages

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


def mend(pages: Pages) -> None:
    """Mend every page; docutils calls a list what holds no list items."""
    wrong, right = '<div role="list" class="citation-list">', '<div class="citation-list">'
    pages.change(lambda page, text: bound(text.replace(wrong, right)))
