"""Built pages: read once, changed by one step after the other, written once. A step takes :class:`Pages`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup

from lskd.errors import LskdError


@dataclass(frozen=True)
class Chapter:
    """A page as the table of contents names it.

    ``path`` is without ending; ``title`` is empty where the page's own stands; ``part`` is the caption it stands under.
    """

    path: str
    title: str = ""
    part: str = ""


@dataclass
class Pages:
    """The pages of a built book.

    Attributes:
        html: their folder.
        chapters: those of the table of contents, in reading order, the front page first.
        notebooks: folder of the executed notebooks; theirs are the pages ``notebooks/NAME``.
        texts: HTML of every page by its name without ending, chapters first.
    """

    html: Path
    chapters: list[Chapter]
    notebooks: Path = Path("notebooks")
    texts: dict[str, str] = field(default_factory=dict)
    _parsed: dict[str, tuple[str, BeautifulSoup]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        found = {
            path.relative_to(self.html).with_suffix("").as_posix(): path
            for path in sorted(self.html.rglob("*.html"))
            if "_static" not in path.parts
        }
        order = [chapter.path for chapter in self.chapters if chapter.path in found]
        self.texts = {name: found[name].read_text(encoding="utf-8") for name in dict.fromkeys([*order, *found])}

    def change(self, step: Callable[[str, str], str]) -> None:
        """Give every page the text that ``step`` makes of its name and its text."""
        self.texts = {name: step(name, text) for name, text in self.texts.items()}

    def soup(self, page: str) -> BeautifulSoup:
        """A page without its scripts, parsed once for all steps that read and do not change it."""
        text = self.texts[page]
        if self._parsed.get(page, ("",))[0] is not text:
            bare = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)
            self._parsed[page] = text, BeautifulSoup(bare, "html.parser")
        return self._parsed[page][1]

    def write(self) -> None:
        for name, text in self.texts.items():
            (self.html / f"{name}.html").write_text(text, encoding="utf-8")


def way(page: str, target: str) -> str:
    """A file of the book as seen from a page; both are named from the book's folder."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def listed(toc: Path) -> list[Chapter]:
    """The pages of a ``_toc.yml`` in reading order, the front page first.

    Raises:
        LskdError: no such file.
    """
    import yaml

    def within(node: Any, part: str) -> list[Chapter]:
        if isinstance(node, list):
            return [page for item in node for page in within(item, part)]
        if not isinstance(node, dict):
            return []
        part = node.get("caption") or part
        path = node.get("root") or node.get("file")
        own = [Chapter(path, node.get("title") or "", part)] if path else []
        return own + [page for value in node.values() for page in within(value, part)]

    try:
        return within(yaml.safe_load(toc.read_text(encoding="utf-8")), "")
    except FileNotFoundError:
        raise LskdError(f"{toc}: no such file; a book needs a table of contents") from None
