"""The (temperature, weight) surface: from members to cells to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from figures import temperature_and_weight
from figures.fingerprint import ROOT
from lskd.errors import LskdError
from paper import store

RECORDS = ROOT / "results" / "digit_pairs" / "wrn_16_2-resnet8-surface"


def record(members: dict[str, tuple[float, float, bool, float]], seed: int = 0) -> dict[str, Any]:
    """A record with KD members given as (temperature, weight, LS, accuracy)."""
    return {
        "name": "sweep",
        "seed": seed,
        "dataset": {"test_size": 100},
        "members": {
            name: {
                "method": "kd",
                "standardize": ls,
                "settings": {"temperature": t, "kd_weight": w},
                "last": {"test_accuracy": accuracy},
            }
            for name, (t, w, ls, accuracy) in members.items()
        },
    }


MEMBERS = {"a": (1, 9, False, 80.0), "a_ls": (1, 9, True, 82.0), "b": (2, 9, False, 85.0), "b_ls": (2, 9, True, 84.0)}


def test_cells_are_means_over_records_and_the_summary_compares_each_at_its_best() -> None:
    other = {**MEMBERS, "a": (1, 9, False, 82.0)}
    frame = temperature_and_weight.cells([record(MEMBERS), record(other, seed=1)])
    columns = ["temperature", "without", "with", "difference", "n"]
    assert frame[columns].to_numpy().tolist() == [[1, 81, 82, 1, 2], [2, 85, 84, -1, 2]]
    stopped = record({**MEMBERS, "a": (1, 9, False, 1.0)})
    stopped["members"]["a"]["failure"] = {"reason": "its loss is not finite"}
    pd.testing.assert_frame_equal(
        temperature_and_weight.cells([record(MEMBERS), record(other), stopped]).iloc[:, :3], frame.iloc[:, :3]
    )
    expected = {"without_best": 85, "without_temperature": 2, "with_best": 84, "with_temperature": 2}
    expected |= {"difference_at_best": -1, "above": 1, "settings": 2}
    assert expected.items() <= temperature_and_weight.summary(frame).items()


def test_a_setting_without_its_twin_is_an_error() -> None:
    with pytest.raises(LskdError, match="a member without and one with LS"):
        temperature_and_weight.cells([record({k: v for k, v in MEMBERS.items() if k != "b_ls"})])
    wrong = record(MEMBERS)
    wrong["members"]["a"]["method"] = "dkd"
    with pytest.raises(LskdError, match="member a of recipe sweep is dkd"):
        temperature_and_weight.cells([wrong])


def test_the_committed_sweep_is_complete_and_drawn(tmp_path: Path) -> None:
    (records,) = store.aggregate(RECORDS).values()
    assert len(temperature_and_weight.cells(records)) >= 12
    drawn = temperature_and_weight.maps(records, folder=tmp_path, files=sorted(RECORDS.glob("*.json")))
    assert all(path.is_file() for path in drawn.paths)
    assert f"n = {len(records)} seed" in drawn.caption


def test_one_collapsed_student_leaves_the_colours_and_the_axis_to_the_others(tmp_path: Path) -> None:
    sides = {False: (85.0, 88.0, 1.0), True: (80.0, 87.0, 89.0)}
    members = {f"{ls}{w}": (2, w, ls, a) for ls, row in sides.items() for w, a in zip((3, 9, 81), row, strict=True)}
    swept = [record(members)]
    assert "Below 80.0 % there is one colour" in temperature_and_weight.maps(swept, folder=tmp_path, files=[]).caption
    drawn = temperature_and_weight.over_effective_weight(swept, student=2, teacher=2, folder=tmp_path, files=[])
    assert "1 student below 80.0 % left out of the picture" in drawn.caption
    assert pd.read_csv(tmp_path / "effective_weight.csv")["accuracy"].min() == 1  # the data keep it


def test_a_best_cell_at_the_edge_of_the_grid_is_called_so() -> None:
    sides = {"without": (80.0, 85.0, 81.0), "with": (70.0, 80.0, 84.0)}
    members = {
        f"{side}_{i}": (t, w, side == "with", accuracy - t)
        for side, row in sides.items()
        for t in (1, 2, 4)
        for i, (w, accuracy) in enumerate(zip((3, 9, 27), row, strict=True), start=10 * t)
    }
    found = temperature_and_weight.summary(temperature_and_weight.cells([record(members)]))
    assert found["without_edge"] == "at the edge of the grid, the smallest temperature tried"
    assert found["with_edge"] == "at the edge of the grid, the smallest temperature and the largest weight tried"
    inside = temperature_and_weight.cells(
        [record({k: (t, w, ls, -abs(t - 2) - abs(w - 9)) for k, (t, w, ls, _) in members.items()})]
    )
    assert temperature_and_weight.summary(inside)["with_edge"] == ""


def test_at_equal_pull_weights_are_divided_by_both_deviations(tmp_path: Path) -> None:
    members = {f"{w}{ls}": (2, w, ls, float(w if not ls else w / 9)) for w in (1, 9, 81) for ls in (False, True)}
    sweep = [record(members)]
    frame = temperature_and_weight.cells(sweep)
    assert temperature_and_weight.at_equal_pull(frame, 9.0) == pytest.approx([0.0, 0.0])  # 9 and 81 pull like 1 and 9
    assert temperature_and_weight.at_equal_pull(frame, 1000.0) == []
    drawn = temperature_and_weight.over_effective_weight(sweep, student=3, teacher=3, folder=tmp_path, files=[])
    assert "s<sub>z</sub> = 3.00" in drawn.caption
    far = temperature_and_weight.over_effective_weight(sweep, student=50, teacher=50, folder=tmp_path, files=[])
    assert "nowhere" in far.alt
