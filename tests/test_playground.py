"""The playground: what its controls do, and that its notebook runs without anybody at the controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lskd import playground
from lskd.cli import main as lskd
from lskd.errors import LskdError
from lskd.files import read_json
from lskd.sources import ROOT

TINY = {
    "epochs": 1,
    "milestones": [],
    "data.train_size": 300,
    "teacher.settings": {"epochs": 1, "milestones": [], "data.train_size": 300},
}


def test_both_members_get_the_same_setting() -> None:
    assert playground.settings("kd", temperature=3, weight=2) == {
        "members.kd.temperature": 3.0,
        "members.kd.kd_weight": 2.0,
        "members.kd_ls.temperature": 3.0,
        "members.kd_ls.kd_weight": 2.0,
    }


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("mlkd", {}, "method is 'mlkd'; expected one of kd, dkd, ctkd"),
        ("ctkd", {"temperature": 2.0}, "learns its temperature"),
        ("kd", {"weight": 0.0}, "kd_weight is 0.0; it must be positive"),
    ],
)
def test_what_cannot_be_trained_is_named(method: str, given: dict[str, float], message: str) -> None:
    with pytest.raises(LskdError, match=message):
        playground.settings(method, **given)


@pytest.mark.parametrize("method", list(playground.METHODS))
def test_every_method_trains_without_and_with(tmp_path: Path, method: str) -> None:
    weight = None if method == "kd" else 3.0
    places = playground.train(method, weight=weight, runs=tmp_path / "runs", output=tmp_path / "out", more=TINY)
    record = read_json(places[1] / "record.json")
    assert list(record["members"]) == [method, f"{method}_ls"]
    if weight:
        assert {m["settings"]["kd_weight"] for m in record["members"].values()} == {weight}
    table, *figures = playground.show(*places, output=tmp_path / "out")
    assert len(table.rows) == 1
    assert all(path.is_file() for figure in figures for path in figure.paths)


def test_the_button_trains_what_the_controls_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    box = playground.panel()
    method, temperature, weight, seed, button = box.children[:5]
    calls: list[tuple[str, dict[str, Any]]] = []

    def instead(method: str, **given: Any) -> None:
        calls.append((method, given))
        raise LskdError("enough")

    monkeypatch.setattr(playground, "train", instead)
    method.value, temperature.value, weight.value, seed.value = "dkd", 4.0, 3.0, 7
    button.click()
    method.value = "ctkd"
    assert temperature.disabled
    button.click()
    assert [(name, c["temperature"], c["weight"], c["seed"]) for name, c in calls] == [
        ("dkd", 4.0, 3.0, 7),
        ("ctkd", None, 3.0, 7),
    ]
    assert not button.disabled  # also after an error
    assert capsys.readouterr().out.count("lskd: error: enough") == 2


def test_the_notebook_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    given = {"start": "true", "train_size": "300", "epochs": "1", "runs": tmp_path / "runs", "output": tmp_path / "out"}
    words = [word for key, value in given.items() for word in ("-p", key, str(value))]
    assert lskd(["notebook", "run", "playground", "-o", str(tmp_path / "out.ipynb"), *words]) == 0
    assert (tmp_path / "out" / "learning_curves.svg").is_file()
