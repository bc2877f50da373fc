"""Where the figures of a built page stand, whoever put them there: Sphinx, or a cell with HTML of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A script may hold anything; a figure may hold others (a live one holds the still picture that stands in for it).
_TAG = re.compile(r"<script\b.*?</script>|<style\b.*?</style>|</?(?:figure|figcaption)\b[^>]*>", re.DOTALL)
_PARAGRAPH = re.compile(r"\s*<p>")


@dataclass(frozen=True)
class PageFigure:
    """A figure with a caption that stands in no other figure.

    Attributes:
        anchor: its ``id``, empty when it has none.
        start, end: where its markup begins and ends in the page's text.
        words: where the words of its caption begin.
        close: where the caption's end tag begins.
    """

    anchor: str
    start: int
    end: int
    words: int
    close: int

    @property
    def name(self) -> str:
        """The anchor without "figure-" or "live-", which say how it is shown."""
        return re.sub(r"^(figure|live)-", "", self.anchor)


def figures_of(text: str) -> list[PageFigure]:
    """The figures of a page in reading order; those without a caption are left out."""
    found: list[PageFigure] = []
    depth, start, anchor, words, close = 0, 0, "", -1, -1
    for tag in _TAG.finditer(text):
        if tag[0].startswith("<figure") and tag[0][7] in " >":
            depth += 1
            if depth == 1:
                identity = re.search(r'\bid="([^"]+)"', tag[0])
                start, anchor, words = tag.start(), identity[1] if identity else "", -1
        elif tag[0] == "</figure>":
            depth -= 1
            if depth == 0 and words >= 0:
                found.append(PageFigure(anchor, start, tag.end(), words, close))
        elif tag[0].startswith("<figcaption") and depth == 1:
            paragraph = _PARAGRAPH.match(text, tag.end())
            words = paragraph.end() if paragraph else tag.end()
        elif tag[0] == "</figcaption>" and depth == 1:
            close = tag.start()
    return found
