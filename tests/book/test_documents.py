"""README, contributor's page, changelog and list of gaps: what they say can be done, was measured and is there."""

from __future__ import annotations

import re
import runpy
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from book import readme
from figures.fingerprint import ROOT
from lskd import __version__
from lskd.errors import LskdError
from lskd.files import read_json, write_json
from lskd.losses import kd_loss
from lskd.records import identity
from paper import questions, store

README, CONTRIBUTING, CHANGELOG = (
    (ROOT / f"{name}.md").read_text(encoding="utf-8") for name in ("README", "CONTRIBUTING", "CHANGELOG")
)


def test_runs_at_other_settings_beside_the_committed_ones_change_nothing(tmp_path: Path) -> None:
    """What `lskd results add` takes of a playground or of a shorter training lies in the same folder."""
    for name in ("results", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    folders = (tmp_path / f"{readme.RECORDS}{end}" for end in ("-surface", ""))
    sweep, usual = (read_json(next(folder.glob("seed-0*.json"))) for folder in folders)
    for number, (record, changes) in enumerate(((sweep, {}), (usual, {"epochs": 2}), (usual, {"learning_rate": 0.2}))):
        added = {**record, "config": record["config"] | changes}
        (tmp_path / f"run-{number}").mkdir()
        write_json(tmp_path / f"run-{number}" / "record.json", added | {"identity": identity(added)})
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
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    loss, student, teacher = (names[k] for k in ("distillation", "student_logits", "teacher_logits"))
    torch.testing.assert_close(loss, kd_loss(student, teacher, temperature=2.0, standardize=True))
    assert student.grad is not None
    assert bool(student.grad.abs().sum() > 0)


ROOMS = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name != "build"]


@pytest.mark.parametrize("text", [README, CONTRIBUTING, CHANGELOG], ids=["README", "CONTRIBUTING", "CHANGELOG"])
def test_commands_and_files_that_a_document_names_are_there(text: str) -> None:
    paths = set(re.findall(rf"""(?<=[`("' ])(?:{"|".join(ROOMS)})/[\w./-]*""", text)) - {"book/exercises/NAME.toml"}
    assert len(paths) > 5
    assert [path for path in sorted(paths) if not (ROOT / path.rstrip(".")).exists()] == []
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"(?:^|`)make (\w+)", text, flags=re.MULTILINE)
    assert [name for name in targets if f"\n{name}:" not in make] == []


def test_the_picture_of_the_rooms_is_drawn_from_the_code() -> None:
    rooms = runpy.run_path(str(ROOT / "docs" / "rooms.py"))
    assert rooms["FILE"].read_text(encoding="utf-8") == rooms["draw"](), "python docs/rooms.py draws it again"


def test_the_changelog_keeps_its_form() -> None:
    assert CHANGELOG.startswith("# Changelog\n")
    releases = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, flags=re.MULTILINE)
    assert len(releases) == len(re.findall(r"^## ", CHANGELOG, flags=re.MULTILINE))
    assert releases[0] == ("Unreleased", "")
    assert all(date for _, date in releases[1:])
    versions = [tuple(map(int, name.split("."))) for name, _ in releases[1:]]
    assert versions == sorted(versions, reverse=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert releases[1][0] == project["version"] == __version__
    kinds = re.findall(r"^### (.+)$", CHANGELOG, flags=re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_what_is_worse_is_listed_with_reasons() -> None:
    text = (ROOT / "docs" / "GAPS.md").read_text(encoding="utf-8")
    for name in ("Distill", "QuantEcon"):
        assert re.search(rf"^## Than .*{name}", text, flags=re.MULTILINE)
    assert len(re.findall(r"^- ", text, flags=re.MULTILINE)) >= 15


def test_the_book_includes_the_changelog() -> None:
    assert "{include} ../../CHANGELOG.md" in (ROOT / "book" / "chapters" / "changelog.md").read_text(encoding="utf-8")
