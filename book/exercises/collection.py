"""All exercises of the book on one page, with marks for those that a reader has solved."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from book.exercises import (
    audit,
    data,
    logit_gap,
    logit_statistics,
    losses,
    networks,
    results_table,
    surface,
    temperature,
    toy,
    tsne,
    zscore,
)
from book.exercises.model import KINDS, Chapter, load
from book.exercises.page import inline
from lskd.files import atomic_write
from paper.text import csv_table

# In the order of the book. Imported, so that the page is another one when one of them changes.
_MODULES = (
    toy, temperature, zscore, losses, results_table, surface, logit_statistics, audit, data, networks, logit_gap, tsne,
)  # fmt: skip
CHAPTERS = [module.__name__.rpartition(".")[2] for module in _MODULES]


@dataclass(frozen=True)
class Collection:
    """The list, which shows itself in a notebook and on the page made of it."""

    chapters: tuple[Chapter, ...]

    def to_html(self) -> str:
        """One list a chapter. ``lskd-exercises.js`` fills in what is solved."""
        parts = []
        for chapter in self.chapters:
            page = f"{PurePosixPath(chapter.page).name}.html"
            items = []
            for number, e in enumerate(chapter.exercises, start=1):
                name = f"{chapter.name}-{e.name}"
                items.append(
                    f'<li data-exercise="{name}"><a href="{page}#exercise-{name}">{number}. '
                    f"{inline(e.title)}</a> "
                    f"<small>{KINDS[e.kind]}</small> <span data-done></span></li>"
                )
            title = f'<a href="{page}">{html.escape(chapter.title, quote=False)}</a>'
            parts.append(f"<h2>{title}</h2><ul>{''.join(items)}</ul>")
        return (
            '<div class="lskd-exercises"><p><span data-count role="status"></span> '
            f'<button type="button" hidden>Forget it</button></p>{"".join(parts)}</div>'
        )

    def write(self, folder: Path | str) -> Path:
        """As ``exercises.csv``, one line an exercise."""
        rows = [(chapter.name, e.name, e.title, e.kind) for chapter in self.chapters for e in chapter.exercises]
        path = Path(folder) / "exercises.csv"
        atomic_write(path, csv_table([("chapter", "name", "title", "kind"), *rows]) + "\n")
        return path

    def __len__(self) -> int:
        return sum(len(chapter.exercises) for chapter in self.chapters)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.to_html(), "text/plain": f"{len(self)} exercises"}


def collect() -> Collection:
    """The exercises of all chapters, in the order of the book."""
    return Collection(tuple(load(name) for name in CHAPTERS))
