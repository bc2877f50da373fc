"""Built pages: parsed once, changed by one step after the other, written once. A step takes :class:`Pages`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EntitySubstitution
from bs4.formatter import HTMLFormatter

from lskd.errors import LskdError


class _AsWritten(HTMLFormatter):
    def attributes(self, tag: Tag) -> Iterable[tuple[str, Any]]:
        return tag.attrs.items()  # in their order


_FORMAT = _AsWritten(EntitySubstitution.substitute_xml, void_element_close_prefix="")


def parsed(text: str) -> BeautifulSoup:
    """HTML, a page or a piece to be put into one, as a tree."""
    return BeautifulSoup(text, "html.parser")


def written(tree: Tag) -> str:
    """The same as text."""
    return tree.decode(formatter=_FORMAT)


@dataclass(frozen=True)
class Chapter:
    """A page as the table of contents names it.

    ``path`` is without ending; ``title`` is empty where the page's own stands; ``part`` is the caption it stands under.
    """

    path: str
    title: str = ""
    part: str = ""


class Pages:
    """The pages of a built book.

    Attributes:
        html: their folder.
        chapters: those of the table of contents, in reading order, the front page first.
        notebooks: folder of the executed notebooks; theirs are the pages ``notebooks/NAME``.
        trees: every page by its name without ending, chapters first.
    """

    def __init__(self, html: Path, chapters: list[Chapter], notebooks: Path = Path("notebooks")) -> None:
        self.html, self.chapters, self.notebooks = html, chapters, notebooks
        found = {
            path.relative_to(html).with_suffix("").as_posix(): path
            for path in sorted(html.rglob("*.html"))
            if "_static" not in path.parts
        }
        order = [chapter.path for chapter in chapters if chapter.path in found]
        self.trees = {name: parsed(found[name].read_text(encoding="utf-8")) for name in dict.fromkeys([*order, *found])}

    def write(self) -> None:
        for name, tree in self.trees.items():
            (self.html / f"{name}.html").write_text(written(tree), encoding="utf-8")


def way(page: str, target: str) -> str:
    """A file of the book as seen from a page; both are named from the book's folder."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def captioned(tags: Iterable[Tag]) -> list[tuple[Tag, Tag]]:
    """The figures among some elements with their captions, in reading order: none in another, none without a caption.

    A live figure holds the still picture that stands in for it, which is a figure too.
    """
    captions = [tag for tag in tags if tag.name == "figcaption"]
    found = [(figure, caption) for caption in captions if (figure := caption.find_parent("figure"))]
    return [(figure, caption) for figure, caption in found if figure.find_parent("figure") is None]


def name_of(figure: Tag) -> str:
    """A figure's identity without "figure-" or "live-", which say how it is shown."""
    return re.sub(r"^(figure|live)-", "", str(figure.get("id", "")))


def keys(path: Path) -> dict[str, Any]:
    """What a YAML file of Jupyter Book says.

    Raises:
        LskdError: no such file, not YAML, or no keys.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LskdError(f"{path}: no such file; a book needs its table of contents, and _config.yml") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise LskdError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise LskdError(f"{path} holds {found!r}; expected keys, such as `root: intro`")
    return found


def listed(toc: Path) -> list[Chapter]:
    """The pages of a ``_toc.yml`` in reading order, the front page first; errors as :func:`keys` has them."""

    def within(node: Any, part: str) -> list[Chapter]:
        if isinstance(node, list):
            return [page for item in node for page in within(item, part)]
        if not isinstance(node, dict):
            return []
        part = node.get("caption") or part
        path = node.get("root") or node.get("file")
        own = [Chapter(path, node.get("title") or "", part)] if path else []
        return own + [page for value in node.values() for page in within(value, part)]

    return within(keys(toc), "")
