"""What is mended in the running text of built pages: numbers stay with what they count, and the protocol is linked.

Docstrings, recipes and tables say "protocol section 5.2" or "protocol 1.4" in plain words, because they are read in
terminals too. On a built page the words become a link; a number that the protocol does not have fails the build.
"""

from __future__ import annotations

import html
import re

from bs4 import NavigableString, Tag

from book.pages import Pages, parsed, way
from lskd.errors import LskdError

SPACE = "\u00a0"
PROTOCOL = "notebooks/protocol"
_VERBATIM = {"script", "style", "pre", "code", "svg", "a", "title"}
_APART = re.compile(r"(?<=\d) (?=%)|(?<=±) (?=\d)|(?<=\bn) (?==)|(?<=\bn =) (?=\d)|(?<=\d) (?=→ \S)|(?<=→) (?=\d)")
_NUMBER = r"\d+(?:\.\d+)*"
_SECTION = re.compile(
    rf"\b(?P<before>[Pp]rotocol (?:sections? )?)(?P<numbers>{_NUMBER}(?:(?:, | and | or ){_NUMBER})*)"
)


def _running_text(tree: Tag) -> list[NavigableString]:
    """The pieces of a page's running text: no code, links or formulas, which are still LaTeX in a built page."""
    pieces = [text for text in tree.find_all(string=True) if type(text) is NavigableString]
    return [p for p in pieces if not (re.search(r"\\[([]", p) or _VERBATIM & {above.name for above in p.parents})]


def bind(tree: Tag) -> None:
    """Put spaces that do not break into "90 %", "± 0.5", "n = 5" and "4 → 2"."""
    for text in _running_text(tree):
        if _APART.search(text):
            text.replace_with(_APART.sub(SPACE, text))


def mend(pages: Pages) -> None:
    """Mend every page; docutils calls a list what holds no list items."""
    for tree in pages.trees.values():
        bind(tree)
        for wrong in tree.select('div.citation-list[role="list"]'):
            del wrong["role"]


def link_protocol(pages: Pages) -> None:
    """Turn the references to the protocol on all pages into links.

    Raises:
        LskdError: a section that the protocol's page does not have.
    """
    if PROTOCOL not in pages.trees:
        return
    known = {str(tag["id"]) for tag in pages.trees[PROTOCOL].find_all(id=re.compile(r"^protocol-[\d-]+$"))}
    for page, tree in pages.trees.items():
        for text in _running_text(tree):
            if _SECTION.search(text):
                text.replace_with(parsed(_linked(html.escape(text, quote=False), page, known)))


def _linked(words: str, page: str, known: set[str]) -> str:
    there = "" if page == PROTOCOL else way(page, f"{PROTOCOL}.html")

    def number(match: re.Match[str]) -> str:
        anchor = "protocol-" + "-".join(match[0].split(".")[:2])
        if anchor not in known:
            raise LskdError(f"{page}: the protocol has no section {match[0]}; see notebooks/protocol.ipynb")
        return f'<a class="reference internal" href="{there}#{anchor}">{match[0]}</a>'

    return _SECTION.sub(lambda m: m["before"] + re.sub(_NUMBER, number, m["numbers"]), words)
