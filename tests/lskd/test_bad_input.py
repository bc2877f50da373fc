"""Whatever is wrong outside the program is one sentence with what to do, exit status 2 and no traceback."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors import SafetensorError

from figures.fingerprint import ROOT
from lskd import cli, recipes
from lskd.files import atomic_path
from lskd.recipes import list_recipes, load_recipe
from paper import snakemake

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--recipe", "latin.toml"], "latin.toml: not UTF-8"),
        (["train", "--recipe", "half.toml"], "half.toml: not valid TOML"),
        (["train", "--recipe=~/half.toml"], "half.toml: not valid TOML"),
        (["train", "--recipe", "absent.toml"], "no such file"),
        (["train", "--recipe", "digit-pair"], "did you mean 'digit-pairs'"),
        (["train", "--recipe", "own.toml", "--set", "epochs"], "expected key=value"),
        (["train", "--recipe", "own.toml", "--set", "epochs=no"], r"epochs is 'no' (str); expected int"),
        (["train", "--recipe", "own.toml", "--set", "optimization.nestrov=true"], "did you mean 'nesterov'"),
        (
            ["train", "--recipe", "own.toml", "--set", "optimization.warmup_epochs=1"],
            "no effect with 'steps'; leave it at 0",
        ),
        (
            ["train", "--recipe", "own.toml", "--set", "optimization.betas=[0.5,0.9]"],
            "no effect with 'sgd'; leave it at",
        ),
        (
            ["train", "--recipe", "own.toml", "--set", "milestones=[1]", "--set", "optimization.schedule=cosine"],
            "milestones is (1,) and has no effect with 'cosine'; leave it at (), or set optimization.schedule",
        ),
        (
            ["train", "--recipe", "own.toml", "--set", "optimization={optimizer='adamw',nesterov=true}"],
            "nesterov is True and has no effect with 'adamw'",
        ),
        (["train", "--recipe", "own.toml", "--set", "momentum=-1"], "momentum is -1 (int); expected float >= 0"),
        (["train", "--recipe", "own.toml", "--set", "epochs=nan"], "recipe own: epochs is nan; expected a finite"),
        (["train", "--recipe", "own.toml", "--set", "student=.x:f"], "there is no module '.x' on Python's path"),
        (["train", "--recipe", "own.toml", "--set", "student=~no-such-user/net.py:f"], "write a path in full instead"),
        (["train", "--recipe", "own.toml", "--set", "dataset=:f"], "':f': there is no module ''"),
        (["train", "--recipe", "own.toml", "--seed", "-1"], "seed is -1 (int); expected int >= 0"),
        (
            ["train", "--recipe", "own.toml", "--checkpoint-seconds", "-1"],
            "checkpoint_seconds is -1.0 (float); expected",
        ),
        (["train", "--recipe", "own.toml", "--device", "mps"], "expected auto, cpu, cuda or cuda:N"),
        pytest.param(["train", "--recipe", "own.toml", "--device", "cuda"], "finds no CUDA device here", marks=NO_GPU),
        (["train", "--recipe", "own.toml", "--out", "file"], "file: File exists; a folder is expected there"),
        (["train", "--recipe", "own.toml", "--out", "lost"], "a link that leads nowhere, has the name"),
        (["train", "--recipe", "own.toml", "--out", "file/run"], "Not a directory; a folder is expected there"),
        (["train", "--recipe", "own.toml", "--out", "a" * 300], "too long; choose a shorter name"),
        (["train", "--recipe", "a" * 300 + ".toml"], "too long; choose a shorter name"),
        (["run", "--gpus", "2"], "--gpus 2: goes with --profile"),
        (["run", "--", "--quiet"], "--quiet: goes with --profile"),
        (["results", "add", "file"], "not valid JSON"),
        (["results", "add", RECORD, "--store", "file"], "a folder is expected there"),
        (["results", "show", "no such experiment"], "no records"),
        (["verify"], "results: no records there; call this in a checkout"),
        (["notebook", "run", "absent"], "unknown notebook"),
        (["notebook", "run", "toy", "-p", "output"], "expected KEY=VALUE"),
        (["notebook", "run", "tsne", "-p", "perplexity=high"], "perplexity is 'high' (str); expected float"),
        (["notebook", "run", "tsne", "-p", "perplexity", "high"], "perplexity is 'high' (str); expected float"),
        (["notebook", "run", "tsne", "-p", "perplexty=3"], "did you mean 'perplexity'"),
        (["notebook", "run", "tsne", "-p", "seed=1", "perplexity=high"], "perplexity is 'high' (str); expected float"),
        (["notebook", "run", "tsne", "-p", "seed=1", "2"], "-p seed=1 2: expected KEY=VALUE"),
        (["notebook", "run", str(ROOT / "notebooks" / "toy.ipynb"), "-o", "folder.ipynb"], "a folder; give the name"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr().err
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
        (OSError(errno.ENOSPC, "No space left on device", "run"), "run: No space left on device; make room"),
        (PermissionError(errno.EACCES, "Permission denied", "run"), "choose a place where you may read and write"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "is not UTF-8"),
        (ModuleNotFoundError("No module named 'fcntl'", name="fcntl"), "this needs fcntl, which Python has on Linux"),
        (ModuleNotFoundError("No module named 'bokeh'", name="bokeh"), "this needs bokeh, which is not installed"),
    ],
)
def test_what_comes_from_outside_is_a_sentence_too(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_train_run", Mock(side_effect=error))
    assert cli.main(["train", "--recipe", "own.toml"]) == 2
    assert f"lskd: error: {message}" in (said := capsys.readouterr().err) or message in said
    assert said.count("\n") == 1
    with pytest.raises(type(error)):
        cli.main(["--traceback", "train", "--recipe", "own.toml"])


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Path", None)
    with pytest.raises(TypeError):
        cli.main(["table", "show", "x"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def net(num_classes)\n",
            "'mine.py:net': mine.py is no Python that can be read: expected ':' (mine.py, line 1)",
        ),
        ("import absent_package\n", "mine.py, line 1: ModuleNotFoundError: No module named 'absent_package'"),
        ("def net(num_classes):\n    return {}['k']\n", "mine.py, line 2: KeyError: 'k'"),
        ("def net(num_classes):\n    open('absent')\n", "mine.py, line 2: FileNotFoundError: [Errno 2] No such file"),
        ("import torch\ndef net(num_classes):\n    return torch.nn.Linear(2, -1)\n", "mine.py, line 3: RuntimeError: "),
    ],
)
def test_an_error_in_ones_own_code_is_said_with_its_line(
    code: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine.py").write_text(code)
    assert cli.main(["train", "--recipe", "own.toml", "--set", "student=mine.py:net", "--out", "run"]) == 2
    assert f"lskd: error: {message}" in capsys.readouterr().err
    assert not (place / "run").exists()


def test_words_of_another_package_do_not_pass_for_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lskd.trainer.optimization.check", lambda recipe: None)
    assert (
        cli.main(["train", "--recipe", "own.toml", "--set", "optimization.nesterov=true", "--set", "momentum=0"]) == 2
    )
    assert "lskd: error: torch: Nesterov momentum requires a momentum" in capsys.readouterr().err


def test_a_disk_that_fills_while_weights_are_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as raised, atomic_path(tmp_path / "a.safetensors"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "a.safetensors"))


def test_a_disk_without_locks_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*given: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert cli.main(["results", "add", RECORD, "--store", "store"]) == 2
    assert "store: No locks available; this disk lacks what is needed" in capsys.readouterr().err
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
    assert cli.main(["train", "--recipe", "own.toml", "--out", "run"]) == 0
    for stream in (sys.stdout, sys.stderr):
        stream.close()


def test_a_system_without_hangup_signals_runs_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    assert cli.main(["notebook", "list"]) == 0


def test_hidden_files_are_nobodys_recipes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place / "recipes"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("mine.toml", "._mine.toml", ".ipynb_checkpoints/mine-checkpoint.toml"):
        (folder / name).write_text(OWN)
    monkeypatch.setattr(recipes, "FOLDER", folder)
    assert list_recipes() == ["mine"]


def test_a_byte_order_mark_is_no_part_of_a_recipe(place: Path) -> None:
    (place / "marked.toml").write_text(OWN, encoding="utf-8-sig")
    assert load_recipe("marked.toml").student == "resnet8"
