"""Compact evidence: small, the same bytes twice, and every figure comes out of it as out of a full pack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import measured, pack, record, write_run

from figures import logit_gap, tsne
from figures import logit_range as drawing
from figures import networks as inputs
from figures.live import networks as live_networks
from lskd import evidence
from lskd.data import load_dataset
from lskd.errors import LskdError
from lskd.evidence import HALF, Evidence
from lskd.models import create_model, save_checkpoint, state_digest
from paper import embedding
from paper.compact_evidence import collect_checkpoint, compact, compact_run
from paper.logits import gap_statistics, logit_statistics

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


def test_figures_and_numbers_are_those_of_the_full_packs(
    both: tuple[inputs.Networks, inputs.Networks], tmp_path: Path
) -> None:
    full, small = both
    assert list(small.packs) == list(full.packs) == ["teacher", *MEMBERS]
    assert all(p.compact for p in small.packs.values())
    views = [embedding.embed_all(n.packs) for n in both]
    assert tsne.table(small, views[1]).equals(tsne.table(full, views[0]))
    drawn = []
    for name, networks, view in (("full", full, views[0]), ("small", small, views[1])):
        folder = tmp_path / name
        drawn.append(tsne.panels(networks, view, folder=folder, perplexity=30, seed=0))
        drawing.bars(networks, folder=folder)
        drawing.spread(networks, folder=folder)
        drawing.mean_and_deviation(networks, folder=folder)
        logit_gap.heatmaps(networks, folder=folder)
        live = live_networks.features(networks, view, None), live_networks.sample(networks, None)
        assert all(set(figure.data["networks"]) == set(networks.packs) for figure in live)
    files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("full", "small")]
    assert files[0] == files[1]
    assert (tmp_path / "full" / "tsne.csv").read_bytes() == (tmp_path / "small" / "tsne.csv").read_bytes()
    for table in (lambda n: logit_statistics(n.packs), lambda n: gap_statistics(n.teacher, n.students)):
        a, b = (table(n).select_dtypes("number").to_numpy(dtype=float) for n in both)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_a_compact_pack_has_one_view(both: tuple[inputs.Networks, inputs.Networks]) -> None:
    with pytest.raises(ValueError, match="its only view has perplexity 30 and seed 0; asked for 10 and 0"):
        embedding.embed(both[1].packs["kd"], perplexity=10)


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
        "kd.evidence.npz: measured on weights eeeeeeeeeeee; the record beside it has weights of k",
        "other.evidence.npz: the record beside it, seed-0.json, has no such evidence",
        "teacher.evidence.npz: measured on other data than the record beside it",
        "zz.npz: cannot be read",
        f"{tmp_path / 'teacher.evidence.npz'}: measured on weights weights of a; the record beside it has weights of t",
    ):
        assert any(words in problem for problem in found), (words, found)
