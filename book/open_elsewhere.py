"""Links that open a page's notebook in Colab or on Binder, and the notebooks that Colab opens.

The project's address is the configuration's ``repository: url``, or the environment variable ``LSKD_REPOSITORY``, which
the workflow that publishes pages sets. Without one, pages have no links and nothing else changes. A link is followed
when a reader clicks; no page asks another host for anything.

Colab opens one file and has neither the package nor the project's data, so that it gets copies with a first cell that
fetches both: ``lskd book colab OUTPUT``, published as the branch ``colab``.
"""

from __future__ import annotations

import copy
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from book.notebook import declared
from figures.fingerprint import ROOT
from lskd.errors import LskdError
from lskd.files import atomic_write, read_json, visible

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


def repository(config: Path | None = None) -> Repository | None:
    """Where the project is public; None when nobody has said so.

    Args:
        config: Jupyter Book's configuration, read when ``LSKD_REPOSITORY`` is not set.

    Raises:
        LskdError: the address is not that of a GitHub repository; Colab and Binder links are made for those alone.
    """
    told = os.environ.get("LSKD_REPOSITORY", "")
    if not told and config is not None and config.is_file():
        import yaml

        told = str((yaml.safe_load(config.read_text(encoding="utf-8")).get("repository") or {}).get("url") or "")
    if not told:
        return None
    found = re.fullmatch(r"(?:https://github\.com/)?([\w.-]+/[\w.-]+?)(?:\.git)?/?", told)
    if not found:
        raise LskdError(f"LSKD_REPOSITORY or repository.url is {told!r}; expected https://github.com/OWNER/NAME")
    return Repository(found[1], os.environ.get("LSKD_REF") or "main")


def standalone(notebook: Path) -> bool:
    """Whether a notebook runs in a fresh checkout: it is given no trained networks."""
    return not NEEDS & {parameter.name for parameter in declared(notebook)}


def links(page: str, place: Repository, root: Path = ROOT) -> str:
    """Markdown links for the page of a notebook; empty when its notebook needs networks that are trained first.

    Args:
        page: name in ``notebooks/`` of the book.
        place: where the project is public.
        root: the project.
    """
    name = TRAINED.get(page, page)
    notebook = root / "notebooks" / f"{name}.ipynb"
    if not notebook.is_file() or not standalone(notebook):
        return ""
    ref = quote(place.ref, safe="")
    colab = f"https://colab.research.google.com/github/{place.slug}/blob/{BRANCH}/notebooks/{name}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{place.slug}/{ref}?urlpath=lab/tree/notebooks/{name}.ipynb"
    return f"[Open in Colab]({colab}) · [Open on Binder]({binder})"


def add_links(folder: Path, place: Repository, root: Path = ROOT) -> list[str]:
    """Put the links below the title of every page in a folder of executed notebooks; returns the pages' names."""
    done = []
    for path in visible(folder, "*.ipynb"):
        text = links(path.stem, place, root)
        if not text:
            continue
        content = read_json(path)
        for cell in content["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown" and source.startswith("# "):
                title, _, rest = source.partition("\n")
                cell["source"] = f"{title}\n\n{text}\n{rest}"
                atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
                done.append(path.stem)
                break
    return done


def colab_copy(content: dict[str, Any], place: Repository) -> dict[str, Any]:
    """A notebook with a first cell that fetches this version of the project and installs the package."""
    lines = [
        "# Colab: fetch the project and install the package, a minute or two.",
        f"!git clone --quiet --depth 1 --branch {place.ref} {place.url} project",
        "%cd project",
        "%pip install --quiet --editable .",
    ]
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "colab-setup",
        "metadata": {},
        "outputs": [],
        "source": [line + "\n" for line in lines[:-1]] + lines[-1:],
    }
    made = copy.deepcopy(content)
    made["cells"].insert(0, cell)
    return made


def write_copies(output: Path) -> list[Path]:
    """Copies for Colab of all notebooks that run in a fresh checkout, in ``output/notebooks``; returns their paths.

    Raises:
        LskdError: the project's address is not known.
    """
    place = repository(ROOT / "_config.yml")
    if place is None:
        raise LskdError("the project's address is not known; set LSKD_REPOSITORY=https://github.com/OWNER/NAME")
    made = []
    for notebook in visible(ROOT / "notebooks", "*.ipynb"):
        if standalone(notebook):
            content = colab_copy(read_json(notebook), place)
            made.append(output / "notebooks" / notebook.name)
            atomic_write(made[-1], json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return made
