"""Runs that travel: a killed one goes on elsewhere with the same bits, a finished one arrives whole or not at all."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic

from figures.fingerprint import ROOT
from lskd.cli import main
from lskd.errors import LskdError
from lskd.files import read_json
from lskd.records import identity, load_record
from lskd.trainer.run import train_cached
from paper.archive import LIMIT, bring, export
from paper.store import content_digest

RECIPE = """
dataset = "digit_pairs"
student = "resnet8"
epochs = 3
batch_size = 50
learning_rate = 0.05
milestones = [2]
momentum = 0.9
weight_decay = 5e-4
data = {train_size = 200, test_size = 200, resolution = 8}

[members.alone]
method = "plain"

[members.same]
method = "plain"
"""
# Ends the process, without any chance to tidy up, when the checkpoint after six steps has just been written.
KILLED = """
import os, signal, sys
from lskd.trainer import checkpoint, run
save = checkpoint.save
def deadly(folder, state, **named):
    written = save(folder, state, **named)
    if state.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return written
checkpoint.save = deadly
run.train_cached(sys.argv[1], runs=sys.argv[2], device="cpu", checkpoint_seconds=0, progress=False)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "short.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def finished(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_cached(recipe, runs=tmp_path_factory.mktemp("runs"), device="cpu", progress=False)[0]


@pytest.fixture(scope="module")
def killed(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, which ended in its second epoch."""
    runs = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, "-c", KILLED, recipe, str(runs)], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (folder,) = runs.iterdir()
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {name: m["weights"]["digest"] for name, m in load_record(folder)["members"].items()}


def test_a_killed_run_goes_on_elsewhere_with_the_same_bits(
    recipe: str, finished: Path, killed: Path, tmp_path: Path, told: Callable[..., str]
) -> None:
    told("archive", "export", killed, "--out", tmp_path / "out")
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == f"{killed.name}-step00000006.zip"
    assert path.stat().st_size < LIMIT
    runs = tmp_path / "elsewhere"
    words = ("archive", "import", path, "--runs", runs, "--store", tmp_path / "store")
    assert f"{runs / killed.name}: goes on after step 6" in told(*words)
    folder, record = train_cached(recipe, runs=runs, device="cpu", progress=False)
    assert folder == runs / killed.name
    assert record["sessions"] == 2
    assert digests(folder) == digests(finished)
    assert [m["epochs"] for m in record["members"].values()] == [
        m["epochs"] for m in load_record(finished)["members"].values()
    ]
    assert "is as far already; nothing was changed" in told(*words)  # it is finished there: nothing goes back
    assert digests(folder) == digests(finished)
    assert not (tmp_path / "store").exists()


def test_what_is_kept_of_the_full_length_goes_on(tmp_path: Path) -> None:
    (kept,) = (ROOT / "results" / "unfinished").glob("*.zip")
    assert bring(kept, runs=tmp_path)[1].startswith("goes on after step")


def test_of_two_checkpoints_the_newest_whole_one_travels(killed: Path, tmp_path: Path) -> None:
    run = tmp_path / killed.name
    shutil.copytree(killed, run)
    assert export(run, tmp_path).name.endswith("-step00000006.zip")
    (run / "checkpoints" / "step-00000006" / "state.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match="step-00000006 is skipped"):
        older = export(run, tmp_path)
    assert older.name.endswith("-step00000005.zip")
    folder, _ = bring(older, runs=tmp_path / "runs")
    assert bring(export(killed, tmp_path), runs=tmp_path / "runs")[1].startswith("goes on after step 6")
    assert bring(older, runs=tmp_path / "runs")[1].startswith("is as far already")
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-00000005", "step-00000006"]
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(LskdError, match="no whole checkpoint there yet"):
        export(run, tmp_path)


def test_a_finished_run_arrives_in_the_store_with_its_evidence(finished: Path, tmp_path: Path) -> None:
    path = export(finished, tmp_path / "out")
    assert path.name == f"{finished.name}.zip"
    assert export(finished, tmp_path / "again").read_bytes() == path.read_bytes()
    stored, told = bring(path, store=tmp_path / "results", runs=tmp_path / "runs")
    assert told == "added, with evidence of 2 networks"
    assert content_digest(load_record(stored)) == content_digest(load_record(finished))
    for member in load_record(finished)["members"].values():
        name = member["evidence"]["file"]
        assert (stored.with_suffix("") / name).read_bytes() == (finished / "compact" / name).read_bytes()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert bring(path, store=tmp_path / "results")[1].startswith("was there already")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    with pytest.raises(LskdError, match=r"its archive has 0\.\d MB, and 0\.001 MB are allowed; allow more"):
        export(finished, tmp_path / "small", limit=1000)
    assert not list((tmp_path / "small").iterdir())
    with pytest.raises(LskdError, match="no run there"):
        export(tmp_path, tmp_path)
    assert main(["archive", "export", str(finished), "--out", str(tmp_path), "--limit", "inf"]) == 0


def changed(good: Path, bad: Path, change: Callable[[str, bytes], bytes]) -> None:
    """A sound zip file whose contents went through ``change``."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def test_damaged_and_foreign_archives_are_refused_by_name(finished: Path, killed: Path, tmp_path: Path) -> None:
    good, begun, bad = export(finished, tmp_path / "out"), export(killed, tmp_path / "out"), tmp_path / "bad.zip"

    def refused(words: str) -> None:
        with pytest.raises(LskdError, match=rf"bad\.zip: .*{words}"):
            bring(bad, store=tmp_path / "results", runs=tmp_path / "runs")
        assert not (tmp_path / "results").exists(), words
        assert not (tmp_path / "runs").exists(), words

    content = good.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    refused("damaged, or no archive")
    middle = len(content) // 2
    bad.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    refused("damaged")
    with zipfile.ZipFile(bad, "w") as foreign:
        foreign.writestr("holiday.txt", "no run")
    refused("not an archive of a run")
    for source, file in ((good, "record.json"), (begun, "run.json")):
        changed(source, bad, lambda n, c, f=file: c.replace(b'"seed": 0', b'"seed": 7') if n == f else c)
        refused("its .* was changed after")
    changed(begun, bad, lambda n, c: c[:-1] + b"\0" if n.endswith("state.safetensors") else c)
    with pytest.warns(UserWarning, match="sha256 of state.safetensors differs"):
        refused("no whole checkpoint of its run")
    with pytest.raises(LskdError, match=r"none\.zip: damaged, or no archive .*No such file"):
        bring(tmp_path / "none.zip")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("config.name", "../../elsewhere", "nothing was imported"),
        ("seed", "/../../../elsewhere", r"bad\.zip/run\.json: run: seed is .*expected int; take it away"),
        ("config.members", None, r"bad\.zip/run\.json: run: config\.members is None .*expected table"),
    ],
)
def test_a_forged_run_leaves_nothing(killed: Path, tmp_path: Path, place: str, value: object, words: str) -> None:
    about = synthetic.change(read_json(killed / "run.json"), place, value)
    about["identity"] = identity(about)
    bad = tmp_path / "bad.zip"
    changed(export(killed, tmp_path), bad, lambda n, c: json.dumps(about).encode() if n == "run.json" else c)
    with pytest.raises(LskdError, match=words):
        bring(bad, runs=tmp_path / "runs")
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".zip", ".zip"]
