"""Cards for terms, citations, equations and pages: what stands at a link's target, beside the link.

Taken from the built pages, so that a card says what its target says. ``book/_static/lskd-reading-cards.js`` loads the
one small script that is written here when a reader first points at a link; a page opened from disk can load a
script, not a JSON file.
"""

from __future__ import annotations

import copy
import json
import posixpath
from urllib.parse import unquote, urldefrag

from bs4 import Tag

from book.pages import Pages
from lskd.files import atomic_write

FILE = "_static/lskd-cards/cards.js"  # a folder of its own: what lies in _static loads on every page


def write(pages: Pages) -> None:
    """Write the cards into the book; equal pages give equal bytes.

    The script sets ``lskdCards``: ``{"page.html#place": {"kind", "title", "body"}}``. Addresses in a body are relative
    to the book's folder.
    """
    stored = json.dumps(_collected(pages), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    atomic_write(pages.html / FILE, "lskdCards={};\n".format(stored.replace("</", "<\\/")))


def _collected(built: Pages) -> dict[str, dict[str, str]]:
    """A card for each place in the book that the text of some page refers to."""
    skipped = ("_", "genindex", "search")
    pages = {f"{name}.html": tree for name, tree in built.trees.items() if not name.startswith(skipped)}
    made = {}
    for target in {target for name, page in pages.items() for target in _linked(name, page)}:
        name, _, place = target.partition("#")
        if name not in pages:
            continue
        if found := _card(pages[name], place):
            kind, title, body = found
            made[target] = {"kind": kind, "title": title, "body": "".join(_inner(tag, name) for tag in body)}
    return made


def _linked(name: str, page: Tag) -> set[str]:
    """Places inside the book that the article of a page refers to, relative to the book."""
    links = page.select("article a.reference.internal[href]:not(.toctree-wrapper *)")
    return {_absolute(str(link["href"]), name) for link in links}


def _absolute(address: str, page: str) -> str:
    """An address on a page, relative to the book's folder."""
    path, place = urldefrag(address)
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path))) if path else page
    return f"{whole}#{unquote(place)}" if place else whole


def _card(page: Tag, place: str) -> tuple[str, str, list[Tag]] | None:
    """Kind, title and content of what has this identity on a page; of the page itself where there is none."""
    at = page.find(id=place) if place else page.select_one("article h1")
    if at is None:
        return None
    classes = at.get_attribute_list("class")
    if at.name == "dt" and at.find_parent("dl", class_="glossary"):
        meaning = at.find_next_sibling("dd")
        return ("term", _text(at), [meaning]) if meaning else None
    if "citation" in classes:
        return "source", "", at.find_all("p", recursive=False)
    if "math" in classes:
        return "equation", _text(at.select_one(".eqno")), [at]
    section = at if at.name == "section" else at.parent
    heading = section.find(["h1", "h2", "h3", "h4"]) if section else None
    if not section or not heading:
        return None
    return "page" if heading.name == "h1" else "section", _text(heading), section.select(":scope > p")[:1]


def _text(tag: Tag | None) -> str:
    """What a reader sees, without the sign that links to a heading; in one line."""
    return " ".join(_copy(tag).get_text().split()) if tag else ""


def _inner(tag: Tag, page: str) -> str:
    """A tag's content for a card: no identities, no signs for links, addresses relative to the book."""
    made = _copy(tag)
    for link in made.select("a.internal[href]"):
        link["href"] = _absolute(str(link["href"]), page)
    if "math" in made.get_attribute_list("class"):
        return str(made)
    inner = made.decode_contents().strip()
    return f"<p>{inner}</p>" if made.name == "p" else inner


def _copy(tag: Tag) -> Tag:
    made = copy.copy(tag)
    for sign in made.select(".headerlink, .eqno"):
        sign.extract()
    for one in [made, *made.find_all(True)]:
        for name in ("id", "title"):
            one.attrs.pop(name, None)
    return made
