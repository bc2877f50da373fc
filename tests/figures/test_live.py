"""Live figures in a browser: every control changes its figure to the value that Python computes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from controls import move, said

from figures.fingerprint import ROOT
from figures.live import figure as live
from lskd import evidence
from lskd.losses import kd_loss, standardize
from paper.toy import TOY

pytestmark = [pytest.mark.book, pytest.mark.browser]


def show(page: Any, book: Path, name: str, figure: str) -> Any:
    """The live figure of a notebook's page, once it is up."""
    page.goto((book / "notebooks" / f"{name}.html").as_uri())
    page.wait_for_selector(f"#live-{figure}.lskd-on")
    return page.locator(f"#live-{figure}")


def drawn(page: Any, source: str) -> np.ndarray:
    """What a plot holds in its column y."""
    values = page.evaluate(
        "name => Bokeh.documents.map(d => d.get_model_by_name(name)).filter(m => m).map(m => Array.from(m.data.y))",
        source,
    )
    return np.array(values, dtype=np.float64)


def logits(name: str, scale: float = 1.0) -> torch.Tensor:
    return torch.tensor([TOY[name]], dtype=torch.float64) * scale


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(("temperature", "power"), [(1.0, 0.0), (3.5, 0.0), (0.5, 1.0), (8.0, -0.5)])
def test_the_toy_case_shows_what_python_computes(
    page: Any, book: Path, on: bool, temperature: float, power: float
) -> None:
    figure = show(page, book, "toy", "toy")
    move(figure, "standardize", on)
    move(figure, "temperature", temperature)
    move(figure, "scale", power)
    teacher = logits("teacher")
    for name, scale in (("s1", 1.0), ("s2", 10.0**power)):
        student = logits(name, scale).requires_grad_()
        loss = kd_loss(student, teacher, temperature=temperature, standardize=on)
        loss.backward()
        assert float(said(figure, name)) == pytest.approx(loss.item(), abs=6e-5)
        seen = standardize(student.detach()) if on else student.detach()
        inputs, probabilities, gradient = drawn(page, name)
        np.testing.assert_allclose(inputs, seen[0], atol=1e-9)
        np.testing.assert_allclose(probabilities, torch.softmax(seen / temperature, -1)[0], atol=1e-9)
        assert student.grad is not None
        np.testing.assert_allclose(gradient, -student.grad[0], atol=1e-6)
    assert figure.locator("output").all_inner_texts() == [f"{temperature:.1f}", f"{10**power:.2f}"]


def test_the_toy_case_tells_its_story(page: Any, book: Path) -> None:
    figure = show(page, book, "toy", "toy")
    assert said(figure, "verdict") == "This loss prefers student 1, which is wrong."
    move(figure, "standardize", True)
    assert said(figure, "verdict") == "This loss prefers student 2, which is right."
    assert said(figure, "s2") == "0.0000"


def test_controls_answer_to_the_keyboard(page: Any, book: Path) -> None:
    figure = show(page, book, "toy", "toy")
    before = said(figure, "s1")
    figure.locator("[data-control='temperature']").focus()
    page.keyboard.press("ArrowRight")
    assert said(figure, "s1") != before
    figure.locator("[data-control='standardize']").focus()
    page.keyboard.press("Space")
    assert said(figure, "verdict").endswith("which is right.")


@pytest.mark.parametrize("member", ["kd", "dkd_ls", "alone"])
def test_any_image_shows_the_logits_of_the_evidence(page: Any, book: Path, member: str) -> None:
    figure = show(page, book, "logit_statistics", "sample")
    student = evidence.load(ROOT / "build" / "tiny" / "students" / f"{member}.evidence.npz")
    teacher = evidence.load(ROOT / "build" / "tiny" / "teacher" / "teacher.evidence.npz")
    i, temperature = 17, 3.0
    move(figure, "image", i)
    move(figure, "network", member)
    move(figure, "temperature", temperature)
    ours, theirs = (torch.from_numpy(e.logits[i : i + 1]).double() for e in (student, teacher))
    shown = {
        "logits": ours,
        "z": standardize(ours),
        "p": torch.softmax(ours / temperature, -1),
        "pz": torch.softmax(standardize(ours) / temperature, -1),
    }
    for mode, expected in shown.items():
        move(figure, "show", mode)
        np.testing.assert_allclose(drawn(page, "student")[0], expected[0], rtol=1e-5, atol=1e-7)
    assert said(figure, "truth") == student.class_names[student.label[student.logits_index[i]]]
    assert said(figure, "student") == student.class_names[int(ours.argmax())]
    for name, on in (("plain", False), ("standardized", True)):
        loss = kd_loss(ours, theirs, temperature=temperature, standardize=on).item()
        assert float(said(figure, name)) == pytest.approx(loss, abs=6e-4)
    assert float(said(figure, "spread_student")) == pytest.approx(ours.std(correction=0).item(), abs=6e-3)


def test_the_feature_space_is_filtered_and_names_what_is_pointed_at(page: Any, book: Path) -> None:
    figure = show(page, book, "tsne", "features")
    pack = evidence.load(ROOT / "build" / "tiny" / "students" / "kd.evidence.npz")
    move(figure, "network", "kd")
    inside = pack.superclass[pack.label] == 3
    move(figure, "group", "3")
    assert said(figure, "shown") == f"{inside.sum():,}"
    assert said(figure, "right") == f"{(inside & (pack.prediction == pack.label)).sum():,}"
    move(figure, "wrong", True)
    shown = np.flatnonzero(inside & (pack.prediction != pack.label))
    assert said(figure, "shown") == f"{len(shown):,}"
    first = int(shown[0])
    expected = f"{pack.class_names[pack.label[first]]}, predicted {pack.class_names[pack.prediction[first]]}"
    for _ in range(20):  # until the plot has settled in its new ranges
        x, y = page.evaluate(WHERE)
        page.mouse.move(x - 40, y - 40)
        page.mouse.move(x, y, steps=4)
        page.wait_for_timeout(300)
        if expected in page.evaluate(TOOLTIP):
            break
    assert expected in page.evaluate(TOOLTIP)


WHERE = """() => {
    const plot = document.querySelector("#live-features [data-plot='points']");
    const view = [...Bokeh.index.roots].find(v => plot.contains(v.el));
    view.el.scrollIntoView({block: "center", behavior: "instant"});
    const {data} = view.model.document.get_model_by_name("points");
    const box = view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute(data.x[0]), box.y + view.frame.y_scale.compute(data.y[0])];
}"""
TOOLTIP = """() => {
    const all = root => [...root.querySelectorAll("*")].flatMap(e => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]);
    return all(document).filter(e => e.matches(".bk-Tooltip"))
        .map(e => (e.shadowRoot ?? e).textContent).join(" ");
}"""


def test_a_still_picture_stands_in_without_scripts(chromium: Any, book: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "notebooks" / "toy.html").as_uri())
    assert page.locator("#live-toy .lskd-still img").first.is_visible()
    assert not page.locator("#live-toy .lskd-stage").is_visible()
    context.close()


def test_where_a_notebook_is_run_by_hand_no_control_is_shown_that_does_nothing(
    chromium: Any, page: Any, book: Path, tmp_path: Path
) -> None:
    """JupyterLab shows a figure's HTML without the script and the style of the pages."""
    figure = re.search(r'<figure class="lskd-figure lskd-live".*</figure>', toy(book), flags=re.DOTALL)
    assert figure
    (tmp_path / "lab.html").write_text(f"<!doctype html><meta charset='utf-8'><p>{figure[0]}", encoding="utf-8")
    context = chromium.new_context()
    lab = context.new_page()
    lab.goto((tmp_path / "lab.html").as_uri())
    assert lab.locator("input").count() > 0
    assert lab.locator("input:visible").count() == 0
    assert lab.locator(".lskd-elsewhere").is_visible()
    context.close()
    page.goto((book / "notebooks" / "toy.html").as_uri())
    page.wait_for_selector("#live-toy.lskd-on")
    assert page.locator("#live-toy input:visible").count() > 0
    assert not page.locator(".lskd-elsewhere").is_visible()


def toy(book: Path) -> str:
    return (book / "notebooks" / "toy.html").read_text(encoding="utf-8")


def test_bokeh_is_shipped_once_and_loaded_only_where_it_is_used(page: Any, book: Path) -> None:
    assert len(list(book.rglob("bokeh.min.js"))) == 1
    page.goto((book / "glossary.html").as_uri())
    assert not page.evaluate("'Bokeh' in window")
    for html in (book / "notebooks").glob("*.html"):
        assert html.stat().st_size < 3_000_000, html.name


PAGES = {
    "toy": {"toy"},
    "temperature": {"distillation", "factor", "spread"},
    "zscore": {"entropy", "invariance", "bound", "two_classes"},
    "numerics": {"precision", "epsilon"},
    "losses": {"objective"},
    "logit_statistics": {"sample"},
    "logit_gap": {"gap"},
    "tsne": {"features"},
    "results_table": {"curves"},
}


@pytest.mark.parametrize("name", PAGES)
def test_every_live_figure_comes_up_on_its_page(page: Any, book: Path, name: str) -> None:
    """tests/figures/test_live_figures.py holds what each of them shows."""
    page.goto((book / "notebooks" / f"{name}.html").as_uri())
    for figure in PAGES[name]:
        page.wait_for_selector(f"#live-{figure}.lskd-on")
    found = page.eval_on_selector_all(".lskd-live", "all => all.map(figure => figure.id)")
    assert set(found) == {f"live-{figure}" for figure in PAGES[name]}
    assert page.locator("#live-curves [data-control='record'] option").count() > 1 or name != "results_table"


def test_arrays_are_packed_as_they_are() -> None:
    import base64

    stored = live.pack(np.arange(6).reshape(2, 3))
    assert np.frombuffer(base64.b64decode(stored["base64"]), "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    scaled = live.pack([[0.5, -2.0], [1.25, 0.0]], "scaled")
    whole = np.frombuffer(base64.b64decode(scaled["base64"]), "<i2")
    np.testing.assert_allclose(whole * scaled["scale"], [0.5, -2.0, 1.25, 0.0], atol=2 / 65534)
    with pytest.raises(ValueError, match="expected float32, int16 or scaled"):
        live.pack([1], "float64")
