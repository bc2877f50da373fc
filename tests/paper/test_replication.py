"""What counts as replicated: by rule, never by what one would like."""

from __future__ import annotations

from dataclasses import replace

import pytest

from figures.fingerprint import ROOT
from paper import gains, tables
from paper.replication import HEADINGS, summary

PRINTED = gains.printed()


@pytest.mark.parametrize(
    ("values", "epochs", "dataset", "verdict"),
    [
        ((1.0, 1.1, 1.2), 240, "cifar100", "yes"),
        ((-1.0, -1.1, -1.2), 240, "cifar100", "no, the contrary"),
        ((1.0, -1.1, 0.2), 240, "cifar100", "open: zero is inside"),
        ((1.0, 1.1), 240, "cifar100", "open: 2 seeds, 240 of 240 epochs"),
        ((1.0, 1.1, 1.2), 30, "cifar100", "yes, 30 of 240 epochs"),
        ((1.0, 1.1, 1.2), 240, "digit_pairs", "yes, on other data"),
    ],
)
def test_a_gain_replicates_at_full_length_over_seeds(
    values: tuple[float, ...], epochs: int, dataset: str, verdict: str
) -> None:
    gain = gains.Gain("a pair", "same", values, tuple(range(len(values))), dataset=dataset, epochs=epochs)
    rows = [row for row in summary([gain, replace(gain, epochs=2)], PRINTED, {}) if "same settings" in row[0]]
    assert rows[-1][3] == verdict  # of the longest
    assert rows[0][3] == ("not run" if dataset != "cifar100" else verdict)
    assert all(row[1].startswith("+3.29 points (the paper's Table 4)") for row in rows)


def test_a_table_counts_cells_whose_interval_holds_the_published_value() -> None:
    first, second, third, *_ = tables.entries(2, ROOT / "results" / "none")
    ours = {"few": False, "best": {"low": first.published - 1, "high": first.published + 1}}
    far = {"few": False, "best": {"low": 1.0, "high": 2.0}}
    cells = [replace(first, ours=ours), replace(second, ours=far), third]
    assert summary([], PRINTED, {2: cells})[-1] == ("Table 2", "3 cells", "2 cells", "1 of 2 within our interval")
    few = [replace(first, ours=ours | {"few": True})]
    assert summary([], PRINTED, {2: few})[-1][3] == "open: too few seeds"
    assert summary([], PRINTED, {2: [third]})[-1][3] == "not run"
    assert len(HEADINGS) == 4
