"""Cards come to links, and figures to the words that move them; by pointer, keyboard and touch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from live_pages import said
from reading import LOOKS, fits, go, inside, pages, reader, violations

from book import build
from book.pages import hover_cards, live_words
from figures.live.controls import check, choice, entry, slider, steps
from lskd.errors import LskdError

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
            link.evaluate("link => link.scrollIntoView({block: 'end', behavior: 'instant'})")
            (link.tap if touch else link.hover)()
            page.locator(".lskd-card").wait_for()
            page.wait_for_timeout(400)  # it has faded in
            at, said = page.locator(".lskd-card").bounding_box(), link.bounding_box()
            assert inside(page, at)
            assert at["y"] + at["height"] <= said["y"] or at["y"] >= said["y"] + said["height"]  # it covers no word
            where = "article" if "term" in target else ".lskd-card"  # with the words once
            wrong += [f"{target}: {found}" for found in violations(page, where, least="moderate", look=look)]
            page.keyboard.press("Escape")
        assert wrong == []
        assert fits(page)
        if touch:
            link = page.locator("article a[href*='#term-']").first
            link.tap()
            page.locator(".lskd-card").wait_for()
            link.tap()
            page.wait_for_url("**/glossary.html#term-*")


@pytest.fixture
def calm(chromium: Any) -> Iterator[Any]:
    """A page for a reader who wants nothing to move."""
    with reader(chromium, viewport={"width": 1280, "height": 800}, reduced_motion="reduce") as page:
        yield page


@pytest.mark.browser
def test_a_word_moves_by_steps_and_takes_its_move_back(page: Any, book: Path) -> None:
    go(page, book, "notebooks/toy", live=True)
    figure, word = page.locator("#live-toy"), page.locator("a.lskd-word[href*='temperature=8']")
    page.evaluate(  # pictures of the film come when this test says so
        """() => {
            const waiting = [];
            window.requestAnimationFrame = act => waiting.push(act);
            window.tick = now => {
                for (const act of waiting.splice(0)) act(now);
                return Number(document.querySelector('#live-toy-temperature').value);
            };
        }"""
    )
    assert word.get_attribute("aria-controls") == "live-toy"
    assert word.get_attribute("role") == "button"
    before = said(figure, "s1")
    busy = figure.locator(".lskd-readout[aria-busy='true']")
    for start, end in ((1.0, 8.0), (8.0, 1.0)):
        word.evaluate("e => e.click()")
        seen = [page.evaluate(f"tick({now})") for now in (0, 175, 350, 525)]
        assert seen == pytest.approx([start + (end - start) * part for part in (0, 0.125, 0.5, 0.875)], abs=0.06)
        assert busy.count() == 1
        assert page.evaluate("tick(700)") == end
        assert busy.count() == 0
        assert word.get_attribute("aria-pressed") == str(end == 8.0).lower()
        assert (said(figure, "s1") == before) is (end == 1.0)
    for value in (4.5, 2.75):  # pressed again half-way: back to where it began
        word.evaluate("e => e.click()")
        assert [page.evaluate(f"tick({now})") for now in (0, 350)][1] == pytest.approx(value, abs=0.06)
    assert page.evaluate("tick(700)") == 1.0
    go(page, book, "notebooks/numerics", live=True)  # a list has no way to go
    word = page.locator("a.lskd-word[href*='format=bfloat16#live-precision']")
    word.evaluate("e => e.click()")
    assert word.get_attribute("aria-pressed") == "true"
    assert page.locator(".lskd-readout[aria-busy='true']").count() == 0


@pytest.mark.browser
def test_every_word_of_the_book_can_be_pressed(calm: Any, book: Path) -> None:
    """By keyboard; with reduced motion a word acts at once."""
    wrong, pages = [], 0
    calm.on("pageerror", lambda error: wrong.append(str(error)))
    for path in sorted(book.rglob("*.html")):
        if "lskd-word" not in path.read_text(encoding="utf-8"):
            continue
        go(calm, book, path.relative_to(book).as_posix().removesuffix(".html"), live=True)
        pages += 1
        for number, word in enumerate(calm.locator("a.lskd-word").all()):
            if word.get_attribute("aria-pressed") == "false":
                word.press("Space" if number % 2 else "Enter")
            if word.get_attribute("aria-pressed") != "true":
                wrong.append(f"{path.name}: {word.inner_text()}: {word.get_attribute('href')}")
    assert wrong == []
    assert pages >= 5


def far(page: Any, book: Path, height: int, width: int = 1280) -> Any:
    """A word of the toy case at the top of a window that its figure does not fit into as well; pressed."""
    page.set_viewport_size({"width": width, "height": height})
    go(page, book, "notebooks/toy", live=True)
    word = page.locator("a.lskd-word").nth(2)
    word.evaluate("e => scrollTo({ top: e.getBoundingClientRect().top + scrollY - 100, behavior: 'instant' })")
    word.evaluate("e => e.click()")
    return word


PLOTS = "document.querySelector('#live-toy .lskd-plots').getBoundingClientRect()"


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_figure_that_is_far_away_comes_to_the_words_and_goes_back(calm: Any, book: Path, width: int) -> None:
    word = far(calm, book, 800, width)
    pinned = calm.locator(".lskd-pinned")
    assert pinned.count() == 1
    height = calm.evaluate("document.documentElement.scrollHeight")
    panel, at = pinned.bounding_box(), word.bounding_box()
    assert inside(calm, panel)
    assert panel["y"] + panel["height"] <= at["y"] <= 800 - at["height"]  # the word is below it, in the window
    assert fits(calm)
    assert width > 390 or violations(calm, least="moderate") == []
    assert said(calm.locator("#live-toy"), "s2") == "0.0000"
    calm.get_by_role("button", name="Put the figure back").click()
    assert pinned.count() == 0
    assert calm.evaluate("document.documentElement.scrollHeight") == height  # the text has not moved
    word.evaluate("e => { e.click(); e.click() }")
    assert pinned.count() == 1
    calm.keyboard.press("Escape")
    assert pinned.count() == 0
    word.evaluate("e => e.click()")
    calm.mouse.move(width / 2, 700)
    calm.mouse.wheel(0, -4000)  # back to its own place
    pinned.wait_for(state="detached")
    assert calm.locator("#live-toy .lskd-controls").is_visible()


@pytest.mark.browser
def test_a_figure_that_is_not_pinned_is_scrolled_to_and_the_words_are_found_again(calm: Any, book: Path) -> None:
    word = far(calm, book, 1400)  # the figure fits into the window with the words
    assert calm.locator(".lskd-pinned").count() == 0
    assert calm.evaluate(f"{PLOTS}.top") >= 0
    assert 0 < word.bounding_box()["y"] < 1400
    word = far(calm, book, 420)  # it cannot be pinned
    assert calm.locator(".lskd-pinned").count() == 0
    assert 0 <= calm.evaluate(f"{PLOTS}.top") < 120
    back = calm.get_by_role("button", name="Back to the text")
    back.click()
    assert 0 < word.bounding_box()["y"] < 420
    assert word.evaluate("e => document.activeElement === e")
    back.wait_for(state="detached")


@pytest.mark.browser
def test_the_address_of_a_word_opens_the_page_with_the_figure_set(page: Any, book: Path) -> None:
    page.goto((book / "notebooks" / "toy.html").as_uri() + "?standardize=true;temperature=4;scale=10#live-toy")
    page.wait_for_selector("#live-toy.lskd-on")
    figure = page.locator("#live-toy")
    assert figure.locator("output").all_inner_texts()[:2] == ["4.0", "10.00"]
    assert said(figure, "s2") == "0.0000"  # standardised, it has the teacher's order


FIGURE = "".join(
    control.to_html("live-a")
    for control in (
        slider("t", "T", 0.5, 8, 0.1, 2),
        slider("s", "scale", -1, 1, 0.05, 0, log=True),
        check("on", "on"),
        choice("k", "kind", {"raw": "raw", "z": "Z"}),
        entry("own", "own", "0 1"),
        steps("n", "n", [1, 2, 5], 2),
    )
)


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("?t=2.5;on=true;k=z;own=0,1;n=5;s=0.1#live-a", ""),
        ("?t=first;s=last#live-a", ""),
        ("?t=2#live-b", "names the figure 'b'; live figures here: a"),
        ("?x=2#live-a", "sets 'x=2'; expected NAME=VALUE with one of: t, s, on, k, own, n"),
        ("?#live-a", "sets ''; expected NAME=VALUE"),
        ("?t=9#live-a", "sets t to '9'; expected 0.5 to 8 in steps of 0.1"),
        ("?t=2.05#live-a", "sets t to '2.05'; expected 0.5 to 8 in steps of 0.1"),
        ("?t=hot#live-a", "sets t to 'hot'; expected 0.5 to 8"),
        ("?s=20#live-a", "sets s to '20'; expected 0.1 to 10"),
        ("?s=0#live-a", "sets s to '0'; expected 0.1 to 10"),
        ("?on=yes#live-a", "sets on to 'yes'; expected true or false"),
        ("?k=cooked#live-a", "sets k to 'cooked'; expected one of: raw, z"),
        ("?n=3#live-a", "sets n to '3'; expected one of: 1, 2, 5"),
    ],
)
def test_a_word_that_can_do_nothing_is_found(tmp_path: Path, address: str, complaint: str) -> None:
    figure = f'<figure class="lskd-live" id="live-a">{FIGURE}</figure>'
    built = pages(tmp_path, {"page": f'{figure}<p><a class="lskd-word" href="{address}">some words</a></p>'})
    expected = f"page.html: the live word 'some words' {complaint}"
    with pytest.raises(LskdError, match=re.escape(expected)) if complaint else nullcontext():
        live_words.check(built)


def test_a_book_with_such_a_word_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(sources: Path, output: Path, settings: Path, *options: str) -> tuple[int, str]:
        pages(output / "_build" / "html", {"page": '<a class="lskd-word" href="?t=2#live-b">w</a>', "index": ""})
        return 0, ""

    monkeypatch.setattr(build, "run_jupyter_book", pretend)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: page\nparts: []\n", encoding="utf-8")
    (tmp_path / "_config.yml").write_text("{}\n", encoding="utf-8")
    names = {name: tmp_path / name for name in ("book", "notebooks", "figures", "output")}
    with pytest.raises(LskdError, match="the live word 'w' names the figure 'b'; live figures here: none"):
        build.build(**names, config=tmp_path / "_config.yml")
