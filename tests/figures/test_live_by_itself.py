"""Live figures in a notebook that somebody runs: nothing is there but the output of their cells."""

from __future__ import annotations

from typing import Any

import pytest

from book.build import for_page
from figures.live import toy
from figures.live.by_itself import loader, without

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
    picture = toy.still(tmp_path_factory.mktemp("toy"))
    return toy.toy(picture)._repr_mimebundle_()["text/html"]


@pytest.mark.browser
def test_a_cell_that_is_run_shows_a_figure_that_moves(page: Any, output: str) -> None:
    page.set_content("<!doctype html><html><body data-jp-theme-light='true'></body></html>")
    page.evaluate(SHOW, output)
    page.wait_for_selector("#live-toy.lskd-on")
    figure = page.locator("#live-toy")
    assert figure.locator("input:visible").count() == 3
    assert figure.locator("[data-control]:not([data-lm-suppress-shortcuts])").count() == 0  # or Lab takes their keys
    assert not figure.locator(".lskd-still").is_visible()
    assert not figure.locator(".lskd-elsewhere").is_visible()
    assert figure.locator("[data-say='verdict']").inner_text() == "This loss prefers student 1, which is wrong."
    figure.locator("[data-control='standardize']").check()
    assert figure.locator("[data-say='verdict']").inner_text() == "This loss prefers student 2, which is right."
    ink = "Bokeh.documents[0].get_model_by_name('x').axis_line_color"
    light = page.evaluate(ink)
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(f"light => {ink} !== light", arg=light)
    page.evaluate(SHOW, output.replace("live-toy", "live-again"))  # a second one, with everything there already
    page.wait_for_selector("#live-again.lskd-on")
    styles = "[...document.querySelectorAll('style')].filter(s => s.textContent.includes('.lskd-live .lskd-stage'))"
    assert page.evaluate(f"{styles}.length") == 1


@pytest.mark.browser
def test_a_notebook_that_nobody_has_run_shows_the_still_picture(chromium: Any, output: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(output)
    assert page.locator(".lskd-still img").first.is_visible()
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
