"""Reading: machinery is out of sight until asked for, asides stand in the margin, cards say what is at a link."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from reading import LOOKS, fits, go, inside, pages, reader, violations

from book.pages import hover_cards

pytestmark = pytest.mark.book

SEEN = "selector => [...document.querySelectorAll(selector)].filter(e => e.getClientRects().length).length"
BARS = "article details.hide.above-input"
PARAMETERS = "article .tag_parameters, article .tag_injected-parameters"


@pytest.mark.browser
def test_a_page_begins_as_text_and_figures_and_shows_its_code_on_request(page: Any, book: Path) -> None:
    go(page, book, "notebooks/temperature")
    assert page.locator(BARS).count() >= 4
    assert page.evaluate(SEEN, BARS) == page.evaluate(SEEN, PARAMETERS) == 0
    assert page.evaluate(SEEN, "article figure.lskd-live") == 3
    button = page.get_by_role("button", name="Code", exact=True)
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
@pytest.mark.parametrize("name", ["toy", "temperature", "zscore", "logit_statistics"])
def test_what_is_out_of_sight_leaves_no_hole(page: Any, book: Path, name: str) -> None:
    go(page, book, f"notebooks/{name}")
    gaps = page.evaluate(
        """() => [...document.querySelectorAll('article section')].flatMap(section => {
            const seen = [...section.children].filter(e => e.getClientRects().length);
            return seen.slice(1).map((e, i) => ({
                at: e.textContent.trim().slice(0, 50),
                gap: e.getBoundingClientRect().top - seen[i].getBoundingClientRect().bottom}));
        })"""
    )
    assert [gap for gap in gaps if gap["gap"] > 64] == []


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
def test_code_that_the_text_speaks_about_stays(page: Any, book: Path) -> None:
    go(page, book, "notebooks/audit")
    shown = "article .cell:has(> .cell_output table) > .cell_input"
    assert page.evaluate(SEEN, shown) == page.locator(shown).count() >= 12
    assert page.evaluate(SEEN, PARAMETERS) == 0
    go(page, book, "notebooks/train_students")
    assert page.evaluate(SEEN, "article .tag_parameters") == 1
    assert page.evaluate(SEEN, "article .tag_injected-parameters") == page.evaluate(SEEN, BARS) == 0


@pytest.mark.browser
def test_a_link_into_a_folded_cell_opens_that_cell_alone(page: Any, book: Path) -> None:
    go(page, book, "notebooks/temperature")
    page.evaluate("document.querySelectorAll('article details.hide.above-input span.n')[9].id = 'inside'")
    page.evaluate("location.hash = '#inside'")
    page.wait_for_selector("#inside")
    assert page.evaluate(SEEN, BARS) == 1
    assert page.get_by_role("button", name="Code", exact=True).get_attribute("aria-pressed") == "false"


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
        assert [word for word in words if word.get_attribute("role")] == []


@pytest.mark.browser
def test_print_is_the_same_in_both_modes(page: Any, book: Path) -> None:
    go(page, book, "notebooks/audit")
    page.emulate_media(media="print")
    seen = "() => [...document.querySelectorAll('article .cell *')].map(e => e.getClientRects().length > 0)"
    folded = page.evaluate(seen)
    page.evaluate("document.documentElement.dataset.lskdCode = 'shown'")
    assert any(folded)
    assert page.evaluate(seen) == folded


@pytest.mark.browser
def test_notes_stand_in_the_margin_where_there_is_one_and_in_the_text_where_there_is_none(
    page: Any, book: Path
) -> None:
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


TOUCH = {"narrow": {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 844}}}


def stored(book: Path) -> dict[str, dict[str, str]]:
    text = (book / hover_cards.FILE).read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(text.removeprefix("lskdCards=").rstrip().removesuffix(";"))
    return found


def test_every_link_to_a_term_a_source_or_an_equation_has_its_card(book: Path) -> None:
    cards = stored(book)
    terms, sources = ([p for p, card in cards.items() if card["kind"] == kind] for kind in ("term", "source"))
    assert len(terms) > 10
    assert len(sources) > 5
    glossary = BeautifulSoup((book / "glossary.html").read_text(encoding="utf-8"), "html.parser")
    for place in terms:
        (told,) = glossary.select(f"[id='{place.partition('#')[2]}'] + dd")
        assert BeautifulSoup(cards[place]["body"], "html.parser").get_text().split() == told.get_text().split()
    page = BeautifulSoup((book / "notebooks" / "zscore.html").read_text(encoding="utf-8"), "html.parser")
    for link in page.select("article a.reference.internal[href^='#equation-']"):
        assert cards[f"notebooks/zscore.html{link['href']}"]["kind"] == "equation"
    assert not any("headerlink" in card["body"] or ' id="' in card["body"] for card in cards.values())
    for card in cards.values():  # addresses are relative to the book's folder
        for address in re.findall(r'class="reference internal" href="([^"#]+)', card["body"]):
            assert (book / address).is_file(), address


def test_equal_pages_give_equal_cards(tmp_path: Path) -> None:
    glossary = '<dl class="glossary"><dt id="term-a">a<a class="headerlink">#</a></dt><dd><p>first</p></dd></dl>'
    link = '<article><a class="reference internal" href="glossary.html#term-a">x</a></article>'
    for _ in range(2):
        hover_cards.write(pages(tmp_path, {"page": link, "glossary": glossary}))
        card = {"kind": "term", "title": "a", "body": "<p>first</p>"}
        assert stored(tmp_path) == {"glossary.html#term-a": card}


@pytest.mark.browser
def test_a_card_comes_with_the_pointer_can_be_entered_and_goes_with_escape(page: Any, book: Path) -> None:
    go(page, book, "intro")
    link = page.locator("article a[href*='#term-softmax']").first
    link.hover()
    card = page.locator(".lskd-card")
    card.wait_for()
    assert card.locator("b").inner_text() == "softmax"
    assert link.get_attribute("aria-describedby") == card.get_attribute("id")
    card.locator("mjx-container").first.wait_for()  # formulas are set
    at = card.bounding_box()
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2, steps=8)
    page.wait_for_timeout(700)
    assert card.is_visible()
    page.keyboard.press("Escape")
    assert card.count() == 0
    assert link.get_attribute("aria-describedby") is None
    link.hover()
    card.wait_for()
    page.keyboard.press("Escape")
    link.dispatch_event("pointerover", {"bubbles": True, "pointerType": "mouse"})  # as when the page moves below it
    page.wait_for_timeout(600)
    assert card.count() == 0  # and does not come back by itself
    page.mouse.move(2, 2)
    link.hover()
    card.wait_for()
    page.mouse.move(2, 2)
    card.wait_for(state="detached")


@pytest.mark.browser
def test_a_card_comes_with_the_keyboard_and_its_links_follow_in_order(page: Any, book: Path) -> None:
    go(page, book, "intro")
    link = page.locator("article a[href*='bibliography.html#']").first
    page.keyboard.press("Tab")  # the keyboard is in use
    link.focus()
    card = page.locator(".lskd-card")
    card.wait_for()
    assert "Hinton" in card.locator(".lskd-card-body").inner_text()
    focused = "document.activeElement.getAttribute('href')"
    assert page.evaluate(focused) == link.get_attribute("href")  # focus stays
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.lskd-card') !== null")
    page.keyboard.press("Escape")
    assert card.count() == 0
    assert page.evaluate(focused) == link.get_attribute("href")  # it comes back
    page.keyboard.press("Tab")
    assert page.evaluate(focused) != link.get_attribute("href")


@pytest.mark.browser
@pytest.mark.parametrize("look", LOOKS)
def test_cards_and_words_are_accessible_and_stay_inside_the_window(chromium: Any, book: Path, look: str) -> None:
    """A finger's first tap shows the card, the second follows the link."""
    touch = look in TOUCH
    with reader(chromium, **(TOUCH.get(look) or LOOKS[look])) as page:
        go(page, book, "notebooks/zscore", live=True)
        wrong = []
        for target in ("a.internal[href='#equation-maxent']", "a[href*='bibliography.html#']", "a[href*='#term-']"):
            link = page.locator(f"article {target}").first
            link.scroll_into_view_if_needed()
            (link.tap if touch else link.hover)()
            page.locator(".lskd-card").wait_for()
            page.wait_for_timeout(400)  # it has faded in
            assert inside(page, page.locator(".lskd-card").bounding_box())
            wrong += [f"{target}: {found}" for found in violations(page, least="moderate", look=look)]
            page.keyboard.press("Escape")
        assert wrong == []
        assert fits(page)
        if touch:
            link = page.locator("article a[href*='#term-']").first
            link.tap()
            page.locator(".lskd-card").wait_for()
            link.tap()
            page.wait_for_url("**/glossary.html#term-*")
