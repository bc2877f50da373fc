"""Accuracy among the five largest logits: measured above a hundred classes, recorded, shown, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic
import torch
from small_runs import images
from torch import Tensor, nn

from lskd.recipes import Recipe
from lskd.records import summarize
from lskd.trainer.cohort import Cohort
from lskd.trainer.evaluation import TOP5_ABOVE, evaluate
from paper import statistics, store, text


class Ranked(nn.Module):
    """Puts the class of the i-th image of a batch in place i, counted from the largest logit."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes, self.seen = classes, 0

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.zeros(len(x), self.classes)
        for row in logits:
            place = self.seen
            row[(self.seen + 1 + torch.arange(place)) % self.classes] = 2.0  # so many classes are before it
            row[self.seen] = 1.0
            self.seen += 1
        return logits


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


def test_the_last_and_the_best_epoch_have_their_own() -> None:
    history = [
        {"epoch": 1, "test_accuracy": 60.0, "test_top5": 80.0},
        {"epoch": 2, "test_accuracy": 50.0, "test_top5": 90.0},
    ]
    found = summarize(history)
    assert found["last"] == {"epoch": 2, "test_accuracy": 50.0, "test_top5": 90.0}
    assert found["best"] == {"epoch": 1, "test_accuracy": 60.0, "test_top5": 80.0}
    assert "test_top5" not in summarize([{"epoch": 1, "test_accuracy": 60.0}])["last"]


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
