"""Notebooks elsewhere: links to Colab and Binder, and the playground, which trains with what controls say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from book import notebook, open_elsewhere, playground
from book.open_elsewhere import Repository
from figures.fingerprint import ROOT
from lskd.cli import main as lskd
from lskd.errors import LskdError
from lskd.files import read_json

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
    open_elsewhere.add_links(tmp_path, PLACE)
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
    with pytest.raises(LskdError, match="its own notebooks lie there"):
        open_elsewhere.write_copies(ROOT)
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
    assert [p.name for p in notebook.declared(path)] == [
        p.name for p in notebook.declared(ROOT / "notebooks" / "audit.ipynb")
    ]


TINY = {
    "epochs": 1,
    "milestones": [],
    "data.train_size": 300,
    "teacher.settings": {"epochs": 1, "milestones": [], "data.train_size": 300},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the teacher is trained once."""
    return tmp_path_factory.mktemp("runs")


def test_both_members_get_the_same_setting() -> None:
    both = {"temperature": 3.0, "kd_weight": 2.0}
    expected = {f"members.{member}.{key}": value for member in ("kd", "kd_ls") for key, value in both.items()}
    assert playground.settings("kd", temperature=3, weight=2) == expected


@pytest.mark.parametrize(
    ("method", "weight", "pair"),
    [
        ("kd", None, playground.PAIRS[0]),
        ("dkd", 3.0, playground.PAIRS[0]),
        ("ctkd", 3.0, playground.PAIRS[0]),
        ("kd", None, "resnet14 -> wrn_16_1"),
    ],
)
def test_every_method_and_pair_trains(tmp_path: Path, runs: Path, method: str, weight: float | None, pair: str) -> None:
    places = playground.train(method, weight=weight, pair=pair, runs=runs, output=tmp_path, more=TINY)
    teacher, students = (read_json(place / "record.json")["members"] for place in places)
    assert list(students) == [method, f"{method}_ls"]
    assert {m["settings"]["kd_weight"] for m in students.values()} == {weight} or weight is None
    networks = [{m["network"] for m in members.values()} for members in (teacher, students)]
    assert networks == [{name} for name in pair.split(" -> ")]
    table, *figures = playground.show(*places, output=tmp_path)
    assert len(table.rows) == 1
    assert all(path.is_file() for figure in figures for path in figure.paths)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("mlkd", {}, "method is 'mlkd'; expected one of kd, dkd, ctkd"),
        ("ctkd", {"temperature": 2.0}, "learns its temperature"),
        ("kd", {"weight": 0.0}, "kd_weight is 0.0; it must be positive"),
        ("kd", {"pair": "resnet8"}, "pair is 'resnet8'; expected TEACHER -> STUDENT"),
        ("kd", {"pair": "resnet20 -> resnet9"}, "resnet9"),
        ("kd", {"dataset": "digits_pair"}, "digits_pair"),
    ],
)
def test_what_cannot_be_trained_is_named(tmp_path: Path, method: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(LskdError, match=message):
        playground.train(method, runs=tmp_path / "runs", output=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_the_button_does_what_controls_say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    box = playground.panel()
    dataset, pair, method, temperature, weight, seed, button = box.children[:7]
    calls: list[tuple[str, dict[str, Any]]] = []

    def instead(method: str, **given: Any) -> None:
        calls.append((method, given))
        raise LskdError("enough") if len(calls) == 1 else FileNotFoundError("enough")

    monkeypatch.setattr(playground, "train", instead)
    method.value, temperature.value, weight.value, seed.value = "dkd", 4.0, 3.0, 7
    button.click()
    method.value, dataset.value, pair.value = "ctkd", "cifar100", "resnet20 -> resnet8"
    assert temperature.disabled
    button.click()
    assert [(c["dataset"], c["pair"]) for _, c in calls] == [
        ("digit_pairs", "wrn_16_2 -> resnet8"),
        ("cifar100", "resnet20 -> resnet8"),
    ]
    assert [(name, c["temperature"], c["weight"], c["seed"]) for name, c in calls] == [
        ("dkd", 4.0, 3.0, 7),
        ("ctkd", None, 3.0, 7),
    ]
    assert not button.disabled  # also after an error
    assert capsys.readouterr().out.count("lskd: error: enough") == 2


def test_the_notebook_runs_alone(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    given = {"start": "true", "train_size": "300", "epochs": "1", "runs": runs, "output": tmp_path / "out"}
    words = [word for key, value in given.items() for word in ("-p", key, str(value))]
    assert lskd(["notebook", "run", "playground", "-o", str(tmp_path / "out.ipynb"), *words]) == 0
    assert (tmp_path / "out" / "learning_curves.svg").is_file()
