"""What a built page says: the words of each of its sections, for the book's search.

Read from the page as it was built, because only there are a notebook's outputs, captions and tables in place. Code
cells, controls, pictures and data are left out; a formula becomes the characters that a reader would see, or nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from book.search.plain_formula import plain_formula

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
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


def sections(page: str) -> list[Section]:
    """The sections of a built page in reading order, without those that have neither title nor text."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
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


@dataclass
class _Element:
    """An element that has begun: where its words go, and as what ("" for running text)."""

    tag: str
    section: Section
    mode: str = ""  # "title", "row", "listing", "formula" or "silent"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Section] = []
        self.open: list[_Element] = []  # empty outside of the article
        self.words: list[str] = []  # of the current block
        self.formula: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        classes = set(given.get("class", "").split())
        if not self.open:
            if tag == "article" and "bd-article" in classes:
                self.open.append(_Element(tag, self.begin("")))
        elif tag == "br":
            self.words.append(" ")
        elif tag not in VOID:
            above = self.open[-1]
            now = _Element(tag, above.section, above.mode)
            self.open.append(now)
            if above.mode == "silent" or _is_silent(tag, given, classes):
                now.mode = "silent"
            elif "math" in classes:
                now.mode = "formula" if tag == "span" else "silent"
            elif above.mode == "row" and tag in ("td", "th"):
                self.words.append(" · ")
            elif above.mode == "row" and tag in BLOCKS:
                self.words.append(" ")
            elif above.mode == "" and tag in BLOCKS:
                self.flush(above.section)
                self.enter(now, above, given.get("id", ""), classes)
            elif above.mode == "" and not now.section.blocks and self.names(now, classes):
                now.mode = "title"

    def enter(self, now: _Element, above: _Element, anchor: str, classes: set[str]) -> None:
        """A block begins, which may be a section of its own."""
        if now.tag == "tr":
            now.mode = "row"
        elif now.tag == "pre":
            now.mode = "listing"
        elif now.tag == "section" and anchor:
            now.section = self.begin(anchor)
        elif now.tag == "figure" and anchor and now.section.kind != "figure":  # a live one may hold a still one
            now.section = self.begin(anchor, "figure")
        elif now.tag == "div" and anchor and "citation" in classes:
            now.section = self.begin(anchor, "reference")
        elif now.tag == "dt" and anchor and "sig" in classes:
            now.section = above.section = self.begin(anchor, "object")
        elif now.tag == "dt" and anchor:
            now.section = above.section = self.begin(anchor, "term")
            now.mode = "title"
        elif now.tag in HEADINGS and not (now.section.title or now.section.blocks):
            now.mode = "title"
        elif now.tag in HEADINGS and anchor:  # inside a notebook's output, where headings open no <section>
            now.section = above.section = self.begin(anchor)
            now.mode = "title"

    def names(self, now: _Element, classes: set[str]) -> bool:
        """Whether these words within a block are what the section is called by."""
        if now.section.kind == "reference":
            return now.tag == "span" and "label" in classes
        first = not "".join(self.words).strip()
        return now.section.kind == "figure" and first and (now.tag == "b" or "lskd-number" in classes)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID or all(element.tag != tag for element in self.open):
            return
        while self.open:
            last = self.open.pop()
            above = self.open[-1].mode if self.open else ""
            if last.mode == "formula" and above != "formula":
                self.words.append(plain_formula("".join(self.formula)))
                self.formula.clear()
            elif last.mode == "title" and above != "title":
                last.section.title = f"{last.section.title} {_tidy(self.words)}".strip()
                self.words.clear()
            elif (last.mode == "" and last.tag in BLOCKS) or (last.mode in ("row", "listing") and above == ""):
                self.flush(last.section)
            if last.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        mode = self.open[-1].mode if self.open else "silent"
        if mode == "formula":
            self.formula.append(data)
        elif mode == "listing":
            first, *others = data.split("\n")
            self.words.append(first)
            for line in others:
                self.flush(self.open[-1].section)
                self.words.append(line)
        elif mode != "silent":
            self.words.append(data)

    def begin(self, anchor: str, kind: str = "section") -> Section:
        self.found.append(Section(anchor, kind=kind))
        return self.found[-1]

    def flush(self, section: Section) -> None:
        """The words since the last block are a block of this section."""
        if block := _tidy(self.words):
            section.blocks.append(block)
        self.words.clear()


def _is_silent(tag: str, given: dict[str, str], classes: set[str]) -> bool:
    hidden = "hidden" in given or given.get("aria-hidden") == "true"
    return tag in SILENT or hidden or not classes.isdisjoint(SILENT_CLASSES)


def _tidy(words: list[str]) -> str:
    text = re.sub(r"([.!?…]) \.$", r"\1", " ".join("".join(words).split()))  # after a link that was left out
    return re.sub(r"(?:· )*·(?= |$)", "·", text).strip("· ") if "·" in text else text
