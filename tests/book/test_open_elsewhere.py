"""Links to Colab and Binder: only where the address is known, only for notebooks that run there, and to what exists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from book import open_elsewhere
from book.notebook import declared
from book.open_elsewhere import Repository
from figures.fingerprint import ROOT
from lskd.errors import LskdError

PLACE = Repository("someone/some-book", "v1.2.0")


def test_without_an_address_there_are_no_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LSKD_REPOSITORY", raising=False)
    assert open_elsewhere.repository(tmp_path / "none.yml") is None
    (tmp_path / "_config.yml").write_text("repository:\n  url: ''\n")
    assert open_elsewhere.repository(tmp_path / "_config.yml") is None
    monkeypatch.setattr(open_elsewhere, "ROOT", tmp_path)
    with pytest.raises(LskdError, match="address is not known; set LSKD_REPOSITORY="):
        open_elsewhere.write_copies(tmp_path)


def test_the_address_is_read_and_another_host_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "_config.yml"
    for told in ("https://github.com/a/b-c", "https://github.com/a/b-c.git", "a/b-c"):
        monkeypatch.delenv("LSKD_REF", raising=False)
        monkeypatch.delenv("LSKD_REPOSITORY", raising=False)
        config.write_text(f"repository:\n  url: {told}\n")
        assert open_elsewhere.repository(config) == Repository("a/b-c", "main")
        monkeypatch.setenv("LSKD_REPOSITORY", f"'{told.replace('b-c', 'd')}' ")
        monkeypatch.setenv("LSKD_REF", "v2.0.0")
        assert open_elsewhere.repository(config) == Repository("a/d", "v2.0.0")
    monkeypatch.setenv("LSKD_REPOSITORY", "https://example.org/a/b")
    with pytest.raises(LskdError, match="expected https://github"):
        open_elsewhere.repository(config)


def test_only_notebooks_that_need_no_trained_network_are_linked() -> None:
    assert open_elsewhere.links("tsne", PLACE) == open_elsewhere.links("no_such_page", PLACE) == ""
    text = open_elsewhere.links("audit", PLACE)
    assert "/github/someone/some-book/blob/colab/notebooks/audit.ipynb" in text
    assert "/v2/gh/someone/some-book/v1.2.0?urlpath=lab/tree/notebooks/audit.ipynb" in text
    trained = [open_elsewhere.links(page, PLACE) for page in ("train_teacher", "train_students", "train_cohort")]
    assert len(set(trained)) == 1  # the file behind these pages
    assert (ROOT / "notebooks" / "train_cohort.ipynb").is_file()


def test_links_stand_below_the_title(tmp_path: Path) -> None:
    for name in ("audit", "tsne"):
        (tmp_path / f"{name}.ipynb").write_bytes((ROOT / "notebooks" / f"{name}.ipynb").read_bytes())
    assert open_elsewhere.add_links(tmp_path, PLACE) == ["audit"]
    before, after = (
        json.loads((folder / "audit.ipynb").read_text(encoding="utf-8"))["cells"]
        for folder in (ROOT / "notebooks", tmp_path)
    )
    lines = "".join(after[0]["source"]).splitlines()
    assert lines[0] == "# Paper, code, logs: an audit"
    assert lines[2].startswith("[Open in Colab](https://colab.research.google.com/")
    assert "".join(before[0]["source"]).splitlines()[1:] == lines[3:]
    assert after[1:] == before[1:]
    assert (tmp_path / "tsne.ipynb").read_bytes() == (ROOT / "notebooks" / "tsne.ipynb").read_bytes()


def test_colab_gets_a_cell_that_installs_this_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LSKD_REPOSITORY", PLACE.url)
    monkeypatch.setenv("LSKD_REF", PLACE.ref)
    open_elsewhere.write_copies(tmp_path)
    made = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.rglob("*.ipynb")}
    expected = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if open_elsewhere.standalone(path)}
    assert set(made) == expected
    assert {"playground", "audit", "train_cohort"} <= expected
    assert not expected & {"tsne", "logit_gap", "logit_statistics"}
    first, *rest = made["audit"]["cells"]
    source = "".join(first["source"])
    assert f"--branch {PLACE.ref} {PLACE.url} project" in source
    assert "%pip install --quiet --editable ." in source
    assert rest == json.loads((ROOT / "notebooks" / "audit.ipynb").read_text(encoding="utf-8"))["cells"]
    path = tmp_path / "notebooks" / "audit.ipynb"
    assert [p.name for p in declared(path)] == [p.name for p in declared(ROOT / "notebooks" / "audit.ipynb")]
