"""What a built page says: the words of each of its sections, for the book's search.

Read from the page as it was built, because only there are a notebook's outputs, captions and tables in place. Code
cells, controls, pictures and data are left out; a formula becomes the characters that a reader would see, or nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bs4 import NavigableString, Tag

from book.search.plain_formula import plain_formula

BLOCKS = {
    *("address", "article", "aside", "blockquote", "caption", "details", "dd", "div", "dl", "dt", "figcaption"),
    *("figure", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre", "section", "summary", "table", "tr", "ul"),
}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
SILENT = {"button", "canvas", "datalist", "iframe", "nav", "noscript", "script", "select", "style", "svg", "template"}
SILENT_CLASSES = {
    "cell_input",  # the source of a notebook's cell
    *("collapsed", "expanded"),  # "Show code cell source" above it
    *("headerlink", "eqno", "section-number", "toctree-wrapper", "visually-hidden"),
    *("lskd-stage", "lskd-still", "lskd-elsewhere"),  # of a live figure; its caption stays
    *("lskd-origin", "lskd-data"),  # links to data and code below every figure
}


@dataclass
class Section:
    """A piece of a page that a search result can lead to.

    ``anchor`` is the id of its element, empty for the page itself; ``kind`` is ``"section"``, ``"figure"``, ``"term"``
    (a glossary entry), ``"object"`` (of the API reference) or ``"reference"`` (a bibliography entry); ``blocks`` are
    its paragraphs, list items, table rows and lines of listings, none of them empty.
    """

    anchor: str
    title: str = ""
    kind: str = "section"
    blocks: list[str] = field(default_factory=list)


def sections(page: Tag) -> list[Section]:
    """The sections of a built page in reading order, without those that have neither title nor text."""
    reader = _Reader()
    if article := page.select_one("article.bd-article"):
        reader.within(article, reader.begin(""))
    for section in reader.found:
        _name(section)
    return [found for found in reader.found if found.title or found.blocks]


def _name(section: Section) -> None:
    """Titles as a reader would say them: a caption's first words, a source's authors, a function without its module."""
    if section.kind == "figure" and section.blocks:
        number = re.match(r"(Figure [\d.]*\d)?", section.title)[0]  # type: ignore[index]  # it always matches
        words = section.title.removeprefix(number).lstrip(". ")
        if words and not section.blocks[0][:1].isupper():  # the words go on into the sentence
            section.blocks[0] = words + ("" if section.blocks[0][:1] in ",;:." else " ") + section.blocks[0]
        section.title = ". ".join(part for part in (number, words.rstrip(".")) if part) or "Figure"
    elif section.kind == "reference" and section.blocks:  # authors, then what they wrote; an initial ends no sentence
        authors, _, work = re.sub(r"(?<!\b[A-Z])\. ", "\n", section.blocks[0], count=1).partition("\n")
        if work:
            section.title, section.blocks[0] = authors, work
    elif section.kind == "object":
        section.blocks = [*section.blocks[1:], *section.blocks[:1], section.anchor]  # what it does, then its signature
        parts = section.anchor.split(".")
        section.title = ".".join(parts[-2:] if len(parts) > 1 and parts[-2][:1].isupper() else parts[-1:])


class _Reader:
    """Reads element by element; ``mode`` is what its words are: "" for running text, "title", "row" or "listing"."""

    def __init__(self) -> None:
        self.found: list[Section] = []
        self.words: list[str] = []  # of the current block

    def element(self, tag: Tag, section: Section, mode: str) -> Section:
        """Read an element and all within; returns the section that what follows it belongs to."""
        classes = set(tag.get_attribute_list("class"))
        if tag.name in SILENT or classes & SILENT_CLASSES or tag.has_attr("hidden") or tag.get("aria-hidden") == "true":
            return section
        if "math" in classes:
            self.words.append(plain_formula(tag.get_text()) if tag.name == "span" else "")
            return section
        block, own, following, inside = tag.name in BLOCKS, section, section, mode
        if tag.name == "br" or (mode == "row" and block):
            self.words.append(" ")
        elif mode == "row" and tag.name in ("td", "th"):
            self.words.append(" · ")
        elif mode == "" and block:
            self.flush(section)
            if kind := _begins(tag, classes, section):
                own = self.begin(str(tag["id"]), kind)
            following = own if tag.name in ("dt", *HEADINGS) else section
            named = own.kind == "term" if tag.name == "dt" else tag.name in HEADINGS and not (own.title or own.blocks)
            inside = "title" if named else {"tr": "row", "pre": "listing"}.get(tag.name, "")
        elif mode == "" and not section.blocks and self.names(tag, classes, section):
            inside = "title"
        self.within(tag, own, inside)
        if inside == "title" != mode:
            own.title = f"{own.title} {_tidy(self.words)}".strip()
            self.words.clear()
        elif mode == "" and block:
            self.flush(own)
        return following

    def within(self, tag: Tag, section: Section, mode: str = "") -> None:
        for child in tag.children:
            if isinstance(child, Tag):
                section = self.element(child, section, mode)
            elif type(child) is NavigableString:
                first, *others = child.split("\n") if mode == "listing" else [child]
                self.words.append(first)
                for line in others:
                    self.flush(section)
                    self.words.append(line)

    def names(self, tag: Tag, classes: set[str], section: Section) -> bool:
        """Whether these words within a block are what the section is called by."""
        if section.kind == "reference":
            return tag.name == "span" and "label" in classes
        first = not "".join(self.words).strip()
        return section.kind == "figure" and first and (tag.name == "b" or "lskd-number" in classes)

    def begin(self, anchor: str, kind: str = "section") -> Section:
        self.found.append(Section(anchor, kind=kind))
        return self.found[-1]

    def flush(self, section: Section) -> None:
        """The words since the last block are a block of this section."""
        if block := _tidy(self.words):
            section.blocks.append(block)
        self.words.clear()


def _begins(tag: Tag, classes: set[str], section: Section) -> str:
    """The kind of the section that a block begins; "" for none."""
    kinds = {
        "section": "section",
        "figure": "" if section.kind == "figure" else "figure",  # a live one may hold a still one
        "div": "reference" if "citation" in classes else "",
        "dt": "object" if "sig" in classes else "term",
    }
    if section.title or section.blocks:  # inside a notebook's output, where headings open no <section>
        kinds |= dict.fromkeys(HEADINGS, "section")
    return kinds.get(tag.name, "") if tag.get("id") else ""


def _tidy(words: list[str]) -> str:
    text = re.sub(r"([.!?…]) \.$", r"\1", " ".join("".join(words).split()))  # after a link that was left out
    return re.sub(r"(?:· )*·(?= |$)", "·", text).strip("· ") if "·" in text else text
