"""Replicated or not: by rule, never by what one would like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic import pack, record
from test_statistics import PRINTED

from figures import spread_tables
from figures.networks import Networks
from lskd.losses import kd_loss, standardize
from paper import gains, tables
from paper.theory import best_spread, largest_probability, opposite_signs_loss


@pytest.mark.parametrize(
    ("values", "epochs", "dataset", "verdict"),
    [
        ((1.0, 1.1, 1.2), 240, "cifar100", "yes"),
        ((-1.0, -1.1, -1.2), 240, "cifar100", "no, the contrary"),
        ((1.0, -1.1, 0.2), 240, "cifar100", "open: zero is inside, 240 of 240 epochs"),
        ((1.0, 1.1), 240, "cifar100", "open: 2 seeds, 240 of 240 epochs"),
        ((1.0, 1.1, 1.2), 30, "cifar100", "open: above zero, 30 of 240 epochs"),
        ((-1.0, -1.1, -1.2), 240, "digit_pairs", "open: below zero, on other data"),
        ((1.0, -1.1, 0.2), 30, "cifar100", "open: zero is inside, 30 of 240 epochs"),
    ],
)
def test_a_gain_replicates_at_full_length(values: tuple[float, ...], epochs: int, dataset: str, verdict: str) -> None:
    gain = gains.Gain("a pair", "same", values, tuple(range(len(values))), dataset=dataset, epochs=epochs)
    rows = [row for row in gains.replicated([gain, replace(gain, epochs=2)], PRINTED, {}) if "same settings" in row[0]]
    assert rows[-1][3] == verdict  # of the longest
    assert rows[0][3] == ("not run" if dataset != "cifar100" else verdict)
    both = gains.replicated(
        [gain, replace(gain, experiment="another pair", values=tuple(-v for v in values))], PRINTED, {}
    )
    assert [row[2].partition(":")[0] for row in both if row[2] != "–"] == ["a pair", "another pair"]
    assert all(row[1].startswith("+3.29 points (the paper's Table 4)") for row in rows)


def test_a_table_counts_cells_whose_interval_holds_the_published_value(tmp_path: Path) -> None:
    first, second, third, *_ = tables.entries(2, tmp_path)
    ours = {"few": False, "best": {"low": first.published - 1, "high": first.published + 1}}
    far = {"few": False, "best": {"low": 1.0, "high": 2.0}}
    cells = [replace(first, ours=ours), replace(second, ours=far), third]
    few = [replace(first, ours=ours | {"few": True})]

    def told(found: list[tables.Entry]) -> tuple[str, ...]:
        return gains.replicated([], PRINTED, {2: found})[-1]

    assert told(cells) == ("Table 2", "3 cells", "2 cells", "1 of 2 within our interval")
    assert told(few)[-1] == "open: too few seeds"
    assert told([third])[-1] == "not run"
    assert len(gains.HEADINGS) == len(told(cells))


def test_a_stretched_copy_of_the_teacher_owes_its_whole_loss_to_size() -> None:
    teacher = torch.randn(6, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scale = torch.tensor([0.2, 0.5, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64)[:, None]
    plain, best, factor = best_spread(scale * teacher, teacher, temperature=2.0, steps=2001)
    assert plain.mean().item() == pytest.approx(kd_loss(scale * teacher, teacher, temperature=2.0).item())
    torch.testing.assert_close(best, torch.zeros(6, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(factor, 1 / scale[:, 0], atol=0, rtol=0.002)
    student, teacher = torch.randn(2, 50, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain, best, _ = best_spread(student, teacher, temperature=1.0)
    assert (best <= plain + 1e-12).all()  # never worse than none
    assert (best < 0.9 * plain).any()


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("classes", [3, 10, 100])
def test_no_row_is_surer_than_the_bound(classes: int, correction: int) -> None:
    most = largest_probability(classes, 2.0, correction=correction)
    apart = torch.eye(classes, dtype=torch.float64)[:1]
    reached = torch.softmax(standardize(apart, correction=correction) / 2.0, -1).max().item()
    assert reached == pytest.approx(most, rel=1e-5)
    rows = torch.randn(500, classes, generator=torch.Generator().manual_seed(3), dtype=torch.float64) ** 5
    assert torch.softmax(standardize(rows, correction=correction) / 2.0, -1).max().item() <= most
    shown = spread_tables.confidence_table().rows
    assert shown[2][::2] == ["K = 100", *(f"{largest_probability(100, t):.3f}" for t in (2.0, 4.0))]


@pytest.mark.filterwarnings("ignore:logit standardization with two classes")
def test_two_classes_that_disagree() -> None:
    one, other = torch.tensor([[4.0, -1.0]]).double(), torch.tensor([[0.1, 0.2]]).double()
    loss = kd_loss(one, other, temperature=2.5, standardize=True).item()
    assert loss == pytest.approx(opposite_signs_loss(2.5), rel=1e-5)


@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_the_words_below_the_table_are_those_of_the_run(tmp_path: Path, scale: float) -> None:
    """A student that lacks only size is told from one that lacks relations, also when LS has it the other way round."""
    packs = {"teacher": pack("teacher"), "kd": pack("kd"), "kd_ls": pack("kd_ls", scale=4.0 * scale)}
    networks = Networks(packs, record({"kd": (50.0, 50.0), "kd_ls": (50.0, 50.0)}), dict.fromkeys(packs, tmp_path))
    shares = spread_tables.size_shares(networks, temperature=2.0)
    text = spread_tables.spread_text(networks, temperature=2.0)
    for found in shares.itertuples():
        assert f"{found.share:.0f} %" in text
        assert f"{found.standardised:.3f}" in text
    size = replace(packs["teacher"], logits=packs["teacher"].logits / 4, meta=packs["kd"].meta)  # lacks nothing else
    alone = Networks({"teacher": packs["teacher"], "kd": size}, networks.record, networks.files)
    (only,) = spread_tables.size_shares(alone, temperature=2.0).itertuples()
    assert only.share > 99.9
    assert only.factor == pytest.approx(4, rel=0.02)
    assert only.standardised == pytest.approx(0, abs=1e-6)
    assert "this run the part lies between 100 % and 100 %" in spread_tables.spread_text(alone, temperature=2.0)
    assert ("this run does not show it" in text) == (shares.share["kd_ls"] <= shares.share["kd"])
    assert ("nearer to the teacher" in text) == (shares.standardised["kd_ls"] < shares.standardised["kd"])
    rows = spread_tables.spread_table(networks, temperature=2.0).rows
    assert [row[3] for row in rows] == [f"{share:.0f} %" for share in shares.share]
