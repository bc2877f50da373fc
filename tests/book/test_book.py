"""The book itself, with the tiny preset: its pages exist, hold their figures and load in a browser from disk.

The numbers on these pages mean nothing; which pages, figures, links and scripts there are is what is looked at.
"""

from __future__ import annotations

import html
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
import yaml

from book.build import pages as notebook_pages
from figures.fingerprint import ROOT
from lskd.errors import LskdError

pytestmark = pytest.mark.book

BUILD = ROOT / "build" / "tiny"
FIGURES = {
    "toy": {"toy"},
    "temperature": {"distillation", "factor", "spread"},
    "zscore": {"entropy", "invariance", "bound", "two_classes"},
    "numerics": {"precision", "epsilon"},
    "losses": {"objective"},
    "networks": {"network_cost"},
    "data": {"classes", "views"},
    "train_teacher": {"learning_curves"},
    "train_students": {"learning_curves"},
    "logit_statistics": {"logit_bars_kd", "logit_spread", "logit_mean_std"},
    "logit_gap": {"logit_gap"},
    "tsne": {"tsne"},
    "results_table": {"results_run", "learning_curves"},
    "cifar100": {"cifar100_results", "learning_curves", "logit_bars_kd", "logit_spread", "logit_gap", "tsne"},
    "one_family": {"family"},
    "benchmarks": {"growth"},
    "imagenet": {"imagenet"},
    "vit": {"vit"},
}
SKIPPED = {"genindex.html", "search.html"}  # the theme's own


@pytest.fixture(scope="session")
def chapters(book: Path) -> list[Path]:
    """Every page that the table of contents names."""
    content = yaml.safe_load((ROOT / "book" / "chapters" / "_toc.yml").read_text(encoding="utf-8"))
    names = [content["root"]] + [c["file"] for part in content["parts"] for c in part["chapters"]]
    return [book / f"{name}.html" for name in names]


def test_every_chapter_is_a_page(book: Path, chapters: list[Path]) -> None:
    assert (book / "index.html").is_file()
    assert [page for page in chapters if not page.is_file()] == []
    assert set(FIGURES) <= set(notebook_pages(ROOT / "book" / "chapters"))
    titles = [re.search(r"<h1>(.*?)<a", page.read_text(encoding="utf-8"))[1] for page in chapters]  # type: ignore[index]
    assert len(set(titles)) == len(titles)  # a notebook that ran twice is two chapters


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_holds_its_figures_with_words_for_who_cannot_see_them(book: Path, name: str) -> None:
    page = (book / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    found = dict(re.findall(r'id="figure-([\w.-]+)".*?alt="([^"]*)"', page, flags=re.DOTALL))
    assert set(found) >= FIGURES[name]
    places = {"train_teacher": BUILD / "teacher" / "figures", "train_students": BUILD / "students" / "figures"}
    for figure in FIGURES[name]:
        sidecar = json.loads((places.get(name, BUILD / "figures" / name) / f"{figure}.json").read_text("utf-8"))
        assert html.unescape(found[figure]) == sidecar["alt"]
        assert len(sidecar["alt"]) > 40
        assert sidecar["caption"][:40] in page


def test_chapters_show_the_numbers_of_this_run(book: Path) -> None:
    record = json.loads((BUILD / "students" / "record.json").read_text(encoding="utf-8"))
    text = (book / "experiment.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    for member in record["members"].values():
        assert f"{member['last']['test_accuracy']:.2f} %" in text
    assert f"{record['dataset']['test_size']:,}" in text


def test_pages_hold_no_open_substitution_and_no_path_of_this_machine(chapters: list[Path]) -> None:
    for page in chapters:
        text = re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"(?<!= )\{\{", text), page.name  # BibTeX has double braces, which keep capitals
        for place in {str(ROOT), str(Path.home()), sys.prefix}:
            assert place == "/" or place not in text, f"{page.name} shows {place}"


class _Links(HTMLParser):
    """Targets and anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        target = values.get("href") if tag in ("a", "link") else values.get("src")
        if target and not re.match(r"[a-z]+:|//", target):
            self.targets.add(target)


def test_every_link_inside_the_book_leads_somewhere(book: Path, chapters: list[Path]) -> None:
    known = {page.resolve(): _Links(page) for page in book.rglob("*.html") if "_static" not in page.parts}
    broken = []
    for page, links in known.items():
        for target in links.targets:
            address, anchor = urldefrag(target)
            file = (page.parent / unquote(address.partition("?")[0])).resolve() if address else page
            if not file.exists() or (anchor and file in known and unquote(anchor) not in known[file].anchors):
                broken.append(f"{page.relative_to(book)}: {target}")
    assert broken == []


LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
IMAGES = """async () => Promise.all([...document.querySelectorAll('article img')].map(async image => {
    image.loading = 'eager';  // whether it is in view or not, and in this mode or in the other
    await image.decode().catch(() => {});
    return {source: image.src.slice(-80), good: image.naturalWidth > 0, words: (image.alt || '').length};
}))"""


@pytest.mark.browser
@pytest.mark.parametrize("look", LOOKS)
def test_pages_load_clean_from_disk(chromium: Any, book: Path, chapters: list[Path], look: str) -> None:
    """No message in the console, no request to another host, no broken image, no sideways scrolling on a phone."""
    context = chromium.new_context(**LOOKS[look])
    context.set_default_timeout(60_000)
    wrong: list[str] = []
    for path in [book / "index.html", *chapters, *(book / name for name in SKIPPED)]:
        name = path.relative_to(book).as_posix()
        page = context.new_page()
        page.on("console", lambda m, name=name: m.type in ("error", "warning") and wrong.append(f"{name}: {m.text}"))
        page.on("pageerror", lambda error, name=name: wrong.append(f"{name}: {error}"))
        page.on("requestfailed", lambda request, name=name: wrong.append(f"{name}: failed {request.url[:200]}"))
        page.on(
            "request",
            lambda request, name=name: (
                request.url.startswith(("file:", "data:", "blob:")) or wrong.append(f"{name}: asks {request.url}")
            ),
        )
        page.goto(path.as_uri(), wait_until="load")
        page.wait_for_timeout(150)
        if name == "index.html":
            page.wait_for_url("**/intro.html")
        for image in page.evaluate(IMAGES):
            if not image["good"]:
                wrong.append(f"{name}: broken image {image['source']}")
            if not image["words"]:
                wrong.append(f"{name}: image without alternative text {image['source']}")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > page.viewport_size["width"]:
            wrong.append(f"{name}: {width} pixels wide")
        page.close()
    context.close()
    assert wrong == []


@pytest.mark.browser
def test_figures_follow_the_page_s_mode(chromium: Any, book: Path) -> None:
    """One variant is seen, the one that is legible, and the switch on the page changes it."""
    context = chromium.new_context(**LOOKS["light"])
    page = context.new_page()
    page.goto((book / "notebooks" / "logit_gap.html").as_uri())
    shown = "() => [...document.querySelectorAll('.lskd-sheet img')].filter(i => i.offsetParent).map(i => i.className)"
    assert page.evaluate(shown) == ["lskd-light dark-light"]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(shown) == ["lskd-dark dark-light"]
    context.close()


@pytest.mark.browser
def test_search_finds_a_page_without_a_server(chromium: Any, book: Path) -> None:
    page = chromium.new_page()
    page.goto((book / "search.html").as_uri() + "?q=temperature")
    page.wait_for_selector("#search-results li a", timeout=60_000)
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.getAttribute('href'))")
    assert any(target.startswith("notebooks/temperature.html") for target in found)
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("look", LOOKS)
def test_pages_are_accessible(chromium: Any, book: Path, chapters: list[Path], look: str) -> None:
    """axe-core finds no serious or critical violation in a page's own content."""
    from axe_playwright_python.sync_playwright import Axe

    context = chromium.new_context(**LOOKS[look])
    context.set_default_timeout(60_000)
    page = context.new_page()
    wrong = []
    for path in chapters:
        page.goto(path.as_uri(), wait_until="load")
        if page.locator(".lskd-live").count():
            page.wait_for_selector(".lskd-live.lskd-on")
        found = Axe().run(page, context="article")
        for violation in found.response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                where = violation["nodes"][0]
                wrong.append(f"{path.name}: {violation['id']} ({len(violation['nodes'])}): {where['html'][:160]}")
    context.close()
    assert wrong == []


@pytest.mark.browser
def test_nothing_is_cut_at_the_edge_of_a_sheet(chromium: Any, book: Path, chapters: list[Path]) -> None:
    """At the width of A4 between Chromium's margins; an equation may be as wide as it is."""
    page = chromium.new_page(viewport={"width": 717, "height": 1000})
    page.emulate_media(media="print")
    outside = """() => [...document.querySelectorAll(".bd-article :is(table, pre, img, p)")].filter(e =>
        e.getBoundingClientRect().right > innerWidth + 1).map(e => e.textContent.trim().slice(0, 60))"""
    wrong = {}
    for path in chapters:
        page.goto(path.as_uri())
        if found := page.evaluate(outside):
            wrong[path.name] = found
    page.close()
    assert wrong == {}


@pytest.mark.browser
def test_the_book_is_printed_with_its_code_and_still_pictures(
    chromium: Any, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from book import pdf

    monkeypatch.chdir(ROOT)
    given = {"sources": "build/tiny-book", "facts": "build/tiny/facts.json", "output": tmp_path / "book.pdf"}
    printed = pdf.build(**given).read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 500_000
    assert not list(Path("build").glob(".pdf-*"))
    with pytest.raises(LskdError, match="there is no assembled book; make it first: make book"):
        pdf.build(sources=tmp_path, output=tmp_path / "other.pdf")
    monkeypatch.setattr(pdf, "browser", lambda: None)
    with pytest.raises(LskdError, match="printing needs a Chromium"):
        pdf.build(**given)
