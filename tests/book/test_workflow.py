"""The build graph on a throw-away project: what is made again, what is not, and what an interruption leaves.

The project has the real Snakefile, recipes and sources; its notebooks write small files at once. Its path holds
a space.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reading import cell, command_line, wait_for, write_notebook

from figures.fingerprint import PACKAGES, ROOT
from lskd import cli

WORKFLOW = [sys.executable, "-m", "lskd.cli", "workflow"]
FIGURES = ("logit_gap", "tsne", "results_table")
PAGES = ("train_teacher", "train_students", "data", *FIGURES)
TRAIN = """\
import json
import tomllib
from pathlib import Path
from lskd.files import atomic_write
from book.notebook import report
from lskd import only_training
names = tomllib.loads(Path(f"recipes/{recipe}.toml").read_text())["members"]
paths = [f"{output}/{name}.evidence.npz" for name in names] + [f"{output}/record.json"]
for path in paths:
    atomic_write(path, json.dumps({"about": f"{recipe} {seed} {settings}", "members": {}}))
report(outputs=paths)
"""
DRAW = """\
from lskd.files import atomic_write
from book.notebook import report
atomic_write(f"{output}/figure.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
report(outputs=[f"{output}/figure.svg"])
"""
TRAINING = 'recipe: str = ""\nseed: int = 0\nmembers: list[str] = []\nsettings: dict = {}\noutput: str = ""\n'
TRAINING += 'device: str = "auto"'
DRAWING = 'teacher: str = ""\nstudents: str = ""\noutput: str = ""'
CHAPTER = """\
# A book
{cite}`a`, $x^2$, {{ toy }}, {{ recipe }}

```{literalinclude} ../../pyproject.toml
:lines: 1-3
```

```{bibliography}
```
"""
FACTS = """\
def published_facts():
    return {}
def experiment_facts(teacher, students, packs):
    return {"recipe": students["about"]}
"""
FILES = {
    **dict.fromkeys(("lskd/only_training.py", "lskd/only_tsne.py", "lskd/only_logit_gap.py"), ""),
    **{"results/one.json": "{}", "book/facts.py": FACTS},
    "paper/toy.py": 'def toy_facts():\n    return {"toy": "1.5 % (n = 3)"}\n',
    "book/chapters/_toc.yml": "format: jb-book\nroot: index\nchapters:\n"
    + "".join(f"  - file: notebooks/{name}\n" for name in PAGES),
    "book/chapters/index.md": CHAPTER,
    "book/chapters/references.bib": "@misc{a, title={T}, author={A, B}, year={2024}}\n"
    "@misc{sun2024logit, title={T},\n}\n",
}


def write(root: Path, name: str, code: str, parameters: str = DRAWING) -> None:
    title = cell(f"# {name}", kind="markdown")
    write_notebook(root / "notebooks" / f"{name}.ipynb", title, cell(parameters, "parameters"), cell(code))


def write_project(root: Path) -> None:
    for name in (*PACKAGES, "workflow", "recipes"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("chapters", "drawn"))
    for name in ("_config.yml", "pyproject.toml", "CITATION.cff"):
        shutil.copy(ROOT / name, root / name)
    for name, content in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    write(root, "train_cohort", TRAIN, TRAINING)
    write(root, "data", DRAW, 'recipe: str = ""\nrecords: str = "results"\noutput: str = ""')
    for name in (*FIGURES, "not_a_page"):
        write(root, name, f"import lskd.only_{name}\n" * (name in ("tsne", "logit_gap")) + DRAW)


def call(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WORKFLOW, *arguments], cwd=root, capture_output=True, text=True, timeout=600, check=False)


def make(root: Path, *targets: str) -> str:
    done = call(root, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned(root: Path) -> set[str]:
    """Names of the jobs that would run."""
    done = call(root, "--dry-run")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    jobs = set(re.findall(r"^(?:local)?rule (\w+):|^Job \d+: (\w+):", text, flags=re.MULTILINE))
    found = {one or other for one, other in jobs} - {"all"}
    assert found or "Nothing to be done" in text, text
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose book has been made."""
    root = tmp_path_factory.mktemp("workflow") / "made here"
    root.mkdir()
    write_project(root)
    make(root)
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it, elsewhere, with its dates."""
    return Path(shutil.copytree(made, tmp_path / "moved to", symlinks=True))


@pytest.mark.book
def test_the_book_is_made_with_everything_it_needs(made: Path) -> None:
    build = made / "build"
    pages = build / "book" / "_build" / "html"
    assert (pages / "index.html").is_file()
    for name in PAGES:
        assert (pages / "notebooks" / f"{name}.html").is_file()
        assert (build / "default" / "notebooks" / f"{name}.ipynb").is_file()
    assert "1.5 % (n = 3), digit-pairs 0" in (pages / "index.html").read_text("utf-8").replace("\u00a0", " ")
    assert not (build / "default" / "notebooks" / "not_a_page.ipynb").exists()
    assert "digit-pairs-teacher 0" in (build / "default" / "teacher" / "record.json").read_text()
    assert (build / "default" / "students" / "dkd_ls.evidence.npz").is_file()
    assert (build / "default" / "figures" / "tsne" / "figure.svg").is_file()
    remote = [p for p in pages.rglob("*.html") if re.search(r'(src|href)="(https?:)?//', p.read_text("utf-8"))]
    assert remote == []


def test_a_page_that_shows_no_networks_trains_none(tmp_path: Path) -> None:
    write_project(tmp_path)
    done = call(tmp_path, "data")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build" / "default" / "notebooks" / "data.ipynb").is_file()
    assert not (tmp_path / "build" / "default" / "teacher").exists()


def append(name: str, text: str = "\n# changed\n") -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / name).open("a") as stream:
            stream.write(text)

    return change


def backdated(name: str) -> Callable[[Path], None]:
    """Other content under the old date, as a checkout of an older commit may leave it."""

    def change(root: Path) -> None:
        before = (root / name).stat()
        append(name)(root)
        os.utime(root / name, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def redraw(root: Path) -> None:
    write(root, "tsne", DRAW + "\n# changed")


def resettle(root: Path) -> None:
    path = root / "workflow" / "default.yaml"
    before, students, after = path.read_text().partition("students:")
    path.write_text(before + students + after.replace("settings: {}", "settings: {epochs: 2}"))


DRAWN = {*FIGURES, "facts", "book"}
INCLUDED = "pyproject.toml"  # by a chapter, and read by no notebook
STUDENTS = {"students", *DRAWN}


def test_what_no_page_depends_on_and_new_dates_alone_change_nothing(project: Path) -> None:
    for path in project.rglob("*"):
        if "build" not in path.parts and ".snakemake" not in path.parts:
            path.touch()
    for name in ("lskd/cli.py", "notebooks/not_a_page.ipynb", "README.md"):
        append(name)(project)
    assert make(project).count("Nothing to be done") == 2


def without_a_figure(root: Path) -> None:
    shutil.rmtree(root / "build" / "default" / "figures" / "results_table")


CHANGES: dict[str, tuple[list[Callable[[Path], object]], set[str]]] = {  # several, where each is seen by itself
    "notebook, source-backdated, figure-gone, facts": (
        [redraw, backdated("lskd/only_logit_gap.py"), without_a_figure, append("book/facts.py")],
        DRAWN,
    ),
    "source, record": (
        [append("lskd/only_tsne.py"), lambda root: (root / "results" / "two.json").write_text("{}")],
        {"tsne", "data", "facts", "book"},
    ),
    "recipe, teacher-recipe": (
        [append("recipes/digit-pairs.toml"), append("recipes/digit-pairs-teacher.toml")],
        {"teacher", "data", *STUDENTS},
    ),
    "source-of-all": ([append("book/notebook.py")], {"teacher", "data", *STUDENTS}),
    "recipe-backdated": ([backdated("recipes/digit-pairs.toml")], {"data", *STUDENTS}),
    "parameter": ([resettle], STUDENTS),
    "evidence-gone": ([lambda root: (root / "build/default/students/kd.evidence.npz").unlink()], STUDENTS),
}


@pytest.mark.parametrize(("changes", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_makes_what_depends_on_it_and_nothing_else(
    project: Path, changes: list[Callable[[Path], object]], expected: set[str]
) -> None:
    for change in changes:
        change(project)
    assert planned(project) == expected


def test_whatever_pages_are_made_of_makes_them_again(project: Path) -> None:
    changed = [
        "book/build.py",
        "book/chapters/index.md",
        "book/chapters/new.md",
        "_config.yml",
        "CITATION.cff",
        INCLUDED,
    ]
    for name in changed:
        append(name)(project)
    assert planned(project) == {"book"}
    done = call(project, "--dry-run")
    (why,) = re.findall(r"^ *[Rr]eason: Updated input files: (.*)", done.stdout + done.stderr, flags=re.MULTILINE)
    assert sorted(why.split(", ")) == sorted(changed)


def test_pages_know_where_they_are_published(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSKD_REPOSITORY", "https://example.org/owner/name")
    assert planned(project) == {"book"}


def test_training_that_changes_nothing_redraws_nothing(project: Path) -> None:
    watched = [*project.glob("build/default/figures/*/*"), project / "build/book/_build/html/index.html"]
    before = [path.stat().st_mtime_ns for path in watched]
    append("lskd/only_training.py")(project)
    told = make(project)
    assert "train_students.ipynb in" in told
    assert "tsne" not in told
    assert [path.stat().st_mtime_ns for path in watched] == before


@pytest.mark.book
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: write(root, "tsne", f"raise RuntimeError('none')\n{DRAW}"), "RuntimeError: none"),
        (append("book/chapters/index.md", "\n{ref}`nowhere`\n"), "index.md:11: WARNING: undefined label: 'nowhere'"),
    ],
    ids=["notebook", "warning"],
)
def test_a_failing_notebook_or_a_warning_fails_the_book_and_leaves_the_earlier_pages(
    project: Path, spoil: Callable[[Path], object], told: str
) -> None:
    index = project / "build" / "book" / "_build" / "html" / "index.html"
    before = index.read_bytes()
    spoil(project)
    done = call(project)
    assert done.returncode != 0
    assert told in done.stderr.rpartition("lskd: stopped, because:")[2]  # said again, last
    assert index.read_bytes() == before
    assert (project / "build" / "default" / "notebooks" / "tsne.ipynb").exists() == ("RuntimeError" not in told)
    if "RuntimeError" in told:
        redraw(project)
        make(project, "tsne")


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_workflow_goes_on(project: Path, stop: signal.Signals) -> None:
    slow = "import os, pathlib, time\nif not pathlib.Path('quick').exists():\n"
    slow += "    pathlib.Path('pid').write_text(str(os.getpid()))\n    time.sleep(60)\n"
    write(project, "tsne", slow + DRAW)
    started = subprocess.Popen([*WORKFLOW, "tsne"], cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (project / "pid").exists() and (project / "pid").read_text())
        children = descendants(started.pid)
        if stop == signal.SIGKILL:  # of Snakemake: its jobs see it and end
            os.kill(next(pid for pid in children if "snakemake" in command_line(pid)), stop)
        else:
            started.send_signal(stop)
        assert started.wait(60) != 0
        wait_for(lambda: not any(command_line(pid) for pid in children))
    finally:
        started.kill()
        started.wait()
    (project / "quick").touch()
    make(project, "tsne")
    assert (project / "build" / "default" / "notebooks" / "tsne.ipynb").is_file()


def test_two_workflows_take_turns(project: Path) -> None:
    redraw(project)
    asked = [*WORKFLOW, "tsne"]
    both = [
        subprocess.Popen(asked, cwd=project, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in "12"
    ]
    told = ["".join(process.communicate(timeout=600)) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sum("waiting for the workflow that is running here" in text for text in told) == 1
    assert sum("tsne.ipynb in" in text for text in told) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", "no preset 'mine'.*call this in a checkout of the project"),
        ("seed: 0", "sead: 0", "preset mine has no 'sead'; did you mean 'seed'"),
        ("seed: 0", "seed: '0'", "preset mine: seed is '0' .str.; expected int"),
        ("seed: 0", "seed: 0\nseed: 1", "(?s)key 'seed' is there twice.*line 2"),
        ("seed: 0", "seed: 0\non: 1", "key True is no text"),
        ("device: cpu", "device: no", "device is False .bool.; expected str"),
        (r"  members: \[\]", "\tmembers: []", "(?s)mine.yaml cannot be read: .*line 10, column 1"),
        (r"members: \[\]", "members: [kd, kd_lz]", "no member 'kd_lz'; did you mean 'kd_ls'"),
        ("digit-pairs-teacher", "digit-pair-teacher", "unknown recipe 'digit-pair-teacher'; did you mean"),
        (r"\{epochs: 1", "{epoch: 1", "recipe digit-pairs-teacher has no 'epoch'"),
        ("tsne:", "tsnee:", "preset mine: no drawing notebook 'tsnee'; did you mean 'tsne'"),
        ("perplexity", "perplexty", "preset mine: tsne.ipynb: unknown parameter 'perplexty'"),
        ("perplexity: 10.0", "output: build/mine", "preset mine: tsne.ipynb: output is 'build/mine'; expected none"),
        ("perplexity: 10.0", "teacher: build/mine", "preset mine: tsne.ipynb: teacher is 'build/mine'; expected none"),
        (".*", "", "mine.yaml holds None; expected keys"),
    ],
)
def test_a_wrong_preset_is_named_before_anything_starts(
    old: str,
    new: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("book", "notebooks", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "workflow").mkdir()
    changed = re.sub(old, new, (ROOT / "workflow" / "tiny.yaml").read_text(), flags=re.DOTALL)
    if old:
        (tmp_path / "workflow" / "mine.yaml").write_text(changed)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["workflow", "--preset", "mine", "--dry-run"]) == 2
    assert re.search(message, capsys.readouterr().err)


def descendants(pid: int) -> list[int]:
    """Processes below ``pid``."""
    try:
        direct = [int(p) for f in Path(f"/proc/{pid}/task").glob("*/children") for p in f.read_text().split()]
    except OSError:
        return []
    return [*direct, *(grandchild for child in direct for grandchild in descendants(child))]
