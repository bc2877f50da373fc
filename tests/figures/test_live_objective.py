"""The objective and the ε of the Z-score, live: whatever a control is set to, Python computes the same."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from controls import move, said
from live_pages import check_on_a_phone, drawn, logits, number, opened, with_gradient, write_site
from PIL import Image
from synthetic import write_run

from figures import networks as inputs
from figures.live import distillation, thumbnails, toy
from figures.live import epsilon as live_epsilon
from figures.live import networks as live_networks
from figures.live import objective as live_objective
from figures.live.controls import Choice, Steps
from figures.live.epsilon import with_deviation
from figures.live.objective import PUBLISHED, Setting, published, pushes
from figures.live.rows import of_all_kinds
from figures.networks import Networks
from lskd.losses import cross_entropy, kd_loss, standardize
from lskd.objectives import KD, Logits
from paper.embedding import Embedding

pytestmark = pytest.mark.browser

FIGURES = ("objective", "epsilon", "distillation", "features", "toy")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return inputs.load(*write_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def dataset(networks: Networks) -> Any:
    """Test image number i is of the grey i, 8 by 8."""
    grey = torch.arange(networks.n, dtype=torch.uint8)[:, None, None, None]
    return SimpleNamespace(test_images=grey.expand(-1, 3, 8, 8).clone())


WORDS = (
    '<p style="margin-top:1500px"><a class="lskd-word" href="?temperature=8;panel=gradient#live-toy">to 8</a> '
    '<a class="lskd-word" href="?scale=5;panel=length#live-objective">fivefold</a></p><p style="height:1500px"></p>'
)


def places(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def site(networks: Networks, dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = (
        live_objective.objective(networks, folder / "stills", dataset),
        live_epsilon.epsilon(networks, folder / "stills"),
        distillation.distillation(networks, folder / "stills", dataset),
        live_networks.features(networks, {"kd": Embedding(places(networks.n), 0, 0, 0)}, dataset),
        toy.toy(toy.still(folder / "stills")),
    )
    write_site(folder, dict(zip(FIGURES, made, strict=True)), below=WORDS)
    return folder


@pytest.fixture
def show(page: Any, site: Path) -> Callable[[str], Any]:
    return opened(page, site)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_phone_follows_the_mode_and_answers_to_keys(chromium: Any, site: Path, name: str) -> None:
    check_on_a_phone(chromium, site, name)


def test_thumbnails_are_the_images_of_the_logits(networks: Networks, dataset: Any) -> None:
    index = networks.teacher.logits_index[of_all_kinds(networks)]
    sprites, place = thumbnails.thumbnail(dataset, index, "x")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprites.partition(",")[2]))))
    assert sheet.shape == (len(index) * 8, 8, 3)
    np.testing.assert_allclose(sheet.reshape(len(index), 8, 8, 3).mean(axis=(1, 2, 3)), index, atol=2)
    assert "width:32px;height:32px" in place
    assert "var(--lskd-sprite-x)" in place
    assert thumbnails.thumbnail(None, index, "x") == ("", "")
    assert (thumbnails.side(dataset), thumbnails.side(None)) == (8, 0)


@pytest.mark.parametrize("name", ["objective", "distillation"])
def test_the_thumbnail_is_that_of_the_slider(show: Any, name: str) -> None:
    figure = show(name)
    picture = figure.locator("[data-picture]")
    for image in (3, 20):
        move(figure, "image", image)
        assert picture.evaluate("e => e.style.backgroundPosition") == f"0px {-image * 32}px"
    assert picture.is_visible()
    if name == "distillation":
        move(figure, "network", "own")
        assert not picture.is_visible()


@pytest.mark.parametrize("name", ["objective", "distillation"])
def test_the_true_class_is_ticked(show: Any, networks: Networks, name: str) -> None:
    figure = show(name)
    labels = (
        "() => Bokeh.documents.map(d => d.get_model_by_name('x')).map(x => [...x.major_label_overrides.values()])[0]"
    )
    for image in (0, 9):
        move(figure, "image", image)
        truth = networks.teacher.class_names[int(target_of(networks, image))]
        ticked = [text for text in figure.page.evaluate(labels) if text.endswith(" ✓")]
        assert ticked == [f"{truth} ✓"]


def target_of(networks: Networks, image: int) -> torch.Tensor:
    return live_objective.labels(networks, of_all_kinds(networks)[[image]])


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


def test_a_figure_s_sidecar_names_all_that_it_shows(networks: Networks, site: Path) -> None:
    for name in ("objective", "epsilon", "distillation"):
        sidecar = json.loads((site / "stills" / f"{name}.json").read_text())
        assert {Path(item["file"]).name for item in sidecar["inputs"]} == {
            path.name for path in networks.paths("teacher", *distillation.members(networks))
        }


@pytest.mark.parametrize("standardized", [False, True])
def test_pushes_add_up_to_the_gradient_of_the_objective(standardized: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (3 * torch.randn(5, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    target = torch.arange(5)
    z = student.clone().requires_grad_()
    objective = KD(temperature=3.0, kd_weight=2.5, ce_weight=0.4, standardize=standardized)
    sum(objective(Logits(z, target, teacher)).values()).mul(5).backward()  # type: ignore[union-attr]
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
    show: Any, networks: Networks, member: str, image: int, setting: Setting, power: float
) -> None:
    figure = show("objective")
    move(figure, "network", member)
    move(figure, "image", image)
    move(figure, "kd_weight", live_objective.WEIGHTS.index(setting.kd_weight))
    for name in ("ce_weight", "temperature", "standardize"):
        move(figure, name, getattr(setting, name))
    move(figure, "scale", power)
    raw, teacher, target = (
        logits(networks, member, image),
        logits(networks, "teacher", image),
        target_of(networks, image),
    )
    student = raw.mean() + 10**power * (raw - raw.mean())
    label, distilled = (x[0] for x in pushes(student, teacher, target, setting))

    order = torch.argsort(teacher[0], descending=True).tolist()
    wanted = {int(student.argmax()), int(target)}
    others = [k for k in order if k not in wanted][: 8 - len(wanted)]
    first = [k for k in order if k in wanted or k in others]
    rest = [k for k in order if k not in first]
    for source, gradient in (("ce", label), ("kd", distilled), ("sum", label + distilled)):
        expected = [*-gradient[first], -gradient[rest].sum()]
        np.testing.assert_allclose(drawn(figure, source), expected, atol=1e-9)
    marker = "() => Array.from(Bokeh.documents.map(d => d.get_model_by_name('sum')).find(m => m).data.marker)"
    assert [m == "triangle" for m in figure.page.evaluate(marker)] == (drawn(figure, "sum") >= 0).tolist()

    ce = cross_entropy(student, target).item()
    see = standardize if setting.standardize else lambda x: x
    kd = kd_loss(see(student), see(teacher), temperature=setting.temperature).item()
    weighted = (setting.ce_weight * ce, setting.kd_weight * kd)
    assert (number(figure, "ce"), number(figure, "kd")) == pytest.approx((ce, kd), abs=6e-5)
    assert (number(figure, "ce_weighted"), number(figure, "kd_weighted")) == pytest.approx(weighted, abs=6e-5)
    assert number(figure, "total") == pytest.approx(sum(weighted), abs=6e-5)
    sizes = (label.norm().item(), distilled.norm().item())
    assert (number(figure, "ce_length"), number(figure, "kd_length")) == pytest.approx(sizes, abs=6e-5)
    assert number(figure, "total_length") == pytest.approx((label + distilled).norm().item(), abs=6e-5)
    shares = [float(said(figure, f"{name}_share").removesuffix(" %")) for name in ("ce", "kd")]
    assert shares == pytest.approx([100 * s / sum(sizes) for s in sizes], abs=0.51)
    cosine = float(label @ distilled / label.norm() / distilled.norm())
    assert float(said(figure, "angle").removesuffix("°")) == pytest.approx(np.degrees(np.arccos(cosine)), abs=0.51)
    plain = with_gradient(student, teacher, published()["literature"].temperature, False)[1].norm().item()
    assert number(figure, "equal") == pytest.approx(sizes[1] / plain, abs=6e-3)
    assert number(figure, "sigma") == pytest.approx(student.std(correction=0).item(), abs=6e-3)
    assert said(figure, "truth") == networks.teacher.class_names[int(target)]

    x = drawn(figure, "ce-length", "x")
    scales = (x / raw.std(correction=0).item()).tolist()
    for standardized, source in ((False, "plain-length"), (True, "standardized-length")):
        found = np.array(
            live_objective.lengths(raw, teacher, target, replace(setting, standardize=standardized), scales)
        )
        np.testing.assert_allclose(drawn(figure, "ce-length"), found[:, 0], rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(drawn(figure, source), found[:, 1], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(drawn(figure, "here"), sizes, rtol=1e-6)
    assert drawn(figure, "here", "x") == pytest.approx(student.std(correction=0).item())


def test_a_published_setting_moves_the_sliders_and_the_sliders_find_its_name(show: Any) -> None:
    figure = show("objective")
    chosen, weight = (figure.locator(f"[data-control='{name}']") for name in ("setting", "kd_weight"))
    for name, setting in published().items():
        move(figure, "setting", name)
        assert chosen.input_value() == name
        stops = weight.get_attribute("data-stops").split(" ")
        assert float(stops[int(weight.input_value())]) == setting.kd_weight
        assert weight.get_attribute("aria-valuetext") == f"{setting.kd_weight:g}"
        assert float(figure.locator("[data-control='ce_weight']").input_value()) == setting.ce_weight
        assert float(figure.locator("[data-control='temperature']").input_value()) == setting.temperature
        assert figure.locator("[data-control='standardize']").is_checked() == setting.standardize
        assert PUBLISHED[name][2] in chosen.locator("option:checked").inner_text()
    move(figure, "setting", "ls")
    weight.focus()
    figure.page.keyboard.press("ArrowRight")
    assert (chosen.input_value(), weight.get_attribute("aria-valuetext")) == ("own", "12")
    figure.page.keyboard.press("ArrowLeft")
    assert chosen.input_value() == "ls"
    move(figure, "standardize", False)
    assert chosen.input_value() == "like"
    move(figure, "setting", "own")
    assert chosen.input_value() == "own"
    assert weight.get_attribute("aria-valuetext") == "9"


def test_without_a_label_there_is_no_angle_and_no_curve(show: Any) -> None:
    figure = show("objective")
    move(figure, "ce_weight", 0)
    assert [said(figure, name) for name in ("angle", "ce_share", "kd_share")] == ["–", "0 %", "100 %"]
    assert np.isnan(drawn(figure, "ce-length")).all()


def test_a_slider_of_stops_starts_at_one_of_them() -> None:
    with pytest.raises(ValueError, match="slider w: starts at 2, which is none of its 3 stops"):
        Steps("w", "weight", (1, 3, 9), 2)


def test_at_high_temperature_weights_compare_by_the_product_of_both_deviations() -> None:
    """Equation (weightrule) of the chapter: the plain push across the spread, divided by s_z s_v."""
    generator = torch.Generator().manual_seed(2)
    student, teacher = (s * torch.randn(1, 50, generator=generator, dtype=torch.float64) for s in (1.7, 4.2))
    plain = with_gradient(student, teacher, 1e4, False)[1]
    ls = with_gradient(student, teacher, 1e4, True)[1]
    ray = (student - student.mean())[0]
    across = plain - (plain @ ray) / (ray @ ray) * ray
    torch.testing.assert_close(ls, across / float(student.std() * teacher.std()), rtol=2e-3, atol=1e-6)


def test_the_table_of_lengths_has_the_mean_of_every_student(networks: Networks) -> None:
    found = live_objective.loudness(networks, {name: published()[name] for name in ("literature", "like", "ls")})
    table = found.to_table()
    assert [row[0] for row in table.rows] == [networks.look(m).label for m in networks.students]
    assert all(len(row) == len(table.headings) for row in table.rows)
    z, v = (torch.from_numpy(networks.packs[m].logits).double() for m in ("kd", "teacher"))
    gradients = torch.stack([with_gradient(z[[i]], v[[i]], 4.0, False)[1] for i in range(len(z))])
    row = table.rows[list(networks.students).index("kd")]
    assert float(row[3]) == pytest.approx(0.9 * gradients.norm(dim=-1).mean().item(), abs=6e-4)
    first = found.table.iloc[0]
    deviation = torch.from_numpy(networks.packs["alone"].logits).double().std(dim=-1).mean().item()
    worth = 9 / (deviation * v.std(dim=-1).mean().item())
    text = found.text()
    assert f"is worth {worth:.2f} on logits" in text
    for name in ("literature", "like", "ls"):
        assert f"{first[name] / first['label']:.0f} times" in text


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
    show: Any, networks: Networks, member: str, image: int, power: float, eps: float, offset: float, format: str
) -> None:
    figure = show("epsilon")
    for name, value in (("network", member), ("image", image), ("deviation", power), ("epsilon", eps)):
        move(figure, name, value)
    for name, value in (("format", "float32"), ("offset", f"{offset:g}"), ("format", format)):
        move(figure, name, value)
    row, teacher = logits(networks, member, image), logits(networks, "teacher", image)
    epsilon, wanted = 10**eps, 10**power
    kept = with_deviation(row, wanted, offset, format)
    z, exact = standardize(kept, eps=epsilon), standardize(row, eps=0.0)
    np.testing.assert_allclose(drawn(figure, "exact"), exact[0], atol=1e-8)
    np.testing.assert_allclose(drawn(figure, "kept"), z[0], atol=1e-6)
    assert number(figure, "z") == pytest.approx(z.std().item(), abs=6e-5)
    assert number(figure, "rule") == pytest.approx(wanted / (wanted + epsilon), abs=6e-5)
    assert int(said(figure, "distinct")) == len(set(kept[0].tolist()))
    assert number(figure, "error") == pytest.approx((z - exact).abs().max().item(), rel=0.06, abs=6e-5)
    length, literal = live_epsilon.lengths(kept, teacher, epsilon)
    assert number(figure, "length") == pytest.approx(length, rel=0.06, abs=6e-5)
    assert number(figure, "literal") == pytest.approx(literal, rel=0.06, abs=6e-5)

    x = drawn(figure, "measured", "x")
    np.testing.assert_allclose(drawn(figure, "rule"), x / (x + epsilon))
    rows = [with_deviation(row, float(s), offset, format) for s in x]
    np.testing.assert_allclose(
        drawn(figure, "measured"), [standardize(r, eps=epsilon).std() for r in rows], rtol=1e-5, atol=1e-9
    )
    found = np.array([live_epsilon.lengths(r, teacher, epsilon) for r in rows])
    np.testing.assert_allclose(drawn(figure, "length"), found[:, 0], rtol=1e-4)
    np.testing.assert_allclose(drawn(figure, "literal"), found[:, 1], rtol=1e-4)
    np.testing.assert_allclose(drawn(figure, "here"), z.std().item(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(drawn(figure, "here-length"), length, rtol=1e-4)
    if format == "float64" and not offset:
        np.testing.assert_allclose(drawn(figure, "measured"), drawn(figure, "rule"), rtol=1e-6)


def test_epsilon_where_it_is_as_large_as_the_spread_halves_the_scores(show: Any) -> None:
    figure = show("epsilon")
    assert said(figure, "z") == "0.5000"
    shown = figure.locator("output").first
    assert shown.inner_text() == "1.0e−7"
    figure.locator("[data-control='deviation']").focus()
    figure.page.keyboard.press("Home")
    assert shown.inner_text() == "1.0e−10"
    assert figure.locator("[data-control='deviation']").get_attribute("aria-valuetext") == "1.0e−10"
    assert said(figure, "z") == "0.0010"


def test_the_flattest_row_is_named(networks: Networks) -> None:
    text = live_epsilon.constant_text(networks)
    least = min(pack.logit_std.min() for pack in networks.packs.values())
    assert f"its deviation is {least:.2f}." in text
    assert "multiplies the gradient by 10,000,000" in text
    assert "is by KD + LS" in text or "is by CTKD + LS" in text or "is by DKD + LS" in text


def test_on_a_phone_the_panel_that_is_meant_is_pinned(chromium: Any, site: Path) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    figure = opened(context.new_page(), site)("toy")
    figure.page.locator("a.lskd-word[href$='#live-toy']").click()
    figure.page.locator(".lskd-pinned").wait_for()
    box = figure.locator("[data-plot='gradient']").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    context.close()


def test_a_figure_begins_with_few_controls_and_a_word_opens_the_fold(show: Any) -> None:
    figure = show("objective")
    assert figure.locator("[data-control]:visible").count() == 4
    figure.page.locator("a.lskd-word[href$='#live-objective']").click()
    assert figure.locator("[data-control]").count() == 8
    assert figure.locator("details.lskd-more").get_attribute("open") is not None


def test_what_a_control_cannot_change_is_not_shown(show: Any) -> None:
    figure = show("epsilon")
    around = figure.get_by_label("around")
    for name, changes in (("float64", False), ("bfloat16", True), ("float64", False)):
        move(figure, "format", name)
        assert around.is_visible() == changes
    for count, hidden in ((1, True), (2, False)):
        field = Choice("record", "record", [(str(i), f"run {i}") for i in range(count)])
        assert ("hidden" in field.to_html("curves").partition(">")[0]) == hidden


def test_images_are_reached_by_keys_too(show: Any, networks: Networks) -> None:
    figure, n = show("features"), networks.n
    figure.locator("[data-control='image']").focus()
    for key, image in (("ArrowRight", 1), ("ArrowRight", 2), ("End", n - 1)):
        figure.page.keyboard.press(key)
        teacher, kd = networks.teacher, networks.packs["kd"]
        assert said(figure, "label") == str(teacher.class_names[teacher.label[image]])
        assert said(figure, "prediction") == str(teacher.class_names[kd.prediction[image]])
        assert [drawn(figure, "here", c)[0] for c in "xy"] == pytest.approx(places(n)[image], abs=6e-3)
        sheet = figure.locator("[data-picture]").evaluate(
            "e => e.style.backgroundPosition.match(/-?\\d+/g).map(Number)"
        )
        assert sheet == [-(image % 50) * 32, -(image // 50) * 32]


def test_what_is_under_the_pointer_is_dark_on_dark_pages(show: Any) -> None:
    page = show("features").page
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    spot = page.evaluate(
        """() => {
            const [view] = Bokeh.index.roots, box = view.el.getBoundingClientRect();
            const { x, y } = view.model.document.get_model_by_name("points").data;
            return [box.x + view.frame.x_scale.compute(x[0]), box.y + view.frame.y_scale.compute(y[0])];
        }"""
    )
    page.mouse.move(*spot)
    tip = page.locator(".bk-Tooltip")
    tip.wait_for()
    ground, ink = tip.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]")
    light = [sum(map(int, color[4:-1].split(","))) for color in (ground, ink)]
    assert light[0] < 200 < 500 < light[1]
