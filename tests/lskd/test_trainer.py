"""The trainer: cohorts equal single runs, steps are their formulas, records say what was done."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from small_runs import DATA, MLKD, SETTINGS, cohort, epochs, equal, run, weights
from torch import nn

import lskd
from lskd import evidence
from lskd.data import load_dataset
from lskd.data.draws import epoch_order, epoch_strong, epoch_views
from lskd.data.randaugment import strong_view
from lskd.data.views import Views, normalize
from lskd.errors import LskdError
from lskd.models import create_model, load_checkpoint
from lskd.objectives import Logits, create_objective
from lskd.records import load_record
from lskd.trainer import TRAINER
from lskd.trainer.evaluation import evaluate
from lskd.trainer.execution import Execution
from lskd.trainer.log import latest_accuracies
from lskd.trainer.options import Options
from lskd.trainer.run import Run, publish, train_cached


def vector(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


# The others are compared below, in runs that are killed, fail or are found again.
@pytest.mark.parametrize("members", [["kd_ls"], ["ctkd", "dkd_ls"]])
def test_a_member_has_the_same_bits_alone_and_in_any_cohort(
    members: list[str], whole: Path, runs: Path, tmp_path: Path
) -> None:
    run(tmp_path, runs, members=members)
    assert equal(tmp_path, whole, members)


def test_members_start_equal_and_end_different(whole: Path) -> None:
    members = load_record(whole)["members"]
    assert set(members) == {"alone", "kd", "kd_ls", "dkd", "dkd_ls", "ctkd", "ctkd_ls"}
    assert len({weights(whole, m) for m in members}) == 7
    vectors = [vector(m.model) for m in cohort().members]
    assert all(torch.equal(vectors[0], v) for v in vectors)
    assert not torch.equal(vectors[0], vector(cohort(seed=1).members[0].model))


@pytest.mark.parametrize(("member", "steps"), [("kd_ls", 3), ("mlkd", 1)])
def test_steps_by_hand_are_plain_sgd_on_the_named_loss(member: str, steps: int) -> None:
    """With nothing of the trainer but its draws: weak and strong views, forwards of both networks, SGD."""
    made = cohort([member], seed=5, settings=MLKD | {"batch_size": 128})
    assert made.steps_per_epoch == 3  # the last one incomplete: kept
    model, teacher, dataset = create_model("resnet8").train(), made.teacher, made.dataset
    model.load_state_dict(made.members[0].model.state_dict())
    ls = {"ce_weight": 0.1, "standardize": True} if member == "kd_ls" else {}
    objective = create_objective(member.removesuffix("_ls"), temperature=2.0, kd_weight=9.0, **ls)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    order, images = epoch_order(5, 1, 320), Views(dataset.train_images, pad=1, flip=False)
    crops = [epoch_views(5, 1, 320, 9, stream=stream) for stream in ("weak", "strong")]
    for rows in torch.arange(320).split(128)[:steps]:
        views = [images(order[rows], crop[rows]) for crop in crops]
        if objective.needs_strong:
            views[1] = strong_view(views[1], epoch_strong(5, 1, 320)[rows])
        seen = [normalize(x, dataset) for x in views][: 1 + objective.needs_strong]
        with torch.no_grad():
            weak, *strong = map(teacher, seen)
        own, *own_strong = map(model, seen)
        logits = Logits(own, dataset.train_labels[order[rows]], weak, *own_strong, *strong)
        optimizer.zero_grad()
        sum(objective(logits).values()).backward()
        optimizer.step()
    made.run(until=steps, window=1)
    torch.testing.assert_close(vector(made.members[0].model), vector(model), rtol=1e-4, atol=1e-5)


def test_mlkd_trains_and_changes_nothing_for_its_neighbours(multilevel: Path, whole: Path) -> None:
    assert equal(multilevel, whole, ["kd"])
    first, second = epochs(multilevel, "mlkd")
    assert set(first["terms"]) == {"ce", "kd", "cc", "bc"}
    assert second["train_loss"] < first["train_loss"]
    # Two passes a step: running statistics move twice (protocol 1.5).
    for member, passes in (("mlkd", 2), ("kd", 1)):
        model = create_model("resnet8")
        load_checkpoint(model, multilevel / f"{member}.safetensors")
        counts = [v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")]
        assert {int(v) for v in counts} == {10 * passes}


def test_who_needs_no_strong_view_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    from lskd.trainer import batches

    monkeypatch.setattr(batches, "strong_view", None)
    seen: list[int] = []
    made = cohort(settings=SETTINGS | {"epochs": 1, "milestones": []})
    made.teacher.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))
    made.run()
    assert sum(seen) == 320  # once through the teacher for all seven


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
    assert record["sources"] == json.loads((whole / "sessions.jsonl").read_text())["sources"]  # as it was started
    given = {"epochs": np.int64(2), "teacher.checkpoint": Path("x"), "data": {"noise": np.float32(0.5)}}
    assert json.loads(json.dumps(Run("digit-pairs", 0, given, None, {}).overrides))["data"] == {"noise": 0.5}


def test_evidence_agrees_with_the_weights(whole: Path, tmp_path: Path) -> None:
    dataset = load_dataset("digit_pairs", **DATA)
    model = create_model("resnet8")
    load_checkpoint(model, whole / "dkd_ls.safetensors")
    pack = evidence.load(whole / "dkd_ls.evidence.npz")
    _, accuracy, top5 = evaluate(model, dataset.test_images, dataset.test_labels, dataset)
    assert top5 is None  # of a hundred classes
    assert accuracy == load_record(whole)["members"]["dkd_ls"]["last"]["test_accuracy"]
    assert 100 * pack.correct.mean() == pytest.approx(accuracy)
    with torch.no_grad():
        logits = model(normalize(dataset.test_images, dataset)).numpy()
    np.testing.assert_allclose(pack.logit_std, np.std(logits, axis=1), rtol=1e-4)
    np.testing.assert_allclose(pack.logit_range, np.ptp(logits, axis=1), rtol=1e-4)
    np.testing.assert_allclose(pack.logits, logits[pack.logits_index], rtol=1e-3, atol=1e-4)
    expected = np.stack([logits[pack.label == k].mean(axis=0) for k in range(100)])
    np.testing.assert_allclose(pack.class_mean_logits, expected, rtol=1e-3, atol=1e-4)
    assert pack.features.shape == (100, 64)
    assert (pack.meta["dataset_digest"], pack.meta["member"]) == (dataset.digest, "dkd_ls")
    (tmp_path / "x.npz").write_bytes((whole / "kd.evidence.npz").read_bytes()[:5000])
    np.savez(tmp_path / "y.npz", a=np.ones(2))
    for name, message in (("x", "cannot be read"), ("y", "no evidence pack")):
        with pytest.raises(ValueError, match=message):
            evidence.load(tmp_path / f"{name}.npz")


def test_finished_runs_are_found_again_and_published(runs: Path, whole: Path, tmp_path: Path) -> None:
    def state(folder: Path) -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}

    before = state(whole)
    assert run(whole, runs) == load_record(whole)
    assert state(whole) == before
    options: dict[str, Any] = {"settings": SETTINGS, "runs": runs, "progress": False, "device": "cpu"}
    folder, record = train_cached("digit-pairs", members=["kd"], **options)
    before = state(folder)
    assert train_cached("digit-pairs", members=["kd"], **options) == (folder, record)
    assert lskd.train("digit-pairs", members=["kd"], **options) == record  # without a folder of one's own
    assert state(folder) == before
    assert weights(folder, "kd") == weights(whole, "kd")
    written = publish(folder, tmp_path / "out")
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    assert load_record(tmp_path / "out") == record
    (tmp_path / "out" / "checkpoints").mkdir()  # of a call that was killed at the end
    assert run(tmp_path / "out", runs, members=["kd"]) == record
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    with pytest.raises(LskdError, match=r"holds another run(.|\n)*seed: 0 there, 1 now"):  # it has no run.json
        run(tmp_path / "out", runs, members=["kd"], seed=1)


def test_a_folder_belongs_to_one_run(whole: Path, runs: Path, tmp_path: Path) -> None:
    import fcntl

    with pytest.raises(LskdError, match=r"holds another run(.|\n)*seed: 0 there, 1 now"):
        run(whole, runs, seed=1)
    with pytest.raises(LskdError, match=r"config\.batch_size: 64 there, 32 now"):
        run(whole, runs, settings={**SETTINGS, "batch_size": 32})
    with (tmp_path / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(LskdError, match="another process is training here"):
            run(tmp_path, runs)


def test_the_log_has_every_epoch_once_and_agrees_with_the_record(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"member": "alone", "epoch": 1}\n{"member": "al')  # of a killed session
    run(tmp_path, runs, members=["alone", "kd"], log="jsonl")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(r["member"], r["epoch"]) for r in rows] == [("alone", 1), ("kd", 1), ("alone", 2), ("kd", 2)]
    for row in rows:
        assert {k: v for k, v in row.items() if k != "member"} == epochs(tmp_path, row["member"])[row["epoch"] - 1]


def test_tensorboard_is_given_every_number_of_every_epoch(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Mock()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", Mock(SummaryWriter=made))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    run(tmp_path, runs, members=["ctkd"], log="tensorboard")
    made.assert_called_once_with(str(tmp_path / "tensorboard"))
    points = {(name, epoch): value for name, value, epoch in (c.args for c in made().add_scalar.call_args_list)}
    for row in epochs(tmp_path, "ctkd"):
        for key in ("train_loss", "test_accuracy", "temperature", "learning_rate"):
            assert points[f"{key}/ctkd", row["epoch"]] == row[key]
        assert points["terms/kd/ctkd", row["epoch"]] == row["terms"]["kd"]
    made().close.assert_called_once_with()


def test_a_log_that_cannot_be_written_is_refused_before_training(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "tensorboard" in name else found(name))
    for log, message in (("tensorboard", "pip install tensorboard"), ("json", "log is 'json'")):
        with pytest.raises(LskdError, match=message):
            run(tmp_path / log, runs, log=log)
    assert not any(tmp_path.iterdir())


def test_the_progress_line_stays_one_line_with_many_members() -> None:
    accuracies = {"t0": 50.0, "t1": 40.0, "t2": 60.0, "t3": 55.0, "t4": 45.0}
    histories: Any = {name: [{"test_accuracy": accuracy}] for name, accuracy in accuracies.items()}
    assert latest_accuracies({name: histories[name] for name in ("t0", "t1")}) == "t0 50.0 t1 40.0"
    assert latest_accuracies(histories) == "5 networks, t1 40.0 to t2 60.0"


def test_a_cpu_computes_in_float32_unless_it_has_units_for_less(
    whole: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run(tmp_path / "a", runs, members=["kd"], precision="float32", fused=True)
    assert record["execution"] == {"device": "cpu", "precision": "float32", "fused": False, "channels_last": True}
    assert weights(tmp_path / "a", "kd") == weights(whole, "kd")
    for question in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, question, lambda: False)
    for precision, message in (
        ("half", "precision is 'half'; expected one of auto, float32, tf32, bf16"),
        ("bf16", "precision bf16: this processor has no units for it"),
        ("tf32", "precision tf32: this processor has no units for it"),
    ):
        with pytest.raises(LskdError, match=message):
            run(tmp_path / "b", runs, precision=precision)
    assert not (tmp_path / "b").exists()
    record = run(tmp_path / "c", runs, members=["kd"], precision="bf16-emulated")
    assert record["execution"]["precision"] == "bf16"
    assert record["launch"]["emulated_steps"] == [[0, None]]
    assert "--precision bf16-emulated" in record["command"]
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert run(tmp_path / "c", runs, members=["kd"], precision="bf16") == record  # the same run
    assert weights(tmp_path / "c", "kd") != weights(whole, "kd")
    losses = [epochs(folder, "kd")[-1]["train_loss"] for folder in (tmp_path / "c", whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_switches_of_precision_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old card")
    gpu = torch.device("cuda")
    assert Execution.choose(gpu, Options()) == Execution("cuda", "tf32", fused=True, graph=True, streams=True)
    off = Options(precision="float32", fused=False, graph=False, streams=False)
    assert Execution.choose(gpu, off) == Execution("cuda")
    with pytest.raises(LskdError, match="precision bf16: an old card has none"):
        Execution.choose(gpu, Options(precision="bf16"))
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for precision, products, convolutions in (("float32", "highest", False), ("tf32", "high", True)):
        with Execution("cuda", precision).active():
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (products, convolutions)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
