"""Below each figure of the book: its data, its picture, and how it was made, from the sidecars of published figures.

Pictures, which notebooks embed, become files that a browser loads when they come into view, in the layout that
fits its window. A reader can take the numbers (CSV) and the vector picture along, open the records of the runs that
were drawn, and copy the commands that trained and drew. Nothing is written here by hand: notebook and parameters come
from the executed notebook, files and digests from the figure's sidecar, the training command from the record.
"""

from __future__ import annotations

import gzip
import html as markup
import json
import posixpath
import re
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bs4 import NavigableString, Tag

from book.pages import Pages, captioned, name_of, parsed, way
from lskd.files import read_json

LARGE = 200_000  # bytes: a table above it goes into the book compressed
NARROW = "(max-width: 640px)"  # of the window; wider ones show panels side by side
_DRAWN_BY_SPHINX = re.compile(r"_images/([\w.-]+?)\.svg$")


@dataclass(frozen=True)
class Maker:
    """An executed notebook: its page's name, what it was run with, and the notebook in ``notebooks/`` that was run."""

    name: str
    parameters: dict[str, Any]
    source: str

    def sidecar(self, figure: str) -> Path | None:
        """Of a figure that it drew."""
        output = Path(str(self.parameters.get("output", "")))
        places = [output / f"{figure}.json", output / "figures" / f"{figure}.json"] if output.name else []
        return next((place for place in places if place.is_file()), None)


@dataclass
class Origin:
    """What is known of the making of one figure."""

    maker: Maker  # the notebook that drew it
    name: str = ""
    files: dict[str, Path] = field(default_factory=dict)  # data and pictures that a reader may take along, by name
    inputs: list[tuple[str, str]] = field(default_factory=list)  # name and SHA-256 of what was drawn
    records: list[Path] = field(default_factory=list)  # of the runs that made the inputs


def add_footers(pages: Pages) -> None:
    """Write the line below each figure's caption and put the files that it links to into the book.

    The pages "notebooks/NAME" show the pictures of their notebook; other chapters show those of any.
    """
    makers = {path.stem: _maker(path) for path in sorted(pages.notebooks.glob("*.ipynb"))}
    for page in (chapter.path for chapter in pages.chapters):
        own = makers.get(Path(page).name) if posixpath.dirname(page) == "notebooks" else None
        figures = captioned(pages.trees[page].find_all("figcaption"))
        origins = [
            _origin(f, [own] if own else [*makers.values()]) or (Origin(own) if own else None) for f, _ in figures
        ]
        every = list(dict.fromkeys(record for origin in origins if origin for record in origin.records))
        for (figure, caption), origin in zip(figures, origins, strict=True):
            if origin is None:
                continue
            if not origin.inputs:  # a live figure without a still picture reads what the others on its page read
                origin.records = every if not origin.files else []
            if origin.files:
                _remove_own_data(caption)
            _put_pictures(figure, pages.html, page, origin)
            caption.append(parsed(_line(pages.html, page, origin)))


def _maker(path: Path) -> Maker:
    ran = read_json(path)["metadata"].get("papermill", {})
    return Maker(path.stem, ran.get("parameters", {}), Path(ran.get("input_path", path)).stem)


def _origin(figure: Tag, makers: Iterable[Maker]) -> Origin | None:
    """From the figure's sidecar; a live figure has that of the still picture inside it."""
    drawn = [re.match(r"figure-(.+)", str(tag["id"])) for tag in [*figure.select("[id]"), figure] if tag.get("id")]
    drawn += [_DRAWN_BY_SPHINX.search(str(image.get("src"))) for image in figure.select("img")]
    name = next((match[1] for match in drawn if match), name_of(figure))
    for maker in makers:
        if sidecar := maker.sidecar(name):
            found = read_json(sidecar)
            files = {file: sidecar.parent / file for file in found["files"] if file.endswith((".csv", ".svg"))}
            inputs = [(item["file"], item["sha256"]) for item in found["inputs"]]
            records = dict.fromkeys(record for file, _ in inputs for record in _records(Path(file)))
            return Origin(maker, name, {k: v for k, v in files.items() if v.is_file()}, inputs, list(records))
    return None


def _records(path: Path) -> Iterable[Path]:
    """The record of the run that made a file: the file itself, beside it, or beside its folder under its name."""
    for candidate in (path, path.parent / "record.json", path.parent.with_suffix(".json")):
        if candidate.suffix == ".json" and candidate.is_file() and "members" in read_json(candidate):
            return [candidate]
    return []


def _remove_own_data(caption: Tag) -> None:
    """A notebook's own way to the data, and the full stop behind it."""
    for data in caption.select(".lskd-data"):
        if isinstance(stop := data.next_sibling, NavigableString):
            stop.replace_with(stop.removeprefix("."))
        if isinstance(space := data.previous_sibling, NavigableString):
            space.replace_with(space.rstrip())
        data.extract()


def _put_pictures(figure: Tag, html: Path, page: str, origin: Origin) -> None:
    """Pictures as files, for light and for dark pages, for wide and for narrow windows."""
    wide, narrow = (origin.files.get(f"{origin.name}{end}.svg") for end in ("", "-narrow"))
    if not wide or not narrow:
        return
    slim, full = (_put(html, page, path, f"figures/{origin.maker.name}") for path in (narrow, wide))
    for image in figure.select("img"):
        source, alt = str(image["src"]), markup.escape(str(image.get("alt", "")))
        drawn, style = _DRAWN_BY_SPHINX.search(source), f' style="{image["style"]}"' if image.get("style") else ""
        if drawn[1] == origin.name if drawn else source.startswith("data:"):  # what a cell embeds is there twice
            classes = image.get_attribute_list("class")
            pictures = (
                f'<picture><source media="{NARROW}" srcset="{slim}{end}"{_size(narrow)}><img class="lskd-{kind} '
                f'dark-light" alt="{alt}" src="{full}{end}"{_size(wide)}{style} loading="lazy"></picture>'
                for kind, end in (("light", ""), ("dark", "#dark"))
                if drawn or f"lskd-{kind}" in classes
            )
            image.replace_with(parsed("".join(pictures)))


def _size(path: Path) -> str:
    """Width and height of an SVG as attributes, so that a page keeps its place until the picture is there."""
    box = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', path.read_text(encoding="utf-8")[:2000])
    return f' width="{float(box[1]):.0f}" height="{float(box[2]):.0f}"' if box else ""


def _line(html: Path, page: str, origin: Origin) -> str:
    """Links and a fold, HTML."""
    links = []
    for end, kind in ((".csv", "Data (CSV{})"), (".svg", "Picture (SVG)")):
        if path := origin.files.get(origin.name + end):
            where = _put(html, page, path, f"figures/{origin.maker.name}")
            kind = kind.format(", gzip" if where.endswith(".gz") else "")
            links.append(f'<a href="{where}" download>{kind}</a>')
    rows = []
    for path in origin.records:
        record = read_json(path)
        title = markup.escape(f"{record['name']}, seed {record['seed']}")
        name = f"{record['name']}-seed-{record['seed']}-{record['identity'][:8]}.json"
        where = _put(html, page, path, "records", name)
        device = markup.escape(record["device"]["name"])
        rows.append(f'Record: <a href="{where}" download>{title}</a>, {device}, {record["finished"][:10]}')
        rows.append(f"Trained by {_code(record['command'])}")
    run = ["lskd", "notebook", "run", origin.maker.source]
    for key, value in origin.maker.parameters.items():
        run += ["-p", key, value if isinstance(value, str) else json.dumps(value)]
    source = way(page, f"_sources/notebooks/{origin.maker.name}.ipynb")
    rows.append(f'Drawn by <a href="{source}" download>its notebook</a>: {_code(shlex.join(run))}')
    rows.append(f"Open it in JupyterLab: {_code(f'make lab NOTEBOOK={origin.maker.source}')}")
    if origin.inputs:
        read = ", ".join(f"{_code(Path(name).name)} ({digest[:8]})" for name, digest in origin.inputs)
        rows.append(f"Read (start of SHA-256): {read}")
    listed = "".join(f"<li>{row}</li>" for row in rows)
    fold = f"<details><summary>How it was made</summary><ul>{listed}</ul></details>"
    return f'<div class="lskd-origin">{"".join(links)}{fold}</div>'


def _code(text: str) -> str:
    return f"<code>{markup.escape(text)}</code>"


def _put(html: Path, page: str, path: Path, folder: str, name: str = "") -> str:
    """Copy a file into the book, a large table compressed; returns its address as seen from the page."""
    target = html / folder / (name or path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv" and path.stat().st_size > LARGE:
        target = target.with_name(f"{target.name}.gz")
        target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    else:
        shutil.copyfile(path, target)
    return way(page, target.relative_to(html).as_posix())
