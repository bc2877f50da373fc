"""Figures are numbered chapter by chapter, whoever made them, and text finds them by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from book.pages import Chapter, Pages, listed, parsed, written
from book.pages.numbers import number_figures, number_joined
from lskd.errors import LskdError

FRONT = (
    '<figure class="align-default" id="id1"><img><figcaption><p><span class="caption-number">Fig. 7 </span>'
    '<span class="caption-text">A bird.</span></p></figcaption></figure>'
    '<a data-figure="curves/loss">the curves</a>'
)
IDEA = (
    '<h1><span class="section-number">1. </span>Idea</h1>'
    '<p>No figure here. <a data-figure="intro/id1">see the front</a></p>'
    '<li><a href="curves.html#exercise-curves-why">4. Why</a></li>'
)
CURVES = (
    '<h1><span class="section-number">2. </span>Curves</h1><script>var text = "<figure id=no><figcaption>";</script>'
    '<figure class="lskd-figure" id="live-loss"><div><figure class="lskd-figure" id="figure-still">'
    "<figcaption>still</figcaption></figure></div><figcaption>moving</figcaption></figure>"
    '<figure class="lskd-figure" id="figure-plain"><figcaption>second</figcaption></figure>'
    '<p><a href="#x" data-figure="plain">there</a></p>'
    '<h3 class="lskd-exercise-title" id="e"><span>Exercise 4</span> Why</h3>'
)
PAGES = ["intro", "notebooks/idea", "notebooks/curves"]


@pytest.fixture
def html(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    for page, text in zip(PAGES, (FRONT, IDEA, CURVES), strict=True):
        (tmp_path / f"{page}.html").write_text(text, encoding="utf-8")
    return tmp_path


def numbered(html: Path) -> None:
    built = Pages(html, [Chapter(page) for page in PAGES])
    number_figures(built)
    built.write()


def read(html: Path, page: str) -> str:
    return (html / f"{page}.html").read_text(encoding="utf-8")


def test_a_number_is_chapter_and_place(html: Path) -> None:
    numbered(html)
    curves = read(html, "notebooks/curves")
    assert '<figcaption><span class="lskd-number">Figure 2.1.</span> moving' in curves
    assert "<figcaption>still" in curves  # stands in for the live one, and has its number
    assert '<script>var text = "<figure id=no><figcaption>";</script>' in curves
    assert "<span>Exercise 2.4</span>" in curves
    assert '#exercise-curves-why">2.4. Why</a>' in read(html, "notebooks/idea")
    front = read(html, "intro")
    assert "Fig. 7" not in front
    assert '<figcaption><p><span class="lskd-number">Figure 1.</span> ' in front


def test_a_page_without_a_chapter_s_number_is_an_appendix(html: Path) -> None:
    bare = CURVES.replace('<span class="section-number">2. </span>', "")
    (html / "notebooks" / "curves.html").write_text(bare, encoding="utf-8")
    numbered(html)
    assert "Figure A.2.</span> second" in read(html, "notebooks/curves")
    assert "<span>Exercise A.4</span>" in read(html, "notebooks/curves")
    assert '#exercise-curves-why">A.4. Why</a>' in read(html, "notebooks/idea")


def test_text_points_at_figures_of_its_own_and_of_other_pages(html: Path) -> None:
    numbered(html)
    assert '<a class="lskd-ref" href="notebooks/curves.html#live-loss">Figure 2.1</a>' in read(html, "intro")
    assert '<a class="lskd-ref" href="../intro.html#id1">Figure 1</a>' in read(html, "notebooks/idea")
    assert '<a class="lskd-ref" href="#figure-plain">Figure 2.2</a>' in read(html, "notebooks/curves")


def test_a_reference_to_nothing_is_an_error_that_names_the_nearest(html: Path) -> None:
    (html / "notebooks" / "idea.html").write_text('<a data-figure="curves/plane">x</a>', encoding="utf-8")
    with pytest.raises(LskdError, match=r"notebooks/idea: .*curves/plane.*nearest is curves/plain"):
        numbered(html)


def test_one_name_twice_on_a_page_is_an_error(html: Path) -> None:
    twice = '<figure id="figure-a"><figcaption>1</figcaption></figure>' * 2
    (html / "notebooks" / "idea.html").write_text(twice, encoding="utf-8")
    with pytest.raises(LskdError, match="notebooks/idea: two figures are called a"):
        numbered(html)


def test_pages_that_are_joined_for_print_have_the_same_numbers() -> None:
    marks = [f'<span id="document-{page}"></span>' for page in PAGES[1:]]
    tree = parsed(FRONT + marks[0] + IDEA + marks[1] + CURVES)
    number_joined(tree, PAGES)
    text = written(tree)
    assert "Figure 1.</span> " in text
    assert "Figure 2.2.</span> second" in text
    assert "<span>Exercise 2.4</span>" in text
    assert '<a class="lskd-ref" href="#live-loss">Figure 2.1</a>' in text
    assert text.index(marks[0]) < text.index(marks[1])
    with pytest.raises(LskdError, match="hold no 'notebooks/curves'"):
        number_joined(parsed(FRONT + marks[0] + IDEA), PAGES)


def test_the_table_of_contents_names_pages_parts_and_titles(tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nparts:\n- caption: The idea\n  chapters:\n  - file: a\n    title: Other\n"
        "    sections:\n    - file: sub/b\n- chapters:\n  - file: c\n",
        encoding="utf-8",
    )
    inner = [Chapter("a", "Other", "The idea"), Chapter("sub/b", "", "The idea")]
    assert listed(tmp_path / "_toc.yml") == [Chapter("intro"), *inner, Chapter("c")]
    with pytest.raises(LskdError, match="no such file; a book needs a table of contents"):
        listed(tmp_path / "none.yml")
