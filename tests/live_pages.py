"""Live figures, each on a page of its own with the book's scripts and styles, and what is read off them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from book.build import copy_static
from figures.live.by_itself import bokeh_script
from figures.live.figure import Live
from figures.live.rows import of_all_kinds
from figures.networks import Networks
from lskd.losses import kd_loss

Row = torch.Tensor
WORDS = (
    '<p style="margin-top:1500px"><a class="lskd-word" href="?temperature=8;panel=gradient#live-toy">to 8</a> '
    '<a class="lskd-word" href="?scale=5;panel=length#live-objective">fivefold</a></p><p style="height:1500px"></p>'
)


def move(figure: Any, control: str, value: float | str | bool) -> None:
    """Set a control as a person does: the element's value, and the event that follows."""
    found = figure.locator(f"[data-control='{control}']")
    found.evaluate("e => e.closest('details')?.setAttribute('open', '')")
    if isinstance(value, bool):
        found.set_checked(value)
    elif isinstance(value, str):
        found.select_option(value)
    else:
        found.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value)


def said(figure: Any, name: str) -> str:
    return str(figure.locator(f"[data-say='{name}']").inner_text()).replace("−", "-")


def write_page(folder: Path, figure: Live) -> Path:
    """A page with one figure, and words below it that move it."""
    static = folder / "_static"
    if not static.is_dir():
        copy_static(static)
        (static / "lskd-bokeh").mkdir()
        shutil.copyfile(bokeh_script(), static / "lskd-bokeh" / "bokeh.min.js")
    head = "".join(f'<script src="_static/{path.name}"></script>' for path in sorted(static.glob("*.js")))
    for style in ("lskd", "lskd-live", "lskd-reading"):
        head += f'<link rel="stylesheet" href="_static/{style}.css">'
    page = folder / f"{figure.name}.html"
    page.write_text(
        f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{figure.name}</title>'
        f'<meta name="viewport" content="width=device-width">{head}</head><body><article class="bd-article">'
        f"<h1>{figure.name}</h1>{figure.to_html()}{WORDS}</article></body>",
        encoding="utf-8",
    )
    return page


def opened(page: Any, path: Path) -> Any:
    """The figure of a page, once it is up."""
    page.goto(path.as_uri())
    page.wait_for_selector(f"#live-{path.stem}.lskd-on")
    return page.locator(f"#live-{path.stem}")


def put(figure: Any, **controls: float | str | bool) -> None:
    """Set controls as a person does, one after the other."""
    for name, value in controls.items():
        move(figure, name, value)


def tells(figure: Any, **expected: float | str | torch.Tensor) -> None:
    """The readout has these words, and these numbers to the digits that it writes."""
    for name, value in expected.items():
        text = said(figure, name)
        if isinstance(value, str):
            assert text == value
            continue
        mantissa, _, power = text.rstrip(" %°").partition("e")
        unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
        assert float(text.rstrip(" %°")) == pytest.approx(float(value), abs=0.6 * unit), name


def drawn(figure: Any, source: str, column: str = "y") -> np.ndarray:
    """A column of what a plot holds; null counts as NaN."""
    values = figure.page.evaluate(
        "([name, column]) => Bokeh.documents.map(d => d.get_model_by_name(name)).filter(m => m)"
        ".map(m => Array.from(m.data[column]).map(v => Number.isNaN(v) ? null : v))[0]",
        [source, column],
    )
    return np.array([np.nan if v is None else v for v in values])


def draws(figure: Any, source: str, y: Any, *, rtol: float = 1e-5, atol: float = 1e-7) -> None:
    """A plot holds these values."""
    np.testing.assert_allclose(drawn(figure, source), y, rtol=rtol, atol=atol, err_msg=source)


def logits(networks: Networks, member: str, image: int) -> Row:
    """The row that a figure shows as image number ``image``, ``[1, classes]``, float64."""
    return torch.from_numpy(networks.packs[member].logits[of_all_kinds(networks)[image]]).double()[None]


def with_gradient(student: Row, teacher: Row, temperature: float, on: bool, **options: Any) -> tuple[float, Row]:
    """The KD loss and its gradient by the student's logits."""
    z = student.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two classes are meant here
        loss = kd_loss(z, teacher, temperature=temperature, standardize=on, **options)
    loss.backward()
    assert z.grad is not None
    return loss.item(), z.grad[0]


Show = Callable[..., Any]
