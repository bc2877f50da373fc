"""What holds for every live figure: on its page, on a telephone, in a notebook, and where no script runs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_pages import Show, opened, put, tells

from book.build import for_page
from figures.live import figure as live
from figures.live import softmax
from figures.live.by_itself import loader, without
from figures.networks import Networks

PAGES = {
    "toy": ("toy",),
    "temperature": ("distillation", "factor", "spread"),
    "zscore": ("entropy", "invariance", "bound", "two_classes"),
    "numerics": ("precision", "epsilon"),
    "losses": ("objective",),
    "logit_statistics": ("sample",),
    "logit_gap": ("gap",),
    "tsne": ("features",),
    "results_table": ("curves",),
}
FIGURES = [name for names in PAGES.values() for name in names]


@pytest.mark.browser
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_phone_follows_the_mode_and_answers_to_keys(
    page: Any, path_of: Callable[[str], Path], name: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    figure = opened(page, path_of(name))
    for powers in figure.locator("input[data-log]").all():  # begin at a round number
        shown = figure.locator(f"output[for='{powers.get_attribute('id')}']").text_content()
        assert len(shown.partition("e")[0].replace(".", "").strip("0")) <= 1, f"{powers.get_attribute('id')}: {shown}"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ink = """() => Bokeh.documents[0].get_model_by_name("x").axis_label_text_color"""
    light = page.evaluate(ink)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"before => ({ink})() !== before", arg=light)
    unnamed = """() => [...document.querySelectorAll(".lskd-controls :is(input, select)")]
        .filter(e => !e.labels.length || !e.labels[0].textContent.trim()).map(e => e.id)"""
    assert page.evaluate(unnamed) == []
    assert len(page.locator(".lskd-plots").get_attribute("aria-label")) > 40
    slider = page.locator("input[type=range]:visible").first
    if slider.count():
        before = [slider.input_value(), page.locator("output").first.inner_text()]
        slider.focus()
        page.keyboard.press("ArrowRight" if slider.input_value() != slider.get_attribute("max") else "ArrowLeft")
        assert [slider.input_value(), page.locator("output").first.inner_text()] != before
    else:
        page.locator("select").first.focus()
        told = page.locator(".lskd-readout").inner_text()
        page.keyboard.press("ArrowDown")
        assert page.locator(".lskd-readout").inner_text() != told


@pytest.mark.browser
def test_what_a_control_cannot_change_is_not_shown(show: Show) -> None:
    figure = show("epsilon")
    around = figure.get_by_label("around")
    for name, changes in (("float64", False), ("bfloat16", True), ("float64", False)):
        put(figure, format=name)
        assert around.is_visible() == changes
    for count, hidden in ((1, True), (2, False)):
        field = live.choice("record", "record", {str(i): f"run {i}" for i in range(count)})
        assert ("hidden" in field.to_html("curves").partition(">")[0]) == hidden


@pytest.mark.browser
def test_on_a_phone_the_panel_that_is_meant_is_pinned(chromium: Any, path_of: Callable[[str], Path]) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    figure = opened(context.new_page(), path_of("toy"))
    figure.page.locator("a.lskd-word[href$='#live-toy']").click()
    figure.page.locator(".lskd-pinned").wait_for()
    box = figure.locator("[data-plot='gradient']").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    context.close()


def test_a_figure_s_sidecar_names_all_that_it_shows(networks: Networks, path_of: Callable[[str], Path]) -> None:
    for name in ("objective", "epsilon", "distillation"):
        sidecar = json.loads((path_of(name).parent / "stills" / f"{name}.json").read_text())
        shown = networks.paths("teacher", *softmax.rows.members(networks))
        assert {Path(item["file"]).name for item in sidecar["inputs"]} == {path.name for path in shown}


def test_arrays_are_packed_as_they_are() -> None:
    stored = live.pack(np.arange(6).reshape(2, 3))
    assert np.frombuffer(base64.b64decode(stored["base64"]), "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    scaled = live.pack([[0.5, -2.0], [1.25, 0.0]], "scaled")
    whole = np.frombuffer(base64.b64decode(scaled["base64"]), "<i2")
    np.testing.assert_allclose(whole * scaled["scale"], [0.5, -2.0, 1.25, 0.0], atol=2 / 65534)


# --- in a notebook that somebody runs: nothing is there but the output of its cells ----------------------------------

# What JupyterLab does with the HTML of an output: scripts are made anew, so that they run once they are in the page.
SHOW = """html => {
    const output = document.createElement("div");
    output.innerHTML = html;
    for (const old of output.querySelectorAll("script")) {
        const script = document.createElement("script");
        for (const {name, value} of old.attributes) script.setAttribute(name, value);
        script.textContent = old.textContent;
        old.replaceWith(script);
    }
    document.body.append(output);
}"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return softmax.toy(tmp_path_factory.mktemp("toy"))._repr_mimebundle_()["text/html"]


def shown(figure: Any) -> list[str]:
    """Whose words the caption shows: those of what moves, or of the picture that stands in for it."""
    parts = figure.locator("figcaption > span")
    assert parts.count() == 2
    return [part.get_attribute("class") for part in parts.all() if part.is_visible()] + [
        "lskd-still" for picture in figure.locator("div.lskd-still").all() if picture.is_visible()
    ]


@pytest.mark.browser
def test_a_cell_that_is_run_shows_a_figure_that_moves(page: Any, output: str) -> None:
    page.set_content("<!doctype html><html><body data-jp-theme-light='true'></body></html>")
    page.evaluate(SHOW, output)
    page.wait_for_selector("#live-toy.lskd-on")
    figure = page.locator("#live-toy")
    assert figure.locator("input:visible").count() == 3
    assert figure.locator("[data-control]:not([data-lm-suppress-shortcuts])").count() == 0  # or Lab takes their keys
    assert set(shown(figure)) == {"lskd-moving"}
    page.emulate_media(media="print")
    assert set(shown(figure)) == {"lskd-still"}
    page.emulate_media(media="screen")
    assert not figure.locator(".lskd-elsewhere").is_visible()
    tells(figure, verdict="This loss prefers student 1, which is wrong.")
    figure.locator("[data-control='standardize']").focus()
    page.keyboard.press("Space")
    tells(figure, verdict="This loss prefers student 2, which is right.", s2="0.0000")
    ink = "Bokeh.documents[0].get_model_by_name('x').axis_line_color"
    light = page.evaluate(ink)
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(f"light => {ink} !== light", arg=light)
    page.evaluate(SHOW, output.replace("live-toy", "live-again"))  # a second one, with everything there already
    page.wait_for_selector("#live-again.lskd-on")
    styles = "[...document.querySelectorAll('style')].filter(s => s.textContent.includes('.lskd-live .lskd-stage'))"
    assert page.evaluate(f"{styles}.length") == 1


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [False, True])
def test_a_notebook_that_nobody_has_run_shows_the_still_picture_and_no_control(
    chromium: Any, output: str, scripts: bool
) -> None:
    """Without scripts, and without the script and the style of the pages."""
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_content(without(output) if scripts else output)
    assert page.locator(".lskd-still img").first.is_visible()
    assert set(shown(page.locator("#live-toy"))) == {"lskd-still"}
    assert page.locator("input").count() == 3
    assert page.locator("input:visible").count() == 0
    assert page.locator(".lskd-elsewhere").is_visible()
    context.close()


def test_pages_leave_out_what_they_have_themselves(output: str) -> None:
    assert output.endswith(loader())
    assert len(loader()) < 600_000
    shown = {"data": {"text/html": output.splitlines(keepends=True)}}
    content = for_page({"cells": [{"cell_type": "code", "outputs": [shown, {"text": "x"}]}]}, None)
    assert content["cells"][0]["outputs"][0]["data"]["text/html"] + loader() == output
    assert without("<p>a</p>") == "<p>a</p>"


# --- in the built book -----------------------------------------------------------------------------------------------


@pytest.mark.book
@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_every_live_figure_comes_up_on_its_page(page: Any, book: Path, name: str) -> None:
    page.goto((book / "notebooks" / f"{name}.html").as_uri())
    for figure in PAGES[name]:
        page.wait_for_selector(f"#live-{figure}.lskd-on")
    found = page.eval_on_selector_all(".lskd-live", "all => all.map(figure => figure.id)")
    assert set(found) == {f"live-{figure}" for figure in PAGES[name]}
    assert page.locator(".lskd-elsewhere:visible").count() == 0
    assert page.locator("#live-curves [data-control='record'] option").count() > 1 or name != "results_table"


@pytest.mark.book
@pytest.mark.browser
def test_bokeh_is_shipped_once_and_loaded_only_where_it_is_used(page: Any, book: Path) -> None:
    assert len(list(book.rglob("bokeh.min.js"))) == 1
    page.goto((book / "glossary.html").as_uri())
    assert not page.evaluate("'Bokeh' in window")
    for html in (book / "notebooks").glob("*.html"):
        assert html.stat().st_size < 3_000_000, html.name


@pytest.mark.book
@pytest.mark.browser
def test_a_still_picture_stands_in_without_scripts(chromium: Any, book: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "notebooks" / "toy.html").as_uri())
    assert page.locator("#live-toy .lskd-still img").first.is_visible()
    assert not page.locator("#live-toy .lskd-stage").is_visible()
    context.close()
