"""What is done to built pages: numbers, links, spaces, icons, words for the search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from reading import pages, text

from book import pdf
from book.build import assemble, build
from book.pages import Chapter, Pages, listed, parsed, written
from book.pages.numbers import number_figures
from book.pages.running_text import bind, hold, link_protocol
from book.pages.unused_files import remove_unused
from book.search.page_text import Section, sections
from book.search.plain_formula import plain_formula
from lskd.errors import LskdError


def test_the_table_of_contents_names_pages_parts_and_titles(tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nparts:\n- caption: The idea\n  chapters:\n  - file: a\n    title: Other\n"
        "    sections:\n    - file: sub/b\n- chapters:\n  - file: c\n",
        encoding="utf-8",
    )
    inner = [Chapter("a", "Other", "The idea"), Chapter("sub/b", "", "The idea")]
    assert listed(tmp_path / "_toc.yml") == [Chapter("intro"), *inner, Chapter("c")]
    with pytest.raises(LskdError, match="no such file; a book needs its table of contents"):
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


def test_pages_are_joined_for_print_with_links_that_lead_to_places_in_them(tmp_path: Path) -> None:
    texts = {
        name: f'<img src="{name[-1]}.svg" loading="lazy"><article class="bd-article"><h1 id="t">{name}</h1>{link}'
        '<details class="lskd-solution"></details></article>'
        for name, link in {
            "intro": '<a href="notebooks/b.html#t">x</a><a href="#t">y</a>',
            "notebooks/b": '<a href="../intro.html">x</a><img src="../_images/b.svg"><a href="https://a.org/#t">z</a>',
        }.items()
    }
    shown = written(pdf._joined(pages(tmp_path, texts)))
    assert shown.index('<article class="bd-article" id="intro">') < shown.index('id="notebooks/b">')
    for expected in ("#notebooks/b.t", "#intro.t", "#intro", "https://a.org/#t"):
        assert f'<a href="{expected}">' in shown
    assert f'src="{tmp_path.as_uri()}/_images/b.svg"' in shown
    assert shown.count('<details class="lskd-solution" open="">') == 2
    assert "lazy" not in shown


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


def read(content: str) -> list[Section]:
    """The sections of a page whose article has this content."""
    page = f"<html><body><nav>Menu</nav><article class='bd-article'>{content}</article><p>Footer</p></body></html>"
    return sections(parsed(page))


class TestText:
    """What is read from a page."""

    def test_sections_hold_their_own_words_and_anchors(self) -> None:
        found = read(
            "<section id='top'><h1><span class='section-number'>3. </span>The <em>page</em>"
            "<a class='headerlink' href='#top'>#</a></h1><p>First words.</p>"
            "<section id='a'><h2>Part A</h2><p>In A,\n  still in A.</p>"
            "<section id='b'><h3>B</h3><p>In B.</p></section></section><p>After both.</p></section>"
        )
        assert found == [
            Section("top", "The page", blocks=["First words.", "After both."]),
            Section("a", "Part A", blocks=["In A, still in A."]),
            Section("b", "B", blocks=["In B."]),
        ]

    @pytest.mark.parametrize(
        "hidden",
        [
            "<div class='cell_input docutils'><div class='highlight'><pre>SECRET = 1</pre></div></div>",
            "<details class='hide above-input'><summary><p class='collapsed'>SECRET</p><p class='expanded'>SECRET</p>"
            "</summary></details>",
            "<script type='application/json'>{\"SECRET\": 1}</script>",
            "<style>.SECRET{}</style>",
            "<svg><text>SECRET</text></svg>",
            "<nav class='contents'><ul><li>SECRET</li></ul></nav>",
            "<div class='lskd-stage'><label>SECRET <input type='range'></label></div>",
            "<div class='lskd-origin'><a href='x.csv'>SECRET</a></div>",
            "<div hidden>SECRET</div>",
            "<span aria-hidden='true'>SECRET</span>",
            "<img alt='SECRET' src='data:image/png;base64,SECRET'>",
        ],
    )
    def test_what_is_not_text_is_left_out(self, hidden: str) -> None:
        (found,) = read(f"<section id='s'><h1>T</h1><p>before</p>{hidden}<p>after</p></section>")
        assert found.blocks == ["before", "after"]

    def test_outputs_captions_tables_and_listings_are_read(self) -> None:
        found = read(
            "<section id='s'><h1>T</h1>"
            "<div class='cell_output'><pre>loss 0.25\n\nloss 0.125</pre></div>"
            "<table><thead><tr><th>net</th><th></th><th>top&nbsp;1</th></tr></thead>"
            "<tbody><tr><td><p><code>resnet8</code></p></td><td></td><td><p>–</p><p>72.5</p></td></tr></tbody></table>"
            "<ul><li><p>one</p></li><li>two<br>lines</li></ul>"
            "<figure id='figure-f'><div class='lskd-still'><figure><figcaption>A still.</figcaption></figure></div>"
            "<figcaption><span class='lskd-number'>Figure 3.2.</span> <b>Bound and order.</b> A point is a class. "
            "<span class='lskd-data'>Data</span>.</figcaption></figure><p>Below it.</p></section>"
        )
        rows = ["loss 0.25", "loss 0.125", "net · top 1", "resnet8 · – 72.5", "one", "two lines"]
        assert found == [
            Section("s", "T", blocks=[*rows, "Below it."]),
            Section("figure-f", "Figure 3.2. Bound and order", "figure", ["A point is a class."]),
        ]

    def test_a_caption_s_first_words_may_belong_to_its_sentence(self) -> None:
        text = "<figure id='f'><figcaption><b>Test accuracy</b>, one mark a seed.</figcaption></figure>"
        assert read(text) == [Section("f", "Test accuracy", "figure", ["Test accuracy, one mark a seed."])]

    def test_terms_functions_and_sources_are_places_of_their_own(self) -> None:
        found = read(
            "<section id='s'><h1>T</h1><dl class='glossary'><dt id='term-row'>row<a class='headerlink'>#</a></dt>"
            "<dd><p>Logits of one image.</p></dd></dl>"
            "<dl class='py function'><dt class='sig sig-object py' id='lskd.losses.kd_loss'>"
            "<span>kd_loss</span>(<em>x</em>)</dt><dd><p>Divergence.</p></dd></dl>"
            "<dl class='py method'><dt class='sig' id='lskd.objectives.CTKD.start'>start()</dt><dd>Go.</dd></dl>"
            "<div class='citation' id='id7' role='doc-biblioentry'><span class='label'>[J57]</span>"
            "<p>Edwin T. Jaynes. Information theory. <em>Physical Review</em>, 1957.</p></div>"
            "<p>Last.</p></section>"
        )
        assert found == [
            Section("s", "T", blocks=["Last."]),
            Section("term-row", "row", "term", ["Logits of one image."]),
            Section("lskd.losses.kd_loss", "kd_loss", "object", ["Divergence.", "kd_loss(x)", "lskd.losses.kd_loss"]),
            Section(
                "lskd.objectives.CTKD.start", "CTKD.start", "object", ["Go.", "start()", "lskd.objectives.CTKD.start"]
            ),
            Section("id7", "Edwin T. Jaynes", "reference", ["Information theory. Physical Review, 1957."]),
        ]

    def test_headings_in_an_output_begin_a_place(self) -> None:
        found = read("<section id='s'><h1>T</h1><div><h2 id='vgg'>vgg</h2><p>Old.</p></div><p>Rest.</p></section>")
        assert found == [Section("s", "T", blocks=["Rest."]), Section("vgg", "vgg", blocks=["Old."])]

    def test_formulas_are_characters_or_nothing(self) -> None:
        (found,) = read(
            r"<section id='s'><h1>Why <span class='math'>\(T^2\)</span></h1>"
            r"<p>With <span class='math'>\(\sigma\)</span> and <span class='math'>\(\begin{matrix}\)</span> it is:</p>"
            r"<div class='math'>\[\frac{1}{K}\sum_k z_k\]</div><p>so.</p></section>"
        )
        assert found == Section("s", "Why T²", blocks=["With σ and it is:", "so."])


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (r"\(T^2\)", "T²"),
        (r"\sqrt{K-1}", "√(K−1)"),
        (r"\tfrac12\,\hat p_k", "1/2 p̂ₖ"),
        (r"\frac{a+b}{2}", "(a+b)/2"),
        (r"-\log q_k + \alpha", "−log qₖ + α"),
        (r"2\log\sum_j e^{z_j/T}", "2 log ∑ⱼ e^(zⱼ/T)"),
        (r"w_{\mathrm{KD}}\mathcal L", "w_KDL"),
        (r"\varepsilon = 10^{-7}", "ε = 10⁻⁷"),
        (r"\Delta \ge \pi", "Δ ≥ π"),
        (r"\underbrace{x}", ""),
        (r"\frac{1", ""),
        (r"a & b", ""),
        (r"x_", ""),
    ],
)
def test_a_formula_in_a_line(source: str, shown: str) -> None:
    assert plain_formula(source) == shown


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("_toc.yml", "- intro", r"_toc.yml holds \['intro'\]; expected keys"),
        ("_toc.yml", "root: [", "(?s)_toc.yml cannot be read: .*line 1"),
        ("_toc.yml", "format: jb-book\nroot: intro\nchapters: 3", "'chapters' not a non-empty list @ '/'\nAll of"),
        ("_config.yml", "", "_config.yml holds None; expected keys"),
        ("_config.yml", "title: ä", "_config.yml cannot be read: .*utf-8"),
        ("a.ipynb", "{}", "a.ipynb: not a notebook"),
        ("a.ipynb", '{"cells": [{"cell_type": "code", "source": "1"}]}', "a.ipynb: cell 1 was not executed"),
    ],
)
def test_a_damaged_file_of_the_book_is_named(file: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (tmp_path / "_config.yml").write_text("parse:\n")
    (tmp_path / "intro.md").write_text("# A book\n")
    (tmp_path / file).write_bytes(content.encode("latin-1"))
    places = {"book": tmp_path, "notebooks": tmp_path, "config": tmp_path / "_config.yml"}
    with pytest.raises(LskdError, match=message):
        build(**places, figures=tmp_path / "none", facts=tmp_path / "none", output=tmp_path.with_name("made"))


def test_a_folder_of_other_files_is_never_emptied_for_the_book(tmp_path: Path) -> None:
    book, thesis, none, made = (tmp_path / name for name in ("chapters", "thesis", "none", "made"))
    for folder in (book, thesis):
        (folder / "_build").mkdir(parents=True)  # as the workflow makes it before it builds
        (folder / "intro.md").write_text("# A book\n")
    (book / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    shutil.copytree(book, other := tmp_path / "another book's sources")
    for output in (thesis, book, tmp_path, other):
        with pytest.raises(LskdError, match=f"^{output}: holds files that are no assembled book"):
            assemble(book, none, none, output)
    assert (thesis / "intro.md").is_file()
    assert (book / "intro.md").is_file()
    assemble(book, none, none, made)
    (made / "intro.md").rename(made / "gone.md")
    (made / "_toc.yml").unlink()  # an interrupted call leaves any part
    assemble(book, none, none, made)
    assert (made / "intro.md").is_file()
    assert not (made / "gone.md").exists()
