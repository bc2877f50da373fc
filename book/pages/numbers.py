"""Numbers of figures and exercises on built pages: chapter, then place, so that others can cite "Figure 7.2".

The chapter's number is the one that Sphinx has put into the page's title; pages without one are appendices, A, B, C.
Sphinx does not see figures that cells put out, so numbers are given when all pages exist. Text points at a figure by
``<a data-figure="logit_spread">this figure</a>``, from another page by ``data-figure="logit_statistics/logit_spread"``;
without numbers the words inside remain.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from book.pages import Pages, way
from book.pages.find_figures import figures_of
from lskd.errors import LskdError, nearest

_CHAPTER = re.compile(r'<h\d><span class="section-number">(\d+)\. </span>')
_SPHINX = re.compile(r'<span class="caption-number">.*?</span>', re.DOTALL)
_EXERCISE = re.compile(r'(<h3 class="lskd-exercise-title"[^>]*><span>Exercise )(\d+</span>)')
_LISTED = re.compile(r'(<a href="([\w-]+)\.html#exercise-[^"]*">)(\d+)(?=\. )')  # in the list of all exercises
_REFERENCE = re.compile(r'<a\b[^>]*?\bdata-figure="([^"]+)"[^>]*>(.*?)</a>', re.DOTALL)


@dataclass(frozen=True)
class Numbered:
    """A figure on a page: its name (no ``figure-`` or ``live-``), its anchor and its number, such as "7.2"."""

    name: str
    anchor: str
    number: str


def number_figures(pages: Pages) -> None:
    """Write "Figure C.N" before each caption of a chapter and into every reference; the front page has no number.

    Raises:
        LskdError: a reference to a figure that no page holds, or one figure name twice on a page.
    """
    texts, found = _numbered({chapter.path: pages.texts[chapter.path] for chapter in pages.chapters})
    pages.texts |= {page: _references(text, page, found) for page, text in texts.items()}


def number_joined(text: str, pages: Sequence[str]) -> str:
    """The same for all pages in one, as Sphinx joins them: each but the first begins with a mark of its name.

    Raises:
        LskdError: as above, or a page is not there.
    """
    pieces, rest = {}, text
    for page in reversed(pages[1:]):
        rest, mark, piece = rest.rpartition(f'<span id="document-{page}"></span>')
        if not mark:
            raise LskdError(f"the joined pages hold no {page!r}, which the table of contents names")
        pieces[page] = mark + piece
    texts, found = _numbered({pages[0]: rest, **dict(reversed(pieces.items()))})
    return "".join(_references(piece, page, found, joined=True) for page, piece in texts.items())


def _numbered(texts: dict[str, str]) -> tuple[dict[str, str], dict[str, list[Numbered]]]:
    """Pages in reading order with numbers in their captions, and their figures."""
    found: dict[str, list[Numbered]] = {}
    out = {}
    labels = _labels(texts)
    chapters = {page.rpartition("/")[2]: label for page, label in labels.items()}
    for page, text in texts.items():
        text = _LISTED.sub(lambda link: f"{link[1]}{chapters.get(link[2], '')}.{link[3]}", text)
        out[page], figures = _captions(text, labels[page])
        names = [figure.name for figure in figures]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise LskdError(f"{page}: two figures are called {', '.join(twice)}; names must differ on a page")
        if figures:
            found[page] = figures
    return out, found


def _labels(texts: dict[str, str]) -> dict[str, str]:
    """The number of each chapter and the letter of each appendix; the front page has neither."""
    letters = iter(string.ascii_uppercase)
    first, *others = texts
    found = {page: _CHAPTER.search(texts[page]) for page in others}
    return {first: ""} | {page: match[1] if match else next(letters) for page, match in found.items()}


def _captions(text: str, chapter: str) -> tuple[str, list[Numbered]]:
    """The page with a number before the words of every caption, and with the chapter's before each exercise's own."""
    pieces: list[str] = []
    figures: list[Numbered] = []
    done = 0
    for place, figure in enumerate(figures_of(text), start=1):
        number = f"{chapter}.{place}" if chapter else f"{place}"
        figures.append(Numbered(figure.name, figure.anchor, number))
        pieces += [text[done : figure.words], f'<span class="lskd-number">Figure {number}.</span> ']
        done = figure.words
    out = _SPHINX.sub("", "".join([*pieces, text[done:]]))
    return (_EXERCISE.sub(rf"\g<1>{chapter}.\g<2>", out) if chapter else out), figures


def _references(text: str, page: str, found: dict[str, list[Numbered]], *, joined: bool = False) -> str:
    """The page with a link and a number for every ``data-figure``; pages are named without their folder."""
    known = {f"{p.rpartition('/')[2]}/{f.name}": (p, f) for p, figures in found.items() for f in figures}

    def link(match: re.Match[str]) -> str:
        name = match[1] if "/" in match[1] else f"{page.rpartition('/')[2]}/{match[1]}"
        if name not in known:
            near = ", ".join(nearest(name, known, n=1)) or "none, no page has a figure"
            raise LskdError(f"{page}: data-figure={match[1]!r}: there is no figure {name}; the nearest is {near}")
        target, figure = known[name]
        there = "" if joined or target == page else way(page, f"{target}.html")
        return f'<a class="lskd-ref" href="{there}#{figure.anchor}">Figure {figure.number}</a>'

    return _REFERENCE.sub(link, text)
