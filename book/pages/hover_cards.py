"""Cards for terms, citations, equations and pages: what stands at a link's target, beside the link.

Taken from the built pages, so that a card says what its target says. ``book/_static/lskd-reading-cards.js`` loads the
one small script that is written here when a reader first points at a link; a page opened from disk can load a
script, not a JSON file.
"""

from __future__ import annotations

import json
import posixpath
from urllib.parse import unquote, urldefrag

from bs4 import BeautifulSoup, Tag

from book.pages import Pages
from lskd.errors import LskdError

FILE = "_static/lskd-cards/cards.js"  # a folder of its own: what lies in _static loads on every page


def write(pages: Pages) -> None:
    """Write the cards into the book; equal pages give equal bytes.

    The script sets ``lskdCards``: ``{"page.html#place": {"kind", "title", "body"}}``. Addresses in a body are relative
    to the book's folder.

    Raises:
        LskdError: links into the glossary or the bibliography, and nothing there to show.
    """
    target = pages.html / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    stored = json.dumps(collect(pages), sort_keys=True, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    target.write_text(f"lskdCards={stored};\n", encoding="utf-8")


def collect(built: Pages) -> dict[str, dict[str, str]]:
    """A card for each place in the book that the text of some page refers to."""
    pages = {
        f"{name}.html": built.soup(name) for name in built.texts if not name.startswith(("_", "genindex", "search"))
    }
    made = {}
    for target in sorted({target for name, page in pages.items() for target in _linked(name, page)}):
        name, _, place = target.partition("#")
        if name not in pages:
            continue
        found = _card(pages[name], place)
        if found is None and name in ("glossary.html", "bibliography.html") and place:
            raise LskdError(
                f"{built.html / name}: nothing to show for #{place}; expected a term or an entry of that identity"
            )
        if found is not None:
            kind, title, body = found
            made[target] = {"kind": kind, "title": title, "body": "".join(_inner(tag, name) for tag in body)}
    return made


def _linked(name: str, page: BeautifulSoup) -> set[str]:
    """Places inside the book that the article of a page refers to, relative to the book."""
    article = page.find("article")
    if not isinstance(article, Tag):
        return set()
    return {
        _absolute(str(link["href"]), name)
        for link in article.select("a.reference.internal[href]")
        if link.find_parent(class_="toctree-wrapper") is None
    }


def _absolute(address: str, page: str) -> str:
    """An address on a page, relative to the book's folder."""
    path, place = urldefrag(address)
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path))) if path else page
    return f"{whole}#{unquote(place)}" if place else whole


def _card(page: BeautifulSoup, place: str) -> tuple[str, str, list[Tag]] | None:
    """Kind, title and content of what has this identity on a page; of the page itself where there is none."""
    at = page.find(id=place) if place else page.select_one("article h1")
    if not isinstance(at, Tag):
        return None
    if at.name == "dt" and at.find_parent("dl", class_="glossary"):
        meaning = at.find_next_sibling("dd")
        return ("term", _text(at), [meaning]) if isinstance(meaning, Tag) else None
    if "citation" in at.get_attribute_list("class"):
        return "source", "", at.find_all("p", recursive=False)
    if "math" in at.get_attribute_list("class"):
        return "equation", _text(at.select_one(".eqno")), [at]
    section = at if at.name == "section" else at.parent
    heading = section.find(["h1", "h2", "h3", "h4"]) if isinstance(section, Tag) else None
    if not isinstance(section, Tag) or not isinstance(heading, Tag):
        return None
    first = section.find("p", recursive=False)
    kind = "page" if heading.name == "h1" else "section"
    return kind, _text(heading), [first] if isinstance(first, Tag) else []


def _text(tag: Tag | None) -> str:
    """What a reader sees, without the sign that links to a heading; in one line."""
    if tag is None:
        return ""
    copy = _copy(tag)
    return " ".join(copy.get_text().split())


def _inner(tag: Tag, page: str) -> str:
    """A tag's content for a card: no identities, no signs for links, addresses relative to the book."""
    copy = _copy(tag)
    for link in copy.select("a[href]"):
        address = str(link["href"])
        if "internal" in link.get_attribute_list("class"):
            link["href"] = _absolute(address, page)
    if "math" in copy.get_attribute_list("class"):
        return str(copy)
    inner = copy.decode_contents().strip()
    return f"<p>{inner}</p>" if copy.name == "p" else inner


def _copy(tag: Tag) -> Tag:
    copy = BeautifulSoup(str(tag), "html.parser").find()
    assert isinstance(copy, Tag)
    for sign in copy.select(".headerlink") + (
        [] if "eqno" in tag.get_attribute_list("class") else copy.select(".eqno")
    ):
        sign.decompose()
    for one in [copy, *copy.find_all(True)]:
        for name in ("id", "title"):
            one.attrs.pop(name, None)
    return copy
