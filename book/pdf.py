"""The book as one PDF: its pages in one, printed by a headless Chromium, with still pictures for live figures."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from bs4 import Tag

from book.build import StrPath
from book.doctor import browser
from book.pages import Pages, listed, written
from lskd.errors import LskdError
from lskd.files import atomic_write

SECONDS = 300  # after which the browser is given up


def build(*, sources: StrPath = "build/book", output: StrPath = "build/lskd.pdf") -> Path:
    """Print what :func:`book.build.build` has built in ``sources``; an earlier file stays until the new one is whole.

    Raises:
        LskdError: nothing was built, or no browser.
    """
    sources, output = Path(sources).absolute(), Path(output).absolute()
    html = sources / "_build" / "html"
    if not html.is_dir():
        raise LskdError(f"{sources}: there is no built book; make it first: make book")
    program = browser()
    if program is None:
        raise LskdError("printing needs a Chromium and none was found; install one, or name it: LSKD_BROWSER=path")
    with tempfile.TemporaryDirectory() as folder:
        page, printed = Path(folder, "book.html"), Path(folder, "book.pdf")
        page.write_text(written(_joined(Pages(html, listed(sources / "_toc.yml")))), encoding="utf-8")
        call = [os.fspath(program), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
        call += ["--virtual-time-budget=60000", f"--user-data-dir={folder}/browser", f"--print-to-pdf={printed}"]
        try:
            done = subprocess.run(
                [*call, page.as_uri()], capture_output=True, text=True, timeout=SECONDS, check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LskdError(f"{program} did not print within {SECONDS} s") from None
        if not printed.is_file() or not printed.read_bytes().startswith(b"%PDF"):
            raise LskdError(f"{program} printed nothing:\n{done.stderr[-2000:]}")
        atomic_write(output, printed.read_bytes())
    return output


def _joined(pages: Pages) -> Tag:
    """All chapters behind the first one, as a page that may lie anywhere: links in the book lead to places in it."""
    places = {(pages.html / f"{chapter.path}.html").as_uri(): chapter.path for chapter in pages.chapters}
    first = pages.trees[pages.chapters[0].path]
    for place, page in places.items():
        tree = pages.trees[page]
        for tag in tree.select("article [id]"):
            tag["id"] = f"{page}.{tag['id']}"
        for name in ("href", "src", "srcset"):
            for tag in tree.select(f"[{name}]"):
                address, anchor = urldefrag(urljoin(place, str(tag[name])))
                within = f"#{places.get(address)}" + (f".{anchor}" if anchor else "")
                tag[name] = within if address in places else urljoin(place, str(tag[name]))
        for picture in tree.select("img[loading]"):
            del picture["loading"]  # a sheet has no window that it could come into
        for solution in tree.select("details.lskd-solution"):
            solution["open"] = ""
        for article in tree.select("article.bd-article"):
            article["id"] = page
            if tree is not first:
                for title in article.select("h1"):
                    title["style"] = "display: block"  # the theme prints those of a page's head
                first.select("article.bd-article")[-1].insert_after(article)
    for contents in first.select("#jb-print-toc"):
        contents.extract()
    return first
