"""Verifying and archives: damage is found; a killed run goes on elsewhere with the same bits."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from synthetic import put
from test_store import seeds

from book.verify import verify
from figures.fingerprint import ROOT
from lskd import cli, evidence
from lskd.cli import main
from lskd.errors import LskdError
from lskd.files import append_line, read_json, sha256_file
from lskd.records import identity, load_record
from lskd.trainer import run as trainer
from lskd.trainer.run import train_cached
from paper import store as results
from paper.archive import LIMIT, export, import_run
from paper.store import content_digest


@pytest.mark.parametrize(
    ("place", "value", "problems"),
    [
        ("members.kd.last.test_accuracy", 99.0, ["its content differs from its SHA-256"]),
        ("config.epochs", 300, ["its content differs", "its identity is"]),
        ("seed", 7, ["its identity is", "its content differs"]),
        ("seed", "7", ["json: record: seed is '7' (str); expected int; take it away, and bring its run again"]),
        ("members.kd.last", 7, ["json: record: members.kd.last is 7 (int); expected table; take it away"]),
        ("members.kd.epochs", [{"epoch": 1}], ["json: record: members.kd.epochs[0] needs test_accuracy"]),
        ("config.members", ["kd"], ["json: record: config.members is ['kd'] (list); expected table"]),
        ("execution", "cpu", ["json: record: execution is 'cpu' (str); expected table"]),
        ("store", {"sha256": "0"}, ["its content differs"]),
    ],
)
def test_a_changed_record_is_found(
    place: str, value: object, problems: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = seeds(tmp_path, {"kd": [70.0, 71.0, 72.0]})
    assert verify(store, tmp_path).problems == []
    path = sorted(store.rglob("*.json"))[0]
    path.write_text(json.dumps(synthetic.change(json.loads(path.read_text()), place, value)))
    with pytest.raises(LskdError, match=f"was changed after it was stored|{re.escape(problems[0])}"):
        results.groups(store)
    found = verify(store, tmp_path).problems
    assert all(any(problem in line for line in found) for problem in problems), found
    assert cli.main(["verify", "--store", str(store)]) == 1
    assert problems[0] in capsys.readouterr().out


def test_what_the_trainer_writes_passes(tmp_path: Path) -> None:
    settings = {"epochs": 1, "batch_size": 50, "data.train_size": 100, "data.test_size": 100}
    trainer.train("digit-pairs-teacher", tmp_path / "run", settings=settings, device="cpu", progress=False)
    path, new = results.add(tmp_path / "run", tmp_path / "results")
    assert new
    assert path.parent == tmp_path / "results" / "digit_pairs" / "wrn_16_2"
    assert verify(tmp_path / "results", tmp_path).problems == []


def test_damage_and_doubled_records_are_found(tmp_path: Path) -> None:
    store = seeds(tmp_path, {"kd": [70.0, 71.0, 72.0]})
    path = sorted(store.rglob("*.json"))[0]
    shutil.copy(path, path.with_name("seed-0-copy.json"))
    assert any("both hold seed 0 of kd" in line for line in verify(store, tmp_path).problems)
    path.with_name("seed-0-copy.json").write_text(path.read_text()[:-40])
    assert any("not valid JSON" in line for line in verify(store, tmp_path).problems)


def test_a_record_put_there_by_hand_is_held_to_its_epochs(tmp_path: Path) -> None:
    store = seeds(tmp_path, {"kd": [70.0, 71.0, 72.0]})
    path = sorted(store.rglob("*.json"))[0]
    record = json.loads(path.read_text())
    del record["store"]
    record["members"]["kd"]["best"]["test_accuracy"] = 99.0
    path.write_text(json.dumps(record))
    assert verify(store, tmp_path).problems == [f"{path}: kd: its last or best epoch is not what its epochs give"]


def test_a_figure_of_changed_inputs_is_found(tmp_path: Path) -> None:
    store, figures = seeds(tmp_path, {"kd": [70.0, 71.0, 72.0]}), tmp_path / "figures" / "synthetic"
    path = sorted(store.rglob("*.json"))[0]
    figures.mkdir(parents=True)
    (figures / "a.svg").write_text("<svg/>")
    inputs = [{"file": path.relative_to(tmp_path).as_posix(), "sha256": sha256_file(path)}]
    sidecar = {"inputs": inputs, "files": {"a.svg": sha256_file(figures / "a.svg")}}
    (figures / "a.json").write_text(json.dumps(sidecar))
    assert verify(store, tmp_path).problems == []
    (figures / "a.svg").write_text("<svg></svg>")
    sidecar["inputs"][0]["sha256"] = "0" * 64
    (figures / "a.json").write_text(json.dumps(sidecar))
    found = verify(store, tmp_path).problems
    assert any("has changed since this figure was drawn" in line for line in found)
    assert any("a.svg: missing, or not the file that was drawn" in line for line in found)


def test_the_committed_records_and_what_is_drawn_from_them() -> None:
    report = verify()
    assert report.problems == []
    assert "the README's table and figure, drawn again from the records" in report.checked


def test_a_machine_that_only_trains_can_file_a_record(tmp_path: Path) -> None:
    """`lskd run` does it after training, where the book's packages need not be."""
    put(tmp_path / "run", synthetic.record({"kd": (70.0, 71.0)}))
    code = """
import sys
sys.modules.update(dict.fromkeys(("pandas", "scipy", "sklearn", "matplotlib", "bs4"), None))
from paper import jobs, run_jobs, store
print(store.add("run", "results")[1])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
    assert len(list((tmp_path / "results").rglob("*.json"))) == 1


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
    assert record["speed"]["multiply_adds_per_s"] > 0  # all of it on one processor
    assert digests(folder) == digests(finished)
    assert [m["epochs"] for m in record["members"].values()] == [
        m["epochs"] for m in load_record(finished)["members"].values()
    ]
    assert "is as far already; nothing was changed" in told(*words)  # it is finished there: nothing goes back
    assert digests(folder) == digests(finished)
    assert not (tmp_path / "store").exists()


def test_what_is_kept_of_the_full_length_goes_on(tmp_path: Path) -> None:
    for kept in (ROOT / "results" / "unfinished").glob("*.zip"):
        assert import_run(kept, runs=tmp_path)[1].startswith("goes on after step")


def test_of_two_checkpoints_the_newest_whole_one_travels(killed: Path, tmp_path: Path) -> None:
    run = tmp_path / killed.name
    shutil.copytree(killed, run)
    assert export(run, tmp_path).name.endswith("-step00000006.zip")
    (run / "checkpoints" / "step-00000006" / "state.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match="step-00000006 is skipped"):
        older = export(run, tmp_path)
    assert older.name.endswith("-step00000005.zip")
    folder, _ = import_run(older, runs=tmp_path / "runs")
    assert (folder / "sessions.jsonl").read_bytes() == (run / "sessions.jsonl").read_bytes()
    shutil.copytree(killed, there := tmp_path / "there" / killed.name)
    append_line(there / "sessions.jsonl", {"started": "then", "step": 5})  # it went on there meanwhile
    assert import_run(export(there, tmp_path), runs=tmp_path / "runs")[1].startswith("goes on after step 6")
    assert (folder / "sessions.jsonl").read_bytes() == (there / "sessions.jsonl").read_bytes()
    assert import_run(older, runs=tmp_path / "runs")[1].startswith("is as far already")
    (folder / "checkpoints" / "step-00000006" / "state.safetensors").write_bytes(b"half")  # as far, and of no use
    with pytest.warns(UserWarning, match="step-00000006 is skipped"):
        assert import_run(export(killed, tmp_path), runs=tmp_path / "runs")[1].startswith("goes on after step 6")
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-00000005", "step-00000006"]
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(LskdError, match="no whole checkpoint there yet"):
        export(run, tmp_path)


def test_a_finished_run_arrives_in_the_store_with_its_evidence(finished: Path, tmp_path: Path) -> None:
    path = export(finished, tmp_path / "out")
    assert path.name == f"{finished.name}.zip"
    assert export(finished, tmp_path / "again").read_bytes() == path.read_bytes()
    stored, told = import_run(path, store=tmp_path / "results", runs=tmp_path / "runs")
    assert told == "added, with evidence of 2 networks"
    assert content_digest(load_record(stored)) == content_digest(load_record(finished))
    for member in load_record(finished)["members"].values():
        name = member["evidence"]["file"]
        assert (stored.with_suffix("") / name).read_bytes() == (finished / "compact" / name).read_bytes()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert import_run(path, store=tmp_path / "results")[1].startswith("was there already")
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


def test_damaged_and_foreign_archives_are_refused_by_name(
    finished: Path, killed: Path, tmp_path: Path, told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, begun, bad = export(finished, tmp_path / "out"), export(killed, tmp_path / "out"), tmp_path / "bad.zip"

    def refused(words: str) -> None:
        with pytest.raises(LskdError, match=rf"^{re.escape(str(bad))}.*: .*{words}"):
            import_run(bad, store=tmp_path / "results", runs=tmp_path / "runs")
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
    with zipfile.ZipFile(begun) as old, zipfile.ZipFile(bad, "w") as new:  # what a run goes on from is missing
        new.writestr("run.json", old.read("run.json"))
    refused("not an archive of a run")
    pack = evidence.load(finished / "compact" / "alone.evidence.npz")
    for key in ("weights_digest", "dataset_digest"):
        evidence.save(replace(pack, meta=pack.meta | {key: "e" * 64}), tmp_path / "other")
        changed(good, bad, lambda n, c: (tmp_path / "other").read_bytes() if n.startswith("alone") else c)
        refused("measured on (other data than its record|weights eeeeeeeeeeee; its record has)")
    changed(good, bad, lambda n, c: c[:100] if n.startswith("alone") else c)
    refused("cannot be read")
    assert f"{tmp_path / 'none.zip'}: No such file or directory" in told(
        "archive", "import", tmp_path / "none.zip", status=2
    )

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    assert "No space left on device" in (said := told("archive", "import", good, status=2))
    assert "damaged" not in said


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("config.name", "../../elsewhere", "nothing was imported"),
        ("seed", "/../../../elsewhere", r"/run\.json: run: seed is .*expected int; take it away"),
        ("config.members", None, r"/run\.json: run: config\.members is None .*expected table"),
    ],
)
def test_a_forged_run_leaves_nothing(killed: Path, tmp_path: Path, place: str, value: object, words: str) -> None:
    about = synthetic.change(read_json(killed / "run.json"), place, value)
    about["identity"] = identity(about)
    bad = tmp_path / "bad.zip"
    changed(export(killed, tmp_path), bad, lambda n, c: json.dumps(about).encode() if n == "run.json" else c)
    with pytest.raises(LskdError, match=rf"^{re.escape(str(bad))}.*{words}"):
        import_run(bad, runs=tmp_path / "runs")
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".zip", ".zip"]
