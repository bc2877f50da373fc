"""Numbers of figures and exercises on built pages: chapter, then place, so that others can cite "Figure 7.2".

The chapter's number is the one that Sphinx has put into the page's title; pages without one are appendices, A, B, C.
Sphinx does not see figures that cells put out, so numbers are given when all pages exist. Text points at a figure by
``<a data-figure="logit_spread">this figure</a>``, from another page by ``data-figure="logit_statistics/logit_spread"``;
without numbers the words inside remain.
"""

from __future__ import annotations

import re
import string

from bs4 import Tag

from book.pages import Pages, captioned, name_of, parsed, way
from lskd.errors import LskdError, nearest


def number_figures(pages: Pages) -> None:
    """Write "Figure C.N" before each caption of a chapter and into every reference; the front page has no number.

    Raises:
        LskdError: a reference to a figure that no page holds, or one figure name twice on a page.
    """
    elements: dict[str, list[Tag]] = {page.path: pages.trees[page.path].select("*") for page in pages.chapters}
    labels, known = _labels(elements), {}
    chapters = {_last(page): label for page, label in labels.items()}
    for page, tags in elements.items():
        chapter = f"{labels[page]}." if labels[page] else ""
        for place, (figure, caption) in enumerate(captioned(tags), start=1):
            name, number = f"{_last(page)}/{name_of(figure)}", f"{chapter}{place}"
            if name in known:
                raise LskdError(f"{page}: two figures are called {name_of(figure)}; names must differ on a page")
            known[name] = page, str(figure.get("id", "")), number
            words = caption.select_one(":scope > p:first-child") or caption
            words.insert(0, parsed(f'<span class="lskd-number">Figure {number}.</span> '))
        for tag in tags:
            if "caption-number" in tag.get_attribute_list("class"):  # Sphinx's
                tag.extract()
            elif "lskd-exercise-title" in tag.get_attribute_list("class") and tag.span:
                tag.span.string = tag.span.get_text().replace(" ", f" {chapter}")
            elif listed := re.match(r"([\w-]+)\.html#exercise-", str(tag.get("href", ""))):  # in the list of all
                tag.string = re.sub(r"^(?=\d+\. )", f"{chapters.get(listed[1], '')}.", tag.get_text())
    for page, tags in elements.items():
        for tag in tags:
            if tag.get("data-figure"):
                _refer(tag, page, known)


def _labels(pages: dict[str, list[Tag]]) -> dict[str, str]:
    """The number of each chapter and the letter of each appendix; the front page has neither."""
    letters = iter(string.ascii_uppercase)
    first, *others = pages
    labels = {first: ""}
    for page in others:
        titles = (tag.select_one(":scope > .section-number") for tag in pages[page] if re.fullmatch(r"h\d", tag.name))
        numbers = (re.fullmatch(r"(\d+)\. ", title.get_text()) for title in titles if title)
        labels[page] = next((number[1] for number in numbers if number), "") or next(letters)
    return labels


def _refer(link: Tag, page: str, known: dict[str, tuple[str, str, str]]) -> None:
    """Make a ``data-figure`` a link with a number; pages are named without their folder."""
    told = str(link["data-figure"])
    name = told if "/" in told else f"{_last(page)}/{told}"
    if name not in known:
        near = ", ".join(nearest(name, known, n=1)) or "none, no page has a figure"
        raise LskdError(f"{page}: data-figure={told!r}: there is no figure {name}; the nearest is {near}")
    target, anchor, number = known[name]
    there = "" if target == page else way(page, f"{target}.html")
    link.attrs = {"class": "lskd-ref", "href": f"{there}#{anchor}"}
    link.string = f"Figure {number}"


def _last(page: str) -> str:
    return page.rpartition("/")[2]
