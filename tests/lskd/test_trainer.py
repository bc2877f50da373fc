"""The trainer: cohorts equal single runs, kills change nothing, a folder belongs to one run."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from safetensors.torch import load_file
from torch import nn

from lskd import evidence
from lskd.cli import main
from lskd.data import load_dataset
from lskd.data.draws import epoch_order, epoch_strong, epoch_views
from lskd.data.views import Views, normalize
from lskd.errors import LskdError
from lskd.files import sha256_file
from lskd.models import create_model, load_checkpoint
from lskd.objectives import DKD, Logits, create_objective
from lskd.recipes import load_recipe
from lskd.records import load_record
from lskd.trainer import TRAINER
from lskd.trainer.cohort import Cohort
from lskd.trainer.evaluation import evaluate
from lskd.trainer.execution import Execution
from lskd.trainer.optimization import cosine_learning_rate, step_learning_rate
from lskd.trainer.options import Options
from lskd.trainer.run import publish, select_device, train, train_cached

GOLDEN = Path(__file__).parents[1] / "golden"
DATA = {"train_size": 320, "test_size": 100}
SETTINGS: dict[str, Any] = {
    "data": DATA,
    "epochs": 2,
    "milestones": [1],
    "teacher.network": "resnet8",
    "teacher.settings": {"epochs": 1, "milestones": []},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def run(out: Path, runs: Path, **changes: Any) -> dict[str, Any]:
    return train(
        "digit-pairs", out, **{"settings": SETTINGS, "runs": runs, "progress": False, "device": "cpu", **changes}
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Path:
    """An uninterrupted run of the whole cohort."""
    out = tmp_path_factory.mktemp("whole")
    run(out, runs)
    return out


def vector(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def weights(folder: Path, member: str) -> bytes:
    return (folder / f"{member}.safetensors").read_bytes()


def histories(folder: Path) -> dict[str, Any]:
    return {name: member["epochs"] for name, member in load_record(folder)["members"].items()}


@pytest.mark.parametrize("members", [["kd_ls"], ["ctkd", "alone"], ["dkd_ls", "kd"]])
def test_a_member_has_the_same_bits_alone_and_in_any_cohort(
    members: list[str], whole: Path, runs: Path, tmp_path: Path
) -> None:
    run(tmp_path, runs, members=members)
    for member in members:
        assert weights(tmp_path, member) == weights(whole, member)
        assert histories(tmp_path)[member] == histories(whole)[member]


def test_members_start_equal_and_end_different(whole: Path) -> None:
    record = load_record(whole)
    assert set(record["members"]) == {"alone", "kd", "kd_ls", "dkd", "dkd_ls", "ctkd", "ctkd_ls"}
    assert len({weights(whole, m) for m in record["members"]}) == 7
    recipe, dataset = load_recipe("digit-pairs", settings=SETTINGS), load_dataset("digit_pairs", **DATA)
    cohort = Cohort(recipe, dataset, seed=0, teacher=create_model("resnet8"), device=torch.device("cpu"))
    vectors = [vector(m.model) for m in cohort.members]
    assert all(torch.equal(vectors[0], v) for v in vectors)
    other = Cohort(recipe, dataset, seed=1, teacher=create_model("resnet8"), device=torch.device("cpu"))
    assert not torch.equal(vectors[0], vector(other.members[0].model))


def test_the_loop_is_plain_sgd_on_the_named_loss(runs: Path) -> None:
    """Three steps by hand, with nothing of the trainer but its draws, give the cohort's weights."""
    settings = {**SETTINGS, "batch_size": 128}
    recipe, dataset = (
        load_recipe("digit-pairs", settings=settings, members=["kd_ls"]),
        load_dataset("digit_pairs", **DATA),
    )
    teacher = create_model("resnet8").eval()
    cohort = Cohort(recipe, dataset, seed=5, teacher=teacher, device=torch.device("cpu"))
    assert cohort.steps_per_epoch == 3  # the last one incomplete: kept
    model = create_model("resnet8")
    model.load_state_dict(cohort.members[0].model.state_dict())
    objective = create_objective("kd", temperature=2.0, kd_weight=9.0, ce_weight=0.1, standardize=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    order, views = epoch_order(5, 1, 320), epoch_views(5, 1, 320, 9)
    for rows in torch.arange(320).split(128):
        images = Views(dataset.train_images, pad=1, flip=False)(order[rows], views[rows])
        x = normalize(images, dataset)
        logits = model.train()(x)
        loss = sum(objective(Logits(logits, dataset.train_labels[order[rows]], teacher(x).detach())).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    stop = RuntimeError("one epoch is enough")

    def after_epoch() -> None:
        raise stop

    with pytest.raises(RuntimeError, match="one epoch"):
        cohort.run(after_epoch=after_epoch)
    found = vector(cohort.members[0].model)
    torch.testing.assert_close(found, vector(model), rtol=1e-4, atol=1e-5)


KILLED = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import lskd.trainer.run as run
from lskd.trainer import checkpoint, member

step, inside, (out, runs), settings = int(sys.argv[1]), sys.argv[2] == "inside", sys.argv[3:5], eval(sys.argv[5])
members = sys.argv[6].split(",")
count = 0
if inside:  # in the middle of writing a checkpoint, of this run and not of its teacher
    write = checkpoint.write_json
    def dying(path, obj):
        global count
        count += Path(out) in Path(path).parents
        if count == step:
            Path(path).write_text('{"identity": "hal')
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, obj)
    checkpoint.write_json = dying
else:
    original = member.Member.train_step
    def counted(self, *args):
        global count
        count += self.name == members[0]  # and not its teacher
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args)
    member.Member.train_step = counted
run.train("digit-pairs", out, settings=settings, members=members, runs=runs, progress=False, device="cpu",
          checkpoint_seconds=0)
"""


def killed(step: int, inside: str, out: Path, runs: Path, settings: dict[str, Any], members: str) -> None:
    code = [sys.executable, "-c", KILLED, str(step), inside, str(out), str(runs), repr(settings), members]
    assert subprocess.run(code).returncode == -signal.SIGKILL
    assert not (out / "record.json").exists()


@pytest.mark.parametrize("inside", ["between", "inside"])
def test_killed_at_random_steps_twice_in_a_row_the_run_ends_with_the_same_bits(
    inside: str, whole: Path, runs: Path, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"random seed of this test: {seed}")
    steps = random.Random(seed).choices(range(1, 5), k=2)  # 1: before there is any checkpoint
    for step in steps:
        killed(step, inside, tmp_path, runs, SETTINGS, "kd,ctkd_ls")
    record = run(tmp_path, runs, members=["kd", "ctkd_ls"])
    assert record["sessions"] == 3, seed
    for member in record["members"]:
        assert weights(tmp_path, member) == weights(whole, member), (seed, member)
        assert histories(tmp_path)[member] == histories(whole)[member]
    assert not (tmp_path / "checkpoints").exists()


def test_damaged_and_foreign_checkpoints_are_named_and_skipped(whole: Path, runs: Path, tmp_path: Path) -> None:
    killed(8, "between", tmp_path, runs, SETTINGS, "kd,ctkd_ls")
    newest, older = sorted((tmp_path / "checkpoints").glob("step-*"))[::-1]
    state = newest / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-5] ^= 1
    state.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{newest.name} is skipped: sha256 .*file damaged"):
        run(tmp_path, runs, members=["kd", "ctkd_ls"])
    assert all(weights(tmp_path, m) == weights(whole, m) for m in ("kd", "ctkd_ls"))
    assert older.name == "step-00000006"


def test_a_checkpoint_of_another_run_is_not_used(tmp_path: Path) -> None:
    from lskd.trainer import checkpoint

    checkpoint.save(tmp_path, checkpoint.Checkpoint(3, {"a": torch.ones(2)}, {"b": 1}), identity="mine")
    found = checkpoint.load_newest(tmp_path, identity="mine")
    assert found is not None
    assert (found.step, found.values) == (3, {"b": 1})
    with pytest.warns(UserWarning, match="belongs to another run"):
        assert checkpoint.load_newest(tmp_path, identity="yours") is None


def test_a_finished_run_is_returned_not_repeated(whole: Path, runs: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.iterdir() if p.name != ".lock"}
    record = run(whole, runs)
    assert record == load_record(whole)
    assert before == {p: p.stat().st_mtime_ns for p in whole.iterdir() if p.name != ".lock"}


def test_a_folder_belongs_to_one_run(whole: Path, runs: Path) -> None:
    with pytest.raises(LskdError, match=r"holds another run(.|\n)*seed: 0 there, 1 now"):
        run(whole, runs, seed=1)
    with pytest.raises(LskdError, match=r"config\.batch_size: 64 there, 32 now"):
        run(whole, runs, settings={**SETTINGS, "batch_size": 32})


def test_a_second_process_is_refused(runs: Path, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(LskdError, match="another process is training here"):
            run(tmp_path, runs)


def test_the_record_says_how_to_run_it_again(whole: Path) -> None:
    record = json.loads((whole / "record.json").read_text())
    assert record["config"]["epochs"] == 2
    assert record["overrides"] == json.loads(json.dumps(SETTINGS))
    assert record["command"].startswith("lskd train --recipe digit-pairs --seed 0 --out DIR --set")
    assert record["dataset"]["train_size"] == 320
    assert record["device"]["type"] == "cpu"
    assert {"python", "torch", "numpy", "lskd"} <= set(record["versions"])
    assert record["trainer"] == TRAINER
    assert "source_digest" not in record
    for member in record["members"].values():
        best = max(row["test_accuracy"] for row in member["epochs"])
        assert member["best"]["test_accuracy"] == best
        assert member["last"] == {"epoch": 2, "test_accuracy": member["epochs"][-1]["test_accuracy"]}
        assert sum(member["epochs"][0]["terms"].values()) == pytest.approx(member["epochs"][0]["train_loss"], rel=1e-5)
    rates = [row["learning_rate"] for row in record["members"]["kd"]["epochs"]]
    assert rates == pytest.approx([0.05, 0.005])
    assert record["members"]["ctkd"]["epochs"][0]["temperature"] > 2
    assert str(whole) not in json.dumps(record)


def test_evidence_agrees_with_the_weights(whole: Path) -> None:
    dataset = load_dataset("digit_pairs", **DATA)
    model = create_model("resnet8")
    load_checkpoint(model, whole / "dkd_ls.safetensors")
    pack = evidence.load(whole / "dkd_ls.evidence.npz")
    _, accuracy, top5 = evaluate(model, dataset.test_images, dataset.test_labels, dataset)
    assert top5 is None  # of a hundred classes
    record = load_record(whole)
    assert accuracy == record["members"]["dkd_ls"]["last"]["test_accuracy"]
    assert 100 * pack.correct.mean() == pytest.approx(accuracy)
    with torch.no_grad():
        logits = model(normalize(dataset.test_images, dataset)).numpy()
    np.testing.assert_allclose(pack.logit_std, np.std(logits, axis=1), rtol=1e-4)
    np.testing.assert_allclose(pack.logit_range, np.ptp(logits, axis=1), rtol=1e-4)
    np.testing.assert_allclose(pack.logits, logits[pack.logits_index], rtol=1e-3, atol=1e-4)
    expected = np.stack([logits[pack.label == k].mean(axis=0) for k in range(100)])
    np.testing.assert_allclose(pack.class_mean_logits, expected, rtol=1e-3, atol=1e-4)
    assert pack.features.shape == (100, 64)
    assert pack.meta["dataset_digest"] == dataset.digest
    assert pack.meta["member"] == "dkd_ls"


def test_a_damaged_pack_is_an_error(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes((whole / "kd.evidence.npz").read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read"):
        evidence.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", a=np.ones(2))
    with pytest.raises(ValueError, match="no evidence pack"):
        evidence.load(tmp_path / "y.npz")


def test_cached_runs_are_found_again_and_published(runs: Path, whole: Path, tmp_path: Path) -> None:
    folder, record = train_cached(
        "digit-pairs", settings=SETTINGS, members=["kd"], runs=runs, progress=False, device="cpu"
    )
    start = time.monotonic()
    again, same = train_cached(
        "digit-pairs", settings=SETTINGS, members=["kd"], runs=runs, progress=False, device="cpu"
    )
    assert (again, same) == (folder, record)
    assert time.monotonic() - start < 60
    assert weights(folder, "kd") == weights(whole, "kd")
    written = publish(folder, tmp_path / "out")
    assert sorted(p.name for p in written) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert load_record(tmp_path / "out") == record


def test_a_member_that_diverges_is_named_and_the_others_finish(whole: Path, runs: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "members.kd.kd_weight": 1e30}
    record = run(tmp_path, runs, settings=settings, members=["alone", "kd"])
    failure = record["members"]["kd"]["failure"]
    assert failure["reason"] == "its logits are not finite"
    assert (failure["epoch"], failure["step"], failure["batch"], failure["term"]) == (1, 2, 2, "logits")
    assert "weights" not in record["members"]["kd"]
    assert weights(tmp_path, "alone") == weights(whole, "alone")
    written = publish(tmp_path, tmp_path / "published")  # the workflow waits for evidence of every member
    assert [file.stat().st_size > 0 for file in written] == [True, True]
    assert (tmp_path / "published" / "kd.evidence.npz").read_bytes() == b""
    # The post-mortem: weights that give those logits, and the batch that they were given.
    path = tmp_path / failure["postmortem"]["file"]
    assert failure["postmortem"]["sha256"] == sha256_file(path)
    stored = load_file(path)
    order, views = epoch_order(0, 1, 320), epoch_views(0, 1, 320, 9)
    assert torch.equal(stored["batch/index"], order[64:128])
    assert torch.equal(stored["batch/view"], views[64:128])
    assert torch.equal(stored["batch/label"], load_dataset("digit_pairs", **DATA).train_labels[order[64:128]])
    model = create_model("resnet8")
    model.load_state_dict({k.removeprefix("model/"): v for k, v in stored.items() if k.startswith("model/")})
    assert vector(model).abs().max() > 1e20
    images = Views(load_dataset("digit_pairs", **DATA).train_images, pad=1, flip=False)
    batch = images(stored["batch/index"], stored["batch/view"])
    with torch.no_grad():
        assert not torch.isfinite(model.train()(normalize(batch, load_dataset("digit_pairs", **DATA)))).all()


@pytest.mark.parametrize("poisoned", ["tckd", "loss"])
def test_a_term_that_is_not_finite_stops_its_member_before_the_update(
    poisoned: str, whole: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the eighth step of ten; the loss overflows where each term alone does not."""
    forward, calls = DKD.forward, 0

    def dying(self: DKD, logits: Logits) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        terms = forward(self, logits)
        if calls == 8:
            changed = {"tckd": float("nan")} if poisoned == "tckd" else {"tckd": 3e38, "nckd": 3e38}
            terms |= {k: torch.full_like(terms[k], v) for k, v in changed.items()}
        return terms

    monkeypatch.setattr(DKD, "forward", dying)
    record = run(tmp_path, runs, members=["dkd", "alone"])
    failure = record["members"]["dkd"]["failure"]
    assert (failure["epoch"], failure["step"], failure["batch"], failure["term"]) == (2, 8, 3, poisoned)
    assert failure["reason"] == f"its {poisoned} is not finite"
    assert histories(tmp_path)["dkd"] == histories(whole)["dkd"][:1]
    stored = load_file(tmp_path / failure["postmortem"]["file"])
    assert all(torch.isfinite(value).all() for value in stored.values())
    assert weights(tmp_path, "alone") == weights(whole, "alone")


def test_where_looking_costs_time_the_first_bad_step_is_still_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a GPU: noted on the device at once, read at the end of the epoch."""
    forward, calls = DKD.forward, 0

    def dying(self: DKD, logits: Logits) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        terms = forward(self, logits)
        return terms | ({"nckd": torch.tensor(float("inf"))} if calls in (3, 4) else {})

    monkeypatch.setattr(DKD, "forward", dying)
    recipe = load_recipe("digit-pairs", settings={**SETTINGS, "epochs": 1, "milestones": []}, members=["dkd", "alone"])
    teacher = create_model("resnet8").eval()
    cohort = Cohort(recipe, load_dataset("digit_pairs", **DATA), seed=0, teacher=teacher, device=torch.device("cpu"))
    monkeypatch.setattr(cohort, "device", types.SimpleNamespace(type="cuda"))
    for member in cohort.members:
        member.check_on_device = True
    stopped: list[str] = []
    cohort.run(on_failure=lambda member, tensors: stopped.append(f"{member.name} {len(tensors['batch/index'])}"))
    dkd, alone = sorted(cohort.members, key=lambda member: member.name != "dkd")
    assert calls == 5
    assert dkd.failure is not None
    assert {k: dkd.failure[k] for k in ("epoch", "step", "batch", "term")} == {
        "epoch": 1,
        "step": 3,
        "batch": 3,
        "term": "nckd",
    }
    assert stopped == ["dkd 64"]
    assert dkd.history == []
    assert len(alone.history) == 1


def test_a_run_whose_members_all_fail_ends_with_a_record(runs: Path, tmp_path: Path) -> None:
    record = run(tmp_path, runs, settings={**SETTINGS, "learning_rate": 1e30}, members=["alone", "kd"])
    assert [set(m) & {"weights", "failure"} for m in record["members"].values()] == [{"failure"}] * 2
    assert record == load_record(tmp_path)


def test_a_full_disk_is_named_and_costs_no_checkpoint(
    whole: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    written, save_file = 0, safetensors.torch.save_file

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        nonlocal written
        written += 1
        if written == 4:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(LskdError, match=r"step-00000004 could not be written: .*No space left.*from step-00000003"):
            run(tmp_path, runs, members=["alone"], checkpoint_seconds=0)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000002", "step-00000003"]
    record = run(tmp_path, runs, members=["alone"])
    assert record["sessions"] == 2
    assert [json.loads(line)["step"] for line in (tmp_path / "sessions.jsonl").read_text().splitlines()] == [0, 3]
    assert weights(tmp_path, "alone") == weights(whole, "alone")


def test_a_whole_checkpoint_is_never_taken_away_to_be_written_again(tmp_path: Path) -> None:
    from lskd.trainer import checkpoint

    (tmp_path / ".step-00000002.99").mkdir()  # left by a kill
    first = checkpoint.Checkpoint(3, {"a": torch.ones(2)}, {"b": 1})
    path = checkpoint.save(tmp_path, first, identity="mine")
    made = path.stat().st_ino
    checkpoint.save(tmp_path, first, identity="mine")
    assert path.stat().st_ino == made
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    (path / "state.safetensors").write_bytes(b"damaged")
    checkpoint.save(tmp_path, first, identity="mine")
    assert checkpoint.load_newest(tmp_path, identity="mine") is not None


MLKD: dict[str, Any] = SETTINGS | {
    "members.mlkd": {"method": "mlkd", "temperature": 2.0, "kd_weight": 9.0},
    "members.mlkd_ls": {"method": "mlkd", "standardize": True, "temperature": 2.0, "kd_weight": 9.0},
}


@pytest.fixture(scope="module")
def multilevel(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Path:
    out = tmp_path_factory.mktemp("mlkd")
    run(out, runs, settings=MLKD, members=["kd", "mlkd", "mlkd_ls"])
    return out


def test_mlkd_trains_and_changes_nothing_for_its_neighbours(multilevel: Path, whole: Path) -> None:
    assert weights(multilevel, "kd") == weights(whole, "kd")
    record = load_record(multilevel)
    for member in ("mlkd", "mlkd_ls"):
        epochs = record["members"][member]["epochs"]
        assert set(epochs[0]["terms"]) == {"ce", "kd", "cc", "bc"}
        assert epochs[1]["train_loss"] < epochs[0]["train_loss"]
    # Two passes a step: running statistics move twice (protocol 1.5).
    for member, passes in (("mlkd", 2), ("kd", 1)):
        model = create_model("resnet8")
        load_checkpoint(model, multilevel / f"{member}.safetensors")
        counts = [v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")]
        assert {int(v) for v in counts} == {10 * passes}


def test_mlkd_has_the_same_bits_alone_and_after_a_kill(multilevel: Path, runs: Path, tmp_path: Path) -> None:
    killed(8, "between", tmp_path, runs, MLKD, "mlkd_ls")  # in the second epoch
    record = run(tmp_path, runs, settings=MLKD, members=["mlkd_ls"])
    assert record["sessions"] == 2
    assert weights(tmp_path, "mlkd_ls") == weights(multilevel, "mlkd_ls")
    assert histories(tmp_path)["mlkd_ls"] == histories(multilevel)["mlkd_ls"]


def test_mlkd_step_by_hand(runs: Path) -> None:
    """One step with nothing of the loop: weak and strong views from their draws, four forwards, SGD."""
    from lskd.data.randaugment import strong_view

    recipe = load_recipe("digit-pairs", settings=MLKD, members=["mlkd_ls"])
    dataset, teacher = load_dataset("digit_pairs", **DATA), create_model("resnet8").eval()
    cohort = Cohort(recipe, dataset, seed=5, teacher=teacher, device=torch.device("cpu"))
    model = create_model("resnet8").train()
    model.load_state_dict(cohort.members[0].model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    order, crops = epoch_order(5, 1, 320)[:64], [epoch_views(5, 1, 320, 9, stream=s)[:64] for s in ("weak", "strong")]
    weak, base = (Views(dataset.train_images, pad=1, flip=False)(order, crop) for crop in crops)
    weak, strong = (normalize(x, dataset) for x in (weak, strong_view(base, epoch_strong(5, 1, 320)[:64])))
    with torch.no_grad():
        teachers = teacher(weak), teacher(strong)
    objective = create_objective("mlkd", temperature=2.0, kd_weight=9.0, standardize=True)
    logits = Logits(model(weak), dataset.train_labels[order], teachers[0], model(strong), teachers[1])
    torch.stack(list(objective(logits).values())).sum().backward()
    optimizer.step()

    class Enough(Exception):
        pass

    def after_step() -> None:
        raise Enough

    with pytest.raises(Enough):
        cohort.run(after_step=after_step)
    torch.testing.assert_close(vector(cohort.members[0].model), vector(model), rtol=1e-4, atol=1e-5)


def test_who_needs_no_strong_view_does_not_pay(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lskd.trainer import batches

    monkeypatch.setattr(batches, "strong_view", None)
    recipe, dataset = load_recipe("digit-pairs", settings=MLKD), load_dataset("digit_pairs", **DATA)
    members = {k: v for k, v in recipe.members.items() if v["method"] != "mlkd"}
    recipe = structs.replace(recipe, members=members, epochs=1)
    seen = []
    teacher = create_model("resnet8").eval()
    teacher.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))
    Cohort(recipe, dataset, seed=0, teacher=teacher, device=torch.device("cpu")).run()
    assert sum(seen) == 320  # once through the teacher for all seven


def test_the_log_has_every_epoch_once_and_agrees_with_the_record(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"member": "alone", "epoch": 1}\n{"member": "al')  # of a killed session
    run(tmp_path, runs, members=["alone", "kd"], log="jsonl")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(r["member"], r["epoch"]) for r in rows] == [("alone", 1), ("kd", 1), ("alone", 2), ("kd", 2)]
    for row in rows:
        assert {k: v for k, v in row.items() if k != "member"} == histories(tmp_path)[row["member"]][row["epoch"] - 1]


def test_tensorboard_is_given_every_number_of_every_epoch(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points: dict[tuple[str, int], float] = {}

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, epoch: int) -> None:
            points[name, epoch] = value

        def close(self) -> None:
            points["closed", 0] = 1.0

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    record = run(tmp_path, runs, members=["ctkd"], log="tensorboard")
    for row in record["members"]["ctkd"]["epochs"]:
        for key in ("train_loss", "test_accuracy", "temperature", "learning_rate"):
            assert points[f"{key}/ctkd", row["epoch"]] == row[key]
        assert points["terms/kd/ctkd", row["epoch"]] == row["terms"]["kd"]
    assert points["closed", 0]


def test_a_log_that_cannot_be_written_is_refused_before_training(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "tensorboard" in name else found(name))
    with pytest.raises(LskdError, match="pip install tensorboard"):
        run(tmp_path / "a", runs, log="tensorboard")
    with pytest.raises(LskdError, match="log is 'json'"):
        run(tmp_path / "b", runs, log="json")
    assert not any(tmp_path.iterdir())


def test_steps_of_the_learning_rate_are_the_released_ones() -> None:
    g = np.load(GOLDEN / "schedules.npz")
    for key, rate, milestones in (
        ("lr_cifar_0.05", 0.05, (150, 180, 210)),
        ("lr_cifar_0.01", 0.01, (150, 180, 210)),
        ("lr_mlkd_480_0.025", 0.025, (150, 180, 210)),
        ("lr_imagenet_0.2", 0.2, (30, 60, 90)),
    ):
        found = [step_learning_rate(rate, e, milestones) for e in range(1, len(g[key]) + 1)]
        np.testing.assert_array_equal(found, g[key])


def test_a_cpu_computes_in_float32_unless_it_has_units_for_less(
    whole: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run(tmp_path / "a", runs, members=["kd"], precision="float32", fused=True)
    assert record["execution"] == {"device": "cpu", "precision": "float32", "fused": False, "channels_last": True}
    assert weights(tmp_path / "a", "kd") == weights(whole, "kd")
    with pytest.raises(LskdError, match="precision is 'half'; expected one of auto, float32, tf32, bf16"):
        run(tmp_path / "b", runs, precision="half")
    for question in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, question, lambda: False)
    for precision in ("bf16", "tf32"):
        with pytest.raises(LskdError, match=f"precision {precision}: this processor has no units for it"):
            run(tmp_path / "b", runs, precision=precision)
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)  # slower than real ones, and as right
    record = run(tmp_path / "c", runs, members=["kd"], precision="bf16")
    assert record["execution"]["precision"] == "bf16"
    assert "--precision bf16" in record["command"]
    assert weights(tmp_path / "c", "kd") != weights(whole, "kd")
    losses = [r["members"]["kd"]["epochs"][-1]["train_loss"] for r in (record, load_record(whole))]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_switches_of_precision_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old card")
    gpu = torch.device("cuda")
    assert Execution.choose(gpu) == Execution("cuda", "tf32", fused=True, graph=True, streams=True)
    off = Options(precision="float32", fused=False, graph=False, streams=False)
    assert Execution.choose(gpu, off) == Execution("cuda")
    with pytest.raises(LskdError, match="precision bf16: an old card has none"):
        Execution.choose(gpu, Options(precision="bf16"))
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for precision, products, convolutions in (("float32", "highest", False), ("tf32", "high", True)):
        with Execution("cuda", precision).active():
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (products, convolutions)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_the_command_names_who_stopped(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["epochs=1", "milestones=[]", "data={train_size = 320, test_size = 100}", "learning_rate=1e30"]
    given = [word for change in changes for word in ("--set", change)]
    arguments = ["train", "--recipe", "digit-pairs", "--members", "alone", "--out", str(tmp_path), "--runs", str(runs)]
    teacher = ["--set", "teacher.network=resnet8", "--set", "teacher.settings={epochs = 1, milestones = []}"]
    assert main([*arguments, *given, *teacher, "--device", "cpu"]) == 1
    assert "alone        stopped in epoch 1, batch 2: its logits are not finite" in capsys.readouterr().out


def test_devices_are_checked() -> None:
    assert select_device("cpu").type == "cpu"
    with pytest.raises(LskdError, match="expected auto"):
        select_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(LskdError, match="finds no CUDA"):
            select_device("cuda")


def test_the_doctor_says_what_is_there_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from book import doctor

    class Usage:
        free = 2**20

    assert not any(line.startswith("! disk") for line in doctor.report())
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage)
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    lines = list(doctor.report())
    assert "! disk       0.0 GiB free here" in lines
    assert "  log        tensorboard: no, only jsonl; pip install tensorboard" in lines
    assert any(line.startswith(f"  torch      {torch.__version__}") for line in lines)


def test_cosine_schedules_equal_the_released_ones() -> None:
    g = np.load(GOLDEN / "schedule_vit.npz")
    student = {"epochs": 300, "minimum": 5e-6, "warmup": 20, "warmup_start": 5e-7}
    ours = [cosine_learning_rate(5e-4, epoch, **student) for epoch in range(1, 301)]  # type: ignore[arg-type]
    np.testing.assert_allclose(ours, g["lr_adamw"], rtol=1e-12)
    teacher = [cosine_learning_rate(0.1, epoch, epochs=300) for epoch in range(1, 301)]
    np.testing.assert_allclose(teacher, g["lr_teacher_sgd"], rtol=1e-9)


def test_the_progress_line_stays_one_line_with_many_members() -> None:
    from lskd.trainer.log import latest_accuracies

    accuracies = {"t0": 50.0, "t1": 40.0, "t2": 60.0, "t3": 55.0, "t4": 45.0}
    histories: Any = {name: [{"test_accuracy": accuracy}] for name, accuracy in accuracies.items()}
    assert latest_accuracies({name: histories[name] for name in ("t0", "t1")}) == "t0 50.0 t1 40.0"
    assert latest_accuracies(histories) == "5 networks, t1 40.0 to t2 60.0"
