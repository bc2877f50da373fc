"""Evidence: compact packs draw as full ones do; what is not finite or without variance is named and left out."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from papermill import execute
from synthetic import measured, pack, put, record, write_run

from book import exercises, notebook
from book.exercises import logit_gap as gap_answers
from book.exercises import tsne as tsne_answers
from figures import logit_gap, tsne
from figures import logit_range as drawing
from figures import networks as inputs
from figures.fingerprint import ROOT
from figures.live import networks as live_networks
from lskd import evidence
from lskd.cli import main
from lskd.data import load_dataset
from lskd.errors import LskdError
from lskd.evidence import HALF, Evidence
from lskd.models import create_model, save_checkpoint, state_digest
from paper import embedding
from paper.compact_evidence import collect_checkpoint, compact, compact_run
from paper.logits import gap_matrix, gap_statistics, logit_statistics

MEMBERS = ["kd", "kd_ls"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_run(tmp_path_factory.mktemp("full"), MEMBERS)


@pytest.fixture(scope="module")
def both(run: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[inputs.Networks, inputs.Networks]:
    """The same networks from full and from compact packs, the latter as the store keeps them."""
    store = tmp_path_factory.mktemp("store")
    (store / "seed-0-abc.json").write_text((run[1] / "record.json").read_text())
    compact_run(run[1], store / "seed-0-abc")
    (teacher,) = compact_run(run[0], store)
    return inputs.load(*run), inputs.load(teacher, store / "seed-0-abc.json")


def large(n: int = 10_000, classes: int = 100, features: int = 64) -> Evidence:
    """As large as CIFAR-100's, with the entropy of real logits; its view needs no t-SNE here."""
    rng = np.random.default_rng(0)
    label = np.arange(n) // (n // classes)
    centers = rng.normal(size=(classes, features))
    made = np.maximum(centers[label] + 1.1 * rng.normal(size=(n, features)), 0)
    logits = (made @ (0.3 * rng.normal(size=(features, classes)) + 0.25 * centers.T)).astype(np.float32)
    return measured(logits, features=made, labels=label, groups=20, rows=200, member="kd", weights_digest="w" * 64)


def test_a_network_of_cifar100_takes_under_300_kilobytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = (60 * np.random.default_rng(1).normal(size=(10_000, 2))).clip(-120, 120).astype(np.float32)
    view = embedding.Embedding(points, 70.0, 0.1, 2.0)
    monkeypatch.setattr("paper.compact_evidence.embed", lambda *_, **__: view)
    full = large()
    evidence.save(compact(full), tmp_path / "kd.npz")
    assert (tmp_path / "kd.npz").stat().st_size < 200_000  # the promise is 300
    found = evidence.load(tmp_path / "kd.npz")
    for exact in ("label", "prediction", "logits_index", "class_names", "superclass"):
        np.testing.assert_array_equal(getattr(found, exact), getattr(full, exact))
    for name in HALF:
        np.testing.assert_allclose(getattr(found, name), getattr(full, name), rtol=5e-4, atol=1e-6)
    np.testing.assert_allclose(found.embedding, points, rtol=0, atol=0.0051)
    assert (found.compact, found.feature_count) == (True, 64)


def test_equal_packs_are_equal_bytes_and_come_back_whole(tmp_path: Path) -> None:
    for name in ("a", "b"):
        evidence.save(compact(pack("kd")), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    small, found = compact(pack("kd")), evidence.load(tmp_path / "a")
    for key, value in vars(small).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(found, key), value)
            assert getattr(found, key).dtype == value.dtype, key
        else:
            assert getattr(found, key) == value
    assert compact(found) is found


def test_what_is_drawn_is_that_of_full_packs(both: tuple[inputs.Networks, inputs.Networks], tmp_path: Path) -> None:
    full, small = both
    assert list(small.packs) == list(full.packs) == ["teacher", *MEMBERS]
    assert all(p.compact for p in small.packs.values())
    views = [embedding.embed_all(n.packs) for n in both]
    assert tsne.table(small, views[1]).equals(tsne.table(full, views[0]))
    for n, view, name in zip(both, views, ("full", "small"), strict=True):
        tsne.panels(n, view, folder=tmp_path / name, perplexity=30, seed=0)
    assert (tmp_path / "full" / "tsne.csv").read_bytes() == (tmp_path / "small" / "tsne.csv").read_bytes()
    with pytest.raises(ValueError, match="its only view has perplexity 30 and seed 0; asked for 10 and 0"):
        embedding.embed(small.packs["kd"], perplexity=10)
    for draw in (drawing.bars, drawing.spread, drawing.mean_and_deviation, logit_gap.heatmaps):
        assert all(path.is_file() for path in draw(small, folder=tmp_path).paths)
    for live in (live_networks.features(small, views[1], None), live_networks.sample(small, None)):
        assert set(live.data["networks"]) == set(small.packs)
    for table in (lambda n: logit_statistics(n.packs), lambda n: gap_statistics(n.teacher, n.students)):
        a, b = (table(n).select_dtypes("number").to_numpy(dtype=float) for n in both)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_what_is_there_is_not_made_again_and_foreign_packs_are_refused(
    run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compact_run(run[1], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("paper.compact_evidence.embed", None)
        assert compact_run(run[1], tmp_path) == first
    with pytest.raises(LskdError, match=r"kd\.evidence\.npz: a pack with features is there"):
        compact_run(run[1], run[1])
    evidence.save(compact(pack("kd", scale=2.0, weights_digest="others")), tmp_path / "kd.evidence.npz")
    compact_run(run[1], tmp_path)  # of other weights: made anew
    assert evidence.load(tmp_path / "kd.evidence.npz").logit_std.mean() > 3
    put(tmp_path / "mixed", record({"kd": (80.0, 81.5)}))
    evidence.save(pack("kd", dataset_digest="others"), tmp_path / "mixed" / "kd.evidence.npz")
    with pytest.raises(LskdError, match=r"mixed/kd\.evidence\.npz: measured on other data than its record"):
        compact_run(tmp_path / "mixed", tmp_path / "out")


def test_evidence_of_a_checkpoint(tmp_path: Path, told: Callable[..., str]) -> None:
    torch.manual_seed(0)
    model = create_model("resnet8", num_classes=100)
    save_checkpoint(model, tmp_path / "teacher.safetensors")
    options = {"train_size": 100, "test_size": 200}
    words = ["evidence", "collect", "--network", "resnet8", "--checkpoint", str(tmp_path / "teacher.safetensors")]
    words += ["--dataset", "digit_pairs", "--device", "cpu"]
    words += [w for k, v in options.items() for w in ("--data", f"{k}={json.dumps(v)}")]
    assert "test accuracy" in told(*words, "--out", tmp_path / "teacher.npz")
    small = evidence.load(tmp_path / "teacher.npz")
    assert small.compact
    assert small.meta["weights_digest"] == state_digest(model.state_dict())
    assert small.meta["dataset_digest"] == load_dataset("digit_pairs", **options).digest
    told(*words, "--full", "--out", tmp_path / "full.npz")
    full = evidence.load(tmp_path / "full.npz")
    assert (full.compact, full.feature_count) == (False, small.feature_count)
    with pytest.raises(LskdError, match="no checkpoint is given"):
        collect_checkpoint(network="resnet8", dataset="digit_pairs")


def test_a_recipe_names_teacher_and_normalisation(tmp_path: Path) -> None:
    save_checkpoint(create_model("resnet8", num_classes=100), tmp_path / "t.safetensors")
    recipe = tmp_path / "taught.toml"
    recipe.write_text(
        f'dataset = "digit_pairs"\nstudent = "resnet8"\nepochs = 1\nbatch_size = 50\nlearning_rate = 0.1\n'
        f"[data]\ntrain_size = 100\ntest_size = 100\n"
        f'[teacher]\nnetwork = "resnet8"\ncheckpoint = "{tmp_path}/t.safetensors"\n'
        '[members.kd]\nmethod = "kd"\ntemperature = 2.0\nkd_weight = 9.0\nce_weight = 0.1\n'
    )
    found = collect_checkpoint(recipe=str(recipe))
    assert (found.meta["network"], found.meta["member"], len(found.label)) == ("resnet8", "teacher", 100)
    recipe.write_text(recipe.read_text().replace("[teacher]", "[teacher]\ninput_size = 24"))  # digit pairs are 16 x 16
    assert abs(collect_checkpoint(recipe=str(recipe)).logit_mean - found.logit_mean).max() > 1e-3


def test_committed_evidence_is_held_to_its_record(tmp_path: Path) -> None:
    from book.verify import verify

    told = record({"kd": (80.0, 81.0)}, teacher="weights of teacher")
    told["identity"] = "unknown"
    told["members"]["kd"]["weights"] = {"digest": "weights of kd"}
    (tmp_path / "seed-0.json").write_text(json.dumps(told))

    def keep(place: str, name: str, **meta: str) -> None:
        evidence.save(compact(pack(name, **meta)), tmp_path / f"{place}.evidence.npz")

    def problems() -> list[str]:
        return [p for p in verify(tmp_path, root=tmp_path).problems if ".npz" in p]

    for place, name in (("seed-0/kd", "kd"), ("seed-0/teacher", "teacher"), ("teacher", "teacher")):
        keep(place, name)
    assert problems() == []
    keep("seed-0/kd", "kd", weights_digest="e" * 64)
    keep("seed-0/other", "teacher")
    keep("seed-0/teacher", "teacher", dataset_digest="e" * 64)
    (tmp_path / "seed-0" / "zz.npz").write_bytes(b"half")
    keep("teacher", "alone")
    found = problems()
    for words in (
        "kd.evidence.npz: measured on weights eeeeeeeeeeee; its record has weights of k",
        "other.evidence.npz: its record has no such evidence",
        "teacher.evidence.npz: measured on other data than its record",
        "zz.npz: cannot be read",
        f"{tmp_path / 'teacher.evidence.npz'}: measured on weights weights of a; its record has weights of t",
    ):
        assert any(words in problem for problem in found), (words, found)


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[Path, Path]:
    return write_run(tmp_path / "runs", MEMBERS)


def change(path: Path, **values: Any) -> None:
    evidence.save(dataclasses.replace(evidence.load(path), **values), path)


def dead(found: Evidence) -> Evidence:
    return dataclasses.replace(found, features=np.full_like(found.features, 0.1))


def without_class(found: Evidence, missing: int) -> Evidence:
    means = {name: getattr(found, name).copy() for name in ("class_mean_logits", "class_mean_z")}
    for values in means.values():
        values[missing] = np.nan
    label = np.where(found.label == missing, missing + 1, found.label).astype(np.int16)
    return dataclasses.replace(found, label=label, **means)


def test_a_class_without_images_has_no_mean_and_no_agreement(fresh: tuple[Path, Path], tmp_path: Path) -> None:
    means = evidence._class_means(torch.ones(4, 3), torch.tensor([0, 0, 1, 1]), 3)
    assert np.isnan(means[2]).all()
    assert (means[:2] == 1).all()
    whole = inputs.load(*fresh)
    some = dataclasses.replace(whole, packs={name: without_class(found, 2) for name, found in whole.packs.items()})
    full = gap_matrix(whole.teacher, whole.packs["kd"], standardized=False)
    rows = [k for k in range(len(full)) if k != 2]
    (raw,) = gap_statistics(some.teacher, {"kd": some.packs["kd"]}).query("kind == 'raw'").to_dict("records")
    assert raw["mean"] == pytest.approx(full[rows].mean())
    assert raw["max"] == full[rows].max()
    drawn = logit_gap.heatmaps(some, folder=tmp_path)
    (table,) = (path for path in drawn.paths if path.suffix == ".csv")
    kept = {row["true_class"] for row in csv.DictReader(io.StringIO(table.read_text())) if row["kd_raw"]}
    assert kept == {str(name) for k, name in enumerate(whole.teacher.class_names) if k != 2}
    assert exercises.pose("logit_gap", gap_answers.answers(some)).exercises[0].answer.right == "raw"
    live = live_networks.gap(some)
    assert live.data["unseen"] == [2]
    truth = next(c for c in live.controls if c.name == "truth").rest
    assert [f'<option value="{k}"' in truth for k in (1, 2, 3)] == [True, False, True]


def test_an_exercise_whose_answer_is_no_number_is_left_out(fresh: tuple[Path, Path]) -> None:
    found = inputs.load(*fresh)
    two = {name: dataclasses.replace(one, label=one.label % 2) for name, one in found.packs.items()}
    views = {m: embedding.Embedding(one.features[:, :2], 50.0, 0.0, 0.0) for m, one in two.items()}
    sheet = exercises.pose("tsne", tsne_answers.answers(dataclasses.replace(found, packs=two), views))
    assert [one.exercise.name for one in sheet.exercises] == ["votes", "vote"]  # one distance correlates with nothing


def test_a_network_whose_logits_are_not_finite_is_named_and_left_out(fresh: tuple[Path, Path]) -> None:
    means = pack("kd").logit_mean
    means[:3] = np.nan
    change(fresh[1] / "kd.evidence.npz", logit_mean=means)
    found = inputs.load(*fresh)
    assert list(found.packs) == ["teacher", "kd_ls"]
    assert "is not shown: logits of 3 of 120 test images are not finite" in found.source
    change(fresh[0] / "teacher.evidence.npz", logit_mean=means)
    with pytest.raises(LskdError, match=r"nothing can be drawn \(teacher: logits of 3"):
        inputs.load(*fresh)


def test_features_without_variance_have_no_picture_and_others_have(fresh: tuple[Path, Path], tmp_path: Path) -> None:
    found = inputs.load(*fresh)
    packs = found.packs | {"kd": dead(found.packs["kd"])}
    with pytest.raises(ValueError, match="kd has no picture: all test images have equal features"):
        embedding.embed(packs["kd"], perplexity=10)
    networks = dataclasses.replace(found, packs=packs)
    made = embedding.embed_all(packs, perplexity=10)
    assert list(made) == ["teacher", "kd_ls"]
    assert tsne.panels(networks, made, folder=tmp_path, perplexity=10, seed=0).paths
    with pytest.raises(LskdError, match="no network has a picture; kd: all test images"):
        embedding.embed_all({"kd": packs["kd"]}, jobs=2)
    beyond = pack("kd")
    beyond.features[5, 0] = np.inf
    assert embedding.obstacle(beyond) == "features of 1 of 120 test images are not finite in float16"


@pytest.mark.parametrize(("n", "why"), [(12, "perplexity is 30; .* below the 12"), (40, "images of 40 classes")])
def test_too_few_images_have_no_picture(n: int, why: str) -> None:
    found = pack("kd")
    few = dataclasses.replace(found, features=found.features[:n], label=np.arange(n, dtype="int16"))
    assert re.search(why, embedding.obstacle(few) or "")
    with pytest.raises(LskdError, match=f"no network has a picture; kd: .*{why}"):
        embedding.embed_all({"kd": few})


def test_compact_packs_are_made_of_the_others(
    fresh: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(fresh[1] / "kd.evidence.npz", features=dead(pack("kd")).features)
    assert main(["evidence", "compact", str(fresh[1]), "--out", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kd_ls.evidence.npz"]
    assert "kd is left out: all test images have equal features" in capsys.readouterr().err


def test_a_kernel_that_never_began_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[int] = []

    def die(*given: Any, **options: Any) -> None:
        calls.append(1)
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(execute, "execute_notebook", die)
    with pytest.raises(LskdError, match=r"execution stopped: Kernel died before replying to kernel_info$"):
        notebook.run(ROOT / "notebooks" / "toy.ipynb", output=tmp_path / "out.ipynb")
    assert len(calls) == 3
    counts = iter((0, 0, 0, 1))  # at the start of each attempt, and after the last
    monkeypatch.setattr(notebook, "_killed_for_memory", lambda: next(counts))
    with pytest.raises(LskdError, match="because memory ran out"):
        notebook.run(ROOT / "notebooks" / "toy.ipynb", output=tmp_path / "out.ipynb")
