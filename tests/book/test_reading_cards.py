"""Cards: what a term, a source or an equation says, beside the link that names it."""

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
