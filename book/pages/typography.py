"""Small things that a reader's eye trips over, mended on built pages: numbers stay with what they count."""

from __future__ import annotations

import re

from bs4 import NavigableString, Tag

from book.pages import Pages

SPACE = "\u00a0"
_VERBATIM = {"script", "style", "pre", "code", "svg", "a", "title"}
_APART = re.compile(r"(?<=\d) (?=%)|(?<=±) (?=\d)|(?<=\bn) (?==)|(?<=\bn =) (?=\d)|(?<=\d) (?=→ \S)|(?<=→) (?=\d)")


def running_text(tree: Tag) -> list[NavigableString]:
    """The pieces of a page's running text: no code, links or formulas, which are still LaTeX in a built page."""
    pieces = [text for text in tree.find_all(string=True) if type(text) is NavigableString]
    return [p for p in pieces if not (re.search(r"\\[([]", p) or _VERBATIM & {above.name for above in p.parents})]


def bind(tree: Tag) -> None:
    """Put spaces that do not break into "90 %", "± 0.5", "n = 5" and "4 → 2"."""
    for text in running_text(tree):
        if _APART.search(text):
            text.replace_with(_APART.sub(SPACE, text))


def mend(pages: Pages) -> None:
    """Mend every page; docutils calls a list what holds no list items."""
    for tree in pages.trees.values():
        bind(tree)
        for wrong in tree.select('div.citation-list[role="list"]'):
            del wrong["role"]
