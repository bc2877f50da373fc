"""Links that open a page's notebook in Colab or on Binder, and the notebooks that Colab opens.

The project's address is the configuration's ``repository: url``, or the environment variable ``LSKD_REPOSITORY``, which
the workflow that publishes pages sets. Without one, pages have no links and nothing else changes. A link is followed
when a reader clicks; no page asks another host for anything.

Colab opens one file and has neither the package nor the project's data, so that it gets copies with a first cell that
fetches both: ``lskd book colab OUTPUT``, published as the branch ``colab``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from book.notebook import declared
from book.pages import keys
from figures.fingerprint import ROOT
from lskd.errors import LskdError
from lskd.files import read_json, told_by, visible, write_json

BRANCH = "colab"  # of the copies
TRAINED = {"train_teacher": "train_cohort", "train_students": "train_cohort"}  # pages, and the notebook behind them
NEEDS = {"teacher", "students"}  # parameters that name trained networks, which a fresh checkout does not have


@dataclass(frozen=True)
class Repository:
    """A project on GitHub at one version: ``slug`` is OWNER/NAME, ``ref`` a tag or branch."""

    slug: str
    ref: str

    @property
    def url(self) -> str:
        return f"https://github.com/{self.slug}"


def repository(config: Path) -> Repository | None:
    """Where the project is public, by ``LSKD_REPOSITORY`` or Jupyter Book's configuration; None if it is not.

    Raises:
        LskdError: a damaged configuration, or not the address of a GitHub repository; Colab and Binder links are made
            for those alone.
    """
    told = told_by("LSKD_REPOSITORY")
    if not told and config.is_file():
        told = str((keys(config).get("repository") or {}).get("url") or "")
    if not told:
        return None
    found = re.fullmatch(r"(?:https://github\.com/)?([\w.-]+/[\w.-]+?)(?:\.git)?/?", told)
    if not found:
        raise LskdError(f"LSKD_REPOSITORY or repository.url is {told!r}; expected https://github.com/OWNER/NAME")
    return Repository(found[1], told_by("LSKD_REF") or "main")


def standalone(notebook: Path) -> bool:
    """Whether a notebook runs in a fresh checkout: it is given no trained networks."""
    return not NEEDS & {parameter.name for parameter in declared(notebook)}


def links(page: str, place: Repository) -> str:
    """Markdown links for a page of the book; empty when its notebook needs networks that are trained first."""
    name = TRAINED.get(page, page)
    notebook = ROOT / "notebooks" / f"{name}.ipynb"
    if not notebook.is_file() or not standalone(notebook):
        return ""
    ref = quote(place.ref, safe="")
    colab = f"https://colab.research.google.com/github/{place.slug}/blob/{BRANCH}/notebooks/{name}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{place.slug}/{ref}?urlpath=lab/tree/notebooks/{name}.ipynb"
    return f"[Open in Colab]({colab}) · [Open on Binder]({binder})"


def add_links(folder: Path, place: Repository) -> None:
    """Put the links below the title of every page in a folder of executed notebooks."""
    for path in visible(folder, "*.ipynb"):
        text, content = links(path.stem, place), read_json(path)
        titled = (c for c in content["cells"] if c["cell_type"] == "markdown" and "".join(c["source"]).startswith("# "))
        if text and (cell := next(titled, None)):
            title, _, rest = "".join(cell["source"]).partition("\n")
            cell["source"] = f"{title}\n\n{text}\n{rest}"
            write_json(path, content)


def write_copies(output: Path) -> list[Path]:
    """Write all notebooks that run in a fresh checkout to ``output/notebooks`` for Colab; returns their paths.

    Their first cell fetches this version of the project and installs the package.
    """
    from nbformat.v4 import new_code_cell

    place = repository(ROOT / "_config.yml")
    if place is None:
        raise LskdError("the project's address is not known; set LSKD_REPOSITORY=https://github.com/OWNER/NAME")
    if output.resolve() == ROOT:
        raise LskdError(f"{output}: its own notebooks lie there; name another folder for the copies")
    lines = [
        "# Colab: fetch the project and install the package, a minute or two.",
        f"!git clone --quiet --depth 1 --branch {place.ref} {place.url} project",
        "%cd project",
        "%pip install --quiet --editable .",
    ]
    made = []
    for notebook in filter(standalone, visible(ROOT / "notebooks", "*.ipynb")):
        content = read_json(notebook)
        content["cells"].insert(0, new_code_cell("\n".join(lines), id="colab-setup"))
        made.append(output / "notebooks" / notebook.name)
        write_json(made[-1], content)
    return made
