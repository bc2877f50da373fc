"""Below each figure of the book: its data, its picture, and how it was made, from the sidecars of published figures.

Pictures, which notebooks embed, become files that a browser loads when they come into view, in the layout that
fits its window. A reader can take the numbers (CSV) and the vector picture along, open the records of the runs that
were drawn, and copy the commands that trained and drew. Nothing is written here by hand: notebook and parameters come
from the executed notebook, files and digests from the figure's sidecar, the training command from the record.
"""

from __future__ import annotations

import html as markup
import json
import os
import posixpath
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lskd.book_figures import PageFigure, figures_of
from lskd.files import read_json

__all__ = ["Origin", "add_origins"]

NARROW = "(max-width: 640px)"  # of the window; wider ones show panels side by side
_IMAGE = re.compile(r'<img class="lskd-(light|dark) dark-light" (alt="[^"]*") src="data:[^"]*"([^>]*)>')
_DATA = re.compile(r'\s*<(a|span) class="lskd-data".*?</\1>\.?', re.DOTALL)  # a notebook's own way to the data


@dataclass
class Origin:
    """What is known of the making of one figure.

    Attributes:
        files: data and picture that a reader may take along.
        inputs: (name, SHA-256) of what was drawn.
        records: of the runs that made the inputs.
    """

    files: list[Path] = field(default_factory=list)
    inputs: list[tuple[str, str]] = field(default_factory=list)
    records: list[Path] = field(default_factory=list)


def add_origins(html: Path, pages: Sequence[str], notebooks: Path) -> None:
    """Write the line below each figure's caption and put the files that it links to into the book.

    Args:
        html: folder of built pages.
        pages: their names, without ".html".
        notebooks: the executed notebooks; theirs are the pages "notebooks/NAME".
    """
    for page in pages:
        source = notebooks / f"{Path(page).name}.ipynb"
        if posixpath.dirname(page) == "notebooks" and source.is_file():
            target = html / f"{page}.html"
            target.write_text(_page(target.read_text(encoding="utf-8"), html, page, source), encoding="utf-8")


def _page(text: str, html: Path, page: str, source: Path) -> str:
    parameters = read_json(source)["metadata"].get("papermill", {}).get("parameters", {})
    figures = figures_of(text)
    origins = [_origin(text[f.start : f.end], f, parameters.get("output", "")) for f in figures]
    every = list(dict.fromkeys(record for origin in origins for record in origin.records))
    pieces, done = [], 0
    for figure, origin in zip(figures, origins, strict=True):
        if not origin.inputs:  # a live figure without a still picture reads what the others on its page read
            origin.records = every if not origin.files else []
        caption = text[figure.words : figure.close]
        if origin.files:
            caption = _DATA.sub("", caption)
        before = _pictures(text[done : figure.words], html, page, source.stem, origin)
        pieces += [before, caption, _line(html, page, source.stem, parameters, origin)]
        done = figure.close
    return "".join([*pieces, text[done:]])


def _origin(content: str, figure: PageFigure, output: str) -> Origin:
    """From the figure's sidecar; a live figure has that of the still picture inside it."""
    inside = re.search(r'id="figure-([\w.-]+)"', content)
    name = inside[1] if inside else figure.name
    for folder in (Path(output), Path(output) / "figures"):
        if output and (sidecar := folder / f"{name}.json").is_file():
            found = read_json(sidecar)
            files = [folder / file for file in found["files"] if file.endswith((".csv", ".svg"))]
            inputs = [(item["file"], item["sha256"]) for item in found["inputs"]]
            records = dict.fromkeys(record for file, _ in inputs for record in _records(Path(file)))
            return Origin([f for f in files if f.is_file()], inputs, list(records))
    return Origin()


def _records(path: Path) -> Iterable[Path]:
    """The record of the run that made a file: the file itself, beside it, or beside its folder under its name."""
    for candidate in (path, path.parent / "record.json", path.parent.with_suffix(".json")):
        if candidate.suffix == ".json" and candidate.is_file() and "members" in read_json(candidate):
            return [candidate]
    return []


def _pictures(text: str, html: Path, page: str, notebook: str, origin: Origin) -> str:
    """Embedded pictures as files, for wide and for narrow windows."""
    files = {path.name: path for path in origin.files}
    names = [path.stem for path in origin.files if path.suffix == ".csv"]
    if not names:
        return text

    def file(end: str) -> str:
        return _put(html, page, files[f"{names[0]}{end}.svg"], "figures/" + notebook)

    def picture(match: re.Match[str]) -> str:
        theme, alt, rest = match.groups()
        ends = ("", "-narrow") if theme == "light" else ("-dark", "-narrow-dark")
        if any(f"{names[0]}{end}.svg" not in files for end in ends):
            return match[0]
        return (
            f'<picture><source media="{NARROW}" srcset="{file(ends[1])}"><img class="lskd-{theme} dark-light" {alt} '
            f'src="{file(ends[0])}" loading="lazy"{rest}></picture>'
        )

    return _IMAGE.sub(picture, text)


def _line(html: Path, page: str, notebook: str, parameters: dict[str, Any], origin: Origin) -> str:
    """Links and a fold, HTML."""
    links = []
    for path in origin.files:
        kind = "Data (CSV)" if path.suffix == ".csv" else "Picture (SVG)"
        if not path.stem.endswith(("-dark", "-narrow")):
            links.append(f'<a href="{_put(html, page, path, "figures/" + notebook)}" download>{kind}</a>')
    rows = []
    for path in origin.records:
        record = read_json(path)
        title = f"{record['name']}, seed {record['seed']}"
        where = _put(
            html, page, path, "records", f"{record['name']}-seed-{record['seed']}-{record['identity'][:8]}.json"
        )
        device = markup.escape(record["device"]["name"])
        rows.append(
            f'Record: <a href="{where}" download>{markup.escape(title)}</a>, {device}, {record["finished"][:10]}'
        )
        rows.append(f"Trained by {_code(record['command'])}")
    run = ["lskd", "notebook", "run", notebook]
    for key, value in parameters.items():
        run += ["-p", key, value if isinstance(value, str) else json.dumps(value)]
    own = posixpath.relpath(f"_sources/{page}.ipynb", posixpath.dirname(page))
    rows.append(f'Drawn by <a href="{own}" download>its notebook</a>: {_code(shlex.join(run))}')
    if origin.inputs:
        read = ", ".join(f"{_code(Path(name).name)} ({digest[:8]})" for name, digest in origin.inputs)
        rows.append(f"Read (start of SHA-256): {read}")
    listed = "".join(f"<li>{row}</li>" for row in rows)
    fold = f"<details><summary>How it was made</summary><ul>{listed}</ul></details>"
    return f'<div class="lskd-origin">{"".join(links)}{fold}</div>'


def _code(text: str) -> str:
    return f"<code>{markup.escape(text)}</code>"


def _put(html: Path, page: str, path: Path, folder: str, name: str = "") -> str:
    """Copy a file into the book; returns its address as seen from the page."""
    target = html / folder / (name or path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return posixpath.relpath(os.fspath(target.relative_to(html)).replace(os.sep, "/"), posixpath.dirname(page) or ".")
