"""Documents name what is there; what is installed is locked; tests run everywhere by one command."""

from __future__ import annotations

import importlib.metadata
import os
import re
import runpy
import stat
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_texts import CHANGELOG, CONTRIBUTING, README

from book import open_elsewhere
from figures.fingerprint import ROOT
from lskd import __version__

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


def test_the_changelog_keeps_its_form_and_is_a_page() -> None:
    assert "{include} ../../CHANGELOG.md" in (ROOT / "book" / "chapters" / "changelog.md").read_text(encoding="utf-8")
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


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TESTS, PUBLISH = (
    yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8")) for name in ("ci", "publish")
)
MATRIX = TESTS["jobs"]["test"]["strategy"]["matrix"]["python"]


def locked() -> dict[str, set[str]]:
    """Versions by package; several where Pythons or systems differ."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier).removeprefix("=="))
    return found


def test_all_that_is_installed_is_locked() -> None:
    """What the extras need, and what that needs, in the versions that are installed here."""
    versions, waiting, seen = locked(), [Requirement(pin) for extra in EXTRAS.values() for pin in extra], set()
    for pin in waiting:
        assert versions[canonicalize_name(pin.name)] == {str(pin.specifier).removeprefix("==")}, "run `make lock`"
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # of an extra or a system that this is not
            continue
        if name in seen:
            continue
        seen.add(name)
        assert distribution.version.partition("+")[0] in versions[name], f"{name}: run `make lock`, then `make test`"
        needed = [Requirement(text) for text in distribution.requires or ()]
        waiting += [need for need in needed if not need.marker or need.marker.evaluate({"extra": ""})]
    assert len(seen) > 100


def test_make_conda_and_binder_install_what_is_locked() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (listed,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert listed == ["--constraint constraints.txt", "--editable .[book]"]
    assert "--constraint constraints.txt" in (ROOT / "Makefile").read_text(encoding="utf-8")
    (python,) = [item for item in environment["dependencies"] if str(item).startswith("python=")]
    assert python.removeprefix("python=") in MATRIX
    assert PROJECT["requires-python"] == f">={MATRIX[0]}"
    assert f"--python-version {MATRIX[0]} " in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip() == python.replace("=", "-")
    binder = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert binder[1:] == ["--constraint constraints.txt", "--editable .[book,lab]"]  # the playground needs ipywidgets


def test_make_lets_python_keep_what_it_compiled() -> None:
    """Packages are installed uncompiled; where a shell forbids to keep it, every start would compile them again."""
    told = subprocess.run(
        ["make", "--no-print-directory", "--eval", 'tell: ; @echo "<$$PYTHONDONTWRITEBYTECODE>"', "tell"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "<>\n"


def test_what_everybody_installs_is_not_pinned() -> None:
    """lskd's losses go into other people's environments: a pin there would be a conflict."""
    assert [pin for pin in PROJECT["dependencies"] if "==" in pin] == []
    names = {re.split(r"[>=<~]", pin)[0] for pin in PROJECT["dependencies"]}
    assert names <= {pin.split("==")[0] for pin in EXTRAS["book"]}


def test_continuous_integration_runs_the_readme_s_test_command_alone() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "CI=true exec make -j 2 test"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in ("make book", "make test") if command not in readme] == []


def test_hosted_tests_are_the_same_and_pages_come_from_tags_alone() -> None:
    (job,) = TESTS["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert PUBLISH[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    steps = [step for step in PUBLISH["jobs"]["book"]["steps"] if "run" in step]
    assert [step["run"] for step in steps[:2]] == [".ci/run", "make book"]
    (colab,) = [step for step in steps if "lskd book colab" in step["run"]]
    for step in (steps[1], colab):  # links to Colab and Binder, and the copies that they open
        assert step["env"]["LSKD_REPOSITORY"] == "${{ github.server_url }}/${{ github.repository }}"
        assert step["env"]["LSKD_REF"] == "${{ github.ref_name }}"
    assert colab["run"].rstrip().endswith(open_elsewhere.BRANCH)
    assert PUBLISH["permissions"]["contents"] == "write"
