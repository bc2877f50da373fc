"""The book's search: which words of a page it has, what it finds, and the list that a reader types into.

A book of five small pages is built once as the real one is; the words of the real book are looked at where it is built.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from book import build as books
from book.pages import Chapter, Pages, listed
from book.search import index
from figures.fingerprint import ROOT
from lskd.errors import LskdError

LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


def article(content: str) -> str:
    return f"<html><body><article class='bd-article'>{content}</article></body></html>"


def test_the_table_of_contents_names_pages_parts_and_titles(tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nparts:\n- caption: The idea\n  chapters:\n  - file: a\n    title: Other\n"
        "    sections:\n    - file: sub/b\n- chapters:\n  - file: c\n",
        encoding="utf-8",
    )
    assert listed(tmp_path / "_toc.yml") == [
        Chapter("intro"),
        Chapter("a", "Other", "The idea"),
        Chapter("sub/b", "", "The idea"),
        Chapter("c"),
    ]
    with pytest.raises(LskdError, match="no such file; a book needs a table of contents"):
        listed(tmp_path / "none.yml")


def test_the_words_are_equal_for_equal_pages_and_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.html").write_text(article(""), encoding="utf-8")
    page = article("<section id='x'><h1>X</h1><p>é &lt;/script&gt; \u2028 end</p></section>")
    (tmp_path / "intro.html").write_text(page, encoding="utf-8")
    built, script = Pages(tmp_path, [Chapter("intro"), Chapter("empty")]), tmp_path / index.FOLDER / "words.js"
    index.write(built)
    first = script.read_bytes()
    assert words(tmp_path) == {
        "pages": [["intro.html", "X", "", [["", "X", "section", "é </script> end"]]]],
    }
    index.write(built)
    assert script.read_bytes() == first
    assert {path.name for path in script.parent.iterdir()} == {"words.js", "find.js", "show.js"}
    monkeypatch.setattr(index, "LIMIT", 40)
    with pytest.raises(LskdError, match=r"words\.js: \d+ bytes to load for the first result, expected at most 40"):
        index.write(built)


def words(html: Path) -> dict[str, Any]:
    """What ``words.js`` gives to the search."""
    text = (html / index.FOLDER / "words.js").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text.removeprefix("lskdSearch.fill(").removesuffix(");\n"))
    return content


PAGES = {
    "_toc.yml": """
format: jb-book
root: intro
parts:
- caption: Clothes
  chapters:
  - file: hats
  - file: notebooks/coats
    title: Coats to try
- caption: Behind
  chapters:
  - file: glossary
  - file: bibliography
""",
    "references.bib": "@misc{W, author={Wool, Ann}, title={On felt}, year={1901}}\n",
    "intro.md": "# A small book\n\nIt is about hats {cite}`W`. Nobody needs a temperature here.\n",
    "hats.md": """# Temperature of hats

A hat keeps a head warm.

## The Z-score of a brim

A brim of width $\\sigma^2$ is wide. A wombat sleeps under the widest brim of all, far from the rain. Not every
teacher’s hat is as naïve.

$$\\frac{\\mathrm{junkword}}{2}$$

## Losses of hats

Standardised hats are lost in CIFAR-100 boxes. Use `hat_loss` for them.

```sh
hats find --all
```

| hat | price |
|---|---|
| bowler | 41.25 |

## Felt at low temperature

Felt is dense.

## The factor $T^2$

It grows. Here the K − 1 hats count.
""",
    "glossary.md": """# Glossary

```{glossary}
felt
  Wool that was pressed. Its temperature was high.

temperature
  How warm it is.
```
""",
    "bibliography.md": "# Bibliography\n\n```{bibliography}\n```\n",
}
COATS: dict[str, Any] = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# Coats\n\nWarm, too.\n\n## Sleeves\n\nTwo of them."},
        {
            "cell_type": "code",
            "execution_count": 1,
            "metadata": {},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "a printed sleeve\n"}],
            "source": "hidden_source = 'a printed sleeve'",
        },
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages of a small book, with the real book's configuration and scripts."""
    place = tmp_path_factory.mktemp("search")
    (place / "book").mkdir()
    for name, text in PAGES.items():
        (place / "book" / name).write_text(text, encoding="utf-8")
    (place / "notebooks").mkdir()
    for number, cell in enumerate(COATS["cells"]):
        cell["id"] = f"cell-{number}"
    (place / "notebooks" / "coats.ipynb").write_text(json.dumps(COATS), encoding="utf-8")
    places = {name: place / name for name in ("book", "notebooks", "figures", "output")}
    return books.build(**places, facts=place / "none.json", config=ROOT / "_config.yml").parent


@pytest.mark.book
def test_a_book_is_built_with_its_words(html: Path) -> None:
    found = {page[0]: page for page in words(html)["pages"]}
    assert list(found) == ["intro.html", "hats.html", "notebooks/coats.html", "glossary.html", "bibliography.html"]
    assert found["notebooks/coats.html"][1:3] == ["Coats to try", "Clothes"]
    assert found["notebooks/coats.html"][3] == [
        ["", "Coats to try", "section", "Warm, too."],
        ["sleeves", "Sleeves", "section", "Two of them.\na printed sleeve"],
    ]
    hats = {title: (anchor, text) for anchor, title, _, text in found["hats.html"][3]}
    assert list(hats) == [
        "Temperature of hats",
        "The Z-score of a brim",
        "Losses of hats",
        "Felt at low temperature",
        "The factor T²",
    ]
    anchor, text = hats["The Z-score of a brim"]
    assert f'id="{anchor}"' in (html / "hats.html").read_text(encoding="utf-8")
    assert text.startswith("A brim of width σ² is wide. A wombat sleeps")
    assert "bowler · 41.25" in hats["Losses of hats"][1]
    assert ["term-felt", "felt", "term", "Wool that was pressed. Its temperature was high."] in found["glossary.html"][
        3
    ]
    assert found["bibliography.html"][3][1][1:] == ["Ann Wool", "reference", "On felt. 1901."]
    everything = (html / index.FOLDER / "words.js").read_text(encoding="utf-8")
    assert not re.search("hidden_source|junkword|frac", everything)


@pytest.fixture(scope="module")
def engine(chromium: Any, html: Path) -> Iterator[Any]:
    """A page with the words loaded, and nobody typing."""
    page = chromium.new_page()
    page.goto((html / "search.html").as_uri())
    page.wait_for_function("window.lskdSearch?.find?.('hat').found.length > 0")
    yield page
    page.close()


def find(engine: Any, query: str) -> list[str]:
    """Titles of the sections found, in order."""
    found = engine.evaluate("q => lskdSearch.find(q).found.map(({section}) => section.title)", query)
    return [str(title) for title in found]


@pytest.mark.browser
@pytest.mark.book
class TestFind:
    """What matches, and in which order."""

    def test_a_title_comes_before_a_heading_a_term_and_a_text(self, engine: Any) -> None:
        titles = ["Temperature of hats", "Felt at low temperature", "temperature", "felt", "A small book"]
        assert find(engine, "temperature") == titles

    @pytest.mark.parametrize(
        "query", ["zscore", "z-score", "Z score", "Z-SCORES", "z‑score", "σ2", "σ²", "sigma", "Sigma^2"]
    )
    def test_one_thing_is_found_however_it_is_spelt(self, engine: Any, query: str) -> None:
        assert find(engine, query) == ["The Z-score of a brim"]

    @pytest.mark.parametrize("query", ["T²", "T2", "T^2", "t^2", "k-1", "K−1", "K - 1"])
    def test_formulas_are_found_as_they_are_typed(self, engine: Any, query: str) -> None:
        assert find(engine, query) == ["The factor T²"]

    @pytest.mark.parametrize(
        "query",
        [
            "loss",
            "losses of",
            "loss of",
            "standardise",
            "standardized",
            "standardization",
            "cifar100",
            "CIFAR 100",
            "hat_loss",
        ],
    )
    def test_other_forms_of_a_word_count(self, engine: Any, query: str) -> None:
        assert find(engine, query)[0] == "Losses of hats"

    @pytest.mark.parametrize(
        "query", ["teacher", "teachers", "naive", "naïve", "wom", "wombat brim", "these wombats", "wombats sleeping"]
    )
    def test_prefixes_accents_and_small_words(self, engine: Any, query: str) -> None:
        assert engine.evaluate("q => lskdSearch.find(q).some", query) is False
        assert find(engine, query) == ["The Z-score of a brim"]

    def test_words_that_readers_use_stand_for_those_of_the_book(self, engine: Any) -> None:
        assert find(engine, "warmup")[0] == "Temperature of hats"  # which keeps a head warm
        assert engine.evaluate("lskdSearch.find('download the wombat').some") is True  # nothing here is to be had

    def test_all_words_must_match(self, engine: Any) -> None:
        assert find(engine, "wombat brim") == ["The Z-score of a brim"]
        some = engine.evaluate("lskdSearch.find('wombat bowler')")
        assert some["some"] is True  # and it is said
        assert {found["section"]["title"] for found in some["found"]} == {"The Z-score of a brim", "Losses of hats"}
        assert find(engine, "wombat bowler felt rain")[0] == "The Z-score of a brim"
        assert find(engine, "brim hats") == ["The Z-score of a brim", "Temperature of hats"]  # the page has both
        assert find(engine, "41.25") == ["Losses of hats"]
        assert find(engine, "o") == []  # one letter begins too much

    def test_what_was_meant(self, engine: Any) -> None:
        def meant(query: str) -> str:
            return str(engine.evaluate("q => lskdSearch.meant(lskdSearch.find(q))", query))

        assert meant("wmobat") == "wombat"
        assert meant("widest wonbat") == "widest wombat"
        assert meant("qqqqqq") == ""

    def test_a_sentence_is_cut_around_the_match_and_quoted(self, engine: Any) -> None:
        shown = """q => {
            const result = lskdSearch.find(q), {section} = result.found[0];
            const [s] = lskdSearch.sentences(section, result, {width: 45});
            const marks = lskdSearch.marks(s.text, result).map(([a, b]) => s.text.slice(a, b));
            return [s.text, marks, lskdSearch.quote(section, s, result)];
        }"""
        text, marks, quote = engine.evaluate(shown, "wombat brims")
        assert text == "A wombat sleeps under the widest brim of all\u00a0…"
        assert marks == ["wombat", "brim"]
        assert "wombat" in quote
        assert quote in "A wombat sleeps under the widest brim of all, far from the rain."
        text, marks, quote = engine.evaluate(shown, "rain")
        assert text == "…\u00a0under the widest brim of all, far from the rain."
        text, marks, quote = engine.evaluate(shown, "sigma")
        assert marks == ["σ²"]
        assert quote == ""  # drawn as a formula: no text to point at


def opened(page: Any, html: Path, name: str = "glossary.html", query: str = "") -> Any:
    """A page with the search open and something typed."""
    page.goto((html / name).as_uri())
    page.keyboard.press("Control+k")
    page.wait_for_selector("#pst-search-dialog .lskd-search", state="attached")
    page.keyboard.type(query)
    return page.locator("#pst-search-dialog")


@pytest.mark.browser
@pytest.mark.book
class TestDialog:
    """The field that opens over a page."""

    def test_a_word_of_one_section_leads_there(self, page: Any, html: Path) -> None:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((html / "notebooks" / "coats.html").as_uri())
        page.wait_for_timeout(100)
        assert not [url for url in asked if "lskd-search/" in url]  # nothing is loaded for who does not search
        dialog = opened(page, html, "notebooks/coats.html", "wombat")
        assert dialog.locator("[role='status']").inner_text() == "1 section on 1 page"
        option = dialog.get_by_role("option")
        assert option.count() == 1
        assert option.locator(".lskd-sentence").inner_text().startswith("A wombat sleeps under the widest brim of all")
        assert option.locator("mark").all_inner_texts() == ["wombat"]
        assert dialog.get_by_role("group").get_attribute("aria-labelledby")
        assert "Temperature of hats" in dialog.locator(".lskd-page").inner_text()
        option.click()
        page.wait_for_url("**/hats.html#the-z-score-of-a-brim**")
        assert page.evaluate("location.hash") == "#the-z-score-of-a-brim"
        assert all(url.startswith(("file:", "data:")) for url in asked)

    def test_by_keyboard(self, page: Any, html: Path) -> None:
        dialog = opened(page, html, query="hats")
        field, options = dialog.get_by_role("combobox"), dialog.get_by_role("option")
        count = options.count()
        assert count >= 3
        assert field.get_attribute("aria-expanded") == "true"
        assert field.get_attribute("aria-controls") == dialog.get_by_role("listbox").get_attribute("id")

        def chosen() -> list[int]:
            marked = [i for i in range(count) if options.nth(i).get_attribute("aria-selected") == "true"]
            active = field.get_attribute("aria-activedescendant")
            assert [options.nth(i).get_attribute("id") for i in marked] == ([active] if active else [])
            return marked

        assert chosen() == []
        for expected in ([0], [1]):
            page.keyboard.press("ArrowDown")
            assert chosen() == expected
        for expected in ([0], [], [count - 1]):
            page.keyboard.press("ArrowUp")
            assert chosen() == expected
        page.keyboard.press("ArrowDown")
        assert chosen() == []
        page.keyboard.press("Escape")
        assert not dialog.is_visible()
        page.keyboard.press("Control+k")
        page.keyboard.type("felt dense")
        assert field.input_value() == "felt dense"  # in place of what was typed before
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/hats.html#felt-at-low-temperature**")

    def test_a_result_on_the_same_page_closes_the_list(self, page: Any, html: Path) -> None:
        dialog = opened(page, html, "hats.html", "factor")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_function("location.hash === '#the-factor-t-2'")
        assert not dialog.is_visible()

    def test_enter_alone_goes_to_the_search_page(self, page: Any, html: Path) -> None:
        opened(page, html, "notebooks/coats.html", "wombat")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search.html?q=wombat")
        results = page.locator("#search-results")
        results.locator("li").wait_for()
        assert results.locator("[role='status']").inner_text() == "1 section on 1 page"
        assert results.locator("h2").inner_text() == "Temperature of hats Clothes"
        assert results.locator("li p").inner_text().startswith("A wombat sleeps under the widest brim")
        assert results.locator("mark").all_inner_texts() == ["wombat"]
        page.locator(".bd-search-container input[name='q']").fill("bowler")
        assert "bowler · 41.25" in results.locator("li p").inner_text()
        results.locator("li a").click()
        page.wait_for_url("**/hats.html#losses-of-hats**")

    def test_nothing_found_is_said(self, page: Any, html: Path) -> None:
        dialog = opened(page, html, query="qqqqqq")
        assert dialog.locator("[role='status']").inner_text() == "Nothing in this book has “qqqqqq”."
        assert dialog.get_by_role("option").count() == 0
        assert dialog.get_by_role("combobox").get_attribute("aria-expanded") == "false"
        dialog.get_by_role("combobox").fill("wmobat")
        assert dialog.get_by_role("option").inner_text() == "Did you mean wombat?"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert dialog.get_by_role("combobox").input_value() == "wombat"
        assert dialog.locator("[role='status']").inner_text() == "1 section on 1 page"
        dialog.get_by_role("combobox").fill("wombat bowler")
        assert dialog.locator("[role='status']").inner_text() == "No section has all of these words; 2 have some."
        dialog.get_by_role("button", name="Close the search").click()
        assert not dialog.is_visible()

    @pytest.mark.parametrize("look", LOOKS)
    def test_is_accessible_and_fits(self, chromium: Any, html: Path, look: str) -> None:
        from axe_playwright_python.sync_playwright import Axe

        context = chromium.new_context(**LOOKS[look])
        page = context.new_page()
        dialog = opened(page, html, query="hats")
        page.keyboard.press("ArrowDown")
        wrong = serious(Axe().run(page, context="#pst-search-dialog"))
        box = dialog.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.viewport_size["width"]
        assert box["y"] + box["height"] <= page.viewport_size["height"]
        page.goto((html / "search.html").as_uri() + "?q=hats")
        page.wait_for_selector("#search-results li a")
        wrong += serious(Axe().run(page, context=".bd-search-container"))
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        context.close()
        assert wrong == []


def serious(found: Any) -> list[str]:
    return [
        f"{violation['id']}: {violation['nodes'][0]['html'][:160]}"
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.browser
@pytest.mark.book
def test_without_scripts_the_form_is_there(chromium: Any, html: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((html / "search.html").as_uri())
    assert page.locator(".bd-search-container form input[name='q']").is_visible()
    page.goto((html / "hats.html").as_uri())
    assert page.locator("#pst-search-dialog form[action='search.html'] input[name='q']").count() == 1
    context.close()


@pytest.mark.browser
@pytest.mark.book
def test_where_the_words_are_missing_sphinx_s_search_stands_in(chromium: Any, html: Path, tmp_path: Path) -> None:
    shutil.copytree(html, tmp_path / "html")
    shutil.rmtree(tmp_path / "html" / index.FOLDER)
    page = chromium.new_page()
    page.goto((tmp_path / "html" / "search.html").as_uri() + "?q=wombat")
    page.wait_for_selector("#search-results ul.search li a[href^='hats.html']")
    page.close()


@pytest.mark.book
def test_the_book_s_words_lead_to_its_pages(book: Path) -> None:
    """Every page is there, every anchor exists, and what is no text is not there."""
    content = words(book)
    assert [page[0] for page in content["pages"]] == [
        f"{name}.html" for name in books.chapters(ROOT / "book" / "chapters")
    ]
    for address, title, part, entries in content["pages"]:
        page = (book / address).read_text(encoding="utf-8")
        assert title
        assert part or address == "intro.html"
        missing = [anchor for anchor, *_ in entries if anchor and f'id="{anchor}"' not in page]
        assert missing == [], address
        for _, heading, _, text in entries:
            junk = re.search(
                r"\\\(|\\\[|\\(frac|sum|mathrm|mathcal|sqrt)\b|Show code cell|base64|root_id", heading + text
            )
            assert not junk, f"{address}, {heading}: {junk and junk[0]}"
    kinds = {kind for page in content["pages"] for _, _, kind, _ in page[3]}
    assert kinds == {"section", "figure", "term", "object", "reference"}


@pytest.mark.book
def test_the_book_s_code_cells_are_not_searched(book: Path) -> None:
    texts = {page[0]: "\n".join(entry[3] for entry in page[3]) for page in words(book)["pages"]}
    looked_at = 0
    for name in ("zscore", "tsne", "logit_gap"):
        notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            for line in "".join(cell["source"]).splitlines() if cell["cell_type"] == "code" else []:
                if len(line) > 30:
                    looked_at += 1
                    assert " ".join(line.split()) not in texts[f"notebooks/{name}.html"]
    assert looked_at > 5
