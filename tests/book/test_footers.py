"""What stands beside the text of a page: data, records and commands below a figure, the page to take along, sources."""

from __future__ import annotations

import ast
import csv
import gzip
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from reading import pages

from book.pages import Chapter, Pages, editions, written
from book.pages.footers import LARGE, Maker, Origin, _line, add_footers
from book.pages.tables import offer_tables
from book.source_code import Code
from lskd import losses, objectives

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


TAKEN = r"""<html><body><article class="bd-article"><section id="t">
<h1><span class="section-number">3. </span>Two &amp; T<a class="headerlink" href="#t">#</a></h1>
<p><em>At the end of this page you know <a href="../glossary.html#term-x">what</a> a
T is.</em></p>
<p>Here <span class="math">\(T_a\)</span> is <a class="lskd-word" href="?t=8#live-toy">raised to 8</a>, see <a
href="other.html#there">there</a> and <a href="https://example.org/x.html">outside</a>.</p>
<div class="math" id="e"><span class="eqno">(3.1)<a class="headerlink" href="#e">#</a></span>\[T^2 \\ x_{1}\]</div>
<div class="cell_output"><div class="output text_html"><figure class="lskd-figure" id="figure-f"><div><img
class="lskd-light" alt="Two dots" src="../figures/f.svg"><img class="lskd-dark" alt="Two dots" src="../figures/d.svg">
</div><figcaption><span class="lskd-number">Figure 3.1.</span> Dots. <div class="lskd-origin">How it was
made</div></figcaption></figure><script>hidden()</script></div></div>
<details class="hide above-input"><summary>Show</summary><div class="cell_input"><pre>folded = 1</pre></div></details>
<div class="cell_input"><pre>shown_code = 1
  x*y</pre></div>
<table class="table"><thead><tr><th><p>method</p></th><th><p>KD_ls, \(K - 1\)</p></th></tr></thead>
<tbody><tr><td><p>a, "b"</p></td><td><p>−0.52 ± 0.44 %</p></td></tr></tbody></table>
<div class="lskd-readout"><table><tr><td>a live figure's</td></tr></table></div>
<table class="dataframe lskd-table"><caption><div class="lskd-caption">Rows &amp; <b>n</b></div></caption>
<tr><th>only</th></tr><tr><td>1</td></tr></table>
</section></article></body></html>"""


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LSKD_REPOSITORY", raising=False)
    built = pages(tmp_path, {"intro": "<article><h1>All of it</h1></article>", "notebooks/two": TAKEN})
    built.chapters[1] = Chapter("notebooks/two", part="A part")
    for step in (offer_tables, editions.write, Pages.write):
        step(built)
    return tmp_path


def test_the_text_of_a_page_has_what_it_shows(taken: Path) -> None:
    text = (taken / "notebooks" / "two.md").read_text(encoding="utf-8")
    assert text.startswith(
        "# 3. Two & T\n\n*At the end of this page you know [what](../glossary.md#term-x) a\nT is.*\n"
    )
    assert "Here $T_a$ is raised to 8, see [there](other.md#there) and [outside](https://example.org/x.html)." in text
    assert "$$\nT^2 \\\\ x_{1}\n$$ (3.1)\n" in text
    assert "![Two dots](../figures/f.svg)\n\nFigure 3.1. Dots." in text
    assert "```\nshown_code = 1\n  x*y\n```" in text
    assert '| a, "b" | −0.52 ± 0.44 % |' in text
    for hidden in ("folded", "hidden()", "How it was", "d.svg", "LaTeX", "\n#\n", "Cite"):
        assert hidden not in text


def test_the_list_of_pages_says_what_each_is_about(taken: Path) -> None:
    text = (taken / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# lskd: Logit Standardization in Knowledge Distillation, an executable book\n\n> ")
    assert "- [All of it](intro.md)\n\n## A part\n\n- [3. Two & T](notebooks/two.md): At the end of this page" in text
    assert text.endswith("you know what a T is.\n")


def test_tables_can_be_taken_along(taken: Path) -> None:
    page = (taken / "notebooks" / "two.html").read_text(encoding="utf-8")
    assert page.count('>CSV</a> <a href="../tables/two-') == 2
    rows = list(csv.reader((taken / "tables" / "two-1.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [["method", "KD_ls, K - 1"], ['a, "b"', "-0.52 ± 0.44 %"]]
    latex = (taken / "tables" / "two-1.tex").read_text(encoding="utf-8")
    assert r"method & KD\_ls, \(K - 1\) \\" in latex
    assert r"$-$0.52 $\pm$ 0.44 \% \\" in latex
    assert "caption" not in latex
    assert latex.index(r"\toprule") < latex.index("method") < latex.index(r"\midrule") < latex.index(r"\bottomrule")
    assert r"\caption{Rows \& n}" in (taken / "tables" / "two-2.tex").read_text(encoding="utf-8")
    assert len(list((taken / "tables").iterdir())) == 4


def test_a_page_says_how_to_cite_it(taken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (taken / "notebooks" / "two.html").read_text(encoding="utf-8")
    assert 'href="two.md" download' in page
    assert "@misc{lskd-two,\n  title = {{Two &amp; T}},\n  howpublished = {lskd: Logit Standardization" in page
    assert "author = {{The lskd authors}}" in page
    assert "@inproceedings{sun2024logit," in page
    assert "url = " not in page
    assert "@misc{lskd-intro,\n  title = {{lskd: Logit" in (taken / "intro.html").read_text(encoding="utf-8")
    monkeypatch.setenv("LSKD_REPOSITORY", "owner/name")
    built = Pages(taken, [Chapter("intro")])
    editions.write(built)
    assert "url = {https://github.com/owner/name}" in written(built.trees["intro"])


SHOWN = [losses.standardize, losses.kd_loss, losses.CurriculumTemperature, objectives.DKD, objectives.LocalityGuidance]


def commented() -> int:
    """Gone.

    Gone as well.
    """

    # stays
    text = """not a docstring"""
    return len(text)


class Bare:
    """All that there is."""


@pytest.mark.parametrize("thing", SHOWN)
def test_what_is_shown_is_the_source_that_runs(thing: Any) -> None:
    source = textwrap.dedent(inspect.getsource(thing))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
    shown = Code(thing).text
    assert ast.dump(ast.parse(shown)) == ast.dump(tree)
    assert all(line in source.split("\n") for line in shown.split("\n"))
    assert Code(thing)._repr_mimebundle_() == {"text/markdown": f"```python\n{shown}\n```", "text/plain": shown}


def test_docstrings_go_and_comments_stay() -> None:
    expected = ["    # stays", '    text = """not a docstring"""', "    return len(text)"]
    assert Code(commented).text.split("\n")[1:] == expected
    assert Code(Bare).text.count("\n") == 1  # without its docstring it would be no class
