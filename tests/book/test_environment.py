"""One list of pins, written twice: pip's in pyproject.toml, conda's in environment.yml."""

from __future__ import annotations

import re
import stat
import tomllib

import yaml

from lskd.fingerprint import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_conda_users_get_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (listed,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert sorted(pin for pin in listed if not pin.startswith("-e")) == sorted(EXTRAS["book"])
    assert "-e ." in listed  # lskd itself
    (python,) = [item for item in environment["dependencies"] if str(item).startswith("python=")]
    floor = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert floor is not None
    assert tuple(map(int, python.removeprefix("python=").split("."))) >= tuple(map(int, floor.groups()))


def test_what_the_book_and_the_tests_install_is_pinned() -> None:
    loose = [pin for extra in EXTRAS.values() for pin in extra if not re.fullmatch(r"[A-Za-z0-9_.-]+==[\w.]+", pin)]
    assert loose == []


def test_what_everybody_installs_is_not_pinned() -> None:
    """lskd's losses go into other people's environments: a pin there would be a conflict."""
    assert [pin for pin in PROJECT["dependencies"] if "==" in pin] == []
    names = {re.split(r"[>=<~]", pin)[0] for pin in PROJECT["dependencies"]}
    assert names <= {pin.split("==")[0] for pin in EXTRAS["book"]}


def test_continuous_integration_runs_the_readme_s_test_command_alone() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "CI=true exec make test"]
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_hosted_tests_are_the_same_and_pages_come_from_tags_alone() -> None:
    tests, publish = (
        yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))
        for name in ("ci", "publish")
    )
    (job,) = tests["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert publish[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    runs = [step["run"] for step in publish["jobs"]["book"]["steps"] if "run" in step]
    assert runs[:2] == [".ci/run", "make book"]
