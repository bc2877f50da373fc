"""The book as one PDF: all pages in one, printed by a headless Chromium, with still pictures for live figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from book.build import StrPath, chapters, run_jupyter_book, with_facts
from book.doctor import browser
from book.pages import parsed, written
from book.pages.numbers import number_joined
from book.pages.running_text import bind, hold
from lskd.errors import LskdError
from lskd.files import atomic_write

SECONDS = 300  # after which the browser is given up


def build(
    *,
    sources: StrPath = "build/book",
    facts: StrPath = "build/default/facts.json",
    config: StrPath = "_config.yml",
    output: StrPath = "build/lskd.pdf",
) -> Path:
    """Print what :func:`book.build.build` has assembled; an earlier file stays until the new one is whole.

    Raises:
        LskdError: nothing was assembled, no browser, or a failed build.
    """
    sources, output = Path(sources).absolute(), Path(output).absolute()
    if not (sources / "_toc.yml").is_file():
        raise LskdError(f"{sources}: there is no assembled book; make it first: make book")
    program = browser()
    if program is None:
        raise LskdError("printing needs a Chromium and none was found; install one, or name it: LSKD_BROWSER=path")
    # Beside the assembled book, so that what chapters include is found at the same relative path.
    with (
        tempfile.TemporaryDirectory(prefix=".pdf-", dir=sources.parent) as beside,
        tempfile.TemporaryDirectory() as away,
    ):
        copy, place = Path(beside), Path(away)
        shutil.copytree(sources, copy, ignore=shutil.ignore_patterns("_build"), dirs_exist_ok=True)
        settings = with_facts(Path(config), Path(facts), place / "_config.yml")
        status, log = run_jupyter_book(
            copy, place / "out", settings, "--builder", "custom", "--custom-builder", "singlehtml"
        )
        page = place / "out" / "_build" / "singlehtml" / "intro.html"
        if status or not page.is_file() or "Include file" in log:
            raise LskdError("the pages were not joined:\n" + "\n".join(log.splitlines()[-20:]))
        tree = parsed(page.read_text(encoding="utf-8"))
        number_joined(tree, chapters(copy))
        bind(tree)
        hold(tree)
        for solution in tree.select("details.lskd-solution"):
            solution["open"] = ""
        page.write_text(written(tree), encoding="utf-8")
        printed = place / "book.pdf"
        call = [os.fspath(program), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
        call += ["--virtual-time-budget=60000", f"--user-data-dir={place / 'browser'}", f"--print-to-pdf={printed}"]
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
