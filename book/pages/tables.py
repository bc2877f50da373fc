"""Below each table of a built page: the same table as CSV and as LaTeX, to take along."""

from __future__ import annotations

import itertools
import re

from bs4 import BeautifulSoup

from book.pages import Pages, way
from book.search.plain_formula import plain_formula
from lskd.files import atomic_write
from paper.text import csv_table, latex_table

_TABLE = re.compile(r'<table class="(?:table|dataframe)\b.*?</table>', re.DOTALL)  # no table that a live figure fills


def offer_tables(pages: Pages) -> None:
    """Write ``tables/PAGE-N.csv`` and ``.tex`` (rules of booktabs) of every table, and links to both below it."""
    (pages.html / "tables").mkdir(exist_ok=True)

    def with_links(page: str, text: str) -> str:
        numbers = itertools.count(1)

        def offered(table: re.Match[str]) -> str:
            place = f"tables/{page.rpartition('/')[2]}-{next(numbers)}"
            links = []
            for kind, (end, content) in _files(table[0]).items():
                atomic_write(pages.html / f"{place}.{end}", content + "\n")
                links.append(f'<a href="{way(page, f"{place}.{end}")}" download>{kind}</a>')
            return f'{table[0]}<div class="lskd-origin">Table: {" ".join(links)}</div>'

        return _TABLE.sub(offered, text)

    pages.change(with_links)


def _files(table: str) -> dict[str, tuple[str, str]]:
    """Ending and content by what a reader calls it."""
    tree = BeautifulSoup(table, "html.parser")
    rows = [[_words(cell.get_text()) for cell in row.select("th, td")] for row in tree.select("tr")]
    caption = _words(tree.caption.get_text()) if tree.caption else ""
    plain = [[re.sub(r"\\\(.*?\\\)", lambda m: plain_formula(m[0]), c).replace("−", "-") for c in r] for r in rows]
    return {
        "CSV": ("csv", csv_table(plain)),
        "LaTeX": ("tex", latex_table(rows[0], rows[1:], caption=caption)),
    }


def _words(text: str) -> str:
    return " ".join(text.split())
