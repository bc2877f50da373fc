"""References to sections of the protocol, as links to the page that has it.

Docstrings, recipes and tables say "protocol section 5.2" or "protocol 1.4" in plain words, because they are read in
terminals too. On a built page the words become a link; a number that the protocol does not have fails the build.
"""

from __future__ import annotations

import html
import re

from book.pages import Pages, parsed, way
from book.pages.typography import running_text
from lskd.errors import LskdError

PAGE = "notebooks/protocol"
_NUMBER = r"\d+(?:\.\d+)*"
_SECTION = re.compile(
    rf"\b(?P<before>[Pp]rotocol (?:sections? )?)(?P<numbers>{_NUMBER}(?:(?:, | and | or ){_NUMBER})*)"
)


def link_protocol(pages: Pages) -> None:
    """Turn the references on all pages into links.

    Raises:
        LskdError: a section that the protocol's page does not have.
    """
    if PAGE not in pages.trees:
        return
    known = {str(tag["id"]) for tag in pages.trees[PAGE].find_all(id=re.compile(r"^protocol-[\d-]+$"))}
    for page, tree in pages.trees.items():
        for text in running_text(tree):
            if _SECTION.search(text):
                text.replace_with(parsed(_linked(html.escape(text, quote=False), page, known)))


def _linked(words: str, page: str, known: set[str]) -> str:
    there = "" if page == PAGE else way(page, f"{PAGE}.html")

    def number(match: re.Match[str]) -> str:
        anchor = "protocol-" + "-".join(match[0].split(".")[:2])
        if anchor not in known:
            raise LskdError(f"{page}: the protocol has no section {match[0]}; see notebooks/protocol.ipynb")
        return f'<a class="reference internal" href="{there}#{anchor}">{match[0]}</a>'

    return _SECTION.sub(lambda m: m["before"] + re.sub(_NUMBER, number, m["numbers"]), words)
