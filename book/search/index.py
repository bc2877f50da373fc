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
from pathlib import Path
from typing import Any

from book.pages import Pages
from book.search.page_text import sections
from lskd.errors import LskdError
from lskd.files import atomic_write

FOLDER = "_static/lskd-search"  # a folder of its own: what lies in _static loads on every page
SCRIPTS = ("find.js", "show.js")
LIMIT = 500_000  # bytes: what a reader on a slow line may be asked to load before the first result


def write(pages: Pages) -> None:
    """Make the pages searchable; equal pages give equal bytes, and what is added to a page later is not found.

    Raises:
        LskdError: there is more text than a reader should have to load.
    """
    text = json.dumps(contents(pages), ensure_ascii=False, separators=(",", ":"))
    data = f"lskdSearch.fill({text});\n".encode()
    target = pages.html / FOLDER / "words.js"
    if len(data) > LIMIT:
        raise LskdError(
            f"{FOLDER}/words.js: {len(data):,} bytes to load for the first result, expected at most {LIMIT:,};"
            " keep what has grown out of the search (SILENT_CLASSES in book/search/page_text.py), or raise LIMIT"
        )
    atomic_write(target, data)
    for name in SCRIPTS:
        shutil.copyfile(Path(__file__).with_name(name), target.with_name(name))


def contents(pages: Pages) -> dict[str, Any]:
    """All that can be found, in reading order, as ``find.js`` takes it.

    Returns:
        ``{"pages": [[address, title, part, [[anchor, title, kind, text], ...]], ...]}``; the blocks of a text are lines
        of it, and what begins a page has no anchor. A page with nothing to read is left out.
    """
    found = []
    for page in pages.chapters:
        own = sections(pages.trees[page.path])
        if own:
            entries = [[section.anchor, section.title, section.kind, "\n".join(section.blocks)] for section in own]
            entries[0][0] = ""  # a link to a page leads to its top
            found.append([f"{page.path}.html", page.title or own[0].title, page.part, entries])
    return {"pages": found}
