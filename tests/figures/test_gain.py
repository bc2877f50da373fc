"""The picture of all gains: it grows with the records, and says what it mixes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from figures import gain
from figures.fingerprint import ROOT
from lskd.records import load_record, trainer_of
from paper import gains


def made(epochs: int, baseline: str, *values: float) -> gains.Gain:
    return gains.Gain(
        f"CIFAR-100, {epochs} epochs", baseline, values, tuple(range(len(values))), epochs=epochs, record={}
    )


@pytest.fixture
def rows() -> list[gains.Gain]:
    return [made(8, "same", 11.0), made(30, "same", 1.0, 2.0, 3.0), made(30, "literature", 0.1, 0.2, 0.3)]


def test_every_comparison_is_a_row(tmp_path: Path, rows: list[gains.Gain]) -> None:
    drawn = gain.forest(rows, gains.printed(), folder=tmp_path)
    data = pd.read_csv(tmp_path / "gain.csv")
    assert len(data) == len(rows) + len(gains.printed())
    assert data["mean"].tolist()[:2] == [11.0, 2.0]
    assert all(path.is_file() for path in drawn.paths)


def test_the_committed_records_are_all_in_it(tmp_path: Path) -> None:
    measured = gains.measured(ROOT / "results")
    drawn = gain.forest(measured, gains.printed(), folder=tmp_path)
    assert {g.dataset for g in measured} == {"digit_pairs", "cifar100"}
    for g in measured:
        mixed = len({trainer_of(load_record(path)) for path in g.paths}) > 1
        assert not mixed or f"{len(g.seeds)} seeds of " in drawn.caption


def test_the_gain_over_the_length_of_training(tmp_path: Path, rows: list[gains.Gain]) -> None:
    drawn = gain.by_length(rows, folder=tmp_path)
    assert pd.read_csv(tmp_path / "gain_by_length.csv")["epochs"].tolist() == [8, 30, 30]
    assert "2 lengths so far" in drawn.caption
    assert "+2.00 points (n = 3 seeds" in drawn.alt
