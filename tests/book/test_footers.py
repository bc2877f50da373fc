"""Below a figure stand its data, its picture and how it was made; nothing of it is typed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from reading import pages

from book.pages.footers import LARGE, Maker, Origin, _line, add_footers

IMAGE = '<img class="lskd-{} dark-light" alt="a" src="data:image/svg+xml,x">'
PAGE = (
    f'<figure class="lskd-figure" id="figure-spread">{IMAGE.format("light")}{IMAGE.format("dark")}'
    "<figcaption>How far. "
    '<a class="lskd-data" download="spread.csv" href="data:text/csv,a">Data (CSV)</a>.</figcaption></figure>'
    '<figure class="lskd-figure" id="live-sample"><figcaption>Any image.</figcaption></figure>'
    '<figure class="lskd-figure" id="live-idea"><div><figure id="figure-still"><figcaption>s</figcaption></figure>'
    "</div><figcaption>Moving.</figcaption></figure>"
    '<figure class="lskd-figure" id="figure-lonely"><figcaption>Has no sidecar. '
    '<span class="lskd-data">Data: <code>x.csv</code>.</span></figcaption></figure>'
)


SPHINX = '<img alt="a" class="center" src="_images/{}.svg" style="width: 9px;">'
CHAPTER = (
    f'<figure id="id2">{SPHINX.format("logo")}<figcaption>Not drawn here.</figcaption></figure>'
    f'<figure class="align-center" id="id1">{SPHINX.format("spread")}'
    "<figcaption><p>Shown.</p></figcaption></figure>"
)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.fixture
def html(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page with four figures: two have sidecars, one of them reads evidence of a run, the other nothing."""
    monkeypatch.chdir(tmp_path)
    record = {
        "name": "digits",
        "seed": 3,
        "identity": "abcdef0123",
        "command": "lskd train --recipe digits --seed 3",
        "device": {"name": "A <B> processor"},
        "finished": "2026-11-21T10:00:00+00:00",
        "members": {},
    }
    write(tmp_path / "runs" / "students" / "record.json", record)
    for name, inputs in {
        "spread": [{"file": "runs/students/kd.evidence.npz", "sha256": "0123456789ab"}],
        "still": [],
    }.items():
        files = [f"{name}{end}" for end in (".svg", "-narrow.svg", ".csv")]
        for file in files:
            wide = 100 if "narrow" in file else 200
            content = f'<svg viewBox="0 0 {wide}.2 50">{file}</svg>' if file.endswith("svg") else file
            write(tmp_path / "figures" / "spread page" / file, content)
        sidecar = {"files": dict.fromkeys(files, ""), "inputs": inputs}
        write(tmp_path / "figures" / "spread page" / f"{name}.json", sidecar)
    parameters = {"output": "figures/spread page", "seed": 3}
    ran = {"parameters": parameters, "input_path": "notebooks/draw_spread.ipynb"}
    write(tmp_path / "nb" / "spread.ipynb", {"cells": [], "metadata": {"papermill": ran}})
    built = pages(tmp_path / "html", {"intro": CHAPTER, "notebooks/spread": PAGE}, tmp_path / "nb")
    add_footers(built)
    built.write()
    return tmp_path / "html"


def parts(html: Path) -> list[str]:
    text = (html / "notebooks" / "spread.html").read_text(encoding="utf-8")
    return text.split('<div class="lskd-origin">')


def test_data_picture_record_and_commands_stand_below_the_caption(html: Path) -> None:
    before, spread, *_ = parts(html)
    assert before.endswith("How far.")
    assert "data:text/csv" not in spread
    for link in ("figures/spread/spread.csv", "figures/spread/spread.svg", "records/digits-seed-3-abcdef01.json"):
        assert f'href="../{link}"' in spread
        assert (html / link).is_file(), link
    assert 'href="../_sources/notebooks/spread.ipynb"' in spread
    assert "<code>lskd train --recipe digits --seed 3</code>" in spread
    assert "<code>lskd notebook run draw_spread -p output 'figures/spread page' -p seed 3</code>" in spread
    assert "<code>make lab NOTEBOOK=draw_spread</code>" in spread
    assert "<code>kd.evidence.npz</code> (01234567)" in spread
    assert "A &lt;B&gt; processor, 2026-11-21" in spread
    assert "#dark" not in spread.partition("</div>")[0]


def pictures(way: str, style: str) -> str:
    """What stands where a picture was embedded: one file for light and for dark pages, another for narrow windows."""
    return "".join(
        f'<picture><source media="(max-width: 640px)" srcset="{way}figures/spread/spread-narrow.svg{end}" width="100" '
        f'height="50"><img class="lskd-{kind} dark-light" alt="a" src="{way}figures/spread/spread.svg{end}" '
        f'width="200" height="50"{style} loading="lazy"></picture>'
        for kind, end in (("light", ""), ("dark", "#dark"))
    )


def test_pictures_are_files_in_the_layout_that_fits_the_window(html: Path) -> None:
    before = parts(html)[0]
    assert "data:image" not in before
    assert pictures("../", "") in before
    for name in ("spread", "spread-narrow"):
        written = (html / "figures" / "spread" / f"{name}.svg").read_text(encoding="utf-8")
        assert written.endswith(f">{name}.svg</svg>")


def test_a_large_table_is_compressed_and_says_so(tmp_path: Path) -> None:
    table = tmp_path / "gap.csv"
    table.write_text("image,gap\n" + "1,0.25\n" * (LARGE // 6), encoding="utf-8")
    line = _line(tmp_path, "page", Origin(Maker("m", {}, "m"), "gap", {table.name: table}))
    assert '<a href="figures/m/gap.csv.gz" download>Data (CSV, gzip)</a>' in line
    assert gzip.decompress((tmp_path / "figures" / "m" / "gap.csv.gz").read_bytes()) == table.read_bytes()


def test_a_live_figure_takes_its_still_pictures_data_or_its_pages_records(html: Path) -> None:
    _, _, sample, moving, lonely = parts(html)
    assert "records/digits" in sample  # draws the runs of its page and has no file of its own
    assert "CSV" not in sample
    assert "figures/spread/still.csv" in moving
    assert "records/" not in moving  # read nothing
    assert "CSV" not in lonely.partition("<figure")[0]
    assert moving.endswith('<span class="lskd-data">Data: <code>x.csv</code>.</span>')  # there is no sidecar


def test_a_chapter_that_shows_a_notebooks_picture_says_where_it_is_from(html: Path) -> None:
    text = (html / "intro.html").read_text(encoding="utf-8")
    _, other, shown = text.split("<figure")
    assert other == f' id="id2">{SPHINX.format("logo")}<figcaption>Not drawn here.</figcaption></figure>'
    assert pictures("", ' style="width: 9px;"') in shown
    assert 'href="figures/spread/spread.csv"' in shown
    assert 'href="_sources/notebooks/spread.ipynb"' in shown
