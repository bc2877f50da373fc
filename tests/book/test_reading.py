"""Reading: machinery is out of sight, a cell is shown by its link, asides stand in the margin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reading import go, reader

pytestmark = pytest.mark.book

SEEN = "selector => [...document.querySelectorAll(selector)].filter(e => e.getClientRects().length).length"
BARS = "article details.hide.above-input"
PARAMETERS = "article .tag_parameters, article .tag_injected-parameters"


@pytest.mark.browser
def test_a_page_begins_as_text_and_shows_a_cell_by_its_link_and_all_its_code_on_request(page: Any, book: Path) -> None:
    go(page, book, "notebooks/temperature")
    assert page.locator(BARS).count() >= 4
    assert page.evaluate(SEEN, BARS) == page.evaluate(SEEN, PARAMETERS) == 0
    assert page.evaluate(SEEN, "article figure.lskd-live") == 3
    button = page.get_by_role("button", name="Code", exact=True)
    page.evaluate("document.querySelectorAll('article details.hide.above-input span.n')[9].id = 'inside'")
    page.evaluate("location.hash = '#inside'")
    page.wait_for_selector("#inside")
    assert page.evaluate(SEEN, BARS) == 1
    assert button.get_attribute("aria-pressed") == "false"
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.evaluate(SEEN, BARS) == page.locator(BARS).count()
    assert page.evaluate(SEEN, PARAMETERS) == page.locator(PARAMETERS).count() >= 2
    go(page, book, "notebooks/zscore")  # remembered
    assert page.evaluate(SEEN, BARS) == page.locator(BARS).count()
    page.get_by_role("button", name="Code", exact=True).click()
    assert page.evaluate(SEEN, BARS) == 0


@pytest.mark.browser
def test_the_place_in_the_text_stays_when_code_comes_and_goes(page: Any, book: Path) -> None:
    go(page, book, "notebooks/zscore", live=True)
    heading = page.locator("#two-classes h2")
    page.evaluate("scrollTo({ top: document.querySelector('#two-classes').offsetTop - 100, behavior: 'instant' })")
    top = heading.bounding_box()["y"]
    page.add_style_tag(content="html { overflow-anchor: none }")  # what some browsers do by themselves
    for shown in (True, False):
        page.locator(".lskd-code-button").evaluate("button => button.click()")
        assert (page.evaluate(SEEN, BARS) > 0) is shown
        assert heading.bounding_box()["y"] == pytest.approx(top, abs=2)


@pytest.mark.browser
def test_code_that_the_text_speaks_about_stays_and_print_is_the_same_in_both_modes(page: Any, book: Path) -> None:
    go(page, book, "notebooks/audit")
    shown = "article .cell:has(> .cell_output table) > .cell_input"
    assert page.evaluate(SEEN, shown) == page.locator(shown).count() >= 12
    assert page.evaluate(SEEN, PARAMETERS) == 0
    page.emulate_media(media="print")
    seen = "() => [...document.querySelectorAll('article .cell *')].map(e => e.getClientRects().length > 0)"
    folded = page.evaluate(seen)
    page.evaluate("document.documentElement.dataset.lskdCode = 'shown'")
    assert any(folded)
    assert page.evaluate(seen) == folded
    page.emulate_media(media="screen")
    go(page, book, "notebooks/train_students")
    assert page.evaluate(SEEN, "article .tag_parameters") == 1
    assert page.evaluate(SEEN, "article .tag_injected-parameters") == page.evaluate(SEEN, BARS) == 0


@pytest.mark.browser
def test_a_browser_that_refuses_storage_shows_the_page_all_the_same(page: Any, book: Path) -> None:
    page.add_init_script(
        """for (const name of ['getItem', 'setItem']) {
            const kept = Storage.prototype[name];
            Storage.prototype[name] = function (key, ...rest) {
                if (key === 'lskd-code') throw new DOMException('refused', 'SecurityError');
                return kept.call(this, key, ...rest);
            };
        }"""
    )
    go(page, book, "notebooks/temperature")
    assert page.evaluate(SEEN, BARS) == 0
    page.get_by_role("button", name="Code", exact=True).click()
    assert page.evaluate(SEEN, BARS) > 0


@pytest.mark.browser
def test_without_scripts_nothing_is_hidden_and_words_are_words(chromium: Any, book: Path) -> None:
    with reader(chromium, java_script_enabled=False) as page:
        go(page, book, "notebooks/temperature")
        bars, parameters, words = (page.locator(which).all() for which in (BARS, PARAMETERS, "a.lskd-word"))
        assert len(bars) >= 4
        assert all(found.is_visible() for found in [*bars, *parameters, *words])
        assert page.locator(".lskd-code-button").count() == 0
        assert page.locator(".lskd-still img").first.is_visible()
        assert page.locator(".lskd-stage:visible").count() == 0
        assert [word for word in words if word.get_attribute("role")] == []


@pytest.mark.browser
def test_notes_stand_in_the_margin_where_there_is_one_and_in_the_text_elsewhere(page: Any, book: Path) -> None:
    go(page, book, "notebooks/logit_statistics")
    note, text = page.locator("article .admonition.margin").first, page.locator("article section section > p").first
    for width, aside in ((1280, True), (1000, False), (390, False)):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)  # the theme's side bars move
        at, column = note.bounding_box(), text.bounding_box()
        if aside:
            assert column["x"] + column["width"] <= at["x"]
            assert at["x"] + at["width"] <= width
        else:
            assert at["x"] == pytest.approx(column["x"], abs=2)
            assert at["width"] == pytest.approx(column["width"], abs=2)
    page.emulate_media(media="print")
    assert note.bounding_box()["width"] == pytest.approx(text.bounding_box()["width"], abs=2)
