"""Kills, damage and full disks change nothing; numbers that are not finite stop one member; top five."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import signal
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic
import torch
from safetensors.torch import load_file
from small_runs import DATA, MLKD, SETTINGS, cohort, epochs, equal, flip, images, killed, run, weights, words
from torch import Tensor, nn

from lskd import records
from lskd.cli import main
from lskd.data import load_dataset
from lskd.data.draws import epoch_order, epoch_views
from lskd.data.views import Views, normalize
from lskd.errors import LskdError
from lskd.files import sha256_file
from lskd.models import create_model
from lskd.objectives import DKD, Logits
from lskd.recipes import Recipe
from lskd.records import load_record, summarize
from lskd.trainer import checkpoint
from lskd.trainer.cohort import Cohort
from lskd.trainer.evaluation import TOP5_ABOVE, evaluate
from lskd.trainer.member import Member
from lskd.trainer.run import publish
from paper import statistics, store, text

PAIR = ["kd", "ctkd_ls"]


def dying(step: int, inside: str, out: Path, runs: Path, members: list[str], settings: dict[str, Any]) -> None:
    """Train until the process kills itself: before a step, or in the middle of writing a checkpoint."""
    write, step_of, calls = checkpoint.write_json, Member.train_step, itertools.count(1)

    def write_half(path: Path, obj: Any) -> None:
        if out in path.parents and next(calls) == step:  # of this run and not of its teacher
            path.write_text('{"identity": "hal')
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, obj)

    def make_no_step(self: Member, *given: Any) -> Any:
        if self.name == members[0] and next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return step_of(self, *given)

    if inside == "inside":
        checkpoint.write_json = write_half
    else:
        Member.train_step = make_no_step
    run(out, runs, settings=settings, members=members, checkpoint_seconds=0)


def killed_run(
    step: int, inside: str, out: Path, runs: Path, members: list[str], settings: dict[str, Any] = SETTINGS
) -> None:
    killed(dying, step, inside, out, runs, members, settings)
    assert not (out / "record.json").exists()


def test_killed_at_random_steps_twice_in_a_row_the_run_ends_with_the_same_bits(
    whole: Path, runs: Path, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    steps = random.Random(seed).choices(range(1, 5), k=2)  # 1: before there is any checkpoint
    for step, inside in zip(steps, random.Random(seed).sample(["between", "inside"], 2), strict=True):
        killed_run(step, inside, tmp_path, runs, PAIR)
    record = run(tmp_path, runs, members=PAIR)
    assert record["sessions"] == 3, seed
    assert equal(tmp_path, whole, PAIR), seed
    assert not (tmp_path / "checkpoints").exists()


def test_mlkd_has_the_same_bits_alone_and_after_a_kill(multilevel: Path, runs: Path, tmp_path: Path) -> None:
    killed_run(8, "between", tmp_path, runs, ["mlkd"], MLKD)  # in the second epoch
    assert run(tmp_path, runs, settings=MLKD, members=["mlkd"])["sessions"] == 2
    assert equal(tmp_path, multilevel, ["mlkd"])


def test_damaged_checkpoints_are_named_and_skipped(whole: Path, runs: Path, tmp_path: Path) -> None:
    killed_run(8, "between", tmp_path, runs, PAIR)
    newest, older = sorted((tmp_path / "checkpoints").glob("step-*"))[::-1]
    flip(newest / "state.safetensors")
    with pytest.warns(UserWarning, match=f"{newest.name} is skipped: sha256 .*file damaged"):
        run(tmp_path, runs, members=PAIR)
    assert equal(tmp_path, whole, PAIR)
    assert older.name == "step-00000006"


def test_a_whole_checkpoint_is_never_taken_away_and_serves_one_run(tmp_path: Path) -> None:
    (tmp_path / ".step-00000002.99").mkdir()  # left by a kill
    first = checkpoint.Checkpoint(3, {"a": torch.ones(2)}, {"b": 1})
    path = checkpoint.save(tmp_path, first, identity="mine")
    made = path.stat().st_ino
    checkpoint.save(tmp_path, first, identity="mine")
    assert path.stat().st_ino == made
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    (path / "state.safetensors").write_bytes(b"damaged")
    checkpoint.save(tmp_path, first, identity="mine")
    found = checkpoint.load_newest(tmp_path, identity="mine")
    assert (found.step, found.values) == (3, {"b": 1})
    with pytest.warns(UserWarning, match="belongs to another run"):
        assert checkpoint.load_newest(tmp_path, identity="yours") is None
    checkpoint.save(tmp_path, replace(first, step=4), identity="mine")
    checkpoint.save(tmp_path, replace(first, step=1), identity="yours")  # begun again, with two that cannot be used
    with pytest.warns(UserWarning, match="belongs to another run"):
        assert checkpoint.load_newest(tmp_path, identity="yours").step == 1


def test_a_full_disk_is_named_and_costs_no_checkpoint(
    whole: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, save_file = 0, checkpoint.save_file

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        nonlocal written
        written += 1
        if written == 4:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(LskdError, match=r"step-00000004 could not be written: .*No space left.*from step-00000003"):
            run(tmp_path, runs, members=["alone"], checkpoint_seconds=0)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000002", "step-00000003"]
    monkeypatch.setattr(records, "_processor", lambda: "another processor")
    monkeypatch.setattr(records.lskd, "__version__", "9.9")
    record = run(tmp_path, runs, members=["alone"])
    assert record["sessions"] == 2
    first = json.loads((tmp_path / "sessions.jsonl").read_text().splitlines()[0])["used"]
    assert record["device"]["name"] == f"{first.pop('device')} and another processor"
    assert record["versions"] == first | {"lskd": f"{first['lskd']} and 9.9"}
    assert record["speed"]["multiply_adds_per_s"] is None  # of which of the two?
    assert [json.loads(line)["step"] for line in (tmp_path / "sessions.jsonl").read_text().splitlines()] == [0, 3]
    assert weights(tmp_path, "alone") == weights(whole, "alone")


def where(failure: dict[str, Any] | None) -> tuple[Any, ...]:
    return tuple(failure[key] for key in ("epoch", "step", "batch", "term"))


def test_a_member_that_diverges_is_named_and_the_others_finish(whole: Path, runs: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "members.kd.kd_weight": 1e30}
    record = run(tmp_path, runs, settings=settings, members=["alone", "kd"])
    failure = record["members"]["kd"]["failure"]
    assert failure["reason"] == "its logits are not finite"
    assert where(failure) == (1, 2, 2, "logits")
    assert "weights" not in record["members"]["kd"]
    assert weights(tmp_path, "alone") == weights(whole, "alone")
    written = publish(tmp_path, tmp_path / "published")  # the workflow waits for evidence of every member
    assert [file.stat().st_size > 0 for file in written] == [True, True]
    assert (tmp_path / "published" / "kd.evidence.npz").read_bytes() == b""
    # The post-mortem: weights that give those logits, and the batch that they were given.
    path = tmp_path / failure["postmortem"]["file"]
    assert failure["postmortem"]["sha256"] == sha256_file(path)
    stored, dataset = load_file(path), load_dataset("digit_pairs", **DATA)
    order, views = epoch_order(0, 1, 320), epoch_views(0, 1, 320, 9)
    for key, values in (("index", order), ("view", views), ("label", dataset.train_labels[order])):
        assert torch.equal(stored[f"batch/{key}"], values[64:128])
    model = create_model("resnet8")
    model.load_state_dict({k.removeprefix("model/"): v for k, v in stored.items() if k.startswith("model/")})
    assert max(p.abs().max() for p in model.parameters()) > 1e20
    batch = Views(dataset.train_images, pad=1, flip=False)(stored["batch/index"], stored["batch/view"])
    with torch.no_grad():
        assert not torch.isfinite(model.train()(normalize(batch, dataset))).all()


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``poisoned(calls, terms)`` changes terms of DKD in these calls; gives how many calls there were."""

    def poison(when: tuple[int, ...], changed: dict[str, float]) -> list[None]:
        forward, calls = DKD.forward, []

        def dying(self: DKD, logits: Logits) -> dict[str, torch.Tensor]:
            calls.append(None)
            terms = forward(self, logits)
            if len(calls) not in when:
                return terms
            return terms | {key: torch.full_like(terms[key], value) for key, value in changed.items()}

        monkeypatch.setattr(DKD, "forward", dying)
        return calls

    return poison


@pytest.mark.parametrize(
    ("term", "changed"), [("tckd", {"tckd": float("nan")}), ("loss", {"tckd": 3e38, "nckd": 3e38})]
)
def test_a_term_that_is_not_finite_stops_its_member_before_the_update(
    term: str, changed: dict[str, float], whole: Path, runs: Path, tmp_path: Path, poisoned: Any
) -> None:
    """In the eighth step of ten; the loss overflows where each term alone does not."""
    poisoned((8,), changed)
    record = run(tmp_path, runs, members=["dkd", "alone"])
    failure = record["members"]["dkd"]["failure"]
    assert where(failure) == (2, 8, 3, term)
    assert failure["reason"] == f"its {term} is not finite"
    assert epochs(tmp_path, "dkd") == epochs(whole, "dkd")[:1]
    stored = load_file(tmp_path / failure["postmortem"]["file"])
    assert all(torch.isfinite(value).all() for value in stored.values())
    assert weights(tmp_path, "alone") == weights(whole, "alone")


def test_where_looking_costs_time_the_first_bad_step_is_still_the_one_named(
    poisoned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a GPU: noted on the device at once, read at the end of the epoch."""
    calls = poisoned((3, 4), {"nckd": float("inf")})
    made = cohort(["dkd", "alone"], settings={**SETTINGS, "epochs": 1, "milestones": []})
    monkeypatch.setattr(made, "device", types.SimpleNamespace(type="cuda"))
    for member in made.members:
        member.check_on_device = True
    stopped: list[str] = []
    made.run(on_failure=lambda member, tensors: stopped.append(f"{member.name} {len(tensors['batch/index'])}"))
    dkd, alone = sorted(made.members, key=lambda member: member.name != "dkd")
    assert len(calls) == 5
    assert where(dkd.failure) == (1, 3, 3, "nckd")
    assert stopped == ["dkd 64"]
    assert (len(dkd.history), len(alone.history)) == (0, 1)


def test_a_run_whose_members_all_fail_ends_with_a_record_and_the_command_names_them(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", "--recipe", "digit-pairs", "--members", "alone,kd", "--out", str(tmp_path), "--runs", str(runs)]
    assert main([*given, *words(SETTINGS | {"learning_rate": 1e30}), "--device", "cpu"]) == 1
    assert "alone        stopped in epoch 1, batch 2: its logits are not finite" in capsys.readouterr().out
    members = load_record(tmp_path)["members"]
    assert [set(member) & {"weights", "failure"} for member in members.values()] == [{"failure"}] * 2


class Ranked(nn.Module):
    """Puts the class of the i-th image of a batch in place i, counted from the largest logit."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(len(x)).unsqueeze(1)
        beyond = (torch.arange(self.classes) - place) % self.classes  # 0 for the class of the image
        return (beyond == 0) + 2.0 * ((beyond > 0) & (beyond <= place))


def test_five_places_count_above_a_hundred_classes() -> None:
    found = evaluate(Ranked(120), (data := images(120)).test_images, data.test_labels, data)
    assert found.accuracy == pytest.approx(100 / 12)
    assert found.top5 == pytest.approx(100 * 5 / 12)
    hundred = images(TOP5_ABOVE)
    assert evaluate(Ranked(100), hundred.test_images, hundred.test_labels, hundred).top5 is None


def test_a_record_has_it_and_the_weights_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    usual: Any = {"name": "noise", "dataset": "noise", "student": "resnet8", "batch_size": 4, "learning_rate": 0.1}
    recipe = Recipe(**usual, epochs=2, members={"alone": {"method": "plain"}})

    def trained() -> Any:
        cohort = Cohort(recipe, images(120), seed=0, teacher=None, device=torch.device("cpu"))
        cohort.run()
        return cohort.members[0]

    measured = trained()
    monkeypatch.setattr("lskd.trainer.evaluation.TOP5_ABOVE", 1000)
    usual = trained()
    assert [set(a) - set(b) for a, b in zip(measured.history, usual.history, strict=True)] == [{"test_top5"}] * 2
    assert [{k: v for k, v in row.items() if k != "test_top5"} for row in measured.history] == usual.history
    for a, b in zip(measured.model.state_dict().values(), usual.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert all(row["test_accuracy"] <= row["test_top5"] <= 100 for row in measured.history)


def test_a_summary_has_the_last_the_best_and_the_epoch_that_is_best_on_a_held_out_part() -> None:
    names = ("test_accuracy", "test_top5", "held_accuracy")
    measured = ((50.0, 90.0, 40.0), (60.0, 80.0, 70.0), (80.0, 95.0, 70.0), (70.0, 97.0, 60.0))
    history = [{"epoch": i, **dict(zip(names, row, strict=True))} for i, row in enumerate(measured, start=1)]
    tested = [{key: row[key] for key in ("epoch", "test_accuracy", "test_top5")} for row in history]
    assert summarize(history) == {"last": tested[3], "best": tested[2], "selected": history[1]}  # the first of equals
    plain = [{"epoch": row["epoch"], "test_accuracy": row["test_accuracy"]} for row in history]
    assert summarize(plain) == {"last": plain[3], "best": plain[2]}


def with_top5(record: dict[str, Any]) -> dict[str, Any]:
    for member in record["members"].values():
        for epoch, more in (("last", 10.0), ("best", 12.0)):
            member[epoch]["test_top5"] = member[epoch]["test_accuracy"] + more
    return record


def test_tables_show_it_where_it_was_measured(tmp_path: Path) -> None:
    usual, measured = (synthetic.record({"kd": (60.0, 61.0)}, seed=s) for s in (0, 1))
    assert "five" not in text.run_table(usual)
    line = text.run_table(with_top5(measured)).splitlines()
    assert line[0].endswith("| test, among the five largest logits, last epoch (%) |")
    assert line[2].endswith("| 70.00 |")
    group = store.Group("a", {})
    group.runs += [(tmp_path, measured)]
    (row,) = statistics.rows(group)
    assert (row["last_top5"]["mean"], row["best_top5"]["mean"]) == (70.0, 73.0)
    group.runs += [(tmp_path, usual)]  # one of two runs measured it: no mean over both
    assert "last_top5" not in statistics.rows(group)[0]
    assert json.dumps(statistics.rows(group))
