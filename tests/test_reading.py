"""Reading: machinery out of sight until asked for, cards beside links, words that set figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bs4 import BeautifulSoup
from controls import move, said

from lskd import book as books
from lskd import book_cards, book_words
from lskd.errors import LskdError
from lskd.facts import TOY
from lskd.figures.live_controls import Check, Choice, Entry, Slider, Steps
from lskd.losses import kd_loss

pytestmark = [pytest.mark.book, pytest.mark.xdist_group("book")]

SEEN = "selector => [...document.querySelectorAll(selector)].filter(e => e.getClientRects().length).length"
BARS = "article details.hide.above-input"
PARAMETERS = "article .tag_parameters, article .tag_injected-parameters"


def go(page: Any, book: Path, name: str, *, live: bool = False) -> Any:
    """A page of the book, once it is up; with its live figures if asked for."""
    page.goto((book / f"{name}.html").as_uri())
    if live:
        page.wait_for_function("[...document.querySelectorAll('.lskd-live')].every(f => f.matches('.lskd-on'))")
    return page


@pytest.fixture
def calm(chromium: Any) -> Iterator[Any]:
    """A page for a reader who wants nothing to move."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


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
    context = chromium.new_context(java_script_enabled=False)
    page = go(context.new_page(), book, "notebooks/temperature")
    bars, parameters = page.locator(BARS), page.locator(PARAMETERS)
    assert bars.count() >= 4
    for found in [*bars.all(), *parameters.all()]:
        assert found.is_visible()
    assert page.locator(".lskd-code-button").count() == 0
    for word in page.locator("a.lskd-word").all():
        assert word.is_visible()
        assert word.get_attribute("role") is None
    context.close()


@pytest.mark.browser
def test_print_is_the_same_in_both_modes(page: Any, book: Path) -> None:
    go(page, book, "notebooks/audit")
    page.emulate_media(media="print")
    seen = "() => [...document.querySelectorAll('article .cell *')].map(e => e.getClientRects().length > 0)"
    folded = page.evaluate(seen)
    page.evaluate("document.documentElement.dataset.lskdCode = 'shown'")
    assert any(folded)
    assert page.evaluate(seen) == folded


def stored(book: Path) -> dict[str, dict[str, str]]:
    text = (book / book_cards.FILE).read_text(encoding="utf-8")
    cards: dict[str, dict[str, str]] = json.loads(text.removeprefix("lskdCards=").rstrip().removesuffix(";"))
    return cards


def test_every_link_to_a_term_a_source_or_an_equation_has_its_card(book: Path) -> None:
    cards = stored(book)
    kinds = {kind: [place for place, card in cards.items() if card["kind"] == kind] for kind in ("term", "source")}
    assert len(kinds["term"]) > 10
    assert len(kinds["source"]) > 5
    glossary = BeautifulSoup((book / "glossary.html").read_text(encoding="utf-8"), "html.parser")
    for place in kinds["term"]:
        (told,) = glossary.select(f"[id='{place.partition('#')[2]}'] + dd")
        assert BeautifulSoup(cards[place]["body"], "html.parser").get_text().split() == told.get_text().split()
    page = BeautifulSoup((book / "notebooks" / "zscore.html").read_text(encoding="utf-8"), "html.parser")
    for link in page.select("article a.reference.internal[href^='#equation-']"):
        assert cards[f"notebooks/zscore.html{link['href']}"]["kind"] == "equation"
    assert not any("headerlink" in card["body"] or ' id="' in card["body"] for card in cards.values())
    for card in cards.values():  # addresses are relative to the book's folder
        for address in re.findall(r'class="reference internal" href="([^"#]+)', card["body"]):
            assert (book / address).is_file(), address


def small(folder: Path, body: str, **others: str) -> Path:
    for name, text in {"page": body, **others}.items():
        html = f"<html><body><article>{text}</article></body></html>"
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return folder


def test_equal_pages_give_equal_cards_and_a_term_without_a_meaning_is_an_error(tmp_path: Path) -> None:
    glossary = '<dl class="glossary"><dt id="term-a">a<a class="headerlink">#</a></dt><dd><p>first</p></dd></dl>'
    link = '<a class="reference internal" href="glossary.html#term-{}">x</a>'
    small(tmp_path, link.format("a"), glossary=glossary)
    bytes_ = book_cards.write(tmp_path).read_bytes()
    assert json.loads(bytes_[len("lskdCards=") : -2]) == {
        "glossary.html#term-a": {"kind": "term", "title": "a", "body": "<p>first</p>"}
    }
    assert book_cards.write(tmp_path).read_bytes() == bytes_
    small(tmp_path, link.format("b"), glossary=glossary)
    with pytest.raises(LskdError, match=r"glossary.html: nothing to show for #term-b; expected a term or an entry"):
        book_cards.write(tmp_path)


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


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


@pytest.mark.browser
@pytest.mark.parametrize("look", LOOKS)
def test_cards_and_words_are_accessible_and_stay_inside_the_window(chromium: Any, book: Path, look: str) -> None:
    """A finger's first tap shows the card, the second follows the link."""
    from axe_playwright_python.sync_playwright import Axe

    context = chromium.new_context(**LOOKS[look])
    context.set_default_timeout(60_000)
    page = go(context.new_page(), book, "notebooks/zscore", live=True)
    touch, wrong = look == "narrow", []
    for target in ("a.internal[href='#equation-maxent']", "a[href*='bibliography.html#']", "a[href*='#term-']"):
        link = page.locator(f"article {target}").first
        link.scroll_into_view_if_needed()
        (link.tap if touch else link.hover)()
        page.locator(".lskd-card").wait_for()
        page.wait_for_timeout(400)  # it has faded in
        box = page.locator(".lskd-card").bounding_box()
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= page.viewport_size["width"]
        assert box["y"] + box["height"] <= page.viewport_size["height"]
        found = Axe().run(page, context="article").response["violations"]
        wrong += [f"{target}: {v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] != "minor"]
        page.keyboard.press("Escape")
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    if touch:
        link = page.locator("article a[href*='#term-']").first
        link.tap()
        page.locator(".lskd-card").wait_for()
        link.tap()
        page.wait_for_url("**/glossary.html#term-*")
    context.close()


def losses(*, standardize: bool, temperature: float, scale: float) -> tuple[float, float]:
    teacher, one, two = (torch.tensor([TOY[n]], dtype=torch.float64) for n in ("teacher", "s1", "s2"))
    first, second = (
        kd_loss(row, teacher, temperature=temperature, standardize=standardize).item() for row in (one, scale * two)
    )
    return first, second


@pytest.mark.browser
def test_a_word_moves_the_figure_to_what_python_computes(page: Any, book: Path) -> None:
    go(page, book, "notebooks/toy", live=True)
    figure = page.locator("#live-toy")
    words = page.locator("a.lskd-word")
    seen: set[str] = set()
    for word in words.all():
        settings = dict(part.split("=") for part in word.get_attribute("href")[1:].partition("#")[0].split(";"))
        move(figure, "standardize", True)
        move(figure, "temperature", 2.0)
        move(figure, "scale", -0.5)
        if settings.get("standardize") == "true":
            move(figure, "standardize", False)
        assert word.get_attribute("aria-pressed") == "false"
        word.focus()
        page.keyboard.press("Space" if len(seen) % 2 else "Enter")
        page.wait_for_function("word => word.getAttribute('aria-pressed') === 'true'", arg=word.element_handle())
        expected = losses(
            standardize=settings["standardize"] == "true",
            temperature=float(settings.get("temperature", 2.0)),
            scale=10 ** (round(math.log10(float(settings.get("scale", 10**-0.5))) / 0.05) * 0.05),  # the slider's steps
        )
        assert [float(said(figure, name)) for name in ("s1", "s2")] == pytest.approx(expected, abs=6e-5)
        seen.add(json.dumps(settings))
    assert len(seen) >= 4
    assert figure.locator(".lskd-plots").evaluate("e => e.getBoundingClientRect().bottom > 150")  # in view, or pinned


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
    assert said(figure, "s1") == before


@pytest.mark.browser
def test_every_word_of_the_book_can_be_pressed(calm: Any, book: Path) -> None:
    """With reduced motion a word acts at once."""
    wrong, pages = [], 0
    calm.on("pageerror", lambda error: wrong.append(str(error)))
    for path in sorted(book.rglob("*.html")):
        if "lskd-word" not in path.read_text(encoding="utf-8"):
            continue
        go(calm, book, path.relative_to(book).as_posix().removesuffix(".html"), live=True)
        pages += 1
        for word in calm.locator("a.lskd-word").all():
            if word.get_attribute("aria-pressed") == "false":
                word.evaluate("e => e.click()")
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
    assert panel["y"] >= 0
    assert panel["y"] + panel["height"] <= at["y"] <= 800 - at["height"]  # the word is below it, in the window
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= width
    assert calm.evaluate("document.documentElement.scrollWidth") <= width
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
def test_a_pinned_figure_is_accessible(calm: Any, book: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    far(calm, book, 844, 390)
    assert calm.locator(".lskd-pinned").count() == 1
    found = Axe().run(calm, context="article").response["violations"]
    assert [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] != "minor"] == []


@pytest.mark.browser
def test_where_a_figure_cannot_be_pinned_it_is_scrolled_to_and_the_words_are_found_again(calm: Any, book: Path) -> None:
    word = far(calm, book, 420)
    assert calm.locator(".lskd-pinned").count() == 0
    assert 0 <= calm.evaluate(f"{PLOTS}.top") < 120
    back = calm.get_by_role("button", name="Back to the text")
    back.click()
    assert 0 < word.bounding_box()["y"] < 420
    assert word.evaluate("e => document.activeElement === e")
    back.wait_for(state="detached")


@pytest.mark.browser
def test_a_figure_that_fits_into_the_window_with_the_words_is_scrolled_to(calm: Any, book: Path) -> None:
    word = far(calm, book, 1400)
    assert calm.locator(".lskd-pinned").count() == 0
    assert calm.evaluate(f"{PLOTS}.top") >= 0
    assert 0 < word.bounding_box()["y"] < 1400


@pytest.mark.browser
def test_the_address_of_a_word_opens_the_page_with_the_figure_set(page: Any, book: Path) -> None:
    page.goto((book / "notebooks" / "toy.html").as_uri() + "?standardize=true;temperature=4;scale=10#live-toy")
    page.wait_for_selector("#live-toy.lskd-on")
    figure = page.locator("#live-toy")
    assert figure.locator("output").all_inner_texts()[:2] == ["4.0", "10.00"]
    expected = losses(standardize=True, temperature=4.0, scale=10.0)
    assert [float(said(figure, name)) for name in ("s1", "s2")] == pytest.approx(expected, abs=6e-5)


FIGURE = "".join(
    control.to_html("live-a")
    for control in (
        Slider("t", "T", 0.5, 8, 0.1, 2),
        Slider("s", "scale", -1, 1, 0.05, 0, log=True),
        Check("on", "on"),
        Choice("k", "kind", [("raw", "raw"), ("z", "Z")]),
        Entry("own", "own", "0 1"),
        Steps("n", "n", [1, 2, 5], 2),
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
    small(tmp_path, f'{figure}<p><a class="lskd-word" href="{address}">some words</a></p>')
    found = book_words.problems(tmp_path)
    assert len(found) == bool(complaint)
    if complaint:
        assert found[0].startswith(f"page.html: the live word 'some words' {complaint}")


def test_a_book_with_such_a_word_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(sources: Path, output: Path, settings: Path, *options: str) -> tuple[int, str]:
        (output / "_build" / "html").mkdir(parents=True)
        small(output / "_build" / "html", '<a class="lskd-word" href="?t=2#live-b">w</a>', index="")
        return 0, ""

    monkeypatch.setattr(books, "run_jupyter_book", pretend)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: page\nparts: []\n", encoding="utf-8")
    (tmp_path / "_config.yml").write_text("{}\n", encoding="utf-8")
    names = {name: tmp_path / name for name in ("book", "notebooks", "figures", "output")}
    with pytest.raises(LskdError, match="the live word 'w' names the figure 'b'; live figures here: none"):
        books.build(**names, config=tmp_path / "_config.yml")


def test_no_word_of_the_book_is_idle(book: Path) -> None:
    assert book_words.problems(book) == []


@pytest.mark.browser
def test_notes_stand_in_the_margin_where_there_is_one_and_in_the_text_where_there_is_none(
    page: Any, book: Path
) -> None:
    go(page, book, "notebooks/logit_statistics")
    note, text = page.locator("article aside.margin").first, page.locator("article section section > p").first
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
