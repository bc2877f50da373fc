"""What the README says can be done, and what it says was measured."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from book import readme
from figures.fingerprint import ROOT
from lskd.cli import main as lskd
from lskd.errors import LskdError
from lskd.files import read_json, write_json
from lskd.losses import kd_loss
from paper import questions, store

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_runs_at_other_settings_beside_the_committed_ones_change_nothing(tmp_path: Path) -> None:
    """What `lskd results add` takes of a playground or of a shorter training lies in the same folder."""
    for name in ("results", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    folders = (tmp_path / f"{readme.RECORDS}{end}" for end in ("-surface", ""))
    sweep, usual = (read_json(next(folder.glob("seed-0*.json"))) for folder in folders)
    for number, (record, changes) in enumerate(((sweep, {}), (usual, {"epochs": 2}), (usual, {"learning_rate": 0.2}))):
        added = {**record, "config": record["config"] | changes}
        (tmp_path / f"run-{number}").mkdir()
        write_json(tmp_path / f"run-{number}" / "record.json", added)
        path, new = store.add(tmp_path / f"run-{number}", tmp_path / "results")
        assert new
        assert path.parent == tmp_path / readme.RECORDS
    assert readme.blocks(tmp_path) == readme.blocks(ROOT)
    assert questions.seed_precision(tmp_path / readme.RECORDS) == questions.seed_precision(ROOT / readme.RECORDS)


def test_there_are_enough_seeds_for_an_interval() -> None:
    parts = readme.blocks(ROOT)  # `lskd verify` holds the README to them, after new records: lskd book readme
    assert set(parts) == {"results", "cifar100", "cost"}
    assert "±" in parts["results"]
    assert len(list((ROOT / readme.RECORDS).glob("*.json"))) >= 3


def test_a_readme_without_markers_is_an_error() -> None:
    with pytest.raises(LskdError, match="expected one pair of markers <!-- results -->"):
        readme.fill("# Nothing here", {"results": "x"})


def test_the_ten_lines_work() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    loss, student, teacher = (names[k] for k in ("distillation", "student_logits", "teacher_logits"))
    torch.testing.assert_close(loss, kd_loss(student, teacher, temperature=2.0, standardize=True))
    assert student.grad is not None
    assert bool(student.grad.abs().sum() > 0)


def test_commands_and_files_that_it_names_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    make, room = (
        (ROOT / "Makefile").read_text(),
        r"lskd|paper|figures|recipes|notebooks|book|workflow|results|benchmarks|docs",
    )
    named = re.findall(rf"`((?:{room})/[\w./-]*)`", TEXT) + re.findall(r'(?:src|srcset)="([^"#]+)', TEXT)
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert [name for name in ("book", "test") if f"make {name}" not in TEXT or f"\n{name}:" not in make] == []
    with pytest.raises(SystemExit):
        lskd(["notebook", "run", "--help"])
    assert "-p" in capsys.readouterr().out
