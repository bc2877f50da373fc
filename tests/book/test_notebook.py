"""Notebooks: wrong parameters start no kernel, only a whole, reported run counts."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reading import cell, command_line, wait_for, write_notebook

from book import notebook
from book.notebook_parameters import Parameter, bind, read
from figures.fingerprint import ROOT
from lskd.errors import LskdError
from lskd.files import read_json
from paper import gains

PARAMETERS = """\
recipe: str = "digit-pairs"
epochs: int | None = None  # all of the recipe's when None
rate: float = 0.5
fast: bool = False
members: list[str] = []
settings: dict = {}
output: str = "out.txt"
"""
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
REPORT = "from book.notebook import report\nreport(outputs=[output], accuracy=91.25)"


def written(path: Path, *sources: str) -> Path:
    """A notebook of code cells behind one that declares parameters."""
    return write_notebook(path, cell(PARAMETERS, "parameters"), *map(cell, sources))


def declared(*sources: str, kind: str = "code") -> list[Parameter]:
    return read([cell(source, "parameters", kind=kind) for source in sources], "n.ipynb")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A throw-away project whose path holds a space, an accent and braces."""
    root = tmp_path / "a proj{é}ct"
    (root / "notebooks").mkdir(parents=True)
    return root


def test_declared_parameters_are_read_without_a_kernel() -> None:
    found = declared(PARAMETERS)
    assert [p.name for p in found] == ["recipe", "epochs", "rate", "fast", "members", "settings", "output"]
    assert found[1] == Parameter("epochs", "int | None", None, "all of the recipe's when None")
    assert found[4].default == []


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], r"n\.ipynb: no cells are tagged 'parameters'; expected exactly one"),
        (["a: int = 1", "b: int = 1"], "2 cell"),
        (["a: int = 1\nb = 2"], r"line 2: found `b = 2`; expected `name: type = default`"),
        (["a: int = 1\na: int = 2"], "line 2: parameter a is declared twice"),
        *(
            ([line], re.escape(f"line 1: found `{line}`; expected `name: type = default`, a literal value of that"))
            for line in (
                *("import os", "a: int", "a: int = f()", "a: str = f'{1}'", "a: int = '1'", "a: int = True"),
                *("a: set = 1", "a: list[int, str] = []", "a: dict = {[]: 1}"),
            )
        ),
        (["a: int = ("], "line 1: not valid Python"),
    ],
)
def test_a_wrong_parameters_cell_is_named(cells: list[str], message: str) -> None:
    with pytest.raises(LskdError, match=message):
        declared(*cells)
    with pytest.raises(LskdError, match="not a code cell"):
        declared("a: int = 1", kind="markdown")


VALUES: list[tuple[str, list[tuple[Any, Any]], list[Any]]] = [  # given and what becomes of it; of another type
    ("bool = False", [("false", False), ("True", True)], ["0", 1]),
    ("int = 0", [("2", 2), (" -3 ", -3)], ["2.0", "two", 2.0, True, "true", None, "none"]),
    ("int | None = None", [("none", None), ("2", 2), (None, None)], ["two"]),
    ("float = 0.0", [("2", 2.0), ("1e-3", 1e-3), (2, 2.0)], [True, "nan"]),
    ("float | int = 0", [(2, 2)], []),
    ("str = ''", [("2", "2"), ("none", "none")], [2]),
    ("str | None = None", [("none", None)], [2]),
    ("int | str = 0", [("2", 2), ("two", "two")], []),
    ("list[str] = []", [('["kd", "ls"]', ["kd", "ls"]), ("kd, ls", ["kd", "ls"]), ("", [])], ["[1]"]),
    ("list[int] = []", [("[1, 2]", [1, 2]), ("1,2", [1, 2])], ["1,b"]),
    ("list[int | None] = []", [([1, None], [1, None])], []),
    ("dict = {}", [('{"members.kd.temperature": 3.0}', {"members.kd.temperature": 3.0})], ["[1]", "{bad"]),
    ("dict[str, int] = {}", [({"a": 1}, {"a": 1})], [{"a": "b"}]),
]


@pytest.mark.parametrize(("kind", "good", "wrong"), VALUES, ids=[kind for kind, *_ in VALUES])
def test_values_become_the_declared_type_or_errors(kind: str, good: list[tuple[Any, Any]], wrong: list[Any]) -> None:
    x = declared(f"x: {kind}")
    for given, expected in good:
        bound = bind(x, {"x": given}, "n")
        assert bound == {"x": expected}
        assert type(bound["x"]) is type(expected)
    for given in wrong:
        said = f"n: parameter x is {given!r} ({type(given).__name__}); expected {kind.partition(' = ')[0]}"
        with pytest.raises(LskdError, match=re.escape(said)):
            bind(x, {"x": given}, "n")


def test_plain_papermill_gets_the_same_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its cell with the values that were given comes after the declared ones and before the first line."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(PARAMETERS + "members = 'kd'\nepochs = 'none'\nrate = 1", scope)
    notebook.at_root(scope)
    assert (scope["members"], scope["epochs"], scope["rate"]) == (["kd"], None, 1.0)
    for wrong, found in (("output = 2026", "output is 2026 .int.; expected str"), ("rate = 'x'", "rate is 'x'")):
        exec(PARAMETERS + wrong, scope)
        with pytest.raises(LskdError, match=f"notebook: parameter {found}"):
            notebook.at_root(scope)


def test_wrong_parameters_never_start_a_kernel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(project / "notebooks" / "a.ipynb", REPORT)
    monkeypatch.setattr(notebook, "_execute", lambda *a: pytest.fail("a kernel was started"))
    for wrong, message in (
        ({"epoch": 2}, r"unknown parameter 'epoch'; did you mean 'epochs'\?.*recipe: str, epochs: int"),
        ({"epochs": "two"}, "parameter epochs is 'two'"),
        ({"epochs = 1\nimport os": 2}, r"'epochs = 1\\nimport os' is not a Python identifier"),
    ):
        with pytest.raises(LskdError, match=message):
            notebook.run(path, wrong)
    assert not (project / "build").exists()
    with pytest.raises(FileExistsError):
        notebook.run(path, output=path / "a.ipynb")  # a file, where a folder has to be


def test_an_unknown_notebook_names_the_nearest(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    written(project / "notebooks" / "train_cohort.ipynb")
    with pytest.raises(LskdError, match=r"unknown notebook 'train_cohrt'; did you mean 'train_cohort'\?"):
        notebook.run("train_cohrt")
    with pytest.raises(LskdError, match="no such file"):
        notebook.run(project / "x.ipynb")


def test_report_by_hand_writes_nothing_and_checks_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(notebook.REPORT, raising=False)
    with pytest.raises(FileNotFoundError, match="missing"):
        notebook.report(outputs=["missing.txt"])
    Path("there.txt").touch()
    assert notebook.report(outputs=["there.txt"], accuracy=91.25, n=3) == "accuracy 91.25; n 3; wrote there.txt"
    assert [p.name for p in tmp_path.iterdir()] == ["there.txt"]


def test_progress_bars_reach_a_log_at_a_bearable_rate() -> None:
    log = io.StringIO()
    echo = notebook.Echo(log)
    for step in range(1000):
        echo.write(f"\r{step}/1000")
    echo.write("\n")
    echo.write("first\r\nsecond")
    echo.close()
    assert log.getvalue() == "0/1000\n999/1000\nfirst\nsecond\n"


def test_a_good_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(
        project / "notebooks" / "good.ipynb",
        "import sys\nfor i in range(3):\n    print(f'\\r{i}', end='', file=sys.stderr)\nprint(file=sys.stderr)",
        "import os, pathlib\nassert pathlib.Path.cwd() == pathlib.Path(os.getcwd())\n"
        "print('in', os.getcwd() + '/x')\nprint('once')",
        "assert (epochs, rate, fast, members) == (2, 1.0, False, ['kd'])\n"
        "places = [v for k, v in os.environ.items() if 'JUPYTER' in k or 'IPYTHON' in k]\n"
        "assert len(places) > 4 and not [v for v in places if v.startswith(str(pathlib.Path.home()))]\n"
        "import lskd\nopen(output, 'w').write(f'{sys.executable}\\n{lskd.__file__}')\n"
        "from book.notebook import report\nreport(outputs=[output], accuracy=1)",
    )
    given = {"epochs": "2", "rate": 1, "fast": "false", "members": "kd", "output": "made here.txt"}
    result = notebook.run(path, given)
    assert result.notebook == project / "build" / "notebooks" / "good.ipynb"
    assert result.outputs == ["made here.txt"]
    kernel = (project / "made here.txt").read_text().split("\n")
    assert [Path(path) for path in kernel] == [Path(sys.executable), ROOT / "lskd" / "__init__.py"]
    shown = capsys.readouterr().err
    assert "once\n" in shown
    assert "2\n" in shown

    text = result.notebook.read_text(encoding="utf-8")
    assert str(project) not in text
    assert str(path) not in text
    content = json.loads(text)
    assert content["metadata"]["papermill"]["input_path"] == "notebooks/good.ipynb"
    assert content["metadata"]["papermill"]["parameters"]["epochs"] == 2
    assert all("papermill" not in c["metadata"] and "execution" not in c["metadata"] for c in content["cells"])
    assert [c["outputs"] for c in content["cells"]][2] == []  # the progress bar
    assert "once" in json.dumps(content["cells"][3]["outputs"])

    assert notebook.run(path, given).notebook.read_text(encoding="utf-8") == text
    assert [p.name for p in result.notebook.parent.iterdir()] == ["good.ipynb"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "x = {}\nx['gone']", REPORT], r"(?s)n\.ipynb: cell \[3\] failed: KeyError: 'gone'.*n\.failed\.ipynb"),
        ([KILL], "in the cell that begins `import os, signal`.*[Kk]ernel died"),
        (["import sys\nsys.exit(0)", REPORT], "ended without its report"),
        ([REPORT], r"FileNotFoundError: declared output does not exist: out\.txt"),
    ],
    ids=["error", "killed", "exit-0", "output-missing"],
)
def test_a_bad_run_leaves_the_earlier_output_alone(project: Path, cells: list[str], message: str) -> None:
    path = written(project / "notebooks" / "n.ipynb", *cells)
    output = project / "published" / "n.ipynb"
    output.parent.mkdir()
    output.write_text("earlier")
    with pytest.raises(LskdError, match=message):
        notebook.run(path, {}, output)
    assert output.read_text() == "earlier"
    assert sorted(p.name for p in output.parent.iterdir()) == ["n.failed.ipynb", "n.ipynb"]
    assert notebook.REPORT not in os.environ


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_the_kernel_goes_when_its_runner_is_stopped(project: Path, stop: signal.Signals) -> None:
    path = written(
        project / "notebooks" / "n.ipynb", "import os, time\nopen('pid', 'w').write(str(os.getpid()))", "time.sleep(60)"
    )
    code = "import sys; from book.notebook import run; run(sys.argv[1])"
    runner = subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.DEVNULL, cwd=notebook.ROOT)
    try:
        wait_for(lambda: (project / "pid").exists() and (project / "pid").read_text())
        runner.send_signal(stop)
        assert runner.wait(20) != 0
        kernel = int((project / "pid").read_text())
        wait_for(lambda: not command_line(kernel))
    finally:
        runner.kill()
        runner.wait()
    assert not (project / "build" / "notebooks" / "n.ipynb").exists()


def test_papermill_by_hand(project: Path) -> None:
    first = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from book.notebook import at_root; at_root(globals())"
    path = written(project / "notebooks" / "n.ipynb", first, "assert epochs == 2", "open(output, 'w')", REPORT)
    command = [sys.executable, "-m", "papermill", path.relative_to(project), "out.ipynb", "--no-progress-bar", "-p"]

    def papermill(*parameter: str) -> subprocess.CompletedProcess[str]:
        env = dict(os.environ, PYTHONPATH=str(ROOT))
        return subprocess.run([*command, *parameter], cwd=project, capture_output=True, text=True, env=env, timeout=60)

    assert papermill("epochs", "2").returncode == 0
    assert "accuracy 91.25" in (project / "out.ipynb").read_text()
    misspelt = papermill("epoch", "2")  # papermill alone warns and goes on with the default
    assert misspelt.returncode != 0
    assert "unknown parameter 'epoch'; did you mean 'epochs'?" in misspelt.stderr


def test_notebooks_opened_by_hand_find_the_project_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterLab starts each in ``notebooks/``: the first thing after its imports is to go where its paths start."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [c for c in read_json(path)["cells"] if c["cell_type"] == "code"]
        code = "\n".join("".join(c["source"]) for c in cells if "parameters" not in c["metadata"].get("tags", []))
        first = next(n for n in ast.parse(code).body if not isinstance(n, ast.Import | ast.ImportFrom))
        assert ast.unparse(first) == "at_root(globals())", path.name
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "elsewhere" / "notebooks").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    for start, end in {"notebooks": ".", ".": ".", "elsewhere/notebooks": "elsewhere/notebooks"}.items():
        monkeypatch.chdir(tmp_path / start)
        notebook.at_root({})
        assert Path.cwd() == (tmp_path / end).resolve()


def test_pages_read_records_where_they_lie() -> None:
    """A folder of another name would be a page that says, truly for what it reads, that nothing was run."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for parameter in notebook.declared(path):
            if str(parameter.default).startswith("results"):
                assert any((ROOT / parameter.default).rglob("*.json")), f"{path.name}: {parameter.name}"
    (arm,) = (p for p in notebook.declared(ROOT / "notebooks" / "surface.ipynb") if p.name == "third_arm")
    assert "effective" in {gain.baseline for gain in gains.measured(ROOT / arm.default)}
