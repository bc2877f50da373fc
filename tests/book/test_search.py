"""The search: which words of a page it has, what it finds, the list that a reader types into."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reading import LOOKS, cell, in_every_look, inside, pages, reader, write_notebook

from book import build as books
from book.search import index
from figures.fingerprint import ROOT
from lskd.errors import LskdError


def test_the_words_are_equal_for_equal_pages_and_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = "<section id='x'><h1>X</h1><p>é &lt;/script&gt; \u2028 end</p></section>"
    texts = {
        "intro": f"<article class='bd-article'>{section}</article>",
        "empty": "<article class='bd-article'></article>",
    }
    for _ in range(2):
        index.write(pages(tmp_path, texts))
        assert words(tmp_path) == {"pages": [["intro.html", "X", "", [["", "X", "section", "é </script> end"]]]]}
    assert {path.name for path in (tmp_path / index.FOLDER).iterdir()} == {"words.js", "find.js", "show.js"}
    monkeypatch.setattr(index, "LIMIT", 40)
    with pytest.raises(LskdError, match=r"words\.js: \d+ bytes to load for the first result, expected at most 40"):
        index.write(pages(tmp_path, texts))


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
COATS = (
    cell("# Coats\n\nWarm, too.\n\n## Sleeves\n\nTwo of them.", kind="markdown"),
    cell(
        "hidden_source = 'a printed sleeve'",
        outputs=[{"output_type": "stream", "name": "stdout", "text": "a printed sleeve\n"}],
        execution_count=1,
    ),
)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages of a small book, with the real book's configuration and scripts."""
    place = tmp_path_factory.mktemp("search")
    (place / "book").mkdir()
    for name, text in PAGES.items():
        (place / "book" / name).write_text(text, encoding="utf-8")
    write_notebook(place / "notebooks" / "coats.ipynb", *COATS)
    places = {name: place / name for name in ("book", "notebooks", "figures", "output")}
    return books.build(**places, facts=place / "none.json", config=ROOT / "_config.yml").parent


@pytest.mark.book
def test_a_book_is_built_with_its_words(html: Path) -> None:
    found = {page[0]: page for page in words(html)["pages"]}
    assert list(found) == ["intro.html", "hats.html", "notebooks/coats.html", "glossary.html", "bibliography.html"]
    coats = [["", "Coats to try", "section", "Warm, too."]]
    coats.append(["sleeves", "Sleeves", "section", "Two of them.\na printed sleeve"])
    assert found["notebooks/coats.html"][1:] == ["Coats to try", "Clothes", coats]
    assert [title for _, title, *_ in found["hats.html"][3]] == [HATS, BRIM, LOSSES, "Felt at low temperature", FACTOR]
    felt = ["term-felt", "felt", "term", "Wool that was pressed. Its temperature was high."]
    assert felt in found["glossary.html"][3]
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


BRIM, LOSSES, FACTOR, HATS = "The Z-score of a brim", "Losses of hats", "The factor T²", "Temperature of hats"
FOUND = [  # all that is found by each of some queries
    (["temperature"], [HATS, "Felt at low temperature", "temperature", "felt", "A small book"]),  # title, term, text
    (["zscore", "z-score", "Z score", "Z-SCORES", "z‑score", "σ2", "σ²", "sigma", "Sigma^2"], [BRIM]),
    (["T²", "T2", "T^2", "t^2", "k-1", "K−1", "K - 1"], [FACTOR]),
    (["teacher", "teachers", "naive", "naïve", "wom", "wombat brim", "these wombats", "wombats sleeping"], [BRIM]),
    (["brim hats", "brim-hats", "brim_hats"], [BRIM, HATS]),  # the page has both
    (["41.25"], [LOSSES]),
    (["o"], []),  # one letter begins too much
]
FIRST = [  # what comes first
    (["loss", "losses of", "loss of", "standardise", "standardized", "standardization"], LOSSES),
    (["cifar100", "CIFAR 100", "hat_loss"], LOSSES),
    (["wombat bowler felt rain"], BRIM),
    (["warmup"], HATS),  # which keeps a head warm
]


@pytest.mark.browser
@pytest.mark.book
class TestFind:
    """What matches, and in which order."""

    def test_what_is_found_however_it_is_spelt(self, engine: Any) -> None:
        for queries, titles in FOUND:
            assert {query: find(engine, query) for query in queries} == dict.fromkeys(queries, titles)
        for queries, title in FIRST:
            assert {query: find(engine, query)[0] for query in queries} == dict.fromkeys(queries, title)

    def test_where_no_section_has_all_words_it_is_said(self, engine: Any) -> None:
        for query, some in (("these wombats", False), ("wombat bowler", True), ("download the wombat", True)):
            assert engine.evaluate("q => lskdSearch.find(q).some", query) is some
        assert set(find(engine, "wombat bowler")) == {BRIM, LOSSES}

    def test_what_was_meant(self, engine: Any) -> None:
        for query, meant in (("wmobat", "wombat"), ("widest wonbat", "widest wombat"), ("qqqqqq", "")):
            assert engine.evaluate("q => lskdSearch.meant(lskdSearch.find(q))", query) == meant

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
        dialog = opened(page, html, "hats.html", "factor")  # on the same page the list closes
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

    def test_is_accessible_and_fits(self, chromium: Any, html: Path) -> None:
        with reader(chromium, **LOOKS["narrow"]) as page:
            dialog = opened(page, html, query="hats")
            page.keyboard.press("ArrowDown")
            assert inside(page, dialog.bounding_box())
            wrong = in_every_look(page, "#pst-search-dialog")
            assert inside(page, dialog.bounding_box())  # on a desk
            page.set_viewport_size(LOOKS["narrow"]["viewport"])
            page.goto((html / "search.html").as_uri() + "?q=hats")
            page.wait_for_selector("#search-results li a")
            assert wrong + in_every_look(page, ".bd-search-container") == []


@pytest.mark.browser
@pytest.mark.book
def test_without_scripts_the_form_is_there(chromium: Any, html: Path) -> None:
    with reader(chromium, java_script_enabled=False) as page:
        page.goto((html / "search.html").as_uri())
        assert page.locator(".bd-search-container form input[name='q']").is_visible()
        page.goto((html / "hats.html").as_uri())
        assert page.locator("#pst-search-dialog form[action='search.html'] input[name='q']").count() == 1


@pytest.mark.browser
@pytest.mark.book
def test_where_the_words_are_missing_sphinx_s_search_stands_in(chromium: Any, html: Path, tmp_path: Path) -> None:
    shutil.copytree(html, tmp_path / "html")
    shutil.rmtree(tmp_path / "html" / index.FOLDER)
    page = chromium.new_page()
    page.goto((tmp_path / "html" / "search.html").as_uri() + "?q=wombat")
    page.wait_for_selector("#search-results ul.search li a[href^='hats.html']")
    page.close()
