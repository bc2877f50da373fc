"""Live words: phrases in the text that set the controls of a figure on the same page.

``[raise it to 8](live:toy?temperature=8)`` in a chapter becomes a link with the class ``lskd-word`` and the address
``?temperature=8#live-toy`` (``myst_url_schemes`` in ``_config.yml``). ``book/_static/lskd-reading-words.js`` makes it
act. Several controls are separated by ``;``. A slider takes the number that it shows, or ``first`` or ``last``; a box
takes ``true`` or ``false``; a list takes one of its values. ``panel=NAME`` is the plot that the words speak of.
"""

from __future__ import annotations

import math
from contextlib import suppress
from urllib.parse import unquote, urldefrag

from bs4 import Tag

from book.pages import Pages
from lskd.errors import LskdError


def check(pages: Pages) -> None:
    """Hold each live word to the controls of its figure.

    Raises:
        LskdError: words that cannot do what they say, a line each.
    """
    found = []
    for page, tree in pages.trees.items():
        found += [f"{page}.html: the live word {word!r} {complaint}" for word, complaint in _wrong(tree)]
    if found:
        raise LskdError("\n  ".join(["the book was not built:", *found]))


def _wrong(page: Tag) -> list[tuple[str, str]]:
    figures = {str(figure["id"]): figure for figure in page.select("figure.lskd-live[id]")}
    found = []
    for link in page.select("a.lskd-word"):
        address, place = urldefrag(str(link["href"]))
        word = " ".join(link.get_text().split())
        if place not in figures:
            known = ", ".join(name.removeprefix("live-") for name in figures) or "none"
            found.append((word, f"names the figure {place.removeprefix('live-')!r}; live figures here: {known}"))
            continue
        controls = {str(c["data-control"]): c for c in figures[place].select("[data-control]")}
        panels = [str(plot["data-plot"]) for plot in figures[place].select("[data-plot]")]
        for setting in address.removeprefix("?").split(";"):
            name, equal, value = (unquote(part) for part in setting.partition("="))
            if name == "panel":
                wrong = f"speaks of the panel {value!r}; there are: {', '.join(panels)}"
                found += [] if value in panels else [(word, wrong)]
                continue
            if not equal or name not in controls:
                found.append((word, f"sets {setting!r}; expected NAME=VALUE with one of: {', '.join(controls)}"))
            elif complaint := _complaint(controls[name], value):
                found.append((word, f"sets {name} to {value!r}; expected {complaint}"))
    return found


def _complaint(control: Tag, value: str) -> str:
    """What a control expects, or nothing where the value is among it."""
    if control.name == "select":
        options = [str(option.get("value", option.get_text())) for option in control.select("option")]
        return "" if value in options else f"one of: {', '.join(options)}"
    if control.get("type") == "checkbox":
        return "" if value in ("true", "false") else "true or false"
    if control.get("type") != "range" or value in ("first", "last"):
        return ""
    if control.has_attr("data-stops"):
        stops = str(control["data-stops"]).split()
        return "" if value in stops else f"one of: {', '.join(stops)}"
    low, high, step = (float(str(control[name])) for name in ("min", "max", "step"))
    log = control.has_attr("data-log")
    shown = f"{10**low:g} to {10**high:g}" if log else f"{low:g} to {high:g} in steps of {step:g}"
    with suppress(ValueError):  # no number, or one without a logarithm
        steps = ((math.log10(float(value)) if log else float(value)) - low) / step
        if -1e-6 <= steps <= (high - low) / step + 1e-6 and (log or abs(steps - round(steps)) < 1e-6):
            return ""
    return shown
