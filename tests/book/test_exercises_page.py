"""Exercises in a browser: the page judges as the kernel does, by keyboard alone, without scripts, on paper."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from reading import LOOKS, go, in_every_look, reader
from test_exercises import CHOICE, GIVEN, QUESTION, TEN, answers_of

from book.exercises import Answer, Posed, load
from book.exercises.collection import Collection
from book.exercises.model import Chapter
from book.exercises.page import to_markdown
from figures import networks as inputs
from figures.fingerprint import ROOT

STATIC = ROOT / "book" / "_static"
LARGE = dataclasses.replace(TEN, right=90_000.0, whole=True, near={})


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """A page of two exercises and a list, with the book's script and style, on disk."""
    choice = dataclasses.replace(CHOICE, name="two", start="Begin.")
    large = Posed("toy", 3, dataclasses.replace(QUESTION, name="three"), LARGE)
    shown = [Posed("toy", 1, QUESTION, TEN), Posed("toy", 2, choice, Answer(right="a", shown={"all": ""})), large]
    listed = Collection((Chapter("toy", "page", "Toy", (QUESTION, choice)),))
    body = "".join(map(to_markdown, shown)) + listed.to_html()
    look = f'<link rel="stylesheet" href="{(STATIC / "lskd-exercises.css").as_uri()}">'
    script = f'<script src="{(STATIC / "lskd-exercises.js").as_uri()}"></script>'
    path = tmp_path / "page.html"
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title>{look}{script}'
        f"<main>{body}</main></html>",
        encoding="utf-8",
    )
    return path


def verdict(page: Any, name: str) -> str:
    return str(page.locator(f"#exercise-{name} [role='status']").inner_text())


browser = pytest.mark.browser


@browser
def test_the_page_judges_as_the_kernel_does(page: Any, paper: Path) -> None:
    page.goto(paper.as_uri())

    def given(name: str, text: str) -> str:
        page.locator(f"#exercise-{name} input").fill(text)
        assert verdict(page, name) == "", "an old verdict on a new answer"
        page.locator(f"#exercise-{name} button").click()
        return verdict(page, name)

    for (text, _), (good, said) in GIVEN.items():
        assert given("toy-one", text) == f"{'Right.' if good else 'Not yet.'} {said.replace('`', '')}"
    for text in ("", "ten", "1/0", "1/2/3", "nan", "Infinity"):
        assert given("toy-one", text) == "Type a number, such as 0.5 or 1/3."
        assert page.locator("#exercise-toy-one input").get_attribute("aria-invalid") == "true"
    for text, said in (("90,000", "Right."), ("90,000.5", "Type a whole number"), ("90 views", "Not yet.")):
        assert given("toy-three", text).startswith(said)


@browser
def test_exercises_are_done_by_keyboard_alone(page: Any, paper: Path) -> None:
    page.goto(paper.as_uri())

    def press(keys: str) -> None:
        for key in keys.split():
            page.keyboard.press(key)

    press("Tab Tab 1 0 Enter")  # past "Open all solutions"
    assert verdict(page, "toy-one").startswith("Right.")
    press("Tab Tab")  # past the button
    assert page.evaluate("document.activeElement.textContent") == "Solution"
    press("Enter")
    assert page.locator("#exercise-toy-one details").get_attribute("open") is not None
    press("Tab Space ArrowDown")
    assert verdict(page, "toy-two") == "", "looking through the options is no answer"
    press("Tab Enter")
    assert verdict(page, "toy-two") == "Not yet. Not b."
    press("Shift+Tab ArrowUp Enter")
    assert verdict(page, "toy-two").startswith("Right.")


@browser
def test_what_was_solved_is_kept_on_the_device_until_it_is_forgotten(page: Any, paper: Path) -> None:
    page.goto(paper.as_uri())

    def solved(n: int) -> bool:
        return bool(page.locator("[data-count]").inner_text() == f"You have solved {n} of 2 on this device.")

    assert solved(0)
    page.locator("#exercise-toy-two button").click()
    assert verdict(page, "toy-two") == "Choose an answer first."
    for option, n in (("c", 0), ("a", 1)):
        page.locator(f"#exercise-toy-two input[value='{option}']").check()
        page.locator("#exercise-toy-two button").click()
        page.reload()
        assert solved(n)
    assert page.locator(".lskd-solved").evaluate_all("all => all.map(e => e.id)") == ["exercise-toy-two"]
    assert page.locator("[data-exercise='toy-two'] [data-done]").inner_text() == "✓ solved"
    assert page.get_by_role("link", name="It’s a title").first.get_attribute("href") == "page.html#exercise-toy-one"
    page.get_by_role("button", name="Forget it").click()
    page.reload()
    assert solved(0)


@browser
def test_without_storage_everything_else_works(page: Any, paper: Path) -> None:
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }});")
    page.goto(paper.as_uri())
    page.locator("#exercise-toy-one input").fill("10")
    page.locator("#exercise-toy-one button").click()
    assert verdict(page, "toy-one").startswith("Right.")


@browser
def test_without_scripts_question_options_and_solution_remain(chromium: Any, paper: Path) -> None:
    with reader(chromium, java_script_enabled=False) as plain:
        plain.goto(paper.as_uri())
        assert plain.locator("input:visible, button:visible").count() == 0
        assert plain.locator("fieldset label:visible").all_inner_texts() == ["first", "second", "third"]
        solution = plain.locator("#exercise-toy-one .lskd-solution p, #exercise-toy-one .lskd-solution").last
        assert "Ten." not in solution.inner_text()
        plain.locator("#exercise-toy-one summary").click()
        assert "Ten." in solution.inner_text()


@browser
def test_print_has_the_solutions_that_are_open_and_no_fields(page: Any, paper: Path) -> None:
    page.goto(paper.as_uri())
    page.emulate_media(media="print")
    assert page.locator("input:visible, button:visible").count() == 0
    assert page.locator("fieldset label:visible").count() == 3
    assert page.locator("details:visible").count() == 0
    page.emulate_media(media="screen")
    page.get_by_role("button", name="Open all solutions").click()
    page.emulate_media(media="print")
    assert page.locator("details.lskd-solution:visible").count() == 3
    assert "Ten." in page.locator("#exercise-toy-one details.lskd-solution").inner_text()


BUILD = ROOT / "build" / "tiny"


@browser
@pytest.mark.book
@pytest.mark.parametrize(
    "chapter",
    ["toy", "temperature", "zscore", "losses", "networks", "logit_statistics", "logit_gap", "surface", "audit"],
)
def test_each_page_accepts_the_answer_of_its_run_and_helps_with_others(page: Any, book: Path, chapter: str) -> None:
    page.goto((book / f"{load(chapter).page}.html").as_uri())
    found = answers_of(chapter, inputs.load(BUILD / "teacher", BUILD / "students"))
    assert page.locator(".lskd-exercise").count() == len(found)
    for exercise in load(chapter).exercises:
        answer, name = found[exercise.name], f"{chapter}-{exercise.name}"
        assert answer is not None
        place, one = page.locator(f"#exercise-{name}"), Posed(chapter, 1, exercise, answer)
        assert place.locator("details[open]").count() == 0
        given: list[Any] = list(exercise.options) or [answer.right, *(x for x, _ in one.mistakes), -12345.0]
        for text in given:
            if exercise.options:
                place.locator(f"input[value='{text}']").check()
            else:
                place.locator("input").fill(str(text))
            place.get_by_role("button", name="Check").click()
            good, said = one.judge(text)
            start = f"{'Right.' if good else 'Not yet.'} {re.sub(r'[*`]', '', said)[:12]}"
            assert verdict(page, name).startswith(start.replace("'", "’"))
        place.locator("summary").last.click()
        assert len(place.locator(".lskd-solution").inner_text()) > 150


@browser
@pytest.mark.book
def test_verdicts_and_solutions_are_accessible(chromium: Any, book: Path) -> None:
    wrong = []
    for name in ("zscore", "surface"):
        with reader(chromium, **LOOKS["narrow"]) as page:
            go(page, book, f"notebooks/{name}")
            for box in page.locator(".lskd-answer").all():
                if box.locator("[type='radio']").count():
                    box.locator("[type='radio']").first.check()
                box.get_by_role("button").click()
            for summary in page.locator(".lskd-exercise summary").all():
                summary.click()
            wrong += [f"{name}, {said}" for said in in_every_look(page, ".lskd-exercise")]
    assert wrong == []
