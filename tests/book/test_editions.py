"""What a reader takes along of a built page: its text, its tables, and how to cite it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from reading import pages

from book.pages import Chapter, Pages, editions, written
from book.pages.tables import offer_tables

PAGE = r"""<html><body><article class="bd-article"><section id="t">
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
def html(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LSKD_REPOSITORY", raising=False)
    built = pages(tmp_path, {"intro": "<article><h1>All of it</h1></article>", "notebooks/two": PAGE})
    built.chapters[1] = Chapter("notebooks/two", part="A part")
    for step in (offer_tables, editions.write, Pages.write):
        step(built)
    return tmp_path


def test_the_text_of_a_page_has_what_it_shows(html: Path) -> None:
    text = (html / "notebooks" / "two.md").read_text(encoding="utf-8")
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


def test_the_list_of_pages_says_what_each_is_about(html: Path) -> None:
    text = (html / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# lskd: Logit Standardization in Knowledge Distillation, an executable book\n\n> ")
    assert "- [All of it](intro.md)\n\n## A part\n\n- [3. Two & T](notebooks/two.md): At the end of this page" in text
    assert text.endswith("you know what a T is.\n")


def test_tables_can_be_taken_along(html: Path) -> None:
    page = (html / "notebooks" / "two.html").read_text(encoding="utf-8")
    assert page.count('>CSV</a> <a href="../tables/two-') == 2
    rows = list(csv.reader((html / "tables" / "two-1.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [["method", "KD_ls, K - 1"], ['a, "b"', "-0.52 ± 0.44 %"]]
    latex = (html / "tables" / "two-1.tex").read_text(encoding="utf-8")
    assert r"method & KD\_ls, \(K - 1\) \\" in latex
    assert r"$-$0.52 $\pm$ 0.44 \% \\" in latex
    assert "caption" not in latex
    assert latex.index(r"\toprule") < latex.index("method") < latex.index(r"\midrule") < latex.index(r"\bottomrule")
    assert r"\caption{Rows \& n}" in (html / "tables" / "two-2.tex").read_text(encoding="utf-8")
    assert len(list((html / "tables").iterdir())) == 4


def test_a_page_says_how_to_cite_it(html: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (html / "notebooks" / "two.html").read_text(encoding="utf-8")
    assert 'href="two.md" download' in page
    assert "@misc{lskd-two,\n  title = {{Two &amp; T}},\n  howpublished = {lskd: Logit Standardization" in page
    assert "author = {{The lskd authors}}" in page
    assert "@inproceedings{sun2024logit," in page
    assert "url = " not in page
    assert "@misc{lskd-intro,\n  title = {{lskd: Logit" in (html / "intro.html").read_text(encoding="utf-8")
    monkeypatch.setenv("LSKD_REPOSITORY", "owner/name")
    built = Pages(html, [Chapter("intro")])
    editions.write(built)
    assert "url = {https://github.com/owner/name}" in written(built.trees["intro"])
