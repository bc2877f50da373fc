"""What is done to built pages: numbers, links to the protocol, spaces that may not break; and which pages there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reading import pages, text

from book.pages import Chapter, Pages, listed, parsed, written
from book.pages.numbers import number_figures, number_joined
from book.pages.running_text import bind, hold, link_protocol
from book.pages.unused_files import remove_unused
from lskd.errors import LskdError


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
PAGES = {"intro": FRONT, "notebooks/idea": IDEA, "notebooks/curves": CURVES}


def numbered(folder: Path, **changed: str) -> list[str]:
    """Front, idea and curves with their numbers."""
    built = pages(folder, PAGES | {f"notebooks/{name}": text for name, text in changed.items()})
    number_figures(built)
    return [text(built, page) for page in PAGES]


def test_a_number_is_chapter_and_place_and_text_points_at_it(tmp_path: Path) -> None:
    front, idea, curves = numbered(tmp_path)
    assert '<figcaption><span class="lskd-number">Figure 2.1.</span> moving' in curves
    assert "<figcaption>still" in curves  # stands in for the live one, and has its number
    assert '<script>var text = "<figure id=no><figcaption>";</script>' in curves
    assert "<span>Exercise 2.4</span>" in curves
    assert '#exercise-curves-why">2.4. Why</a>' in idea
    assert "Fig. 7" not in front
    assert '<figcaption><p><span class="lskd-number">Figure 1.</span> ' in front
    assert '<a class="lskd-ref" href="notebooks/curves.html#live-loss">Figure 2.1</a>' in front
    assert '<a class="lskd-ref" href="../intro.html#id1">Figure 1</a>' in idea
    assert '<a class="lskd-ref" href="#figure-plain">Figure 2.2</a>' in curves


def test_a_page_without_a_chapter_s_number_is_an_appendix(tmp_path: Path) -> None:
    bare = CURVES.replace('<span class="section-number">2. </span>', "")
    _, idea, curves = numbered(tmp_path, curves=bare)
    assert "Figure A.2.</span> second" in curves
    assert "<span>Exercise A.4</span>" in curves
    assert '#exercise-curves-why">A.4. Why</a>' in idea


def test_a_reference_to_nothing_and_one_name_twice_on_a_page_are_errors(tmp_path: Path) -> None:
    with pytest.raises(LskdError, match=r"notebooks/idea: .*curves/plane.*nearest is curves/plain"):
        numbered(tmp_path, idea='<a data-figure="curves/plane">x</a>')
    with pytest.raises(LskdError, match="notebooks/idea: two figures are called a"):
        numbered(tmp_path, idea='<figure id="figure-a"><figcaption>1</figcaption></figure>' * 2)


def test_pages_that_are_joined_for_print_have_the_same_numbers() -> None:
    marks = [f'<span id="document-{page}"></span>' for page in PAGES if page != "intro"]
    tree = parsed(FRONT + marks[0] + IDEA + marks[1] + CURVES)
    number_joined(tree, [*PAGES])
    shown = written(tree)
    for expected in ("Figure 1.</span> ", "Figure 2.2.</span> second", "<span>Exercise 2.4</span>"):
        assert expected in shown
    assert '<a class="lskd-ref" href="#live-loss">Figure 2.1</a>' in shown
    assert shown.index(marks[0]) < shown.index(marks[1])
    with pytest.raises(LskdError, match="hold no 'notebooks/curves'"):
        number_joined(parsed(FRONT + marks[0] + IDEA), [*PAGES])


SECTIONS = "".join(f'<h3 id="protocol-{number}">x</h3>' for number in ("1-4", "5-3", "10-2"))


def test_the_protocol_s_sections_become_links(tmp_path: Path) -> None:
    before = "<p>As (protocol 1.4) &amp; (protocol sections 10.2 and 5.3.2) say; <code>protocol 9.9</code>.</p>"
    built = pages(tmp_path, {"api": before, "notebooks/protocol": SECTIONS})
    for _ in range(2):  # twice is once
        link_protocol(built)
    after = before
    for anchor, number in (("1-4", "1.4"), ("10-2", "10.2"), ("5-3", "5.3.2")):
        link = f'<a class="reference internal" href="notebooks/protocol.html#protocol-{anchor}">{number}</a>'
        after = after.replace(number, link)
    assert text(built, "api") == after
    with pytest.raises(LskdError, match=r"api: the protocol has no section 4.7; see notebooks/protocol.ipynb"):
        link_protocol(pages(tmp_path, {"api": "<p>protocol section 4.7</p>", "notebooks/protocol": SECTIONS}))


def test_no_line_ends_within_a_word_or_beside_a_formula_s_bracket() -> None:
    def whole(inner: str) -> str:
        return f'<span class="lskd-whole">{inner}</span>'

    assert bound("<p>A Z-score of CIFAR-100 &amp; re-run</p>") == (
        f"<p>A {whole('Z-score')} of {whole('CIFAR-100')} &amp; re-run</p>"
    )
    assert bound("<label>a Z-score</label>") == "<label>a Z-score</label>"  # may be laid out as a row of boxes
    math, code = r'<span class="math">\(T\)</span>', '<code class="literal">x</code>'
    tree = parsed(f"<p>At ({math}, weight 9) or (<a>{code}</a>): see {math} too</p>")
    hold(tree)
    assert written(tree) == f"<p>At {whole(f'({math},')} weight 9) or {whole(f'(<a>{code}</a>):')} see {math} too</p>"


def bound(page: str) -> str:
    tree = parsed(page)
    bind(tree)
    return written(tree)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<td>88.60 %</td>", "<td>88.60~%</td>"),
        ("<p>± 1.2 points (n = 5 seeds), T 4 → 2</p>", "<p>±~1.2 points (n~=~5 seeds), T~4~→~2</p>"),
        ("<td>00 → 11</td>", "<td>00~→~11</td>"),
        ("<p>KD + LS, vgg13 -> vgg8, weight 9, n ≥ 3</p>", "<p>KD~+~LS, vgg13~→ vgg8, weight~9, n~≥~3</p>"),
        ("<p>Can n = many? 5 of 6, then = 5, vgg13 → vgg8</p>", "<p>Can n~= many? 5 of 6, then = 5, vgg13~→ vgg8</p>"),
    ],
)
def test_numbers_stay_with_what_they_count(page: str, expected: str) -> None:
    assert bound(page).replace("\u00a0", "~") == expected
    assert bound(bound(page)) == bound(page)


@pytest.mark.parametrize(
    "page",
    [
        '<img alt="90 % of n = 5">',
        "<script>x = 9 % 4; s = 'n = 5'</script>",
        "<pre><span>7 % 3</span>\nn = 5</pre>",
        "<p><code>n = 5</code></p>",
        "<style>a { left: 5 %}</style>",
        r'<span class="math">\(K = 5 %, n = 5\)</span> <div>\[n = 5\]</div>',
        "<svg><text>90 %</text></svg>",
    ],
)
def test_code_formulas_and_attributes_stay_as_they_are(page: str) -> None:
    assert bound(page) == page


ICONS = {
    "sun": 'sun:[5,5,[9],"f1","M1"],',
    "search": '"find":[5,5,["search"],"f2",["M1","M2"]],',
    "0": '0:[5,5,[],"30","M3"]',
}
KEPT = (
    "_static/mathjax/tex-chtml.js", "_static/mathjax/output/chtml/fonts/woff-v2/a.woff",
    "_static/mathjax/sre/mathmaps/en.json", "_static/webfonts/solid.woff2", "_static/styles/theme.css",
)  # fmt: skip
GONE = (
    "_static/mathjax/tex-svg.js", "_static/mathjax/sre/mathmaps/de.json", "_static/webfonts/solid.ttf",
    "_static/styles/theme.css.map", "_static/locales/de/LC_MESSAGES/a.mo",
)  # fmt: skip


def test_only_what_pages_ask_for_stays(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "source": "1", "outputs": [{"output_type": "stream"}], "execution_count": 1},
        {"cell_type": "markdown", "source": "# Title"},
    ]
    icons, notebook = "_static/scripts/fontawesome.js", "_sources/notebooks/n.ipynb"
    contents = dict.fromkeys((*KEPT, *GONE), "x")
    contents |= {icons: f"d({{{''.join(ICONS.values())}}})", notebook: json.dumps({"cells": cells})}
    contents["index.html"] = '<i class="fa-solid fa-sun"></i><i class="fas fa-search"></i>'
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    remove_unused(Pages(tmp_path, [Chapter("index")]))
    assert all((tmp_path / name).is_file() for name in KEPT)
    assert not any((tmp_path / name).exists() for name in GONE)
    assert not (tmp_path / "_static" / "locales").exists()
    assert (tmp_path / icons).read_text() == f"d({{{ICONS['sun']}{ICONS['search']}}})"
    code, title = json.loads((tmp_path / notebook).read_text())["cells"]
    assert (code["outputs"], code["execution_count"], code["source"]) == ([], None, "1")
    assert title == cells[1]
