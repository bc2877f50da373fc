"""The command line as a whole: each module of commands is offered, nothing is loaded before it is needed, statuses."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from lskd import cli
from lskd.errors import LskdError
from lskd.sources import ROOT


def test_every_module_of_commands_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    names = {path.stem for path in (ROOT / "lskd" / "commands").glob("*.py")} - {"__init__", "shared"}
    assert {importlib.import_module(f"lskd.commands.{name}") for name in names} == set(cli.COMMANDS)
    assert cli.main([]) == 0
    told = capsys.readouterr().out
    for word in names | {"plan"}:
        assert re.search(rf"^ +{word}  ", told, flags=re.MULTILINE), word


def test_help_loads_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); from lskd import cli; cli.main([]); "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "inner = {n for n in sys.modules if n.startswith('lskd.') and not n.startswith('lskd.commands')}; "
        "print(*sorted(new | inner), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.split() == ["lskd", "lskd.cli", "lskd.errors"]


def test_help_does_without_slow_modules() -> None:
    code = "import sys; from lskd import cli; cli.main([]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"typing", "dataclasses", "inspect", "json", "asyncio"} & set(done.stderr.split())


@pytest.mark.parametrize("start", [["-m", "lskd"], ["-m", "lskd.cli"]])
def test_it_starts_as_a_module(start: list[str]) -> None:
    call = [sys.executable, *start, "recipe", "show", "no such recipe"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("lskd: error: ")
    assert done.stderr.count("\n") == 1


def test_an_error_is_a_sentence_unless_its_place_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["train", "--recipe", "digit-pairs", "--dataset", "cifar100"]
    assert cli.main(wrong) == 2
    assert "--dataset goes with --teacher" in capsys.readouterr().err
    with pytest.raises(LskdError, match="--dataset goes with --teacher"):
        cli.main(["--traceback", *wrong])
    with pytest.raises(SystemExit) as unknown:
        cli.main(["trian"])
    assert unknown.value.code == 2
