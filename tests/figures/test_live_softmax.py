"""Live figures of the softmax and of the objective: whatever a control is set to, Python computes the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from live_pages import Show, drawn, draws, logits, put, said, tells, with_gradient

from figures.live import objective, softmax
from figures.live.objective import PUBLISHED, Setting, published, pushes
from figures.live.rows import of_all_kinds
from figures.networks import Networks
from lskd.losses import cross_entropy, kd_loss, standardize
from lskd.objectives import KD, Logits
from paper.toy import TOY

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(("temperature", "power"), [(1.0, 0.0), (3.5, 0.0), (0.5, 1.0), (8.0, -0.5)])
def test_the_toy_case(show: Show, on: bool, temperature: float, power: float) -> None:
    figure = show("toy")
    put(figure, standardize=on, temperature=temperature, scale=power)
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
    figure = show("distillation")
    put(figure, network=member, image=image, temperature=t, factor=factor)
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
    figure = show("factor")
    put(figure, image=image, network="kd", temperature=power)
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
    figure = show("spread")
    put(figure, spread=power, temperature=t, student_temperature=ts, image=9)
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
    figure = show("objective")
    put(figure, ce_weight=0)
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
