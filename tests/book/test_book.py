"""The book itself, with the tiny preset: its pages exist, hold their figures and load in a browser from disk.

The numbers on these pages mean nothing; which pages, figures, links and scripts there are is what is looked at.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from reading import LOOKS, complaints, fits, in_every_look, reader

from book.build import chapters as listed
from book.pages import Pages
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
    "results_table": {"results_run"},
    "cifar100": {"cifar100_results", "logit_bars_kd", "logit_spread", "logit_gap", "tsne"},
    "one_family": {"family"},
    "benchmarks": {"growth"},
    "imagenet": {"imagenet"},
    "vit": {"vit"},
}
LIVE = {
    "toy": {"toy"},
    "temperature": {"distillation", "factor", "spread"},
    "zscore": {"entropy", "invariance", "bound", "two_classes"},
    "numerics": {"precision", "epsilon"},
    "losses": {"objective"},
    "logit_statistics": {"sample"},
    "logit_gap": {"gap"},
    "tsne": {"features"},
    "results_table": {"curves"},
    "cifar100": {"curves", "gap", "sample"},
}
SKIPPED = {"genindex.html", "search.html"}  # the theme's own


@pytest.fixture(scope="session")
def chapters(book: Path) -> list[Path]:
    """Every page that the table of contents names."""
    return [book / f"{name}.html" for name in listed(ROOT / "book" / "chapters")]


def test_every_chapter_is_a_page(book: Path, chapters: list[Path]) -> None:
    assert (book / "index.html").is_file()
    assert [page for page in chapters if not page.is_file()] == []
    assert {f"{name}.html" for name in FIGURES} <= {page.name for page in chapters}
    titles = [re.search(r"<h1>(.*?)<a", page.read_text(encoding="utf-8"))[1] for page in chapters]  # type: ignore[index]
    assert len(set(titles)) == len(titles)  # a notebook that ran twice is two chapters


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_holds_its_figures_with_words_for_who_cannot_see_them(book: Path, name: str) -> None:
    page = (book / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    found = dict(re.findall(r'id="figure-([\w.-]+)".*?alt="([^"]*)"', page, flags=re.DOTALL))
    assert set(found) >= FIGURES[name]
    words = re.sub(r"</?span[^>]*>", "", page).replace("\u00a0", " ")  # without what keeps them on a line
    places = {"train_teacher": BUILD / "teacher" / "figures", "train_students": BUILD / "students" / "figures"}
    for figure in FIGURES[name]:
        sidecar = json.loads((places.get(name, BUILD / "figures" / name) / f"{figure}.json").read_text("utf-8"))
        assert html.unescape(found[figure]) == sidecar["alt"]
        assert len(sidecar["alt"]) > 40
        assert sidecar["caption"][:40] in words


def test_chapters_show_the_numbers_of_this_run(book: Path) -> None:
    record = json.loads((BUILD / "students" / "record.json").read_text(encoding="utf-8"))
    text = (book / "experiment.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    for member in record["members"].values():
        assert f"{member['last']['test_accuracy']:.2f} %" in text
    assert f"{record['dataset']['test_size']:,}" in text


def test_pages_hold_no_open_substitution_and_no_path_of_this_machine(book: Path, chapters: list[Path]) -> None:
    for page in chapters:
        text = re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        name = page.relative_to(book)
        assert not re.search(r"(?<!= )\{\{", text), name  # BibTeX has double braces, which keep capitals
        for place in {str(ROOT), str(Path.home()), sys.prefix}:
            assert place == "/" or place not in text, f"{name} shows {place}"


def test_every_link_inside_the_book_leads_somewhere(book: Path) -> None:
    trees = {book / f"{name}.html": tree for name, tree in Pages(book, []).trees.items()}
    anchors = {
        page: {tag[key] for key in ("id", "name") for tag in tree.select(f"[{key}]")} for page, tree in trees.items()
    }
    broken = []
    for page, tree in trees.items():
        for target in {str(tag.get("href") or tag.get("src")) for tag in tree.select("a[href], link[href], [src]")}:
            address, anchor = urldefrag(target)
            file = Path(os.path.normpath(page.parent / unquote(address.partition("?")[0]))) if address else page
            if re.match(r"[a-z]+:|//", target):
                continue
            if not file.exists() or (anchor and file in anchors and unquote(anchor) not in anchors[file]):
                broken.append(f"{page.relative_to(book)}: {target}")
    assert broken == []


IMAGES = """async () => Promise.all([...document.querySelectorAll('article img')].map(async image => {
    image.loading = 'eager';  // whether it is in view or not, and in this mode or in the other
    await image.decode().catch(() => {});
    return {source: image.src.slice(-80), good: image.naturalWidth > 0, words: (image.alt || '').length};
}))"""
PICTURES = """() => ["light", "dark"].flatMap(mode => {
    document.documentElement.dataset.theme = mode;
    return [...document.querySelectorAll("article img.dark-light")].filter(i => i.closest("div").offsetParent)
        .filter(i => (i.offsetParent !== null) !== i.classList.contains(`lskd-${mode}`)).map(i => i.src.slice(-80));
})"""
HOLES = """() => [...document.querySelectorAll("article section")].flatMap(section => {
    const seen = [...section.children].filter(e => e.getClientRects().length);
    return seen.slice(1).filter((e, i) => e.getBoundingClientRect().top - seen[i].getBoundingClientRect().bottom > 64)
        .map(e => e.textContent.trim().slice(0, 50));
})"""
BURST = """() => [...document.querySelectorAll("article td code")].filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.textContent)"""
OUTSIDE = """() => [...document.querySelectorAll(".bd-article :is(table, pre, img, p)")].filter(e =>
    e.getBoundingClientRect().right > innerWidth + 1).map(e => e.textContent.trim().slice(0, 60))"""


def listening(page: Any) -> list[str]:
    """What a page complains of or asks of other hosts, from now on."""
    heard = complaints(page)
    page.on("requestfailed", lambda request: heard.append(f"failed {request.url[:200]}"))
    own = ("file:", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else heard.append(f"asks {request.url}"))
    return heard


@pytest.mark.browser
@pytest.mark.parametrize("part", range(4))
def test_pages_load_clean_from_disk_for_everybody(chromium: Any, book: Path, chapters: list[Path], part: int) -> None:
    """No message in the console, no request to another host, no broken image, no sideways scrolling on a phone.

    A chapter's live figures move, and nothing else loads Bokeh; pictures follow the page's mode; what is out of sight
    leaves no hole. In its own content axe-core finds no serious or critical violation, on a phone, on a desk and in the
    dark, and nothing is cut at the edge of a sheet of A4 between Chromium's margins; an equation may be wide.
    """
    found = {}
    for path in [book / "index.html", *chapters, *(book / name for name in SKIPPED)][part::4]:
        with reader(chromium, **LOOKS["narrow"]) as page:
            heard = listening(page)
            page.goto(path.as_uri(), wait_until="load")
            page.wait_for_timeout(150)
            if path.name == "index.html":
                page.wait_for_url("**/intro.html")
            images = page.evaluate(IMAGES)
            wrong = [*heard]  # axe-core asks for style sheets
            wrong += [f"broken image {image['source']}" for image in images if not image["good"]]
            wrong += [f"image without alternative text {image['source']}" for image in images if not image["words"]]
            wrong += [] if fits(page) else ["sideways scrolling"]
            if path in chapters:
                page.wait_for_function("[...document.querySelectorAll('.lskd-live')].every(f => f.matches('.lskd-on'))")
                live = set(page.eval_on_selector_all(".lskd-live", "all => all.map(f => f.id.replace('live-', ''))"))
                wrong += [] if live == LIVE.get(path.stem, set()) else [f"live figures are {sorted(live)}"]
                wrong += [] if page.evaluate("'Bokeh' in window") == bool(live) else ["Bokeh is there, or is missing"]
                wrong += ["words for a page without scripts"] if page.locator(".lskd-elsewhere:visible").count() else []
                records = page.locator("#live-curves [data-control='record'] option").count()
                wrong += ["curves of one record"] if records == 1 else []
                wrong += in_every_look(page)
                wrong += [f"longer than its box: {name}" for name in page.evaluate(BURST)]
                wrong += [f"a hole at {text}" for text in page.evaluate(HOLES)]
                wrong += [f"of another mode: {picture}" for picture in page.evaluate(PICTURES)]
                page.set_viewport_size({"width": 717, "height": 1000})
                page.emulate_media(media="print")
                wrong += [f"cut on paper: {text}" for text in page.evaluate(OUTSIDE)]
        if wrong:
            found[path.relative_to(book).as_posix()] = wrong
    assert found == {}
    assert len(list(book.rglob("bokeh.min.js"))) == 1
    assert all(page.stat().st_size < 3_000_000 for page in chapters)


@pytest.mark.browser
def test_the_book_is_printed_with_its_code_and_still_pictures(
    chromium: Any, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from book import pdf

    monkeypatch.chdir(ROOT)
    given = {"sources": "build/tiny-book", "output": tmp_path / "book.pdf"}
    printed = pdf.build(**given).read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 500_000
    with pytest.raises(LskdError, match="there is no built book; make it first: make book"):
        pdf.build(sources=tmp_path, output=tmp_path / "other.pdf")
    monkeypatch.setattr(pdf, "browser", lambda: None)
    with pytest.raises(LskdError, match="printing needs a Chromium"):
        pdf.build(**given)
