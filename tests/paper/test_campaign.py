"""The rehearsal of the GPU campaign: killed half-way, resumed to the end, exported, imported elsewhere."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lskd import evidence
from lskd.cli import main
from lskd.errors import LskdError
from lskd.files import read_json, sha256_file
from lskd.fingerprint import ROOT
from lskd.recipes import list_recipes, load_recipe
from lskd.records import load_record
from paper import archive, campaign
from paper.archive import bring, export
from paper.campaign import Campaign
from paper.campaign_pieces import PRESETS
from paper.store import content_digest

# Ends the process, without any chance to tidy up, when a checkpoint of a given run has just been written.
KILLED = """
import os, signal, sys
from lskd.cli import main
from lskd.trainer import checkpoint
save = checkpoint.save
def deadly(folder, *args, **named):
    written = save(folder, *args, **named)
    if sys.argv[1] in str(folder):
        os.kill(os.getpid(), signal.SIGKILL)
    return written
checkpoint.save = deadly
main(["campaign", "run", "--preset", "tiny", "--device", "cpu", "--out", sys.argv[2]])
"""
RUN = "resnet56-resnet20/seed-1"


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """All of the tiny preset, with a kill in the middle."""
    out = tmp_path_factory.mktemp("rehearsal")
    call = [sys.executable, "-c", KILLED, "resnet56-resnet20-seed1", str(out)]
    assert subprocess.run(call, capture_output=True, timeout=200).returncode == -signal.SIGKILL
    begun = Campaign("tiny", out, device="cpu", progress=False)
    assert list(begun.done) == ["teacher-resnet56", "resnet56-resnet20/seed-0"]
    assert [line.split()[0] for line in begun.listing() if line.endswith("  begun")] == [RUN]
    assert main(["campaign", "run", "--preset", "tiny", "--device", "cpu", "--out", str(out)]) == 0
    return Campaign("tiny", out, device="cpu", progress=False)


@pytest.fixture(scope="module")
def archives(rehearsed: Campaign, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Everything that was exported, in archives so small that weights have to be cut."""
    return export(rehearsed.runs(), tmp_path_factory.mktemp("out"), weights=True, limit=350_000)


def test_a_killed_campaign_goes_on_and_ends_as_if_nothing_had_happened(rehearsed: Campaign, tmp_path: Path) -> None:
    assert list(rehearsed.done) == [task.name for task in rehearsed.tasks]
    sessions = {task: load_record(folder)["sessions"] for task, folder in rehearsed.runs().items()}
    assert {task for task, n in sessions.items() if n > 1} == {RUN}
    assert rehearsed.run() == campaign.Outcome()  # nothing is done twice
    other = Campaign("tiny", tmp_path, device="cpu", progress=False)
    assert other.run(only="resnet56-resnet20").done == ["resnet56-resnet20/seed-0", RUN]
    digests = [
        {m: v["weights"]["digest"] for m, v in load_record(c.folder(RUN))["members"].items()}
        for c in (rehearsed, other)
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 9


def test_a_teacher_is_trained_once_and_teaches_its_cohorts(rehearsed: Campaign) -> None:
    runs = {task: load_record(folder) for task, folder in rehearsed.runs().items()}
    for task, record in runs.items():
        if record["teacher"]:
            network = load_recipe(f"cifar100/{task.partition('/')[0]}").teacher.network  # type: ignore[union-attr]
            assert record["teacher"]["run"] == runs[f"teacher-{network}"]["identity"]
    assert runs["resnet32x4-resnet8x4/seed-0"]["table"]["folder"] == rehearsed.folder("table-resnet32x4").name


def test_time_over_stops_and_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["campaign", "run", "--preset", "tiny", "--device", "cpu", "--out", str(tmp_path)]
    assert main([*call, "--minutes", "0.02"]) == 3
    assert "time is over; next: " in capsys.readouterr().out
    first = Campaign("tiny", tmp_path, device="cpu", progress=False)
    assert first.run(only="teacher-resnet56").failed == {}
    assert main([*call, "--only", "teacher-resnet56"]) == 0


def test_time_over_interrupts_what_is_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "train_cached", lambda *_, **__: time.sleep(60))
    began, tried = time.monotonic(), Campaign("tiny", tmp_path, device="cpu", progress=False)
    assert tried.run(minutes=0.01) == campaign.Outcome(next="teacher-resnet56", time_over=True)
    assert time.monotonic() - began < 30
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    handler = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr(campaign, "train_cached", lambda *_, **__: 1 / 0)
    assert "teacher-resnet56" in tried.run(only="teacher-resnet56", minutes=5).failed
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)  # nothing goes off later
    assert signal.getsignal(signal.SIGALRM) is handler
    with pytest.raises(LskdError, match="minutes is -1; expected more than 0"):
        tried.run(minutes=-1)


def test_one_command_of_make_runs_it(tmp_path: Path) -> None:
    options = f"--preset tiny --device cpu --out {tmp_path} --only teacher-resnet56"
    call = ["make", "cifar100-gpu", f"PYTHON={sys.executable}"]
    for given in (f"{options} --minutes 0.0001", options):  # time that is over is no error
        done = subprocess.run([*call, f"CAMPAIGN={given}"], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert "done now: teacher-resnet56" in done.stdout
    assert subprocess.run([*call, "CAMPAIGN=--preset tin"], cwd=ROOT, capture_output=True, timeout=120).returncode == 2


def test_one_task_that_fails_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = campaign.train_cached

    def failing(recipe: str, **options: Any) -> Any:
        if recipe == "cifar100/resnet56-resnet20":
            raise RuntimeError("CUDA out of memory")
        return train(recipe, **options)

    monkeypatch.setattr(campaign, "train_cached", failing)
    tried = Campaign("tiny", tmp_path, device="cpu", progress=False)
    found = tried.run()
    broken = ["resnet56-resnet20/seed-0", RUN]
    assert found.failed == dict.fromkeys(broken, "RuntimeError: CUDA out of memory")
    assert found.done == [task.name for task in tried.tasks if task.name not in broken]
    assert found.next is None


def test_wrong_words_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LskdError, match="no preset 'tin'; there are full, tiny"):
        Campaign("tin")
    with pytest.raises(LskdError, match="no piece has a teacher 'resnet65'; did you mean 'resnet56'"):
        Campaign("full", teachers={"resnet65": "x.pth"})
    with pytest.raises(LskdError, match="nothing is called 'table4'; did you mean 'table-4'"):
        Campaign("tiny", tmp_path).run(only="table4")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(LskdError, match="finds no GPU, and on a CPU this takes weeks; rehearse with --preset tiny"):
        Campaign("full", tmp_path).run()
    with pytest.raises(LskdError, match="no run of this campaign is finished"):
        Campaign("tiny", tmp_path).runs()


def test_the_campaign_is_the_papers_in_the_order_of_the_plan() -> None:
    pieces = [p.name for p in PRESETS["full"].pieces]
    assert pieces[:8] == [
        "gpu-benchmark", "teacher-resnet56", "resnet56-resnet20", "teacher-resnet32x4", "table-resnet32x4",
        "resnet32x4-resnet8x4", "resnet32x4-resnet8x4-mlkd", "table-4",
    ]  # fmt: skip
    assert {p.recipe for p in PRESETS["full"].pieces[1:]} <= set(list_recipes())
    for piece in PRESETS["full"].pieces[1:]:
        load_recipe(piece.recipe)  # nothing that this version cannot train
    assert {p.seeds for p in PRESETS["full"].pieces if p.kind == "cohort"} == {(0, 1, 2)}
    members = load_recipe("cifar100/resnet56-resnet20").members
    assert members["kd_like_for_like"] == {k: v for k, v in members["kd_ls"].items() if k != "standardize"}
    assert (members["kd"]["temperature"], members["kd"]["kd_weight"]) == (4.0, 0.9)


def test_a_teacher_from_a_checkpoint_replaces_its_training(rehearsed: Campaign, tmp_path: Path) -> None:
    weights = rehearsed.folder("teacher-resnet56") / "alone.safetensors"
    given = Campaign("tiny", tmp_path, device="cpu", teachers={"resnet8": str(weights)}, progress=False)
    assert {task.piece.kind for task in given.tasks} == {"table", "cohort"}  # all are taught by a resnet8 here
    assert given.run(only="resnet56-resnet20/seed-0").failed == {}
    record = load_record(given.folder("resnet56-resnet20/seed-0"))
    assert record["teacher"]["checkpoint"] == "alone.safetensors"
    assert record["teacher"]["digest"] == load_record(weights.parent)["members"]["alone"]["weights"]["digest"]
    full = Campaign("full", tmp_path, teachers={"resnet56": "x.pth"}, data={"mean": [0.5, 0.5, 0.5]})
    assert "teacher-resnet56" not in [task.name for task in full.tasks]
    piece = next(p for p in full.preset.pieces if p.name == "resnet56-resnet20")
    told = load_recipe(piece.recipe, settings=full._settings(piece))
    assert (told.teacher.checkpoint, told.data) == ("x.pth", {"mean": [0.5, 0.5, 0.5]})  # type: ignore[union-attr]


def test_archives_are_small_whole_and_the_same_twice(
    rehearsed: Campaign, archives: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(path.stat().st_size <= 350_000 for path in archives)
    listed = dict(reversed(line.split("  ")) for line in (archives[0].parent / "SHA256SUMS").read_text().splitlines())
    assert listed == {path.name: sha256_file(path) for path in archives}
    again = export(rehearsed.runs(), tmp_path / "again", weights=True, limit=350_000)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in archives]
    words = ["campaign", "export", str(tmp_path / "cli"), "--preset", "tiny", "--out", str(rehearsed.out)]
    assert main(words) == 0
    assert len(list((tmp_path / "cli").glob("*.zip"))) == len(rehearsed.runs())
    assert archive.LIMIT == 16_000_000


def test_what_was_exported_arrives_in_any_order(
    rehearsed: Campaign, archives: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, weights = tmp_path / "results", tmp_path / "weights"
    words = ["campaign", "import", *map(str, reversed(archives)), "--store", str(store), "--weights", str(weights)]
    assert main(words) == 0
    assert "other parts of it are in other archives" in capsys.readouterr().out
    assert not list(weights.rglob(".parts"))
    records = {load_record(p)["identity"]: p for p in store.rglob("*.json")}
    for folder in rehearsed.runs().values():
        sent = load_record(folder)
        path = records.pop(sent["identity"])
        assert content_digest(load_record(path)) == content_digest(sent)
        own = weights / path.relative_to(store).with_suffix("")
        for member in sent["members"].values():
            name = member["evidence"]["file"]
            assert (path.with_suffix("") / name).read_bytes() == (folder / "compact" / name).read_bytes()
            assert sha256_file(own / member["weights"]["file"]) == sha256_file(folder / member["weights"]["file"])
    assert not records
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert main(words) == 0  # a second time changes nothing
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_full_evidence_becomes_compact_where_it_arrives(rehearsed: Campaign, tmp_path: Path) -> None:
    folder = rehearsed.folder("table-4/seed-0")
    (path,) = export({"table-4": folder}, tmp_path / "out", full=True)
    found = bring(path, store=tmp_path / "results", weights=tmp_path / "weights")
    export({"table-4": folder}, tmp_path / "compact")  # compact where it was measured
    for file in found.files:
        assert evidence.load(file).compact
        np.testing.assert_array_equal(evidence.load(file).label, evidence.load(folder / file.name).label)
        assert file.read_bytes() == (folder / "compact" / file.name).read_bytes()


def repacked(path: Path, out: Path, change: Any) -> Path:
    """A copy whose contents went through ``change(name, bytes) -> bytes``; its manifest agrees with them."""
    with zipfile.ZipFile(path) as archived:
        contents = {name: archived.read(name) for name in archived.namelist()}
    manifest = json.loads(contents.pop("manifest.json"))
    contents = dict(change(name, content) for name, content in contents.items())
    listed = dict(zip(contents, manifest["files"].values(), strict=True))
    for name, content in contents.items():
        listed[name] |= {"sha256": archive.hashlib.sha256(content).hexdigest(), "size": len(content)}
        if name != "record.json":
            listed[name] |= {"whole_sha256": listed[name]["sha256"]}
    manifest["files"] = listed
    with zipfile.ZipFile(out, "w") as archived:
        for name, content in (("manifest.json", json.dumps(manifest).encode()), *contents.items()):
            archived.writestr(name, content)
    return out


def rewritten(path: Path, out: Path, contents: dict[str, bytes]) -> None:
    """A copy with some entries replaced or added, as a sound zip file."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in dict.fromkeys([*old.namelist(), *contents]):
            new.writestr(name, contents.get(name) if name in contents else old.read(name))


def test_damaged_and_foreign_archives_are_refused_by_name(rehearsed: Campaign, tmp_path: Path) -> None:
    folder = rehearsed.folder("resnet32x4-resnet8x4/seed-0")
    (good,) = export({"pair": folder}, tmp_path / "out")
    bad, store = tmp_path / "bad.zip", tmp_path / "results"

    def refused(words: str) -> None:
        with pytest.raises(LskdError, match=rf"bad\.zip: .*{words}"):
            bring(bad, store=store, weights=tmp_path / "weights")
        assert not store.exists(), words
        assert not (tmp_path / "weights").exists(), words

    content = good.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    refused("damaged, or no archive")
    middle = bytearray(content)
    middle[len(middle) // 2] ^= 1
    bad.write_bytes(middle)
    refused("damaged")
    with zipfile.ZipFile(bad, "w") as other:
        other.writestr("holiday.txt", "no run")
    refused("not an archive of a run")

    def flattered(name: str, content: bytes) -> tuple[str, bytes]:
        return name, content.replace(b'"seed": 0', b'"seed": 7') if name == "record.json" else content

    repacked(good, bad, flattered)
    refused("the record was changed, nothing was imported")
    export({"table-4": folder}, tmp_path / "compact")
    packs = sorted(p for p in (folder / "compact").iterdir())

    def swapped(name: str, content: bytes) -> tuple[str, bytes]:
        others = {packs[0].name: packs[1], packs[1].name: packs[0]}
        return name, others[name].read_bytes() if name in others else content

    repacked(good, bad, swapped)
    refused("belongs to weights .* the record's kd")
    repacked(good, bad, lambda name, c: (name, c if name == "record.json" else b"no pack"))
    refused("cannot be read")

    manifest, entry = read_manifest(good), packs[0].name
    for file in ("other.evidence.npz", f"../../{entry}"):
        told = json.loads(json.dumps(manifest))
        told["files"][entry]["file"] = file
        rewritten(good, bad, {"manifest.json": json.dumps(told).encode()})
        refused("of which its record knows nothing")
    with zipfile.ZipFile(good) as archived:
        record = archived.read("record.json").replace(f'"{entry}"'.encode(), f'"../{entry}"'.encode())
    told = json.loads(json.dumps(manifest))
    told["files"][entry]["file"] = f"../{entry}"
    told["files"]["record.json"] |= {"sha256": archive.hashlib.sha256(record).hexdigest(), "size": len(record)}
    rewritten(good, bad, {"manifest.json": json.dumps(told).encode(), "record.json": record})
    refused("of which its record knows nothing")
    rewritten(good, bad, {entry: packs[1].read_bytes()})  # a sound zip file, but not what was packed
    refused(f"{entry} differs from its manifest")
    rewritten(good, bad, {"more.txt": b"more"})
    refused("more.txt is not in its manifest")
    rewritten(good, bad, {"manifest.json": json.dumps({**manifest, "version": 2}).encode()})
    refused("is lskd-run 2; this version reads lskd-run 1")
    with pytest.raises(LskdError, match=r"none\.zip: no such archive"):
        bring(tmp_path / "none.zip", store=store)
    assert bring(good, store=store, weights=tmp_path / "weights").new


def test_parts_that_do_not_fit_are_refused(archives: list[Path], tmp_path: Path) -> None:
    def other(name: str, content: bytes) -> tuple[str, bytes]:
        return name, content[::-1] if ".part-" in name else content

    def keep(path: Path, out: Path) -> Path:
        """Other bytes, under the SHA-256 of the whole file that was cut."""
        told = read_manifest(repacked(path, out, other))
        for name, about in told["files"].items():
            about |= {"whole_sha256": read_manifest(path)["files"][name].get("whole_sha256")}
        shutil.copy(out, tmp_path / "copy.zip")
        rewritten(tmp_path / "copy.zip", out, {"manifest.json": json.dumps(told).encode()})
        return out

    *same, last = [p for p in archives if p.name.startswith("teacher-resnet56")]
    places = {"store": tmp_path / "r", "weights": tmp_path / "w"}
    for path in same:
        bring(keep(path, tmp_path / "other.zip"), **places)
    with pytest.raises(LskdError, match="do not make the file they were cut from; import all again"):
        bring(keep(last, tmp_path / "other.zip"), **places)


def read_manifest(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archived:
        return dict(json.loads(archived.read("manifest.json")))


def test_a_folder_holds_one_preset(rehearsed: Campaign) -> None:
    with pytest.raises(LskdError, match="holds preset 'tiny', not 'full'; use another --out"):
        _ = Campaign("full", rehearsed.out).done
    assert read_json(rehearsed.out / "campaign.json")["preset"] == "tiny"
