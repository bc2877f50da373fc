"""The book's search: a Sphinx extension that ships the words of every section with the pages.

A page that is opened from disk may load scripts and may not fetch other pages, so the words are a script of their own,
loaded when a reader turns to the search. ``start.js`` is on every page and small; the rest of ``_static/lskd-search``
comes with the first look at a search field: ``find.js`` (what matches, and how well), ``show.js`` (the list below the
field and the search page), Sphinx's own stemmer for English, and ``words.js``, written here.

Without scripts, or without these files, the theme's form and Sphinx's search page do what they always did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lskd.book_text import sections
from lskd.errors import LskdError
from lskd.files import atomic_write

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["FOLDER", "Page", "contents", "setup", "write_words"]

FOLDER = "lskd-search"  # in _static
SCRIPTS = ("start.js", "find.js", "show.js")
LIMIT = 500_000  # bytes: what a reader on a slow line may be asked to load before the first result


@dataclass(frozen=True)
class Page:
    """A page to search: ``path`` from the first page's folder, and the part of the book that it stands in."""

    path: str
    part: str = ""


def contents(root: Path, pages: Iterable[Page]) -> dict[str, Any]:
    """All that can be found, in reading order, as ``find.js`` takes it.

    Returns:
        ``{"pages": [[path, title, part, [[anchor, title, kind, text], ...]], ...]}`` with the blocks of a text on
        lines of their own, and no anchor for what begins its page.
    """
    found = []
    for page in pages:
        own = sections((root / page.path).read_text(encoding="utf-8"))
        if not own:
            continue
        title = next((section.title for section in own if section.title), page.path)
        entries = [[section.anchor, section.title, section.kind, "\n".join(section.blocks)] for section in own]
        if own[0].title == title:
            entries[0][0] = ""  # a link to a page leads to its top
        found.append([page.path, title, page.part, entries])
    return {"pages": found}


def write_words(root: Path, pages: Iterable[Page]) -> Path:
    """Write ``words.js`` for the built pages under ``root``; equal pages give equal bytes.

    Raises:
        LskdError: there is more text than a reader should have to load.
    """
    text = json.dumps(contents(root, pages), ensure_ascii=False, separators=(",", ":"))
    # Two characters that JSON allows and older JavaScript does not, and whatever could end a script element.
    text = text.replace("\u2028", " ").replace("\u2029", " ").replace("</", "<\\/")
    data = f"lskdSearch.fill({text});\n".encode()
    if len(data) > LIMIT:
        raise LskdError(
            f"the search would load {len(data):,} bytes, and at most {LIMIT:,} were wanted; see what grew in"
            f" _static/{FOLDER}/words.js, or raise LIMIT in lskd/book_search.py"
        )
    target = root / "_static" / FOLDER / "words.js"
    atomic_write(target, data)
    return target


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", _ship)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _ship(app: Sphinx) -> None:
    """Put the scripts where pages will look for them, before the first page asks for their checksums."""
    if app.builder.name != "html":
        return
    here, there = Path(__file__).parent, Path(app.outdir) / "_static" / FOLDER
    there.mkdir(parents=True, exist_ok=True)
    for name in (*SCRIPTS, "style.css"):
        shutil.copyfile(here / f"book_search_{name}", there / name)
    app.add_js_file(f"{FOLDER}/start.js")
    app.add_css_file(f"{FOLDER}/style.css")


def _finish(app: Sphinx, problem: Exception | None) -> None:
    if problem is None and app.builder.name == "html":
        write_words(Path(app.outdir), [Page(app.builder.get_target_uri(name), part) for name, part in _order(app)])


def _order(app: Sphinx) -> list[tuple[str, str]]:
    """Documents in reading order, each with the caption of the list of contents that names it."""
    from sphinx import addnodes

    order: dict[str, str] = {}

    def visit(name: str, part: str) -> None:
        if name in order or name not in app.env.all_docs:
            return
        order[name] = part
        for tree in app.env.get_doctree(name).findall(addnodes.toctree):
            for _, child in tree["entries"]:
                visit(child, tree.get("caption") or part)

    visit(app.config.root_doc, "")
    return list(order.items())
