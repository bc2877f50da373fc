"""The command line as a whole: all packages' commands are offered, nothing is loaded before it is needed."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from unittest.mock import Mock

import pytest
import torch

from book import doctor
from figures.fingerprint import ROOT
from lskd import cli


def test_commands_of_all_packages_are_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    told = capsys.readouterr().out
    words = "train table data recipe results evidence plan run archive notebook workflow book verify doctor"
    for word in words.split():
        assert re.search(rf"^ +{word}( |$)", told, flags=re.MULTILINE), word
    assert "pip install" not in told


def test_without_the_other_packages_help_says_how_to_get_their_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = ModuleNotFoundError("No module named 'paper'", name="paper")
    command = Mock(module="paper.commands", load=Mock(side_effect=absent))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [command])
    assert cli.main([]) == 0
    told = capsys.readouterr().out
    assert "results" not in told.partition("commands:")[2].partition("Tables, figures")[0]
    assert " ".join(told.split()).count("pip install -e '.[book]'") == 1
    command.load = lambda: importlib.import_module("no_such_module_at_all")  # of paper's own: a fault, not absence
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        cli.main([])


def test_help_loads_no_package_but_its_own() -> None:
    code = (
        "import sys; before = set(sys.modules); from lskd import cli; cli.main([]); "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(*sorted(new), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.split() == ["book", "lskd", "paper"]


def test_a_program_keeps_its_memory_and_so_do_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started again once, as the same process with the same words; what the user has set stays."""
    code = (
        "import os, sys; sys.argv = ['lskd', 'told']; from lskd import cli; print('start', os.getpid(), flush=True); "
        "tell = lambda commands: commands.add_parser('told').set_defaults("
        "call=lambda given: os.system('echo $GLIBC_TUNABLES')); sys.exit(cli.main(more=[tell]))"
    )
    for own in (None, "glibc.malloc.check=0"):
        monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
        if own:
            monkeypatch.setenv("GLIBC_TUNABLES", own)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        *starts, told = done.stdout.splitlines()
        assert len(set(starts)) == 1
        again = sys.platform == "linux" and not own
        assert len(starts) == 1 + again
        assert told == (own or ":".join(f"glibc.malloc.{setting}" for setting in cli.MEMORY) * again)


@pytest.mark.parametrize("start", [["-m", "lskd"], ["-m", "lskd.cli"]])
def test_it_starts_as_a_module(start: list[str]) -> None:
    call = [sys.executable, *start, "recipe", "show", "no such recipe"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("lskd: error: ")
    assert done.stderr.count("\n") == 1


def test_a_package_that_is_not_installed_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("paper", "pandas")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert cli.main(["results", "list"]) == 2
    told = capsys.readouterr().err
    assert re.match(r"lskd: error: this needs pandas, which is not installed", told), told
    assert told.count("\n") == 1


def test_the_doctor_says_what_is_there_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(line.startswith("! disk") for line in doctor.report())
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Mock(free=2**20))
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    lines = list(doctor.report())
    assert "! disk       0.0 GiB free here" in lines
    assert "  log        tensorboard: no, only jsonl; pip install tensorboard" in lines
    assert any(line.startswith(f"  torch      {torch.__version__}") for line in lines)
