"""The chapters' live figures, each on a page of its own: whatever a control is set to, Python computes the same."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from controls import move, said
from live_pages import check_on_a_phone, drawn, logits, number, opened, with_gradient, write_site
from scipy.optimize import brentq
from synthetic import CLASSES, record, write_run

from figures import networks as inputs
from figures.live import curves, distillation, gap, zscore
from figures.live.figure import Live
from figures.networks import Networks
from lskd.evidence import Evidence
from lskd.losses import kd_loss, standardize
from paper import theory
from paper.logits import gap_matrix
from paper.toy import TOY

pytestmark = pytest.mark.browser

FIGURES = (
    "distillation", "factor", "spread", "entropy", "invariance", "bound", "two_classes", "precision", "gap", "curves",
)  # fmt: skip


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return inputs.load(*write_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def records() -> list[tuple[str, dict[str, Any]]]:
    first = record({"alone": (70.0, 72.0), "kd": (80.0, 81.0), "kd_ls": (82.0, 82.5)}, epochs=5)
    second = record({"alone": (71.0, 72.0), "ctkd_ls": (83.0, 83.5)}, epochs=3, seed=1)
    values = np.random.default_rng(3).uniform(0, 100, size=5)
    for epoch, value in zip(first["members"]["kd"]["epochs"], values, strict=True):
        epoch["test_accuracy"] = float(value)
    for content in (first, second):
        for member in content["members"].values():
            for epoch in member["epochs"]:
                epoch["train_loss"] = 10 / epoch["epoch"] ** 2
                epoch["terms"] = {"ce": 0.1, "kd": epoch["train_loss"] - 0.1}
    return [("first", first), ("second", second)]


@pytest.fixture(scope="module")
def site(
    networks: Networks, records: list[tuple[str, dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with one page a figure, with the book's scripts and styles."""
    folder = tmp_path_factory.mktemp("site")
    stills = folder / "stills"
    made: dict[str, Live] = {
        "distillation": distillation.distillation(networks, stills),
        "factor": distillation.factor(networks, stills),
        "spread": distillation.spread(networks, stills),
        "entropy": zscore.entropy(stills),
        "invariance": zscore.invariance(networks, stills),
        "bound": zscore.bound(stills),
        "two_classes": zscore.two_classes(stills),
        "precision": zscore.precision(networks, stills),
        "gap": gap.gap(networks),
        "curves": curves.curves(records),
    }
    assert set(made) == set(FIGURES)
    write_site(folder, made)
    return folder


@pytest.fixture
def show(page: Any, site: Path) -> Callable[[str], Any]:
    return opened(page, site)


@pytest.mark.parametrize(
    ("member", "image", "t", "ts", "factor"),
    [("alone", 0, 1.0, None, True), ("kd", 7, 4.5, None, False), ("kd_ls", 23, 2.0, 6.0, True)],
)
def test_soft_labels(
    show: Any, networks: Networks, member: str, image: int, t: float, ts: float | None, factor: bool
) -> None:
    figure = show("distillation")
    move(figure, "network", member)
    move(figure, "image", image)
    move(figure, "temperature", t)
    move(figure, "factor", factor)
    assert not figure.get_by_label("the student's temperature").is_visible()
    if ts is not None:
        move(figure, "shared", False)
        move(figure, "student_temperature", ts)
    ts = ts or t
    teacher, student = logits(networks, "teacher", image), logits(networks, member, image)
    p, q = torch.softmax(teacher[0] / t, -1), torch.softmax(student[0] / ts, -1)
    kl, gradient = with_gradient(student / ts, teacher / t, 1.0, False)
    gradient = gradient / ts * (ts**2 if factor else 1)
    order = torch.argsort(teacher[0], descending=True).tolist()
    first = order[:8] if int(student.argmax()) in order[:8] else [*order[:7], int(student.argmax())]
    rest = [k for k in order if k not in first]
    for source, values in (("teacher", p), ("student", q), ("push", -gradient)):
        np.testing.assert_allclose(drawn(figure, source), [*values[first], values[rest].sum()], atol=1e-7)
    assert number(figure, "kl") == pytest.approx(kl, abs=6e-5)
    assert number(figure, "loss") == pytest.approx(kl * (ts**2 if factor else 1), abs=6e-5)
    assert number(figure, "length") == pytest.approx(gradient.norm().item(), abs=6e-5)
    assert number(figure, "top_p") == pytest.approx(p.max().item(), abs=6e-4)
    assert said(figure, "answer") == networks.teacher.class_names[int(student.argmax())]


def test_soft_labels_of_a_reader_s_own(show: Any) -> None:
    figure = show("distillation")
    assert not figure.get_by_label("teacher's logits").is_visible()
    move(figure, "network", "own")
    figure.get_by_label("teacher's logits").fill("0; 3, 2 1 -1.5")
    assert said(figure, "problem") == "The teacher has 5 logits and the student 4; give both as many."
    figure.get_by_label("student's logits").fill("0 0.3 0.2 0.1 -0.15")
    assert said(figure, "problem") == ""
    teacher, student = (torch.tensor([row]).double() for row in ([0, 3, 2, 1, -1.5], [0, 0.3, 0.2, 0.1, -0.15]))
    assert number(figure, "loss") == pytest.approx(kd_loss(student, teacher, temperature=2.0).item(), abs=6e-5)
    figure.get_by_label("teacher's logits").fill("0,5; 2")  # decimal commas, as in an exercise
    figure.get_by_label("student's logits").fill("0,3 2,5")
    teacher, student = torch.tensor([[0.5, 2]]).double(), torch.tensor([[0.3, 2.5]]).double()
    assert number(figure, "loss") == pytest.approx(kd_loss(student, teacher, temperature=2.0).item(), abs=6e-5)
    figure.get_by_label("teacher's logits").fill("1,2,3")
    figure.get_by_label("student's logits").fill("1,2,3 4")
    assert said(figure, "problem").startswith("Numbers only")
    figure.get_by_label("student's logits").fill("0 0.3 x 0.1 0")
    assert said(figure, "problem").startswith("Numbers only")


@pytest.mark.parametrize(("image", "power"), [(3, 0.0), (20, 1.5)])
def test_the_factor(show: Any, networks: Networks, image: int, power: float) -> None:
    figure = show("factor")
    move(figure, "image", image)
    move(figure, "network", "kd")
    move(figure, "temperature", power)
    student, teacher = logits(networks, "kd", image), logits(networks, "teacher", image)
    here = distillation.push_sizes(student, teacher, 10**power)
    assert (number(figure, "with"), number(figure, "without")) == pytest.approx(here, abs=6e-5)
    np.testing.assert_allclose(drawn(figure, "here"), here, rtol=1e-6)
    grid = drawn(figure, "with", "x")
    sizes = np.array([distillation.push_sizes(student, teacher, t) for t in grid])
    np.testing.assert_allclose(drawn(figure, "with"), sizes[:, 0], rtol=1e-6)
    np.testing.assert_allclose(drawn(figure, "without"), sizes[:, 1], rtol=1e-6)
    assert sizes[-1, 0] == pytest.approx(number(figure, "limit"), rel=0.05)  # what the limit is a limit of


@pytest.mark.parametrize(("power", "t", "ts"), [(0.5, 2.0, 2.0), (-0.7, 1.5, 4.5)])
def test_one_temperature_for_two(show: Any, networks: Networks, power: float, t: float, ts: float) -> None:
    figure = show("spread")
    move(figure, "spread", power)
    move(figure, "temperature", t)
    move(figure, "student_temperature", ts)
    move(figure, "image", 9)
    teacher = logits(networks, "teacher", 9)
    plain, standardized = distillation.spread_losses(teacher, 10**power, t, ts)
    assert number(figure, "plain") == pytest.approx(plain, abs=6e-5)
    assert number(figure, "standardized") == pytest.approx(standardized, abs=6e-5)
    expected = [distillation.spread_losses(teacher, a, t, ts) for a in drawn(figure, "plain", "x")]
    np.testing.assert_allclose(drawn(figure, "plain"), [p for p, _ in expected], atol=1e-7)
    np.testing.assert_allclose(drawn(figure, "standardized"), [z for _, z in expected], atol=1e-7)
    assert drawn(figure, "best", "x") == pytest.approx([ts / t])
    assert distillation.spread_losses(teacher, ts / t, t, ts)[0] == pytest.approx(0, abs=1e-12)
    assert number(figure, "sigma_student") == pytest.approx(10**power * teacher.std(correction=0).item(), abs=6e-3)


@pytest.mark.parametrize(("average", "power", "aside"), [(0.6, 0.0, 0.0), (0.25, 0.8, -1.0), (1.1, -0.5, 0.5)])
def test_the_softmax_has_the_largest_entropy(show: Any, average: float, power: float, aside: float) -> None:
    figure = show("entropy")
    for name, value in (("average", average), ("scale", power), ("aside", aside)):
        move(figure, name, value)
    z = 10**power * torch.tensor(TOY["teacher"], dtype=torch.float64)
    wanted = float(z.mean() + average * z.std())

    def miss(inverse: float) -> float:
        return float(torch.softmax(z * inverse, -1) @ z) - wanted

    temperature = 1 / brentq(miss, 1e-6, 1e3 / float(z.std()), xtol=1e-14)
    assert number(figure, "temperature") == pytest.approx(temperature, abs=6e-4)
    assert number(figure, "ratio") == pytest.approx(temperature / float(z.std()), abs=6e-4)
    q, other = drawn(figure, "softmax"), drawn(figure, "other")
    np.testing.assert_allclose(q, torch.softmax(z / temperature, -1), atol=1e-8)
    assert other.sum() == pytest.approx(1)
    assert other @ z.numpy() == pytest.approx(wanted)
    assert number(figure, "average") == pytest.approx(wanted, abs=6e-4)
    entropies = [-sum(v * math.log(v) for v in p if v > 1e-15) for p in (q, other)]
    assert (number(figure, "entropy"), number(figure, "other")) == pytest.approx(entropies, abs=6e-5)
    assert (entropies[1] < entropies[0] - 1e-3) == bool(aside)


@pytest.mark.parametrize(("shift", "power", "t"), [(0.0, 0.0, 2.0), (-7.5, 0.6, 4.0), (3.0, -1.0, 1.0)])
def test_shift_and_scale(show: Any, networks: Networks, shift: float, power: float, t: float) -> None:
    figure = show("invariance")
    for name, value in (("shift", shift), ("scale", power), ("temperature", t), ("network", "kd"), ("image", 5)):
        move(figure, name, value)
    raw, teacher = logits(networks, "kd", 5), logits(networks, "teacher", 5)
    student = raw.mean() + 10**power * (raw - raw.mean()) + shift
    np.testing.assert_allclose(drawn(figure, "student"), student[0], atol=1e-9)
    np.testing.assert_allclose(drawn(figure, "teacher"), teacher[0], atol=1e-9)
    np.testing.assert_allclose(drawn(figure, "student-z"), standardize(student)[0], atol=1e-9)
    np.testing.assert_allclose(drawn(figure, "teacher-z"), standardize(teacher)[0], atol=1e-9)
    ray = (student - student.mean())[0]
    for name, on in (("plain", False), ("standardized", True)):
        loss, gradient = with_gradient(student, teacher, t, on)
        assert number(figure, name) == pytest.approx(loss, abs=6e-5)
        assert number(figure, f"{name}_length") == pytest.approx(gradient.norm().item(), abs=6e-5)
        assert number(figure, f"{name}_shift") == 0
        along = abs(float(gradient @ ray / ray.norm()))
        assert number(figure, f"{name}_spread") == pytest.approx(along, abs=6e-5)
    assert number(figure, "standardized_spread") == 0
    assert number(figure, "standardized") == pytest.approx(
        kd_loss(raw, teacher, temperature=t, standardize=True).item(), abs=6e-5
    )


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda x: x,
    "heavy": lambda x: x**3,
    "halves": lambda x: np.where(2 * np.arange(len(x)) < len(x), 1.0, -1.0),
    "one": lambda x: np.eye(len(x))[0],
    "ends": lambda x: np.eye(len(x))[0] - np.eye(len(x))[1],
}


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_bound_and_order(show: Any, classes: int) -> None:
    figure = show("bound")
    move(figure, "classes", str(classes))
    move(figure, "draw", 2)
    move(figure, "temperature", 3.0)
    noise = np.random.default_rng(0).normal(size=(zscore.DRAWS, zscore.MOST)).astype(np.float32)
    for correction in (1, 0):
        move(figure, "population", correction == 0)
        largest, apart = zscore.bounds(classes, correction=correction)
        for shape, make in SHAPES.items():
            move(figure, "shape", shape)
            row = torch.from_numpy(make(noise[2, :classes].astype(np.float64)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                z = standardize(row, eps=1e-7, correction=correction)
            np.testing.assert_allclose(drawn(figure, "scores"), z, atol=1e-6)
            assert number(figure, "largest") == pytest.approx(z.abs().max().item(), abs=6e-4)
            assert number(figure, "bound") == pytest.approx(largest, abs=6e-4)
            assert z.abs().max() <= largest + 1e-9
            assert number(figure, "apart") == pytest.approx((z.max() - z.min()).item(), abs=6e-4)
            assert number(figure, "gap") == pytest.approx(apart, abs=6e-4)
            assert z.max() - z.min() <= apart + 1e-9
            assert said(figure, "order") == "kept"
            most = theory.largest_probability(classes, 3.0, correction=correction)
            p = torch.softmax(z / 3.0, -1).max().item()
            assert number(figure, "probability") == pytest.approx(p, abs=6e-4)
            assert number(figure, "most") == pytest.approx(most, abs=6e-4)
            assert p <= most + 1e-7
            if shape == "one":
                assert number(figure, "largest") == pytest.approx(largest, abs=2e-3)
                assert p == pytest.approx(most, abs=1e-5)
            if shape == "ends":
                assert number(figure, "apart") == pytest.approx(apart, abs=2e-3)


@pytest.mark.parametrize(("student", "teacher", "t"), [(0.5, 3.0, 1.0), (-4.2, 3.0, 2.5), (7.0, -0.1, 4.0)])
def test_two_classes(show: Any, student: float, teacher: float, t: float) -> None:
    figure = show("two_classes")
    for name, value in (("student", student), ("teacher", teacher), ("temperature", t)):
        move(figure, name, value)
    rows = [torch.tensor([[v / 2, -v / 2]], dtype=torch.float64) for v in (student, teacher)]
    for name, on in (("plain", False), ("standardized", True)):
        loss, gradient = with_gradient(*rows, t, on)
        assert number(figure, name) == pytest.approx(loss, abs=6e-5)
        assert number(figure, f"{name}_slope") == pytest.approx(gradient.norm().item() / math.sqrt(2), abs=6e-5)
    assert number(figure, "z") == pytest.approx(math.copysign(math.sqrt(0.5), student), abs=6e-5)
    assert number(figure, "standardized_slope") == 0
    x, step = drawn(figure, "standardized", "x"), drawn(figure, "standardized")
    agree = np.sign(x) == np.sign(teacher)
    np.testing.assert_allclose(step[agree], 0, atol=1e-9)
    disagree = (x != 0) & ~agree
    np.testing.assert_allclose(step[disagree], theory.opposite_signs_loss(t), rtol=1e-5)


@pytest.mark.parametrize("format", list(zscore.FORMATS))
@pytest.mark.parametrize(("shift", "scale"), [(-1.0, 0.0), (2.65, -0.4), (1.0, 1.0)])
def test_sixteen_bits(show: Any, networks: Networks, format: str, shift: float, scale: float) -> None:
    figure = show("precision")
    for name, value in (("format", format), ("shift", shift), ("scale", scale), ("image", 12)):
        move(figure, name, value)
    exact = logits(networks, "teacher", 12) * 10**scale + 10**shift
    kept = zscore.stored(exact, format)
    z, rounded = standardize(exact)[0], standardize(kept)[0]
    np.testing.assert_allclose(drawn(figure, "exact"), z, atol=1e-8)
    np.testing.assert_allclose(drawn(figure, "rounded"), rounded, atol=1e-8)
    assert number(figure, "error") == pytest.approx((z - rounded).abs().max().item(), abs=6e-5)
    assert int(said(figure, "distinct")) == len(set(kept[0].tolist()))
    loss = kd_loss(rounded[None], z[None], temperature=2.0).item()
    assert number(figure, "loss") == pytest.approx(abs(loss), abs=6e-6)


@pytest.mark.parametrize("format", list(zscore.FORMATS))
def test_numbers_are_rounded_as_pytorch_rounds_them(show: Any, format: str) -> None:
    """Ties, neighbours of powers of two, numbers below the smallest normal one."""
    page = show("precision").page
    ties = [sign * (1 + k / 2**digits) for digits in (8, 9, 11, 12) for k in range(1, 12) for sign in (1, -1)]
    near = [2.0**e * (1 + d) for e in (-20, -14, -1, 0, 7) for d in (-1e-9, 0, 1e-9, 2.0**-9)]
    values = [*ties, *near, 0.0, 3e-8, 5.97e-8, 6.1e-5, 1e-7, 1000.5, 2049.0, 2051.0]
    row = torch.tensor([values], dtype=torch.float64)
    rounded = page.evaluate("([values, format]) => values.map(v => lskdLive.stored(v, format))", [values, format])
    assert rounded == zscore.stored(row, format)[0].tolist()


@pytest.mark.parametrize(("first", "second", "kind"), [("kd", "teacher", "raw"), ("ctkd_ls", "kd", "z")])
def test_the_gap_cell_by_cell(show: Any, networks: Networks, first: str, second: str, kind: str) -> None:
    figure = show("gap")
    move(figure, "first", first)
    move(figure, "second", second)
    move(figure, "kind", kind)
    a, b = networks.packs[first], networks.packs[second]
    start = gap_matrix(networks.teacher, networks.packs["kd_ls"], standardized=False)
    names = networks.teacher.class_names
    at = np.unravel_index(start.argmax(), start.shape)
    assert [said(figure, "truth"), said(figure, "logit")] == [names[at[0]], names[at[1]]]
    expected = gap_matrix(b, a, standardized=kind == "z")
    order = np.argsort(a.superclass, kind="stable")
    shown = drawn(figure, "cells", "value").reshape(CLASSES, CLASSES)
    np.testing.assert_allclose(shown, expected[np.ix_(order, order)], atol=2e-3)
    assert number(figure, "mean") == pytest.approx(expected.mean(), abs=1e-3)
    assert number(figure, "max") == pytest.approx(expected.max(), abs=7e-3)
    move(figure, "truth", "13")
    move(figure, "logit", "6")
    field = {"raw": "class_mean_logits", "z": "class_mean_z"}[kind]
    assert number(figure, "a") == pytest.approx(getattr(a, field)[13, 6], abs=7e-3)
    assert number(figure, "b") == pytest.approx(getattr(b, field)[13, 6], abs=7e-3)
    assert number(figure, "gap") == pytest.approx(expected[13, 6], abs=7e-3)
    high = "() => Bokeh.documents.map(d => d.get_model_by_name('cells-mapper')).find(m => m).high"
    most = max(gap_matrix(networks.teacher, e, standardized=kind == "z").max() for e in networks.students.values())
    assert figure.page.evaluate(high) == pytest.approx(most)
    move(figure, "same", False)
    assert figure.page.evaluate(high) == pytest.approx(expected.max(), abs=2e-3)


def test_a_class_without_test_images_is_left_empty(page: Any, networks: Networks, tmp_path: Path) -> None:
    def without(pack: Evidence) -> Evidence:
        means = {name: getattr(pack, name).copy() for name in ("class_mean_logits", "class_mean_z")}
        for values in means.values():
            values[13] = np.nan
        return dataclasses.replace(pack, label=np.where(pack.label == 13, 12, pack.label), **means)

    few = dataclasses.replace(networks, packs={name: without(pack) for name, pack in networks.packs.items()})
    write_site(tmp_path, {"gap": gap.gap(few)})
    figure = opened(page, tmp_path)("gap")
    expected = gap_matrix(few.teacher, few.packs["kd_ls"], standardized=False)
    order = np.argsort(few.teacher.superclass, kind="stable")
    shown = drawn(figure, "cells", "value").reshape(CLASSES, CLASSES)
    assert np.isnan(shown[order == 13]).all()
    np.testing.assert_allclose(shown, expected[np.ix_(order, order)], atol=2e-3)
    assert number(figure, "mean") == pytest.approx(np.nanmean(expected), abs=1e-3)
    assert number(figure, "max") == pytest.approx(np.nanmax(expected), abs=7e-3)
    before = said(figure, "truth")
    for row in (order.tolist().index(13), 0):  # nothing is chosen where nothing was measured
        page.mouse.click(*page.evaluate(PLACE, [3, CLASSES - 1 - row]))
        page.wait_for_timeout(300)
        assert said(figure, "truth") == (before if row else few.teacher.class_names[order[0]])


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


def test_a_cell_is_named_where_it_is_pointed_at_and_chosen_where_it_is_touched(
    show: Any, page: Any, networks: Networks
) -> None:
    figure = show("gap")
    order = np.argsort(networks.teacher.superclass, kind="stable")
    names = networks.teacher.class_names
    row, column = 4, 11
    expected = f"true class {names[order[row]]}, logit of {names[order[column]]}"
    for _ in range(20):
        x, y = page.evaluate(PLACE, [column, CLASSES - 1 - row])
        page.mouse.move(x - 30, y - 30)
        page.mouse.move(x, y, steps=4)
        page.wait_for_timeout(200)
        if expected in page.evaluate(TOOLTIP):
            break
    assert expected in page.evaluate(TOOLTIP)
    page.mouse.click(x, y)
    assert (said(figure, "truth"), said(figure, "logit")) == (names[order[row]], names[order[column]])


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_of_superclasses_leave_room_for_the_map(
    chromium: Any, networks: Networks, tmp_path: Path, width: int
) -> None:
    names = np.array([f"large man-made outdoor things {i}" for i in range(len(networks.teacher.superclass_names))])
    packs = {name: dataclasses.replace(pack, superclass_names=names) for name, pack in networks.packs.items()}
    write_site(tmp_path / "site", {"gap": gap.gap(dataclasses.replace(networks, packs=packs))})
    context = chromium.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / "site" / "gap.html").as_uri())
    page.wait_for_selector("#live-gap.lskd-on")
    page.wait_for_function("[...Bokeh.index.roots][0].frame?.bbox.width > 0")
    map_width = page.evaluate("[...Bokeh.index.roots][0].frame.bbox.width")
    label = page.evaluate("Bokeh.documents[0].get_model_by_name('y').axis_label")
    context.close()
    assert map_width > {390: 200, 1280: 350}[width]
    assert label == ("true class, grouped by superclass" if width == 390 else "true class")


@pytest.mark.parametrize(("quantity", "window"), [("test_accuracy", 1), ("test_accuracy", 3), ("train_loss", 2)])
def test_learning_curves(show: Any, records: list[tuple[str, dict[str, Any]]], quantity: str, window: int) -> None:
    figure = show("curves")
    move(figure, "quantity", quantity)
    move(figure, "smoothing", window)
    figure.get_by_label("student alone").set_checked(False)
    for number_, chosen in ((0, ["kd", "kd_ls"]), (1, [])):
        move(figure, "record", str(number_))
        members = records[number_][1]["members"]
        for name in ("alone", "kd", "kd_ls", "ctkd_ls"):
            values = [e[quantity] for e in members[name]["epochs"]] if name in chosen else []
            expected = pd.Series(values, dtype=float).rolling(window, min_periods=1).mean()
            np.testing.assert_allclose(drawn(figure, f"curve-{name}"), expected, rtol=1e-5)
    assert said(figure, "missing") == "Not in this record: KD, KD + LS."
    move(figure, "record", "0")
    move(figure, "start", 4)
    late = pd.Series([e[quantity] for e in records[0][1]["members"]["kd"]["epochs"]]).rolling(window, min_periods=1)
    np.testing.assert_allclose(drawn(figure, "curve-kd"), late.mean()[3:], rtol=1e-5)
    assert drawn(figure, "curve-kd", "x").tolist() == [4, 5]
    assert drawn(figure, "read", "x").tolist() == [5, 5]
    move(figure, "epoch", 1)  # before the first that is shown
    assert drawn(figure, "read", "x").tolist() == [4, 4]
    move(figure, "start", 1)
    move(figure, "record", "1")
    figure.get_by_label("CTKD + LS").set_checked(True)
    move(figure, "epoch", 2)
    members = records[1][1]["members"]
    values = pd.Series([e[quantity] for e in members["ctkd_ls"]["epochs"]]).rolling(window, min_periods=1).mean()
    assert drawn(figure, "read") == pytest.approx([values[1]], rel=1e-5)
    digits = 2 if quantity == "test_accuracy" else 3
    assert said(figure, "values") == f"CTKD + LS {values[1]:.{digits}f} (epoch 2)"


def test_curves_need_a_record() -> None:
    with pytest.raises(ValueError, match="there is no record"):
        curves.curves([])


def test_series_and_titles_hold_what_was_measured(records: list[tuple[str, dict[str, Any]]]) -> None:
    member = records[1][1]["members"]["ctkd_ls"]
    found = curves.series(member)
    assert found["temperature"] == [e.get("temperature") for e in member["epochs"]]
    assert set(found) == set(curves.titles([("x", {"members": {"ctkd_ls": member}})]))
    assert "temperature" not in curves.series(records[0][1]["members"]["kd"])
    assert found["term-kd"] == [e["terms"]["kd"] for e in member["epochs"]]
    assert curves.titles(records)["term-kd"] == ("distillation term", 3)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_phone_follows_the_mode_and_answers_to_keys(chromium: Any, site: Path, name: str) -> None:
    check_on_a_phone(chromium, site, name)


@pytest.mark.parametrize("name", FIGURES)
def test_a_slider_of_powers_begins_at_a_round_number(show: Any, name: str) -> None:
    figure = show(name)
    for slider in figure.locator("input[data-log]").all():
        shown = figure.locator(f"output[for='{slider.get_attribute('id')}']").text_content()
        assert len(shown.partition("e")[0].replace(".", "").strip("0")) <= 1, f"{slider.get_attribute('id')}: {shown}"
