"""Each chapter as plain text (Markdown) beside its page, ``llms.txt`` that lists them, and how to cite a page.

The text is made from what the page shows, so that numbers, captions and tables are those that a reader sees.
"""

from __future__ import annotations

import html as markup
import re
from typing import Any

from bs4 import Tag
from markdownify import ATX, MarkdownConverter

from book.open_elsewhere import repository
from book.pages import Pages, parsed
from book.search.page_text import SILENT, SILENT_CLASSES
from figures.fingerprint import ROOT
from lskd.files import atomic_write

SHOWN = {"cell_input", "section-number", "eqno"}  # the search leaves these out, a text has them
HIDDEN = SILENT_CLASSES - SHOWN | {"above-input", "tag_parameters", "tag_injected-parameters", "lskd-dark"}
ABOUT = re.compile(r"^\*(At the end of this page .*?)\*$", re.MULTILINE | re.DOTALL)


def write(pages: Pages) -> None:
    """Put ``PAGE.md`` beside every chapter and ``llms.txt`` beside the first; say below each page how to cite it."""
    book, listed, part = _book(), [], ""
    for chapter in pages.chapters:
        article = pages.trees[chapter.path].article
        if article is None:
            continue
        text = re.sub(r"\n{3,}", "\n\n", _Text().process_tag(article)).strip()
        atomic_write(pages.html / f"{chapter.path}.md", f"{text}\n")
        title = text.partition("\n")[0].lstrip("# ")
        about = ABOUT.search(re.sub(r"\[(.*?)\]\(.*?\)", r"\1", text))
        listed += [f"\n## {chapter.part}\n"] if chapter.part != part else []
        listed.append(f"- [{title}]({chapter.path}.md)" + (f": {' '.join(about[1].split())}" if about else ""))
        part = chapter.part
        article.append(parsed(_taken(chapter.path, title, book)))
    head = f"# {book['title']}\n\n> An executable book: every chapter as text, with the numbers that its page shows.\n"
    atomic_write(pages.html / "llms.txt", "\n".join([head, *listed, ""]))


def _taken(page: str, title: str, book: dict[str, str]) -> str:
    """A fold at the end of a page: BibTeX of this page and of the paper, and the page as text."""
    entries = markup.escape("\n\n".join([_bibtex(page, title, **book), book["paper"]]))
    text = f'<a href="{page.rpartition("/")[2]}.md" download>This page as text (Markdown)</a>'
    box = f'<div class="highlight"><pre>{entries}\n</pre></div>'
    return f'<div class="lskd-origin">{text}<details><summary>Cite this page</summary>{box}</details></div>'


def _book() -> dict[str, str]:
    """What ``CITATION.cff`` and the configuration say of the book, and the bibliography's entry of the paper."""
    import yaml

    cited, config = (yaml.safe_load((ROOT / name).read_text("utf-8")) for name in ("CITATION.cff", "_config.yml"))
    sources = (ROOT / "book" / "chapters" / "references.bib").read_text(encoding="utf-8")
    (paper,) = re.findall(r"@\w+\{sun2024logit,.*?\n\}", sources, re.DOTALL)
    place = repository(ROOT / "_config.yml")
    return {
        "author": " and ".join(f"{{{author['name']}}}" for author in cited["authors"]),
        "title": cited["title"],
        "version": str(cited["version"]),
        "year": config["copyright"],
        "url": place.url if place else "",
        "paper": paper,
    }


def _bibtex(page: str, chapter: str, *, title: str, version: str, paper: str, **more: str) -> str:
    within = f"{title}, version {version}"
    chapter = re.sub(r"^[\d.]+ ", "", chapter)
    fields = {"title": f"{{{chapter}}}", "howpublished": within} if page != "intro" else {"title": f"{{{within}}}"}
    lines = [f"  {key} = {{{value}}}," for key, value in (fields | more).items() if value]
    return "\n".join([f"@misc{{lskd-{page.rpartition('/')[2]},", *lines, "}"])


_Converter: Any = MarkdownConverter  # whose types leave out the methods that it is made to have overridden


class _Text(_Converter):
    """Without what acts, folded code and second pictures."""

    class Options:
        heading_style, bullets = ATX, "-"
        escape_asterisks = escape_underscores = False

    def process_tag(self, node: Tag, parent_tags: set[str] | None = None) -> str:
        classes = set(node.get_attribute_list("class"))
        if node.name in SILENT or classes & HIDDEN:
            return ""
        if "math" not in classes:
            return str(super().process_tag(node, parent_tags))
        number = node.select_one(".eqno")
        source = "".join(part.get_text() for part in node.children if part is not number).strip()
        if node.name == "span":
            return f"${source[2:-2]}$"
        return f"\n\n$$\n{source[2:-2].strip()}\n$$ {number.get_text().rstrip('#') if number else ''}\n\n"

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return "" if str(el["src"]).startswith("data:") else str(super().convert_img(el, text, parent_tags))

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        if "lskd-word" in el.get_attribute_list("class"):  # moves a figure of the page
            return text
        if not re.match(r"[a-z]+:", address := str(el.get("href", ""))):
            el = type(el)(name="a", attrs={"href": re.sub(r"\.html(?=#|$)", ".md", address)})
        return str(super().convert_a(el, text, parent_tags))
