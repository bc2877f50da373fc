"""The book's search: the words of every section, shipped with the pages.

A page that is opened from disk may load scripts and may not fetch other pages, so the words are a script of their own,
loaded when a reader turns to the search. ``book/_static/lskd-search.js`` is on every page and small; the rest comes
with the first look at a search field: ``find.js`` (what matches, and how well), ``show.js`` (the list below the field
and the search page), Sphinx's own stemmer for English, and ``words.js``, written here.

Without scripts, or without these files, the theme's form and Sphinx's search page do what they always did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book.search.page_text import sections
from lskd.errors import LskdError
from lskd.files import atomic_write

__all__ = ["FOLDER", "Page", "contents", "listed", "write"]

FOLDER = "_static/lskd-search"  # a folder of its own: what lies in _static loads on every page
SCRIPTS = ("find.js", "show.js")
LIMIT = 500_000  # bytes: what a reader on a slow line may be asked to load before the first result


@dataclass(frozen=True)
class Page:
    """A page as the table of contents names it.

    ``path`` is without ending; ``title`` is empty where the page's own stands; ``part`` is the caption it stands under.
    """

    path: str
    title: str = ""
    part: str = ""


def write(html: Path, book: Path) -> Path:
    """Make the built pages in ``html`` searchable; equal pages give equal bytes.

    Args:
        html: the folder of the pages, complete: what is added to a page later is not found.
        book: the chapters, for ``_toc.yml``.

    Returns:
        The script with the words.

    Raises:
        LskdError: there is more text than a reader should have to load.
    """
    text = json.dumps(contents(html, listed(book / "_toc.yml")), ensure_ascii=False, separators=(",", ":"))
    data = f"lskdSearch.fill({text});\n".encode()
    target = html / FOLDER / "words.js"
    if len(data) > LIMIT:
        raise LskdError(
            f"{FOLDER}/words.js: {len(data):,} bytes to load for the first result, expected at most {LIMIT:,};"
            " keep what has grown out of the search (SILENT_CLASSES in book/search/page_text.py), or raise LIMIT"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in SCRIPTS:
        shutil.copyfile(Path(__file__).with_name(name), target.with_name(name))
    atomic_write(target, data)
    return target


def contents(html: Path, pages: Iterable[Page]) -> dict[str, Any]:
    """All that can be found, in reading order, as ``find.js`` takes it.

    Returns:
        ``{"pages": [[address, title, part, [[anchor, title, kind, text], ...]], ...]}``; the blocks of a text are lines
        of it, and what begins a page has no anchor. A page with nothing to read is left out.
    """
    found = []
    for page in pages:
        address = f"{page.path}.html"
        own = sections((html / address).read_text(encoding="utf-8"))
        if own:
            entries = [[section.anchor, section.title, section.kind, "\n".join(section.blocks)] for section in own]
            entries[0][0] = ""  # a link to a page leads to its top
            found.append([address, page.title or own[0].title, page.part, entries])
    return {"pages": found}


def listed(toc: Path) -> list[Page]:
    """The pages of a ``_toc.yml`` in reading order, the front page first.

    Raises:
        LskdError: no such file.
    """
    import yaml

    def within(node: Any, part: str) -> list[Page]:
        if isinstance(node, list):
            return [page for item in node for page in within(item, part)]
        if not isinstance(node, dict):
            return []
        part = node.get("caption") or part
        path = node.get("root") or node.get("file")
        own = [Page(path, node.get("title") or "", part)] if path else []
        return own + [page for value in node.values() for page in within(value, part)]

    try:
        return within(yaml.safe_load(toc.read_text(encoding="utf-8")), "")
    except FileNotFoundError:
        raise LskdError(f"{toc}: no such file; a book needs a table of contents") from None
