"""References to sections of the protocol, as links to the page that has it.

Docstrings, recipes and tables say "protocol section 5.2" or "protocol 1.4" in plain words, because they are read in
terminals too. On a built page the words become a link; a number that the protocol does not have fails the build.
"""

from __future__ import annotations

import functools
import posixpath
import re
from pathlib import Path

from book.pages.typography import in_text
from lskd.errors import LskdError

__all__ = ["PAGE", "link"]

PAGE = "notebooks/protocol.html"
_NUMBER = r"\d(?:\.\d)*"
_SECTION = re.compile(
    rf"\b(?P<before>[Pp]rotocol (?:sections? )?)(?P<numbers>{_NUMBER}(?:(?:, | and | or ){_NUMBER})*)"
)


def link(html: Path) -> None:
    """Turn the references on all pages of a built book into links.

    Raises:
        LskdError: a section that the protocol's page does not have.
    """
    target = html / PAGE
    if not target.is_file():
        return
    known = set(re.findall(r'id="(protocol-[\d-]+)"', target.read_text(encoding="utf-8")))
    for path in sorted(html.rglob("*.html")):
        page = path.relative_to(html).as_posix()
        text = path.read_text(encoding="utf-8")
        if "_static" in path.parts or "rotocol" not in text:
            continue
        path.write_text(in_text(text, functools.partial(_linked, page=page, known=known)), encoding="utf-8")


def _linked(words: str, *, page: str, known: set[str]) -> str:
    there = "" if page == PAGE else posixpath.relpath(PAGE, posixpath.dirname(page) or ".")

    def number(match: re.Match[str]) -> str:
        anchor = "protocol-" + "-".join(match[0].split(".")[:2])
        if anchor not in known:
            raise LskdError(f"{page}: the protocol has no section {match[0]}; see notebooks/protocol.ipynb")
        return f'<a class="reference internal" href="{there}#{anchor}">{match[0]}</a>'

    return _SECTION.sub(lambda m: m["before"] + re.sub(_NUMBER, number, m["numbers"]), words)
