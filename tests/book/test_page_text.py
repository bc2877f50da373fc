"""What the search reads from a built page: words in their sections, formulas as characters, and nothing else."""

from __future__ import annotations

import pytest

from book.pages import parsed
from book.search.page_text import Section, sections
from book.search.plain_formula import plain_formula


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
