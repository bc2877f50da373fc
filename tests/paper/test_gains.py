"""Gains of LS over KD: which baseline, over which seeds, from which trainers; and what is published."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from figures.fingerprint import ROOT
from lskd.records import load_record
from paper import gains, published, tables

STORE = ROOT / "results"
SHORT = next(p for p in (STORE / "cifar100").rglob("seed-0*.json") if load_record(p)["config"]["epochs"] == 8)
PRINTED = gains.printed()


@pytest.fixture
def longer(tmp_path: Path) -> Path:
    """The committed short run of CIFAR-100, and made-up ones of 30 epochs and 3 seeds and of 240 epochs and 1."""
    shutil.copy(SHORT, tmp_path / SHORT.name)
    first = load_record(SHORT)
    for epochs, accuracies in ((30, (66.0, 66.5, 67.0)), (240, (70.0,))):
        for seed, accuracy in enumerate(accuracies):
            record = json.loads(json.dumps(first)) | {"seed": seed, "name": f"made-up-{epochs}", "store": {}}
            record["config"] |= {"epochs": epochs, "name": record["name"]}
            record["execution"] = {"device": "cpu", "precision": "bf16"}
            for name, more in (("kd", 0.0), ("kd_literature", 0.5), ("kd_ls", 1.0 + seed)):
                record["members"][name]["last"] = {"epoch": epochs, "test_accuracy": accuracy + more}
            (tmp_path / f"{epochs}-{seed}.json").write_text(json.dumps(record))
    return tmp_path


def of(found: list[gains.Gain], epochs: int, baseline: str) -> gains.Gain:
    (gain,) = (gain for gain in found if (gain.epochs, gain.baseline) == (epochs, baseline))
    return gain


def test_a_gain_is_taken_seed_by_seed_over_the_baseline_of_its_name(longer: Path) -> None:
    found = gains.measured(longer)
    assert [(gain.epochs, gain.baseline) for gain in found] == [
        (epochs, baseline) for epochs in (8, 30, 240) for baseline in ("same", "literature")
    ]
    assert of(found, 30, "same").values == pytest.approx((1.0, 2.0, 3.0))
    assert of(found, 30, "literature").values == pytest.approx((0.5, 1.5, 2.5))
    assert of(found, 30, "same").decided is False  # 2 ± 2.48
    assert of(found, 240, "same").text == "+1.00 points (n = 1 seed, no interval)"
    assert of(found, 240, "same").experiment.endswith("240 epochs, bf16")


def test_the_third_arm_is_a_baseline_of_its_own(tmp_path: Path) -> None:
    record = load_record(SHORT)
    record["members"]["kd_effective"] = json.loads(json.dumps(record["members"]["kd"]))
    record["config"]["members"]["kd_effective"] = record["config"]["members"]["kd"]
    record["members"]["kd_effective"]["settings"]["effective_weight"] = True
    record["members"]["kd_effective"]["last"]["test_accuracy"] = 54.0
    del record["store"]
    (tmp_path / "seed-0.json").write_text(json.dumps(record))
    last = record["members"]["kd_ls"]["last"]["test_accuracy"]
    assert of(gains.measured(tmp_path), 8, "effective").values == pytest.approx((last - 54.0,))
    assert len(gains.measured(tmp_path)) == 3
    (tmp_path / "again.json").write_text(json.dumps(record | {"name": "the same students in another cohort"}))
    assert len(gains.measured(tmp_path)) == 3


def test_a_sweep_compares_each_side_at_its_best(tmp_path: Path) -> None:
    (place,) = (STORE / "digit_pairs" / "wrn_16_2-resnet8-surface").glob("seed-0*.json")
    shutil.copy(place, tmp_path)
    (gain,) = gains.measured(tmp_path)
    members = load_record(place)["members"].values()
    best = {ls: max(m["last"]["test_accuracy"] for m in members if m["standardize"] == ls) for ls in (False, True)}
    assert (gain.baseline, gain.values) == ("best", pytest.approx((best[True] - best[False],)))


def test_seeds_of_several_trainers_are_said() -> None:
    made = [{"seed": seed, "source_digest": "a" * 64} for seed in (0, 1)]
    assert gains.trainers(made) == ""
    assert gains.trainers([*made, {"seed": 5, "trainer": 1}]).startswith(
        "3 seeds of 2 trainers (trainer 1: 5; trainer before 1 (aaaaaaaa): 0, 1)"
    )


def test_table_4_at_equal_weight_and_at_each_side_s_best() -> None:
    found = gains.table_4()
    at = {(n.variant, n.kd_weight): n.value for n in published.find(source="paper Table 4")}
    assert found["same"] == pytest.approx(at["KD, z-score", 9.0] - at["KD, raw logits", 9.0]) == pytest.approx(3.29)
    assert found["best"] == pytest.approx(1.80)
    assert found["best"] < found["same"]


def test_published_gains_have_a_value_a_pair() -> None:
    tables, logs, *_ = PRINTED
    assert len(tables.values) == len(logs.values) == 14
    assert min(tables.values) > 0
    assert not any(gain.decided for gain in PRINTED)


def test_the_sentences_follow_the_records(longer: Path) -> None:
    (longer / "one").mkdir()
    shutil.copy(SHORT, longer / "one")
    short = " ".join(gains.sentences(gains.measured(longer / "one"), PRINTED))
    shutil.rmtree(longer / "one")
    assert "8 epochs" in short
    assert "which was not run" in short
    grown = " ".join(gains.sentences(gains.measured(longer), PRINTED))
    assert "240 epochs, bf16" in grown  # the longest runs are spoken of
    assert "+1.00 points (n = 1 seed, no interval)" in grown


def test_a_verdict_needs_an_interval_without_zero() -> None:
    def said(*values: float) -> str:
        gain: Any = gains.Gain("e", "same", values, tuple(range(len(values))))
        return gains.sentences([gain], PRINTED)[0]

    assert "LS helps" in said(1.0, 1.1, 0.9)
    assert "LS costs accuracy" in said(-1.0, -1.1, -0.9)
    assert "includes zero" in said(-1.0, 1.1, 0.9)
    assert "too few to say what another seed would do" in said(1.0, 1.1)


# --- replicated or not: by rule, never by what one would like --------------------------------------------------------


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
    rows = [row for row in gains.replicated([gain, replace(gain, epochs=2)], PRINTED, {}) if "same settings" in row[0]]
    assert rows[-1][3] == verdict  # of the longest
    assert rows[0][3] == ("not run" if dataset != "cifar100" else verdict)
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
