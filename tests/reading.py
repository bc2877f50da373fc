"""What tests of pages share: ways to look at a page, pages that are up, small pages and notebooks, processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from book.pages import Chapter, Pages, written

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


@contextmanager
def reader(chromium: Any, **options: Any) -> Iterator[Any]:
    """A page for a reader of some kind, who is patient on a busy machine."""
    with chromium.new_context(**options) as context:
        context.set_default_timeout(60_000)
        yield context.new_page()


def complaints(page: Any) -> list[str]:
    """What a page says of mistakes in the console, from now on."""
    heard: list[str] = []
    page.on("console", lambda m: m.type in ("error", "warning") and heard.append(m.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    return heard


def go(page: Any, book: Path, name: str, *, live: bool = False) -> Any:
    """A page of the book, once it is up; with its live figures if asked for."""
    page.goto((book / f"{name}.html").as_uri())
    if live:
        page.wait_for_function("[...document.querySelectorAll('.lskd-live')].every(f => f.matches('.lskd-on'))")
    return page


def pages(folder: Path, texts: dict[str, str], notebooks: Path = Path("notebooks")) -> Pages:
    """Built pages, by name, in the order of a table of contents."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return Pages(folder, [Chapter(name) for name in texts], notebooks)


def text(built: Pages, page: str) -> str:
    return written(built.trees[page])


# Contrast is slow to judge, and a page has two thousand pieces of text in fifty looks (colour, size, weight and the
# grounds below): three of each look are judged.
AXE = """async ([context, judged]) => {
    const times = {}, grounds = new Map(), found = [];
    const ground = e => {
        if (e && !grounds.has(e)) {
            const { backgroundColor, backgroundImage, opacity, filter } = getComputedStyle(e);
            const own = [backgroundColor, backgroundImage, opacity, filter].join();
            grounds.set(e, ground(e.parentElement) + (own === "rgba(0, 0, 0, 0),none,1,none" ? "" : `|${own}`));
        }
        return grounds.get(e) ?? "";
    };
    const few = e => {
        const own = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("");
        if (!own.trim() || !e.checkVisibility({ visibilityProperty: true })) return false;
        const s = getComputedStyle(e);
        const look = [s.color, s.fontSize, s.fontWeight, s.textShadow, e.matches(":disabled"), ground(e)].join();
        return (times[look] = (times[look] ?? 0) + 1) <= 3;
    };
    const only = { resultTypes: ["violations"] };
    if (judged.includes("rest")) {
        const rules = { "color-contrast": { enabled: false } };
        found.push(...(await axe.run(context, { ...only, rules })).violations);
    }
    if (judged.includes("contrast")) {
        const include = [...document.querySelectorAll(`:is(${context}), :is(${context}) *`)].filter(few);
        const runOnly = ["color-contrast"];
        if (include.length) found.push(...(await axe.run({ include }, { ...only, runOnly })).violations);
    }
    return found;
}"""
JUDGED = {
    "dark": ["contrast"],
    "narrow": ["rest"],
}  # dark pages differ in their colours alone, narrow ones but for these


def violations(page: Any, context: str = "article", *, least: str = "serious", look: str = "") -> list[str]:
    """What axe-core finds there of at least this impact."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    impacts = ["moderate", "serious", "critical"]
    return [
        f"{found['id']} ({len(found['nodes'])}): {found['nodes'][0]['html'][:160]}"
        for found in page.evaluate(AXE, [context, JUDGED.get(look, ["rest", "contrast"])])
        if found["impact"] in impacts[impacts.index(least) :]
    ]


def in_every_look(page: Any, context: str = "article") -> list[str]:
    """What axe-core finds there on a phone, on a desk and in the dark, and where the page does not fit.

    On a phone first, with which the page has to be loaded: a script finds then what has to be scrolled.
    """
    wrong = []
    for look in ("narrow", "light", "dark"):
        options = LOOKS[look]
        page.set_viewport_size(options["viewport"])
        page.emulate_media(color_scheme=options["color_scheme"])
        page.wait_for_selector(f"html[data-theme={options['color_scheme']}]")
        found = violations(page, context, look=look) + ([] if fits(page) else ["sideways scrolling"])
        wrong += [f"{look}: {said}" for said in found]
    return wrong


def fits(page: Any) -> bool:
    """Whether nobody has to scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"])


def inside(page: Any, box: dict[str, float]) -> bool:
    """Whether all of a box is in the window."""
    size = page.viewport_size
    across, down = box["x"] + box["width"] <= size["width"], box["y"] + box["height"] <= size["height"]
    return box["x"] >= 0 and box["y"] >= 0 and across and down


def cell(source: str, *tags: str, kind: str = "code", **more: Any) -> dict[str, Any]:
    """A cell of a notebook; ``kind`` may be "markdown"."""
    made: dict[str, Any] = {"cell_type": kind, "metadata": {"tags": list(tags)} if tags else {}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {}) | more


def write_notebook(path: Path, *cells: dict[str, Any]) -> Path:
    """Cells as a notebook, in a folder that is made for it."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    numbered = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    content = {"cells": numbered, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def command_line(pid: int) -> str:
    """Empty when the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
