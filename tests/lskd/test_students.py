"""Committed weights of students: each is its record's, in half precision, and scores what the record says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from figures.fingerprint import ROOT
from lskd.data import load_dataset
from lskd.data.download import data_root
from lskd.models import create_model, load_checkpoint
from lskd.trainer.evaluation import evaluate

FILES = sorted((ROOT / "results").glob("*/*/seed-*/*.safetensors"))
LARGEST = 600_000  # bytes: a resnet20
ROUNDED = 0.1  # points: what float16 may move of 10,000 answers


@pytest.mark.data
@pytest.mark.skipif(not (data_root() / "cifar100.npz").is_file(), reason="CIFAR-100 is not here")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_committed_student_scores_what_its_record_says(path: Path) -> None:
    assert path.stat().st_size <= LARGEST
    record = json.loads(path.parent.with_suffix(".json").read_text(encoding="utf-8"))
    dataset = load_dataset(record["config"]["dataset"], **record["config"]["data"])
    model = create_model(record["config"]["student"], dataset.classes)
    load_checkpoint(model, path)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = evaluate(model, dataset.test_images, dataset.test_labels, dataset).accuracy
    assert found == pytest.approx(record["members"][path.stem]["last"]["test_accuracy"], abs=ROUNDED)
