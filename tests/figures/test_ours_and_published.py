"""Our runs beside published numbers: equal settings only, short runs called short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from figures.ours_and_published import accuracy_table, committed, records_of, short_runs
from lskd.errors import LskdError
from lskd.fingerprint import ROOT
from paper.published import find

STORE = ROOT / "results" / "cifar100" / "resnet56-resnet20"
RECIPE = "cifar100-resnet56-resnet20-short-8"


def records() -> list[dict[str, Any]]:
    return [record for _, record in records_of(STORE, RECIPE)]


def test_a_published_number_stands_beside_equal_settings_only() -> None:
    table = accuracy_table(records())
    of = {tuple(row[:3]): row[3:] for row in table.rows}
    assert set(of) == {("KD", "2", "9"), ("KD, literature", "4", "0.9"), ("KD + LS", "2", "9")}
    printed = {
        n.standardize: n.value
        for n in find(dataset="cifar100", teacher="resnet56", student="resnet20", method="kd", metric="top1_test")
    }
    assert of["KD", "2", "9"][:2] == ["–", "–"]  # nobody has published this baseline
    assert of["KD, literature", "4", "0.9"][0] == f"{printed[False]:.2f}"
    assert of["KD + LS", "2", "9"][0] == f"{printed[True]:.2f}"


def test_ours_are_the_records_numbers_and_short_runs_are_called_short() -> None:
    first, *_ = records()
    table = accuracy_table([first])
    ours = [row[5] for row in table.rows if row[:3] == ["KD + LS", "2", "9"]]
    assert ours == [f"{first['members']['kd_ls']['last']['test_accuracy']:.2f}"]
    assert "short runs: 8 epochs instead of 240" in table.caption
    long = json.loads(json.dumps(first))
    long["config"]["epochs"] = 240
    assert "short" not in accuracy_table([long]).caption


def test_several_seeds_have_an_interval() -> None:
    first, *_ = records()
    seeds = []
    for seed, accuracy in enumerate((50.0, 51.0, 52.0)):
        other = json.loads(json.dumps(first)) | {"seed": seed}
        other["members"]["kd_ls"]["last"]["test_accuracy"] = accuracy
        seeds.append(other)
    table = accuracy_table(seeds)
    row = next(row for row in table.rows if row[0] == "KD + LS")
    assert row[5] == "51.00 ± 2.48"  # t(2) at 97.5 % is 4.303, times 1 / sqrt(3)
    assert "n = 3 seeds" in table.caption


def test_the_evidence_in_the_project_is_of_the_records_networks() -> None:
    networks = committed(STORE, RECIPE)
    assert networks.n == 10_000
    for name, member in networks.record["members"].items():
        assert networks.packs[name].meta["weights_digest"] == member["weights"]["digest"]
        right = 100 * (networks.packs[name].prediction == networks.packs[name].label).mean()
        assert right == pytest.approx(member["last"]["test_accuracy"])
    assert networks.teacher.meta["weights_digest"] == networks.record["teacher"]["digest"]
    assert all(path.stat().st_size < 300_000 for path in networks.files.values())


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LskdError, match=f"no record of recipe 'another'; there are .*{RECIPE}"):
        records_of(STORE, "another")
    with pytest.raises(LskdError, match="no records"):
        records_of(tmp_path, RECIPE)
    for path, record in records_of(STORE, RECIPE):
        (tmp_path / path.name).write_text(json.dumps(record))
    with pytest.raises(LskdError, match="no evidence beside the records"):
        committed(tmp_path, RECIPE)


def test_short_runs_are_found_wherever_the_store_has_them(tmp_path: Path) -> None:
    (found,) = short_runs(STORE.parent.parent)
    assert found.to_markdown() == accuracy_table(records()).to_markdown()
    assert short_runs(STORE.parent.parent / "digit_pairs") == []
    full = json.loads(json.dumps(records()[0]))
    full["config"]["epochs"] = 240
    (tmp_path / "seed-0.json").write_text(json.dumps(full))
    assert short_runs(tmp_path) == []
