"""Every claim of the audit page, held to the numbers that stand below it."""

from __future__ import annotations

import pytest

from paper import disagreements
from paper.toy import toy_facts


def cells(table: disagreements.Table) -> dict[str, list[str]]:
    headings, rows = table
    assert all(len(row) == len(headings) for row in rows)
    return {row[0]: row[1:] for row in rows}


def test_the_code_divides_by_one_less() -> None:
    found = cells(disagreements.deviation())
    assert [float(found[k][0]) for k in ("4", "10", "100", "1000")] == pytest.approx(
        [0.8660, 0.9487, 0.9950, 0.9995], abs=1e-4
    )
    toy = toy_facts()
    assert (toy["toy_s1_ls"], toy["toy_s1_paper"]) == ("0.0995", "0.1347")  # the first is printed in the paper's Fig. 2


def test_subtracting_the_mean_changes_nothing_and_table_4_differs_nevertheless() -> None:
    found = {k: float(v[0]) for k, v in cells(disagreements.mean_subtraction()).items()}
    assert found["raw logits"] == pytest.approx(found["minus mean"], abs=1e-8)
    assert found["over deviation"] == pytest.approx(found["Z-score"], abs=1e-6)
    assert found["raw logits"] != pytest.approx(found["Z-score"], rel=0.1)
    differences = [float(row[2]) for row in cells(disagreements.table_4_repeats()).values()]
    assert min(differences) == 0.05
    assert max(differences) == 3.33


def test_a_constant_row_explodes_in_the_released_formula_alone() -> None:
    found = {k: float(v[0].replace(",", "")) for k, v in cells(disagreements.constant_row()).items()}
    assert found["released formula"] > 1e5
    assert found["lskd.losses.standardize"] < 1


def test_the_baselines_pull_differently() -> None:
    found = {k: float(v[-1]) for k, v in cells(disagreements.baseline_gradients()).items()}
    assert found["released KD command"] > 5 * found["literature's KD"]


def test_the_best_epoch_flatters() -> None:
    found = cells(disagreements.best_epoch())
    assert found["all"][:2] == ["57", "0.31"]
    assert found["MLKD"][2] == "0.92"


def test_the_headline_run_s_loss_halves_twice_before_the_rate_falls() -> None:
    found = cells(disagreements.headline_run())
    loss = {int(k): float(v[1]) for k, v in found.items()}
    assert loss[150] < 0.55 * loss[149]
    assert found["150"][0] == found["149"][0]
    assert loss[210] < 0.55 * loss[209]


def test_large_logits_end_the_released_arithmetic_alone() -> None:
    found = cells(disagreements.large_logits())
    assert found["3"][0] == found["3"][1]
    assert found["60"][0] == found["200"][0] == "not a number"
    assert all(float(v[1]) > 0 for v in found.values())


def test_masks_of_averages_do_not_look_at_single_images() -> None:
    found = {k: [float(x) for x in v] for k, v in cells(disagreements.mask_effect()).items()}
    released, written = found["mean of the mask (released code)"], found["image by image (as written)"]
    assert written[0] == 0 < released[0]
    assert written[1] == pytest.approx(2 * released[1], rel=1e-3)


def test_the_strong_view_s_correlations_are_dropped() -> None:
    found = cells(disagreements.strong_view_gradients())
    assert found["released code"][1:] == ["none", "none"]
    assert float(found["all terms"][0]) > float(found["released code"][0]) > 0


def test_the_logs_of_ctkd_stay_above_two() -> None:
    found = cells(disagreements.ctkd_temperatures())
    assert found["published logs, after epoch 1"] == ["2.00 to 30.39 (logged)", "22.3 to 30.4"]


def test_the_released_forward_counts_a_batch_twice() -> None:
    found = cells(disagreements.batch_statistics())
    once, twice = found["ordinary forward"], found["released forward, features collected"]
    assert (once[2], twice[2]) == ("1", "2")
    assert float(twice[1]) / float(once[1]) == pytest.approx(1.9, abs=0.01)


def test_no_loss_moves_the_mean_over_classes() -> None:
    for size, drift in cells(disagreements.class_mean_drift()).values():
        assert float(drift) < 1e-9 * float(size)
