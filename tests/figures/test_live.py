"""Live figures: whatever a control is set to, Python computes the same; on a phone, in a notebook, without scripts."""

from __future__ import annotations

import base64
import io
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from live_pages import Show, drawn, draws, logits, opened, put, said, tells, with_gradient, write_page
from PIL import Image
from scipy.optimize import brentq
from synthetic import CLASSES

from book.build import for_page
from figures.live import figure as live
from figures.live import networks as live_networks
from figures.live import objective, softmax, zscore
from figures.live.by_itself import loader, without
from figures.live.objective import PUBLISHED, Setting, published, pushes
from figures.live.rows import members, of_all_kinds, thumbnail
from figures.networks import Networks
from lskd.evidence import Evidence
from lskd.losses import cross_entropy, kd_loss, standardize
from lskd.objectives import KD, Logits
from paper import theory
from paper.logits import gap_matrix
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


# --- the whole objective ---------------------------------------------------------------------------------------------


def target_of(networks: Networks, image: int) -> torch.Tensor:
    return objective.labels(networks, of_all_kinds(networks)[[image]])


@pytest.mark.parametrize("name", ["objective", "distillation"])
def test_the_thumbnail_and_the_tick_follow_the_slider(show: Show, networks: Networks, name: str) -> None:
    figure = show(name)
    picture = figure.locator("[data-picture]")
    labels = (
        "() => Bokeh.documents.map(d => d.get_model_by_name('x')).map(x => [...x.major_label_overrides.values()])[0]"
    )
    for image in (3, 20):
        put(figure, image=image)
        assert picture.evaluate("e => e.style.backgroundPosition") == f"0px {-image * 32}px"
        truth = networks.teacher.class_names[int(target_of(networks, image))]
        assert [text for text in figure.page.evaluate(labels) if text.endswith(" ✓")] == [f"{truth} ✓"]
    assert picture.is_visible()
    if name == "distillation":
        put(figure, network="own")
        assert not picture.is_visible()


def test_published_settings_are_those_of_the_recipes() -> None:
    """As protocol 1.2 has them."""
    assert published() == {
        "ls": Setting(2.0, 9.0, 0.1, True),
        "literature": Setting(4.0, 0.9, 0.1, False),
        "like": Setting(2.0, 9.0, 0.1, False),
        "imagenet_ls": Setting(2.0, 9.0, 1.0, True, assumed=("kd_weight", "ce_weight")),
        "imagenet": Setting(1.0, 0.5, 1.0, False),
    }
    assert published()["imagenet_ls"].text == "T 2, weight 9 (assumed), label 1 (assumed)"


@pytest.mark.parametrize("standardized", [False, True])
def test_pushes_add_up_to_the_gradient_of_the_objective(standardized: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (3 * torch.randn(5, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    target = torch.arange(5)
    z = student.clone().requires_grad_()
    whole = KD(temperature=3.0, kd_weight=2.5, ce_weight=0.4, standardize=standardized)
    sum(whole(Logits(z, target, teacher)).values()).mul(5).backward()  # type: ignore[union-attr]
    label, distilled = pushes(student, teacher, target, Setting(3.0, 2.5, 0.4, standardized))
    torch.testing.assert_close(label + distilled, z.grad)


OBJECTIVES = [
    ("alone", 0, Setting(2.0, 9.0, 0.1, True), 0.0),
    ("kd", 7, Setting(4.0, 0.9, 0.1, False), 0.0),
    ("kd_ls", 23, Setting(1.5, 24.0, 0.7, True), -0.6),
    ("kd", 11, Setting(6.5, 0.1, 1.0, False), 0.8),
]


@pytest.mark.parametrize(("member", "image", "setting", "power"), OBJECTIVES)
def test_label_and_teacher(
    show: Show, networks: Networks, member: str, image: int, setting: Setting, power: float
) -> None:
    figure = show("objective")
    stop = objective.WEIGHTS.index(setting.kd_weight)
    put(figure, network=member, image=image, **setting.controls() | {"kd_weight": stop}, scale=power)
    raw, teacher = logits(networks, member, image), logits(networks, "teacher", image)
    target, student = target_of(networks, image), raw.mean() + 10**power * (raw - raw.mean())
    label, distilled = (x[0] for x in pushes(student, teacher, target, setting))

    first, rest = leading(teacher, {int(student.argmax()), int(target)})
    for source, gradient in (("ce", label), ("kd", distilled), ("sum", label + distilled)):
        draws(figure, source, [*-gradient[first], -gradient[rest].sum()], atol=1e-9)
    marker = "() => Array.from(Bokeh.documents.map(d => d.get_model_by_name('sum')).find(m => m).data.marker)"
    assert [m == "triangle" for m in figure.page.evaluate(marker)] == (drawn(figure, "sum") >= 0).tolist()

    see = standardize if setting.standardize else lambda x: x
    losses = (cross_entropy(student, target), kd_loss(see(student), see(teacher), temperature=setting.temperature))
    sizes, weights = (label.norm(), distilled.norm()), (setting.ce_weight, setting.kd_weight)
    for name, loss, weight, size in zip(("ce", "kd"), losses, weights, sizes, strict=True):
        tells(figure, **{name: loss, f"{name}_weighted": weight * loss, f"{name}_length": size})
        tells(figure, **{f"{name}_share": 100 * size / sum(sizes)})
    cosine = float(label @ distilled / label.norm() / distilled.norm())
    plain = with_gradient(student, teacher, published()["literature"].temperature, False)[1].norm()
    tells(
        figure,
        total=weights[0] * losses[0] + weights[1] * losses[1],
        total_length=(label + distilled).norm(),
        angle=np.degrees(np.arccos(cosine)),
        equal=sizes[1] / plain,
        sigma=student.std(correction=0),
        truth=str(networks.teacher.class_names[int(target)]),
    )

    scales = (drawn(figure, "ce-length", "x") / raw.std(correction=0).item()).tolist()
    for standardized, source in ((False, "plain-length"), (True, "standardized-length")):
        found = np.array(objective.lengths(raw, teacher, target, replace(setting, standardize=standardized), scales))
        draws(figure, "ce-length", found[:, 0], atol=1e-12)
        draws(figure, source, found[:, 1], atol=1e-12)
    draws(figure, "here", [float(size) for size in sizes])
    assert drawn(figure, "here", "x") == pytest.approx(student.std(correction=0).item())


def test_a_published_setting_moves_the_sliders_and_the_sliders_find_its_name(show: Show) -> None:
    figure = show("objective")
    control = {name: figure.locator(f"[data-control='{name}']") for name in ("setting", *published()["ls"].controls())}
    chosen, weight = control["setting"], control["kd_weight"]
    for name, setting in published().items():
        put(figure, setting=name)
        assert chosen.input_value() == name
        stops = weight.get_attribute("data-stops").split(" ")
        assert float(stops[int(weight.input_value())]) == setting.kd_weight
        assert weight.get_attribute("aria-valuetext") == f"{setting.kd_weight:g}"
        for slider in ("ce_weight", "temperature"):
            assert float(control[slider].input_value()) == getattr(setting, slider)
        assert control["standardize"].is_checked() == setting.standardize
        assert PUBLISHED[name][2] in chosen.locator("option:checked").inner_text()
    put(figure, setting="ls")
    weight.focus()
    figure.page.keyboard.press("ArrowRight")
    assert (chosen.input_value(), weight.get_attribute("aria-valuetext")) == ("own", "12")
    figure.page.keyboard.press("ArrowLeft")
    assert chosen.input_value() == "ls"
    put(figure, standardize=False)
    assert chosen.input_value() == "like"
    put(figure, setting="own")
    assert (chosen.input_value(), weight.get_attribute("aria-valuetext")) == ("own", "9")


def test_without_a_label_there_is_no_angle_and_no_curve(show: Show) -> None:
    figure = show("objective", ce_weight=0)
    tells(figure, angle="–", ce_share="0 %", kd_share="100 %")
    assert np.isnan(drawn(figure, "ce-length")).all()


def test_a_figure_begins_with_few_controls_and_a_word_opens_the_fold(show: Show) -> None:
    figure = show("objective")
    assert figure.locator("[data-control]:visible").count() == 4
    figure.page.locator("a.lskd-word[href$='#live-objective']").click()
    assert figure.locator("[data-control]").count() == 8
    assert figure.locator("details.lskd-more").get_attribute("open") is not None


def test_at_high_temperature_weights_compare_by_the_product_of_both_deviations() -> None:
    """Equation (weightrule) of the chapter: the plain push across the spread, divided by s_z s_v."""
    generator = torch.Generator().manual_seed(2)
    student, teacher = (s * torch.randn(1, 50, generator=generator, dtype=torch.float64) for s in (1.7, 4.2))
    plain, ls = (with_gradient(student, teacher, 1e4, on)[1] for on in (False, True))
    ray = (student - student.mean())[0]
    across = plain - (plain @ ray) / (ray @ ray) * ray
    torch.testing.assert_close(ls, across / float(student.std() * teacher.std()), rtol=2e-3, atol=1e-6)


def test_the_table_of_lengths_has_the_mean_of_every_student(networks: Networks) -> None:
    names = ("literature", "like", "ls")
    found: Any = objective.loudness(networks, {name: published()[name] for name in names})
    table = found.to_table()
    assert [row[0] for row in table.rows] == [networks.look(m).label for m in networks.students]
    assert all(len(row) == len(table.headings) for row in table.rows)
    z, v = (torch.from_numpy(networks.packs[m].logits).double() for m in ("kd", "teacher"))
    gradients = torch.stack([with_gradient(z[[i]], v[[i]], 4.0, False)[1] for i in range(len(z))])
    row = table.rows[list(networks.students).index("kd")]
    assert float(row[3]) == pytest.approx(0.9 * gradients.norm(dim=-1).mean().item(), abs=6e-4)
    first = found.table.iloc[0]
    deviation = torch.from_numpy(networks.packs["alone"].logits).double().std(dim=-1).mean().item()
    text = found.text()
    assert f"is worth {9 / (deviation * v.std(dim=-1).mean().item()):.2f} on logits" in text
    for name in names:
        assert f"{first[name] / first['label']:.0f} times" in text


@pytest.mark.parametrize(("average", "power", "aside"), [(0.6, 0.0, 0.0), (0.25, 0.8, -1.0), (1.1, -0.5, 0.5)])
def test_the_softmax_has_the_largest_entropy(show: Show, average: float, power: float, aside: float) -> None:
    figure = show("entropy", average=average, scale=power, aside=aside)
    z = 10**power * torch.tensor(TOY["teacher"], dtype=torch.float64)
    wanted = float(z.mean() + average * z.std())

    def miss(inverse: float) -> float:
        return float(torch.softmax(z * inverse, -1) @ z) - wanted

    temperature = 1 / brentq(miss, 1e-6, 1e3 / float(z.std()), xtol=1e-14)
    q, other = drawn(figure, "softmax"), drawn(figure, "other")
    draws(figure, "softmax", torch.softmax(z / temperature, -1), atol=1e-8)
    assert other.sum() == pytest.approx(1)
    assert other @ z.numpy() == pytest.approx(wanted)
    entropies = [-sum(v * math.log(v) for v in p if v > 1e-15) for p in (q, other)]
    tells(figure, temperature=temperature, ratio=temperature / z.std(), average=wanted)
    tells(figure, entropy=entropies[0], other=entropies[1])
    assert (entropies[1] < entropies[0] - 1e-3) == bool(aside)


@pytest.mark.parametrize(("shift", "power", "t"), [(0.0, 0.0, 2.0), (-7.5, 0.6, 4.0), (3.0, -1.0, 1.0)])
def test_shift_and_scale(show: Show, networks: Networks, shift: float, power: float, t: float) -> None:
    figure = show("invariance", shift=shift, scale=power, temperature=t, network="kd", image=5)
    raw, teacher = logits(networks, "kd", 5), logits(networks, "teacher", 5)
    student = raw.mean() + 10**power * (raw - raw.mean()) + shift
    for name, row in (("student", student), ("teacher", teacher)):
        draws(figure, name, row[0], atol=1e-9)
        draws(figure, f"{name}-z", standardize(row)[0], atol=1e-9)
    ray = (student - student.mean())[0]
    for name, on in (("plain", False), ("standardized", True)):
        loss, gradient = with_gradient(student, teacher, t, on)
        tells(figure, **{name: loss, f"{name}_length": gradient.norm(), f"{name}_shift": "0.0000"})
        tells(figure, **{f"{name}_spread": abs(gradient @ ray / ray.norm())})
    tells(figure, standardized_spread="0.0000", standardized=kd_loss(raw, teacher, temperature=t, standardize=True))


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda x: x,
    "heavy": lambda x: x**3,
    "halves": lambda x: np.where(2 * np.arange(len(x)) < len(x), 1.0, -1.0),
    "one": lambda x: np.eye(len(x))[0],
    "ends": lambda x: np.eye(len(x))[0] - np.eye(len(x))[1],
}


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_bound_and_order(show: Show, classes: int) -> None:
    figure = show("bound", classes=str(classes), draw=2, temperature=3.0)
    noise = np.random.default_rng(0).normal(size=(zscore.DRAWS, zscore.MOST)).astype(np.float32)
    for correction in (1, 0):
        put(figure, population=correction == 0)
        bound, gap = zscore.bounds(classes, correction=correction)
        most = theory.largest_probability(classes, 3.0, correction=correction)
        for shape, make in SHAPES.items():
            put(figure, shape=shape)
            row = torch.from_numpy(make(noise[2, :classes].astype(np.float64)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                z = standardize(row, eps=1e-7, correction=correction)
            draws(figure, "scores", z, atol=1e-6)
            largest, apart, p = z.abs().max(), z.max() - z.min(), torch.softmax(z / 3.0, -1).max()
            tells(figure, largest=largest, bound=bound, apart=apart, gap=gap, probability=p, most=most, order="kept")
            assert largest <= bound + 1e-9
            assert apart <= gap + 1e-9
            assert p <= most + 1e-7
            if shape == "one":
                assert float(said(figure, "largest")) == pytest.approx(bound, abs=2e-3)
                assert p.item() == pytest.approx(most, abs=1e-5)
            if shape == "ends":
                assert float(said(figure, "apart")) == pytest.approx(gap, abs=2e-3)


@pytest.mark.parametrize(("student", "teacher", "t"), [(0.5, 3.0, 1.0), (-4.2, 3.0, 2.5), (7.0, -0.1, 4.0)])
def test_two_classes(show: Show, student: float, teacher: float, t: float) -> None:
    figure = show("two_classes", student=student, teacher=teacher, temperature=t)
    rows = [torch.tensor([[v / 2, -v / 2]], dtype=torch.float64) for v in (student, teacher)]
    for name, on in (("plain", False), ("standardized", True)):
        loss, gradient = with_gradient(*rows, t, on)
        tells(figure, **{name: loss, f"{name}_slope": gradient.norm() / math.sqrt(2)})
    tells(figure, z=math.copysign(math.sqrt(0.5), student), standardized_slope="0.0000")
    x, step = drawn(figure, "standardized", "x"), drawn(figure, "standardized")
    agree = np.sign(x) == np.sign(teacher)
    np.testing.assert_allclose(step[agree], 0, atol=1e-9)
    np.testing.assert_allclose(step[(x != 0) & ~agree], theory.opposite_signs_loss(t), rtol=1e-5)


@pytest.mark.parametrize("format", list(zscore.FORMATS))
@pytest.mark.parametrize(("shift", "scale"), [(-1.0, 0.0), (2.65, -0.4), (1.0, 1.0)])
def test_sixteen_bits(show: Show, networks: Networks, format: str, shift: float, scale: float) -> None:
    figure = show("precision", format=format, shift=shift, scale=scale, image=12)
    exact = logits(networks, "teacher", 12) * 10**scale + 10**shift
    kept = zscore.stored(exact, format)
    z, rounded = standardize(exact), standardize(kept)
    draws(figure, "exact", z[0], atol=1e-8)
    draws(figure, "rounded", rounded[0], atol=1e-8)
    loss = abs(kd_loss(rounded, z, temperature=2.0))
    tells(figure, error=(z - rounded).abs().max(), distinct=str(len(set(kept[0].tolist()))), loss=loss)


@pytest.mark.parametrize("format", list(zscore.FORMATS))
def test_numbers_are_rounded_as_pytorch_rounds_them(show: Show, format: str) -> None:
    """Ties, neighbours of powers of two, numbers below the smallest normal one."""
    page = show("precision").page
    ties = [sign * (1 + k / 2**digits) for digits in (8, 9, 11, 12) for k in range(1, 12) for sign in (1, -1)]
    near = [2.0**e * (1 + d) for e in (-20, -14, -1, 0, 7) for d in (-1e-9, 0, 1e-9, 2.0**-9)]
    values = [*ties, *near, 0.0, 3e-8, 5.97e-8, 6.1e-5, 1e-7, 1000.5, 2049.0, 2051.0]
    row = torch.tensor([values], dtype=torch.float64)
    rounded = page.evaluate("([values, format]) => values.map(v => lskdLive.stored(v, format))", [values, format])
    assert rounded == zscore.stored(row, format)[0].tolist()


@pytest.mark.parametrize("format", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("member", "image", "power", "eps", "offset"),
    [
        ("alone", 4, -7.0, -7.0, 0.0),
        ("kd", 19, -2.1, -3.0, 0.1),
        ("kd", 2, -9.0, -7.0, 1.0),
        ("kd_ls", 8, 0.4, 0.0, 10.0),
    ],
)
def test_epsilon(
    show: Show, networks: Networks, member: str, image: int, power: float, eps: float, offset: float, format: str
) -> None:
    figure = show(
        "epsilon", network=member, image=image, deviation=power, epsilon=eps, format="float32", offset=f"{offset:g}"
    )
    put(figure, format=format)
    row, teacher = logits(networks, member, image), logits(networks, "teacher", image)
    epsilon, wanted = 10**eps, 10**power
    kept = zscore.with_deviation(row, wanted, offset, format)
    z, exact = standardize(kept, eps=epsilon), standardize(row, eps=0.0)
    length, literal = zscore.lengths(kept, teacher, epsilon)
    draws(figure, "exact", exact[0], atol=1e-8)
    draws(figure, "kept", z[0], atol=1e-6)
    tells(figure, z=z.std(), rule=wanted / (wanted + epsilon), distinct=str(len(set(kept[0].tolist()))))
    tells(figure, error=(z - exact).abs().max(), length=length, literal=literal)

    x = drawn(figure, "measured", "x")
    draws(figure, "rule", x / (x + epsilon))
    rows = [zscore.with_deviation(row, float(s), offset, format) for s in x]
    draws(figure, "measured", [standardize(r, eps=epsilon).std() for r in rows], atol=1e-9)
    found = np.array([zscore.lengths(r, teacher, epsilon) for r in rows])
    draws(figure, "length", found[:, 0], rtol=1e-4)
    draws(figure, "literal", found[:, 1], rtol=1e-4)
    draws(figure, "here", z.std().item(), atol=1e-9)
    draws(figure, "here-length", length, rtol=1e-4)
    if format == "float64" and not offset:
        draws(figure, "measured", drawn(figure, "rule"), rtol=1e-6)


def test_epsilon_where_it_is_as_large_as_the_spread_halves_the_scores(show: Show) -> None:
    figure = show("epsilon")
    slider, shown = figure.locator("[data-control='deviation']"), figure.locator("output").first
    tells(figure, z="0.5000")
    assert shown.inner_text() == "1.0e−7"
    slider.focus()
    figure.page.keyboard.press("Home")
    assert (shown.inner_text(), slider.get_attribute("aria-valuetext")) == ("1.0e−10", "1.0e−10")
    tells(figure, z="0.0010")


def test_vanishing_spreads() -> None:
    generator = torch.Generator().manual_seed(0)
    shape, teacher = (torch.randn(1, 100, generator=generator, dtype=torch.float64) for _ in range(2))
    rows = (s * standardize(shape, eps=0.0) for s in (1.0, 1e-3, 1e-9, 0.0))
    ours, literal = zip(*(zscore.lengths(row, teacher, 1e-7) for row in rows), strict=True)
    assert ours[1] == pytest.approx(1000 * ours[0], rel=1e-3)
    assert ours[2] == pytest.approx(literal[2], rel=1e-3)
    assert literal[3] == pytest.approx(1e7 * ours[3], rel=1e-6)


def test_the_flattest_row_is_named(networks: Networks) -> None:
    text = zscore.constant_text(networks)
    least = min(pack.logit_std.min() for pack in networks.packs.values())
    assert f"its deviation is {least:.2f}." in text
    assert "multiplies the gradient by 10,000,000" in text
    assert "is by KD + LS" in text or "is by CTKD + LS" in text or "is by DKD + LS" in text


PLACE = """([x, y]) => {
    const view = [...Bokeh.index.roots][0];
    view.el.scrollIntoView({block: "center", behavior: "instant"});
    const box = view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)];
}"""
TOOLTIP = """() => {
    const all = root => [...root.querySelectorAll("*")].flatMap(e => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]);
    return all(document).filter(e => e.matches(".bk-Tooltip")).map(e => (e.shadowRoot ?? e).textContent).join(" ");
}"""


def point(page: Any, x: float, y: float, expected: str) -> tuple[float, float]:
    """Points at a place of a plot until what is expected stands there, where on the screen it is."""
    for _ in range(20):  # until the plot has settled in its ranges
        spot = page.evaluate(PLACE, [x, y])
        page.mouse.move(spot[0] - 30, spot[1] - 30)
        page.mouse.move(*spot, steps=4)
        page.wait_for_timeout(200)
        if expected in page.evaluate(TOOLTIP):
            break
    assert expected in page.evaluate(TOOLTIP)
    return spot[0], spot[1]


@pytest.mark.parametrize("member", ["kd", "dkd_ls", "alone"])
def test_any_image_shows_the_logits_of_the_evidence(show: Show, networks: Networks, member: str) -> None:
    figure = show("sample")
    student, i, temperature = networks.packs[member], 17, 3.0
    put(figure, image=i, network=member, temperature=temperature)
    ours, theirs = (torch.from_numpy(p.logits[[i]]).double() for p in (student, networks.teacher))
    shown = {
        "logits": ours,
        "z": standardize(ours),
        "p": torch.softmax(ours / temperature, -1),
        "pz": torch.softmax(standardize(ours) / temperature, -1),
    }
    for mode, expected in shown.items():
        put(figure, show=mode)
        draws(figure, "student", expected[0])
    plain, standardized = (kd_loss(ours, theirs, temperature=temperature, standardize=on) for on in (False, True))
    tells(figure, plain=plain, standardized=standardized, spread_student=ours.std(correction=0))
    tells(figure, truth=str(student.class_names[student.label[student.logits_index[i]]]))
    tells(figure, student=str(student.class_names[int(ours.argmax())]))


def test_thumbnails_are_the_images_of_the_logits(networks: Networks, dataset: Any) -> None:
    index = networks.teacher.logits_index[of_all_kinds(networks)]
    sprites, place = thumbnail(dataset, index, "x")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprites.partition(",")[2]))))
    assert sheet.shape == (len(index) * 8, 8, 3)
    np.testing.assert_allclose(sheet.reshape(len(index), 8, 8, 3).mean(axis=(1, 2, 3)), index, atol=2)
    assert "width:32px;height:32px" in place
    assert "var(--lskd-sprite-x)" in place
    assert thumbnail(None, index, "x") == ("", "")


# --- the feature space -----------------------------------------------------------------------------------------------


def test_the_feature_space_is_filtered_and_names_what_is_pointed_at(show: Show, networks: Networks) -> None:
    figure, pack = show("features"), networks.packs["kd"]
    inside, right = pack.superclass[pack.label] == 3, pack.prediction == pack.label
    put(figure, group="3")
    tells(figure, shown=f"{inside.sum():,}", right=f"{(inside & right).sum():,}")
    put(figure, wrong=True)
    shown = np.flatnonzero(inside & ~right)
    tells(figure, shown=f"{len(shown):,}")
    names = [pack.class_names[k[shown[0]]] for k in (pack.label, pack.prediction)]
    point(figure.page, *(drawn(figure, "points", c)[0] for c in "xy"), f"{names[0]}, predicted {names[1]}")


def test_images_are_reached_by_keys_too(show: Show, networks: Networks, places: np.ndarray) -> None:
    figure, n = show("features"), networks.n
    figure.locator("[data-control='image']").focus()
    for key, image in (("ArrowRight", 1), ("ArrowRight", 2), ("End", n - 1)):
        figure.page.keyboard.press(key)
        teacher, kd = networks.teacher, networks.packs["kd"]
        assert said(figure, "label") == str(teacher.class_names[teacher.label[image]])
        assert said(figure, "prediction") == str(teacher.class_names[kd.prediction[image]])
        assert [drawn(figure, "here", c)[0] for c in "xy"] == pytest.approx(places[image], abs=6e-3)
        sheet = figure.locator("[data-picture]").evaluate(
            "e => e.style.backgroundPosition.match(/-?\\d+/g).map(Number)"
        )
        assert sheet == [-(image % 50) * 32, -(image // 50) * 32]


def test_what_is_under_the_pointer_is_dark_on_dark_pages(show: Show) -> None:
    figure = show("features")
    figure.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    point(figure.page, *(drawn(figure, "points", c)[0] for c in "xy"), "predicted")
    ground, ink = figure.page.locator(".bk-Tooltip").evaluate(
        "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
    )
    light = [sum(map(int, color[4:-1].split(","))) for color in (ground, ink)]
    assert light[0] < 200 < 500 < light[1]


# --- the gap, cell by cell -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second", "kind"), [("kd", "teacher", "raw"), ("ctkd_ls", "kd", "z")])
def test_the_gap_cell_by_cell(show: Show, networks: Networks, first: str, second: str, kind: str) -> None:
    figure, names = show("gap"), networks.teacher.class_names
    start = gap_matrix(networks.teacher, networks.packs["kd_ls"], standardized=False)
    at = np.unravel_index(start.argmax(), start.shape)
    assert [said(figure, "truth"), said(figure, "logit")] == [names[at[0]], names[at[1]]]
    put(figure, first=first, second=second, kind=kind)
    a, b = networks.packs[first], networks.packs[second]
    expected = gap_matrix(b, a, standardized=kind == "z")
    order = np.argsort(a.superclass, kind="stable")
    shown = drawn(figure, "cells", "value").reshape(CLASSES, CLASSES)
    np.testing.assert_allclose(shown, expected[np.ix_(order, order)], atol=2e-3)
    put(figure, truth="13", logit="6")
    field = {"raw": "class_mean_logits", "z": "class_mean_z"}[kind]
    tells(figure, mean=expected.mean(), max=expected.max(), gap=expected[13, 6])
    tells(figure, a=getattr(a, field)[13, 6], b=getattr(b, field)[13, 6])
    high = "() => Bokeh.documents.map(d => d.get_model_by_name('cells-mapper')).find(m => m).high"
    most = max(gap_matrix(networks.teacher, e, standardized=kind == "z").max() for e in networks.students.values())
    assert figure.page.evaluate(high) == pytest.approx(most)
    put(figure, same=False)
    assert figure.page.evaluate(high) == pytest.approx(expected.max(), abs=2e-3)


def test_a_class_without_test_images_is_left_empty(page: Any, networks: Networks, tmp_path: Path) -> None:
    def without(pack: Evidence) -> Evidence:
        means = {name: getattr(pack, name).copy() for name in ("class_mean_logits", "class_mean_z")}
        for values in means.values():
            values[13] = np.nan
        return replace(pack, label=np.where(pack.label == 13, 12, pack.label), **means)

    few = replace(networks, packs={name: without(pack) for name, pack in networks.packs.items()})
    figure = opened(page, write_page(tmp_path, live_networks.gap(few)))
    expected = gap_matrix(few.teacher, few.packs["kd_ls"], standardized=False)
    order = np.argsort(few.teacher.superclass, kind="stable")
    shown = drawn(figure, "cells", "value").reshape(CLASSES, CLASSES)
    assert np.isnan(shown[order == 13]).all()
    np.testing.assert_allclose(shown, expected[np.ix_(order, order)], atol=2e-3)
    tells(figure, mean=np.nanmean(expected), max=np.nanmax(expected))
    before = said(figure, "truth")
    for row in (order.tolist().index(13), 0):  # nothing is chosen where nothing was measured
        page.mouse.click(*page.evaluate(PLACE, [3, CLASSES - 1 - row]))
        page.wait_for_timeout(300)
        assert said(figure, "truth") == (before if row else few.teacher.class_names[order[0]])


def test_a_cell_is_named_where_it_is_pointed_at_and_chosen_where_it_is_touched(show: Show, networks: Networks) -> None:
    figure, row, column = show("gap"), 4, 11
    names = networks.teacher.class_names[np.argsort(networks.teacher.superclass, kind="stable")]
    expected = f"true class {names[row]}, logit of {names[column]}"
    figure.page.mouse.click(*point(figure.page, column, CLASSES - 1 - row, expected))
    tells(figure, truth=str(names[row]), logit=str(names[column]))


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_of_groups_leave_room_for_the_map(page: Any, networks: Networks, tmp_path: Path, width: int) -> None:
    names = np.array([f"large man-made outdoor things {i}" for i in range(len(networks.teacher.superclass_names))])
    packs = {name: replace(pack, superclass_names=names) for name, pack in networks.packs.items()}
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, write_page(tmp_path, live_networks.gap(replace(networks, packs=packs))))
    page.wait_for_function("[...Bokeh.index.roots][0].frame?.bbox.width > 0")
    assert page.evaluate("[...Bokeh.index.roots][0].frame.bbox.width") > {390: 200, 1280: 350}[width]
    label = page.evaluate("Bokeh.documents[0].get_model_by_name('y').axis_label")
    assert label == ("true class, grouped by superclass" if width == 390 else "true class")


# --- learning curves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quantity", "window"), [("test_accuracy", 1), ("test_accuracy", 3), ("train_loss", 2)])
def test_learning_curves(show: Show, records: list[tuple[str, dict[str, Any]]], quantity: str, window: int) -> None:
    def smooth(number: int, name: str) -> list[float]:
        values = pd.Series([e[quantity] for e in records[number][1]["members"][name]["epochs"]])
        return values.rolling(window, min_periods=1).mean().tolist()

    figure = show("curves", quantity=quantity, smoothing=window)
    figure.get_by_label("student alone").set_checked(False)
    for number, chosen in ((0, ["kd", "kd_ls"]), (1, [])):
        put(figure, record=str(number))
        for name in ("alone", "kd", "kd_ls", "ctkd_ls"):
            draws(figure, f"curve-{name}", smooth(number, name) if name in chosen else [])
    tells(figure, missing="Not measured in this record: KD, KD + LS.")
    put(figure, record="0", start=4)
    draws(figure, "curve-kd", smooth(0, "kd")[3:])
    assert drawn(figure, "curve-kd", "x").tolist() == [4, 5]
    assert drawn(figure, "read", "x").tolist() == [5, 5]
    put(figure, epoch=1)  # before the first that is shown
    assert drawn(figure, "read", "x").tolist() == [4, 4]
    put(figure, start=1, record="1")
    figure.get_by_label("CTKD + LS").set_checked(True)
    put(figure, epoch=2)
    second, digits = smooth(1, "ctkd_ls")[1], 2 if quantity == "test_accuracy" else 3
    draws(figure, "read", [second])
    tells(figure, values=f"CTKD + LS {second:.{digits}f} (epoch 2)")


def test_a_network_is_missed_beside_one_whose_name_begins_alike(
    page: Any, tmp_path: Path, records: list[tuple[str, dict[str, Any]]]
) -> None:
    first = records[0][1]
    bare = first | {"members": {"kd_ls": first["members"]["kd_ls"]}}
    figure = opened(page, write_page(tmp_path, live_networks.curves([("first", first), ("bare", bare)])))
    put(figure, record="1")
    tells(figure, missing="Not measured in this record: student alone, KD.")


def test_series_and_titles_hold_what_was_measured(records: list[tuple[str, dict[str, Any]]]) -> None:
    member = records[1][1]["members"]["ctkd_ls"]
    found = live_networks.series(member)
    assert found["temperature"] == [e.get("temperature") for e in member["epochs"]]
    assert set(found) == set(live_networks.titles([("x", {"members": {"ctkd_ls": member}})]))
    assert "temperature" not in live_networks.series(records[0][1]["members"]["kd"])
    assert found["term-kd"] == [e["terms"]["kd"] for e in member["epochs"]]
    assert live_networks.titles(records)["term-kd"] == ("distillation term", 3)
