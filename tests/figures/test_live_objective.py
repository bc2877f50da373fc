"""Live figures of objective and Z-score: whatever a control is set to, Python computes the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from live_pages import Show, drawn, draws, logits, put, said, tells, with_gradient
from scipy.optimize import brentq
from test_live import leading

from figures.live import objective, zscore
from figures.live.objective import PUBLISHED, Setting, published, pushes
from figures.live.rows import of_all_kinds
from figures.networks import Networks
from lskd.losses import cross_entropy, kd_loss, standardize
from lskd.objectives import KD, Logits
from paper import theory
from paper.toy import TOY

pytestmark = pytest.mark.browser


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
        bound, gap = theory.z_score_bounds(classes, correction=correction)
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
