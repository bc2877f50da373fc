"""The command line: all packages' commands are offered; whatever is wrong outside the program is one sentence."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors import SafetensorError

from book import doctor
from figures.fingerprint import ROOT
from lskd import cli, recipes
from lskd.files import atomic_path
from lskd.recipes import list_recipes, load_recipe
from paper import snakemake


def test_commands_of_all_packages_are_offered_or_help_says_how_to_get_them(
    told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "train table data recipe results evidence plan run archive notebook workflow book verify doctor"
    assert set(words.split()) <= set(re.findall(r"^ +(\w+)(?: |$)", (found := told()), flags=re.MULTILINE))
    assert "pip install" not in found
    absent = ModuleNotFoundError("No module named 'paper'", name="paper")
    command = Mock(module="paper.commands", load=Mock(side_effect=absent))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [command])
    found = told()
    assert "results" not in found.partition("commands:")[2].partition("Tables, figures")[0]
    assert " ".join(found.split()).count("pip install -e '.[book]'") == 1
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
    told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("paper", "pandas")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert told("results", "list", status=2).startswith("lskd: error: this needs pandas, which is not installed")


def test_the_doctor_says_what_is_there_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(line.startswith("! disk") for line in doctor.report())
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Mock(free=2**20))
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    lines = list(doctor.report())
    assert "! disk       0.0 GiB free here" in lines
    assert "  log        tensorboard: no, only jsonl; pip install tensorboard" in lines
    assert any(line.startswith(f"  torch      {torch.__version__}") for line in lines)


# --- whatever is wrong outside the program ---------------------------------------------------------------------------


RECORD = str(min((ROOT / "results" / "digit_pairs").rglob("*.json")))
OWN = 'dataset = "digit_pairs"\nstudent = "resnet8"\nepochs = 1\nbatch_size = 8\nlearning_rate = 0.1\n'
OWN += "[data]\ntrain_size = 100\ntest_size = 100\n"
OWN += '[members.a]\nmethod = "plain"\n'
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(OWN)
    (tmp_path / "latin.toml").write_bytes(OWN.encode() + b"# \xfc")
    (tmp_path / "half.toml").write_text("epochs = = 1")
    (tmp_path / "file").write_text("not JSON")
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "lost").symlink_to("nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


TRAIN = ["train", "--recipe", "own.toml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--recipe", "latin.toml"], "latin.toml: not UTF-8"),
        (["train", "--recipe", "half.toml"], "half.toml: not valid TOML"),
        (["train", "--recipe=~/half.toml"], "half.toml: not valid TOML"),
        (["train", "--recipe", "absent.toml"], "no such file"),
        (["train", "--recipe", "digit-pair"], "did you mean 'digit-pairs'"),
        (["train", "--recipe", "a" * 300 + ".toml"], "too long; choose a shorter name"),
        ([*TRAIN, "--set", "epochs"], "expected key=value"),
        ([*TRAIN, "--set", "epochs=no"], "epochs is 'no' (str); expected int"),
        ([*TRAIN, "--set", "epochs=nan"], "recipe own: epochs is nan; expected a finite"),
        ([*TRAIN, "--set", "optimization.warmup_epochs=1"], "no effect with 'steps'; leave it at 0"),
        ([*TRAIN, "--set", "optimization.betas=[0.5,0.9]"], "no effect with 'sgd'; leave it at"),
        (
            [*TRAIN, "--set", "milestones=[1]", "--set", "optimization.schedule=cosine"],
            "milestones is (1,) and has no effect with 'cosine'; leave it at (), or set optimization.schedule",
        ),
        (
            [*TRAIN, "--set", "optimization={optimizer='adamw',nesterov=true}"],
            "nesterov is True and has no effect with 'adamw'",
        ),
        ([*TRAIN, "--set", "student=.x:f"], "there is no module '.x' on Python's path"),
        ([*TRAIN, "--set", "student=~no-such-user/net.py:f"], "write a path in full instead"),
        ([*TRAIN, "--set", "dataset=:f"], "':f': there is no module ''"),
        ([*TRAIN, "--seed", "-1"], "seed is -1 (int); expected int >= 0"),
        ([*TRAIN, "--checkpoint-seconds", "-1"], "checkpoint_seconds is -1.0 (float); expected"),
        ([*TRAIN, "--device", "mps"], "expected auto, cpu, cuda or cuda:N"),
        pytest.param([*TRAIN, "--device", "cuda"], "finds no CUDA device here", marks=NO_GPU),
        ([*TRAIN, "--out", "file"], "file: File exists; a folder is expected there"),
        ([*TRAIN, "--out", "lost"], "a link that leads nowhere, has the name"),
        ([*TRAIN, "--out", "file/run"], "Not a directory; a folder is expected there"),
        ([*TRAIN, "--out", "a" * 300], "too long; choose a shorter name"),
        (["run", "--gpus", "2"], "--gpus 2: goes with --profile"),
        (["run", "--", "--quiet"], "--quiet: goes with --profile"),
        (["results", "add", "file"], "not valid JSON"),
        (["results", "add", RECORD, "--store", "file"], "a folder is expected there"),
        (["results", "show", "no such experiment"], "no records"),
        (["verify"], "results: no records there; call this in a checkout"),
        (["notebook", "run", "absent"], "unknown notebook"),
        (["notebook", "run", "toy", "-p", "output"], "expected KEY=VALUE"),
        (["notebook", "run", "tsne", "-p", "perplexity", "high"], "perplexity is 'high' (str); expected float"),
        (["notebook", "run", "tsne", "-p", "perplexty=3"], "did you mean 'perplexity'"),
        (["notebook", "run", "tsne", "-p", "seed=1", "perplexity=high"], "perplexity is 'high' (str); expected float"),
        (["notebook", "run", "tsne", "-p", "seed=1", "2"], "-p seed=1 2: expected KEY=VALUE"),
        (["notebook", "run", str(ROOT / "notebooks" / "toy.ipynb"), "-o", "folder.ipynb"], "a folder; give the name"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words: Sequence[str], message: str, told: Callable[..., str]) -> None:
    said = told(*words, status=2)
    assert said.startswith("lskd: error: ")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["run", "--job", ""], ["run", "--profile="], ["train", "--recipe", "x", "--out", ""]]
)
def test_an_empty_value_is_not_taken_for_one_that_is_left_out(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(words)
    assert re.search(r"lskd: error: (job|profile|out) is empty; give a value", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate 2.41 GiB"), "not enough memory (Unable to allocate 2.41 GiB); take smaller"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "not enough memory (CUDA out of memory); take"),
        (
            getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: invalid device ordinal"),
            "CUDA error: invalid device ordinal (`lskd --trace",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "run"), "run: No space left on device; make room"),
        (PermissionError(errno.EACCES, "Permission denied", "run"), "choose a place where you may read and write"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "is not UTF-8"),
        (ModuleNotFoundError("No module named 'fcntl'", name="fcntl"), "this needs fcntl, which Python has on Linux"),
        (ModuleNotFoundError("No module named 'bokeh'", name="bokeh"), "this needs bokeh, which is not installed"),
    ],
)
def test_what_comes_from_outside_is_a_sentence_too(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]
) -> None:
    monkeypatch.setattr(cli, "_train_run", Mock(side_effect=error))
    said = told(*TRAIN, status=2)
    assert said.startswith("lskd: error: ")
    assert message in said
    assert said.count("\n") == 1
    with pytest.raises(type(error)):
        cli.main(["--traceback", *TRAIN])


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Path", None)
    with pytest.raises(TypeError):
        cli.main(["table", "show", "x"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def net(num_classes)\n", "'mine.py:net': mine.py is no Python that can be read: expected ':' (mine.py, line"),
        ("import absent_package\n", "mine.py, line 1: ModuleNotFoundError: No module named 'absent_package'"),
        ("def net(num_classes):\n    return {}['k']\n", "mine.py, line 2: KeyError: 'k'"),
        ("def net(num_classes):\n    open('absent')\n", "mine.py, line 2: FileNotFoundError: [Errno 2] No such file"),
        ("import torch\ndef net(num_classes):\n    return torch.nn.Linear(2, -1)\n", "mine.py, line 3: RuntimeError: "),
    ],
)
def test_an_error_in_ones_own_code_is_said_with_its_line(
    code: str, message: str, place: Path, told: Callable[..., str]
) -> None:
    (place / "mine.py").write_text(code)
    said = told(*TRAIN, "--set", "student=mine.py:net", "--out", "run", status=2)
    assert f"lskd: error: {message}" in said
    assert not (place / "run").exists()


def test_words_of_another_package_do_not_pass_for_ours(
    monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]
) -> None:
    monkeypatch.setattr("lskd.trainer.optimization.check", lambda recipe: None)
    said = told(*TRAIN, "--set", "optimization.nesterov=true", "--set", "momentum=0", status=2)
    assert "lskd: error: torch: Nesterov momentum requires a momentum" in said


def test_a_disk_that_fills_while_weights_are_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as raised, atomic_path(tmp_path / "a.safetensors"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "a.safetensors"))


def test_a_disk_without_locks_is_named(place: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*given: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = told("results", "add", RECORD, "--store", "store", status=2)
    assert "store: No locks available; this disk lacks what is needed" in said
    with pytest.raises(OSError, match=r"No locks available: '.*alone\.lock'"), snakemake._alone(place / "alone.lock"):
        pass


def test_a_store_needs_no_hard_links(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "link")
    assert cli.main(["results", "add", RECORD, "--store", "store"]) == 0
    assert len(list((place / "store").rglob("*.json"))) == 1


def test_a_terminal_without_unicode_gets_all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["results", "show", "digit-pairs", "--store", str(ROOT / "results")]) == 0
    assert terminal.buffer.getvalue().count(b"\n") > 5


def test_closed_standard_streams_are_no_reason_to_stop(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert cli.main([*TRAIN, "--out", "run"]) == 0
    for stream in (sys.stdout, sys.stderr):
        stream.close()


def test_a_pipe_that_nobody_reads_is_not_success() -> None:
    call = [sys.executable, "-m", "lskd", "recipe", "list"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        process.stdout.close()
    assert process.returncode == 141


def test_a_system_without_hangup_signals_runs_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    assert cli.main(["notebook", "list"]) == 0


def test_hidden_files_are_nobodys_recipes_and_a_byte_order_mark_is_no_part_of_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place / "recipes"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("mine.toml", "._mine.toml", ".ipynb_checkpoints/mine-checkpoint.toml"):
        (folder / name).write_text(OWN)
    monkeypatch.setattr(recipes, "FOLDER", folder)
    assert list_recipes() == ["mine"]
    (place / "marked.toml").write_text(OWN, encoding="utf-8-sig")
    assert load_recipe("marked.toml").student == "resnet8"
