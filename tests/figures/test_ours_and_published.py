"""Our runs beside published numbers: equal settings only, short runs called short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from figures.fingerprint import ROOT
from figures.ours_and_published import accuracy_table, committed, records_of
from lskd.errors import LskdError
from paper.published import find

STORE = ROOT / "results" / "cifar100" / "resnet56-resnet20"
RECIPE = "cifar100-resnet56-resnet20-short-8"


def records() -> list[dict[str, Any]]:
    return [record for _, record in records_of(STORE, RECIPE)]


def longer(record: dict[str, Any], epochs: int, seed: int, accuracy: float) -> dict[str, Any]:
    """A made-up run of another length, in bf16."""
    other = json.loads(json.dumps(record)) | {"seed": seed, "execution": {"device": "cpu", "precision": "bf16"}}
    other["config"]["epochs"] = epochs
    other["members"]["kd_ls"]["last"]["test_accuracy"] = accuracy
    return other


def test_a_published_number_stands_beside_equal_settings_only() -> None:
    table = accuracy_table(records())
    of = {tuple(row[:3]): row[3:] for row in table.rows}
    assert list(of) == [("KD", "2", "9"), ("KD", "4", "0.9"), ("KD + LS", "2", "9")]
    printed = {
        n.standardize: n.value
        for n in find(dataset="cifar100", teacher="resnet56", student="resnet20", method="kd", metric="top1_test")
    }
    assert of["KD", "2", "9"][:2] == ["", ""]  # nobody has published this baseline
    assert of["KD", "4", "0.9"][0] == f"{printed[False]:.2f}"
    assert of["KD + LS", "2", "9"][0] == f"{printed[True]:.2f}"


def test_every_length_has_its_columns_side_by_side() -> None:
    first, *_ = records()
    more = [longer(first, 30, seed, accuracy) for seed, accuracy in enumerate((50.0, 51.0, 52.0))]
    table = accuracy_table([*more, longer(first, 240, 0, 71.0), first])
    assert list(table.headings)[5:] == [f"{n} epochs, {epoch}" for n in (8, 30, 240) for epoch in ("last", "best")]
    (row,) = (row for row in table.rows if row[0] == "KD + LS")
    last = first["members"]["kd_ls"]["last"]["test_accuracy"]
    # t(2) at 97.5 % is 4.303, times 1 / sqrt(3)
    assert [row[5], row[7], row[9]] == [f"{last:.2f}", "51.00 ± 2.48", "71.00"]
    assert "30 epochs: n = 3 seeds, cpu, bf16" in table.caption
    assert "Short runs (8, 30 of 240 epochs)" in table.caption
    assert "Short" not in accuracy_table([longer(first, 240, 0, 71.0)]).caption


def test_what_differs_in_more_than_seed_is_not_averaged() -> None:
    first, *_ = records()
    others = [longer(first, 8, seed, 40.0) | {"execution": {}} for seed in (1, 2, 3)]
    others[0]["config"]["learning_rate"] = 0.5
    others[1]["dataset"]["digest"] = "other data"
    others[2]["members"] = {"kd": first["members"]["kd"]}
    others[2]["members"]["third"] = json.loads(json.dumps(first["members"]["kd"]))
    others[2]["members"]["third"]["settings"]["effective_weight"] = True
    table = accuracy_table([first, *others])
    of = {tuple(row[:3]): row[5:] for row in table.rows}
    last = f"{first['members']['kd_ls']['last']['test_accuracy']:.2f}"
    assert of["KD + LS", "2", "9"][::2] == [f"{last} (n = 1)", "40.00", "40.00"]  # seed 3 has other students
    told = "n = 1 seed, cpu, float32, learning_rate 0.5; 8 epochs: n = 1 seed, cpu, float32, dataset.digest other data"
    assert told in table.caption
    assert ("KD, effective_weight True", "2", "9") in of


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
    with pytest.raises(LskdError, match="no record; there are no records"):
        records_of(tmp_path)
    for path, record in records_of(STORE, RECIPE):
        (tmp_path / path.name).write_text(json.dumps(record))
    with pytest.raises(LskdError, match="no evidence beside the records"):
        committed(tmp_path, RECIPE)


def test_the_longest_run_with_evidence_is_drawn(tmp_path: Path) -> None:
    (path, first), *_ = records_of(STORE, RECIPE)
    for name, epochs in (("short", 8), ("long", 30), ("bare", 240)):
        (tmp_path / f"{name}.json").write_text(json.dumps(longer(first, epochs, 0, 70.0)))
        if name != "bare":
            (tmp_path / name).symlink_to(path.with_suffix(""))
    (tmp_path / "teacher.evidence.npz").symlink_to(STORE / "teacher.evidence.npz")
    assert committed(tmp_path).record["config"]["epochs"] == 30
