"""Assembling and building the book: chapters, executed notebooks and figures in, pages out.

Jupyter Book reports success for broken pages unless every warning is an error and everything is built afresh,
so that is how it is called. Pages appear under their name only when the whole book is good.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from book import open_elsewhere
from book.pages import Pages, editions, hover_cards, keys, listed, live_words
from book.pages.footers import add_footers
from book.pages.numbers import number_figures
from book.pages.running_text import link_protocol, mend
from book.pages.tables import offer_tables
from book.pages.unused_files import remove_unused
from book.search import index as search
from figures.fingerprint import ROOT, notebook_cells
from figures.live import by_itself
from lskd.errors import LskdError
from lskd.files import read_json, visible

StrPath = str | os.PathLike[str]

# What is done to pages once Sphinx has built them, in this order; numbers come before those who show them.
STEPS = (
    *(number_figures, add_footers, link_protocol, mend, offer_tables),
    *(live_words.check, hover_cards.write, search.write, editions.write),
)
MARK = ".assembled"  # a file in folders that are emptied for the next book; nothing else is
STATIC = {"book/_static": "*", "figures/live": "lskd-live*"}  # scripts and styles that every page loads, where they lie


def build(
    *,
    book: StrPath = "book/chapters",
    notebooks: StrPath = "build/default/notebooks",
    figures: StrPath = "build/default/figures",
    facts: StrPath = "build/default/facts.json",
    config: StrPath = "_config.yml",
    output: StrPath = "build/book",
) -> Path:
    """Assemble the book's sources in ``output`` and build them, every warning an error; returns the first page.

    Args:
        book: chapters, ``_toc.yml``, bibliography.
        notebooks: executed ones; they become pages in ``notebooks/``.
        figures: files that pages refer to as ``figures/...``.
        facts: values by name, which chapters show as ``{{ name }}``; may be missing.

    Raises:
        LskdError: a missing or failed notebook, or anything that Jupyter Book warns about. Pages of an earlier build,
            which are in ``_build/html``, are then untouched.
    """
    output = Path(output).absolute()
    assemble(Path(book), Path(notebooks), Path(figures), output)
    if place := open_elsewhere.repository(Path(config)):
        open_elsewhere.add_links(output / "notebooks", place)
    final, fresh = output / "_build", output.with_name(f".{output.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    settings = with_facts(Path(config), Path(facts), fresh / "_config.yml")
    status, log = run_jupyter_book(output, fresh, settings)
    index = fresh / "_build" / "html" / "index.html"
    if status or not index.is_file():
        (output / "build.log").write_text(log, encoding="utf-8")
        told = [line for line in log.splitlines() if re.search(r"WARNING|ERROR|CRITICAL|Error: *\S", line)]
        shown = "\n".join(f"  {line}" for line in (told or log.splitlines()[-20:])[:40])
        raise LskdError(f"the book was not built:\n{shown}\nAll of Jupyter Book's output is in {output / 'build.log'}")
    built = Pages(index.parent, listed(Path(book) / "_toc.yml"), Path(notebooks))
    for step in (*STEPS, Pages.write, remove_unused):
        step(built)
    scripts = index.parent / "_static" / "lskd-bokeh"  # a folder of its own: what lies in _static loads on every page
    scripts.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(by_itself.bokeh_script(), scripts / "bokeh.min.js")
    shutil.rmtree(fresh / "_build" / ".doctrees", ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    (fresh / "_build").replace(final)
    shutil.rmtree(fresh, ignore_errors=True)
    return final / "html" / "index.html"


def run_jupyter_book(sources: Path, output: Path, settings: Path) -> tuple[int, str]:
    """Build assembled sources afresh; returns the exit status and all that was said, without colours."""
    command = ["build", str(sources), "--path-output", str(output), "--config", str(settings)]
    command += ["--all", "-W", "--keep-going", "-n"]
    done = subprocess.run(
        [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", *command],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONUTF8="1", NO_COLOR="1"),
        check=False,
    )
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def assemble(book: Path, notebooks: Path, figures: Path, output: Path) -> None:
    """Make ``output`` hold the book's sources and nothing left over; pages built earlier stay.

    Raises:
        LskdError: no table of contents, an executed notebook that holds an error or was not executed, or an ``output``
            that was not assembled: all that is in it would be deleted.
    """
    titles = {page.path: page.title for page in listed(book / "_toc.yml")}
    executed = sorted(notebooks.glob("*.ipynb")) if notebooks.is_dir() else []
    executed = [path for path in executed if not path.name.endswith(".failed.ipynb")]
    for path in executed:
        check_executed(path)
    output.mkdir(parents=True, exist_ok=True)
    old = [path for path in output.iterdir() if path.name not in ("_build", MARK)]
    earlier = (output / "_toc.yml").is_file() and (output / "_static" / "lskd.css").is_file()  # before there was a mark
    if old and not earlier and not (output / MARK).is_file():
        raise LskdError(f"{output}: holds files that are no assembled book; name another folder")
    (output / MARK).touch()  # first and never away, so that an interrupted call leaves it, too
    for path in old:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ignore = shutil.ignore_patterns(".*", "__pycache__", "_build")
    shutil.copytree(book, output, dirs_exist_ok=True, ignore=ignore)
    (output / "notebooks").mkdir(exist_ok=True)
    for path in executed:
        shown = for_page(read_json(path), titles.get(f"notebooks/{path.stem}"))
        (output / "notebooks" / path.name).write_text(json.dumps(shown), encoding="utf-8")
    copy_static(output / "_static")
    if figures.is_dir():
        shutil.copytree(figures, output / "figures", dirs_exist_ok=True, ignore=ignore)


def copy_static(folder: Path) -> None:
    """Put the scripts and styles that every page loads into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, pattern in STATIC.items():
        for path in (ROOT / place).glob(pattern):
            shutil.copy(path, folder)


def for_page(content: dict[str, Any], title: str | None) -> dict[str, Any]:
    """A notebook as its page shows it: figures without what they bring for JupyterLab, and under the title that the
    table of contents gives it, because one that ran twice is two chapters."""
    first = next((cell for cell in content["cells"] if cell["cell_type"] == "markdown"), None)
    if title and first:
        first["source"] = re.sub(r"\A# .*", lambda _: f"# {title}", "".join(first["source"]))
    for output in (output for cell in content["cells"] for output in cell.get("outputs", ())):
        if shown := output.get("data", {}).get("text/html"):
            output["data"]["text/html"] = by_itself.without("".join(shown))
    return content


def pages(book: Path) -> list[str]:
    """Names of the executed notebooks that the table of contents calls for, in its order."""
    return [Path(file).stem for file in chapters(book) if Path(file).parts[0] == "notebooks"]


def chapters(book: Path) -> list[str]:
    """Every page that the table of contents names, the front page first, without ending."""
    return [page.path for page in listed(book / "_toc.yml")]


def included(book: Path, output: Path) -> list[Path]:
    """Files outside ``book`` that its chapters include (``literalinclude``, ``include``), sorted.

    Chapters are built in ``output``, so that is where their relative paths start.
    """
    found = set()
    for chapter in visible(book, "**/*.md"):
        folder = output / chapter.relative_to(book).parent
        for name in re.findall(r"\{(?:literal)?include\}\s+(\S+)", chapter.read_text(encoding="utf-8")):
            path = Path(os.path.normpath(folder / name))
            if not path.is_relative_to(output) and path.is_file():
                found.add(path)
    return sorted(found)


def check_executed(path: Path) -> None:
    """Raise LskdError unless every code cell of a notebook has run and none has failed."""
    for number, cell in enumerate(notebook_cells(path), start=1):
        if cell["cell_type"] != "code":
            continue
        errors = [output for output in cell.get("outputs", ()) if output["output_type"] == "error"]
        if errors:
            raise LskdError(f"{path}: cell {number} failed: {errors[0]['ename']}: {errors[0]['evalue']}")
        if cell.get("execution_count") is None and "".join(cell["source"]).strip():
            raise LskdError(f"{path}: cell {number} was not executed; run it with: lskd notebook run {path.stem}")


def with_facts(config: Path, facts: Path, target: Path) -> Path:
    """A copy of the configuration in which the facts are MyST substitutions."""
    settings, values = keys(config), read_json(facts) if facts.is_file() else {}
    parse = settings.get("parse") or {}
    shown = {**(parse.get("myst_substitutions") or {}), **{key: str(value) for key, value in values.items()}}
    settings["parse"] = {**parse, "myst_substitutions": shown}
    target.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return target
