"""Live figures: on a phone, in a notebook, without scripts; the toy case and soft labels as Python computes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_pages import Show, drawn, draws, logits, opened, put, said, tells, with_gradient

from book.build import for_page
from figures.live import figure as live
from figures.live import softmax
from figures.live.by_itself import loader, without
from figures.live.rows import members
from figures.networks import Networks
from lskd.losses import kd_loss, standardize
from paper.toy import TOY

pytestmark = pytest.mark.browser
FIGURES = (
    "toy", "distillation", "factor", "spread", "entropy", "invariance", "bound", "two_classes", "precision", "epsilon",
    "objective", "sample", "gap", "features", "curves",
)  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_phone_follows_the_mode_and_has_keys(
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


def test_what_a_control_cannot_change_is_not_shown(show: Show) -> None:
    figure = show("epsilon")
    around = figure.get_by_label("around")
    for name, changes in (("float64", False), ("bfloat16", True), ("float64", False)):
        put(figure, format=name)
        assert around.is_visible() == changes
    for count, hidden in ((1, True), (2, False)):
        field = live.choice("record", "record", {str(i): f"run {i}" for i in range(count)})
        assert ("hidden" in field.to_html("curves").partition(">")[0]) == hidden


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
        shown = networks.paths("teacher", *members(networks))
        assert {Path(item["file"]).name for item in sidecar["inputs"]} == {path.name for path in shown}


def test_arrays_are_packed_as_they_are() -> None:
    stored = live.pack(np.arange(6).reshape(2, 3))
    assert np.frombuffer(base64.b64decode(stored["base64"]), "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    scaled = live.pack([[0.5, -2.0], [1.25, 0.0]], "scaled")
    whole = np.frombuffer(base64.b64decode(scaled["base64"]), "<i2")
    np.testing.assert_allclose(whole * scaled["scale"], [0.5, -2.0, 1.25, 0.0], atol=2 / 65534)


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


@pytest.mark.parametrize("scripts", [False, True])
def test_a_notebook_that_nobody_has_run_shows_the_still_picture_alone(
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


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(("temperature", "power"), [(1.0, 0.0), (3.5, 0.0), (0.5, 1.0), (8.0, -0.5)])
def test_the_toy_case(show: Show, on: bool, temperature: float, power: float) -> None:
    figure = show("toy", standardize=on, temperature=temperature, scale=power)
    rows = {name: torch.tensor([row], dtype=torch.float64) for name, row in TOY.items()}
    for name, scale in (("s1", 1.0), ("s2", 10.0**power)):
        student = scale * rows[name]
        loss, gradient = with_gradient(student, rows["teacher"], temperature, on)
        tells(figure, **{name: loss})
        seen = standardize(student) if on else student
        every = "name => Bokeh.documents.map(d => Array.from(d.get_model_by_name(name).data.y))"
        expected = torch.stack([seen[0], torch.softmax(seen / temperature, -1)[0], -gradient])
        np.testing.assert_allclose(figure.page.evaluate(every, name), expected, atol=1e-6)
    assert figure.locator("output").all_inner_texts() == [f"{temperature:.1f}", f"{10**power:.2f}"]


@pytest.mark.parametrize(
    ("member", "image", "t", "ts", "factor"),
    [("alone", 0, 1.0, None, True), ("kd", 7, 4.5, None, False), ("kd_ls", 23, 2.0, 6.0, True)],
)
def test_soft_labels(
    show: Show, networks: Networks, member: str, image: int, t: float, ts: float | None, factor: bool
) -> None:
    figure = show("distillation", network=member, image=image, temperature=t, factor=factor)
    assert not figure.get_by_label("the student's temperature").is_visible()
    if ts is not None:
        put(figure, shared=False, student_temperature=ts)
    ts = ts or t
    teacher, student = logits(networks, "teacher", image), logits(networks, member, image)
    p, q = torch.softmax(teacher[0] / t, -1), torch.softmax(student[0] / ts, -1)
    kl, gradient = with_gradient(student / ts, teacher / t, 1.0, False)
    gradient = gradient / ts * (ts**2 if factor else 1)
    first, rest = leading(teacher, {int(student.argmax())})
    for source, values in (("teacher", p), ("student", q), ("push", -gradient)):
        draws(figure, source, [*values[first], values[rest].sum()])
    tells(figure, kl=kl, loss=kl * (ts**2 if factor else 1), length=gradient.norm(), top_p=p.max())
    assert said(figure, "answer") == networks.teacher.class_names[int(student.argmax())]


def leading(teacher: torch.Tensor, wanted: set[int]) -> tuple[list[int], list[int]]:
    """Eight classes, the teacher's first and those that are wanted, and all others."""
    order = torch.argsort(teacher[0], descending=True).tolist()
    others = [k for k in order if k not in wanted][: 8 - len(wanted)]
    first = [k for k in order if k in wanted or k in others]
    return first, [k for k in order if k not in first]


def test_soft_labels_of_a_reader_s_own(show: Show) -> None:
    figure = show("distillation")
    fields = [figure.get_by_label(f"{who}'s logits") for who in ("teacher", "student")]
    assert not fields[0].is_visible()
    put(figure, network="own")
    for texts, rows in (
        (("0; 3, 2 1 -1.5", "0 0.3 0.2 0.1 -0.15"), ([0, 3, 2, 1, -1.5], [0, 0.3, 0.2, 0.1, -0.15])),
        (("0,5; 2", "0,3 2,5"), ([0.5, 2], [0.3, 2.5])),  # decimal commas, as in an exercise
    ):
        fields[0].fill(texts[0])
        assert said(figure, "problem").startswith(f"The teacher has {len(rows[0])} logits and the student ")
        fields[1].fill(texts[1])
        teacher, student = (torch.tensor([row]).double() for row in rows)
        tells(figure, problem="", loss=kd_loss(student, teacher, temperature=2.0))
    fields[0].fill("1,2,3")
    for text in ("1,2,3 4", "0 0.3 x 0.1 0"):
        fields[1].fill(text)
        assert said(figure, "problem").startswith("Numbers only")


@pytest.mark.parametrize(("image", "power"), [(3, 0.0), (20, 1.5)])
def test_the_factor(show: Show, networks: Networks, image: int, power: float) -> None:
    figure = show("factor", image=image, network="kd", temperature=power)
    student, teacher = logits(networks, "kd", image), logits(networks, "teacher", image)
    here = softmax.push_sizes(student, teacher, 10**power)
    tells(figure, **{"with": here[0], "without": here[1]})
    draws(figure, "here", here)
    sizes = np.array([softmax.push_sizes(student, teacher, t) for t in drawn(figure, "with", "x")])
    draws(figure, "with", sizes[:, 0])
    draws(figure, "without", sizes[:, 1])
    assert sizes[-1, 0] == pytest.approx(float(said(figure, "limit")), rel=0.05)  # what the limit is a limit of


@pytest.mark.parametrize(("power", "t", "ts"), [(0.5, 2.0, 2.0), (-0.7, 1.5, 4.5)])
def test_one_temperature_for_two(show: Show, networks: Networks, power: float, t: float, ts: float) -> None:
    figure = show("spread", spread=power, temperature=t, student_temperature=ts, image=9)
    teacher = logits(networks, "teacher", 9)
    plain, standardized = softmax.spread_losses(teacher, 10**power, t, ts)
    tells(figure, plain=plain, standardized=standardized, sigma_student=10**power * teacher.std(correction=0))
    expected = [softmax.spread_losses(teacher, a, t, ts) for a in drawn(figure, "plain", "x")]
    draws(figure, "plain", [p for p, _ in expected])
    draws(figure, "standardized", [z for _, z in expected])
    assert drawn(figure, "best", "x") == pytest.approx([ts / t])
    assert softmax.spread_losses(teacher, ts / t, t, ts)[0] == pytest.approx(0, abs=1e-12)
