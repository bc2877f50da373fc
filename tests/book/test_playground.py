"""The playground: what its controls do, and that its notebook runs without anybody at the controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from book import playground
from figures.fingerprint import ROOT
from lskd.cli import main as lskd
from lskd.errors import LskdError
from lskd.files import read_json

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
def test_every_method_and_pair_trains_without_and_with(
    tmp_path: Path, runs: Path, method: str, weight: float | None, pair: str
) -> None:
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


def test_the_button_trains_what_the_controls_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
