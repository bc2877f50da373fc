"""What is not finite, not there or without variance is named and left out; it never becomes a number."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from papermill import execute
from synthetic import pack, write_run

from book import exercises, notebook
from book.exercises import logit_gap as gap_answers
from book.exercises import tsne as tsne_answers
from figures import logit_gap, tsne
from figures import networks as inputs
from figures.fingerprint import ROOT
from figures.live import gap
from lskd import evidence
from lskd.cli import main
from lskd.errors import LskdError
from lskd.evidence import Evidence
from paper import embedding
from paper.logits import gap_matrix, gap_statistics

MEMBERS = ["kd", "kd_ls"]


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Path]:
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


def test_a_class_without_images_has_no_mean() -> None:
    means = evidence._class_means(torch.ones(4, 3), torch.tensor([0, 0, 1, 1]), 3)
    assert np.isnan(means[2]).all()
    assert (means[:2] == 1).all()


def test_a_class_without_images_is_no_agreement(run: tuple[Path, Path], tmp_path: Path) -> None:
    whole = inputs.load(*run)
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
    live = gap.gap(some)
    assert live.data["unseen"] == [2]
    assert "2" not in dict(next(c for c in live.controls if c.name == "truth").options)


def test_an_exercise_whose_answer_is_no_number_is_left_out(run: tuple[Path, Path]) -> None:
    found = inputs.load(*run)
    two = {name: dataclasses.replace(one, label=one.label % 2) for name, one in found.packs.items()}
    views = {m: embedding.Embedding(one.features[:, :2], 50.0, 0.0, 0.0) for m, one in two.items()}
    sheet = exercises.pose("tsne", tsne_answers.answers(dataclasses.replace(found, packs=two), views))
    assert [one.exercise.name for one in sheet.exercises] == ["votes", "vote"]  # one distance correlates with nothing


def test_a_network_whose_logits_are_not_finite_is_named_and_left_out(run: tuple[Path, Path]) -> None:
    means = pack("kd").logit_mean
    means[:3] = np.nan
    change(run[1] / "kd.evidence.npz", logit_mean=means)
    found = inputs.load(*run)
    assert list(found.packs) == ["teacher", "kd_ls"]
    assert "is not shown: logits of 3 of 120 test images are not finite" in found.source
    change(run[0] / "teacher.evidence.npz", logit_mean=means)
    with pytest.raises(LskdError, match=r"nothing can be drawn \(teacher: logits of 3"):
        inputs.load(*run)


def test_features_without_variance_have_no_picture_and_the_others_have(run: tuple[Path, Path], tmp_path: Path) -> None:
    found = inputs.load(*run)
    packs = found.packs | {"kd": dead(found.packs["kd"])}
    with pytest.raises(ValueError, match="kd has no picture: all test images have equal features"):
        embedding.embed(packs["kd"], perplexity=10)
    networks = dataclasses.replace(found, packs=packs)
    made = embedding.embed_all(packs, perplexity=10)
    assert list(made) == ["teacher", "kd_ls"]
    assert tsne.panels(networks, made, folder=tmp_path, perplexity=10, seed=0).paths
    with pytest.raises(LskdError, match="no network has a picture; kd: all test images"):
        embedding.embed_all({"kd": packs["kd"]}, jobs=2)


def test_features_beyond_float16_are_named() -> None:
    found = pack("kd")
    found.features[5, 0] = np.inf
    assert embedding.obstacle(found) == "features of 1 of 120 test images are not finite in float16"


@pytest.mark.parametrize(("n", "why"), [(12, "perplexity is 30; .* below the 12"), (40, "images of 40 classes")])
def test_too_few_images_have_no_picture(n: int, why: str) -> None:
    found = pack("kd")
    few = dataclasses.replace(found, features=found.features[:n], label=np.arange(n, dtype="int16"))
    assert re.search(why, embedding.obstacle(few) or "")
    with pytest.raises(LskdError, match=f"no network has a picture; kd: .*{why}"):
        embedding.embed_all({"kd": few})


def test_compact_packs_are_made_of_the_others(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run[1] / "kd.evidence.npz", features=dead(pack("kd")).features)
    assert main(["evidence", "compact", str(run[1]), "--out", str(tmp_path / "out")]) == 0
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
