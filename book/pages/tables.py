"""Below each table of a built page: the same table as CSV and as LaTeX, to take along."""

from __future__ import annotations

import re

from bs4 import Tag

from book.pages import Pages, parsed, way
from book.search.plain_formula import plain_formula
from lskd.files import atomic_write
from paper.text import csv_table, latex_table


def offer_tables(pages: Pages) -> None:
    """Write ``tables/PAGE-N.csv`` and ``.tex`` (rules of booktabs) of every table, and links to both below it.

    A table that a live figure fills has no class and is left out.
    """
    for page, tree in pages.trees.items():
        for number, table in enumerate(tree.select("table.table, table.dataframe"), start=1):
            links = []
            for kind, end, content in _files(table):
                place = f"tables/{page.rpartition('/')[2]}-{number}.{end}"
                atomic_write(pages.html / place, content + "\n")
                links.append(f'<a href="{way(page, place)}" download>{kind}</a>')
            table.insert_after(parsed(f'<div class="lskd-origin">Table: {" ".join(links)}</div>'))


def _files(table: Tag) -> list[tuple[str, str, str]]:
    """What a reader calls it, ending and content."""
    rows = [[_words(cell) for cell in row.select("th, td")] for row in table.select("tr")]
    plain = [[re.sub(r"\\\(.*?\\\)", lambda m: plain_formula(m[0]), c).replace("−", "-") for c in r] for r in rows]
    caption = _words(table.caption) if table.caption else ""
    latex = latex_table(rows[0], rows[1:], caption=caption)
    return [("CSV", "csv", csv_table(plain)), ("LaTeX", "tex", latex)]


def _words(tag: Tag) -> str:
    return " ".join(tag.get_text().split())
