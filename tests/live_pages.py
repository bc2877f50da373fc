"""Live figures, each on a page of its own with the book's scripts and styles, and what is read off them."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from controls import said

from book.build import copy_static
from figures.live.by_itself import bokeh_script
from figures.live.figure import Live
from figures.live.rows import of_all_kinds
from figures.networks import Networks
from lskd.losses import kd_loss

Row = torch.Tensor


def write_site(folder: Path, made: Mapping[str, Live], below: str = "") -> None:
    """One page a figure, with the same HTML below each."""
    static = folder / "_static"
    copy_static(static)
    (static / "lskd-bokeh").mkdir()
    shutil.copyfile(bokeh_script(), static / "lskd-bokeh" / "bokeh.min.js")
    scripts = "".join(f'<script src="_static/{path.name}"></script>' for path in sorted(static.glob("*.js")))
    scripts += "".join(
        f'<link rel="stylesheet" href="_static/{name}.css">' for name in ("lskd", "lskd-live", "lskd-reading")
    )
    for name, figure in made.items():
        (folder / f"{name}.html").write_text(
            f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{name}</title>'
            '<meta name="viewport" content="width=device-width">'
            f"{scripts}</head><body><article class='bd-article'><h1>{name}</h1>{figure.to_html()}{below}"
            "</article></body>",
            encoding="utf-8",
        )


def opened(page: Any, site: Path) -> Callable[[str], Any]:
    """Opens a figure of a site and waits until it is up."""

    def show(name: str) -> Any:
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_selector(f"#live-{name}.lskd-on")
        return page.locator(f"#live-{name}")

    return show


def drawn(figure: Any, source: str, column: str = "y") -> np.ndarray:
    """A column of what a plot holds; null counts as NaN."""
    values = figure.page.evaluate(
        "([name, column]) => Bokeh.documents.map(d => d.get_model_by_name(name)).filter(m => m)"
        ".map(m => Array.from(m.data[column]).map(v => Number.isNaN(v) ? null : v))[0]",
        [source, column],
    )
    return np.array([np.nan if v is None else v for v in values])


def number(figure: Any, name: str) -> float:
    return float(said(figure, name))


def logits(networks: Networks, member: str, image: int) -> Row:
    """The row that a figure shows as image number ``image``, ``[1, classes]``, float64."""
    return torch.from_numpy(networks.packs[member].logits[of_all_kinds(networks)[image]]).double()[None]


def with_gradient(student: Row, teacher: Row, temperature: float, on: bool, **options: Any) -> tuple[float, Row]:
    z = student.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two classes are meant here
        loss = kd_loss(z, teacher, temperature=temperature, standardize=on, **options)
    loss.backward()
    assert z.grad is not None
    return loss.item(), z.grad[0]


def check_on_a_phone(chromium: Any, site: Path, name: str) -> None:
    """No sideways scrolling at 390 pixels, other colours in the other mode, named controls, keys that work."""
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((site / f"{name}.html").as_uri())
    page.wait_for_selector(f"#live-{name}.lskd-on")
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
        before = json.dumps([slider.input_value(), page.locator("output").first.inner_text()])
        slider.focus()
        page.keyboard.press("ArrowRight" if slider.input_value() != slider.get_attribute("max") else "ArrowLeft")
        assert json.dumps([slider.input_value(), page.locator("output").first.inner_text()]) != before
    else:
        page.locator("select").first.focus()
        before = page.locator(".lskd-readout").inner_text()
        page.keyboard.press("ArrowDown")
        assert page.locator(".lskd-readout").inner_text() != before
    context.close()
    assert wrong == []
