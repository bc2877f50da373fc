"""What is mended in the running text of built pages: what belongs together stays together, and the protocol is linked.

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
_APART = re.compile(
    r"(?<=\d) (?=%)|(?<=[±≥]) (?=\d)|(?<=\bn) (?=[=≥])|(?<=\bn =) (?=\d)|(?<=\d) (?=→ \S)|(?<=→) (?=\d)"
    r"|(?<=\bT) (?=\d)|(?<=\bweight) (?=\d)|(?<=D) (?=\+ LS\b)|(?<=D \+) (?=LS\b)"
)
_PROSE = {"p", "li", "td", "th", "figcaption", "caption", "h1", "h2", "h3", "em", "strong", "b", "dd", "dt"}
_ARROW = re.compile(r"(?<=\w) -> (?=\w)")
_WORD = re.compile(r"\b(?:CIFAR-100|\w-[A-Za-z]\w*)")  # a hyphen at which no line ends: Z-score, t-SNE, 5-NN
_OPENING, _CLOSING = re.compile(r"[(\[“]+$"), re.compile(r"^[)\].,;:!?”]+")
_NUMBER = r"\d+(?:\.\d+)*"
_SECTION = re.compile(
    rf"\b(?P<before>[Pp]rotocol (?:sections? )?)(?P<numbers>{_NUMBER}(?:(?:, | and | or ){_NUMBER})*)"
)


def _running_text(tree: Tag) -> list[NavigableString]:
    """The pieces of a page's running text: no code, links or formulas, which are still LaTeX in a built page."""
    pieces = [text for text in tree.find_all(string=True) if type(text) is NavigableString]
    return [p for p in pieces if not (re.search(r"\\[([]", p) or _VERBATIM & {above.name for above in p.parents})]


def bind(tree: Tag) -> None:
    """Let no line end within "90 %", "± 0.5", "n = 5", "4 → 2", "T 4", "KD + LS" and "Z-score"; "->" is an arrow."""
    for text in _running_text(tree):
        bound = _APART.sub(SPACE, _ARROW.sub(" → ", text))
        if text.parent is not None and text.parent.name in _PROSE and _WORD.search(bound):
            whole = _WORD.sub(r'<span class="lskd-whole">\g<0></span>', html.escape(bound, quote=False))
            text.replace_with(parsed(whole))
        elif bound != text:
            text.replace_with(bound)


def hold(tree: Tag) -> None:
    """Keep brackets and stops at the formula or code beside them; a browser may end a line on either side of one."""
    for piece in tree.select("span.math, code.literal"):
        if piece.parent is not None and piece.parent.name == "a" and len(piece.parent.contents) == 1:
            piece = piece.parent
        before, after = piece.previous_sibling, piece.next_sibling
        opening = _OPENING.search(before) if type(before) is NavigableString else None
        closing = _CLOSING.search(after) if type(after) is NavigableString else None
        if not (opening or closing):
            continue
        whole = parsed('<span class="lskd-whole"></span>').span
        assert whole is not None
        piece.wrap(whole)
        if opening:
            whole.insert(0, opening[0])
            before.replace_with(before[: opening.start()])  # type: ignore[union-attr, index]
        if closing:
            whole.append(closing[0])
            after.replace_with(after[closing.end() :])  # type: ignore[union-attr, index]


def mend(pages: Pages) -> None:
    """Mend every page; docutils calls a list what holds no list items."""
    for tree in pages.trees.values():
        bind(tree)
        hold(tree)
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
