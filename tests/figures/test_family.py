"""The family's measurement: what was planned, which seeds pair, what a chosen weight is, and what is not run yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from figures import family as drawn
from figures.fingerprint import ROOT
from lskd.recipes import load_recipe
from lskd.records import load_record
from paper import family

SAMPLE = next((ROOT / "results" / "digit_pairs" / "wrn_16_2-resnet8").glob("seed-0*.json"))


def put(folder: Path, recipe: str, seed: int, accuracies: dict[str, float], **changes: Any) -> None:
    """A made-up record of some members of a recipe, with today's trainer."""
    made = load_recipe(recipe, members=[*accuracies])
    record = load_record(SAMPLE)
    del record["store"]
    member = record["members"]["kd"]
    record |= {"name": recipe, "config": made.config(), "seed": seed, "trainer": 2, "members": {}} | changes
    for name, accuracy in accuracies.items():
        settings = dict(made.members[name])
        own = {"method": settings.pop("method"), "standardize": settings.pop("standardize", False)}
        last = {"last": {"epoch": 10, "test_accuracy": accuracy}, "best": {"epoch": 9, "test_accuracy": 99.0}}
        record["members"][name] = {**member, **own, "settings": settings, **last}
    folder.joinpath(f"{recipe}-{seed}-{len(list(folder.iterdir()))}.json").write_text(json.dumps(record))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    for seed in (0, 1, 2):
        put(folder, "digit-pairs", seed, {"kd": 80.0, "kd_ls": 81.0 + seed})
        put(folder, "digit-pairs-family", seed, {"dist": 82.0 + 2 * seed})
    put(folder, "digit-pairs", 3, {"kd_ls": 50.0}, trainer=1)  # an older trainer pairs with nothing
    put(folder, "digit-pairs-family", 4, {"dist": 90.0})  # no KD + LS of this seed
    put(folder, "digit-pairs-family-weights", 10, {"dist": 70.0, "dist_third": 71.0, "dist_triple": 69.0})
    put(folder, "digit-pairs-family-weights", 0, {"dist_third": 85.0})
    return folder


def of(rows: list[family.Row], label: str) -> family.Row:
    (row,) = (row for row in rows if row.label == label)
    return row


def test_members_pair_by_seed_with_ls_of_the_same_trainer(store: Path) -> None:
    rows = family.rows(store)
    dist, chosen = of(rows, "DIST"), of(rows, "DIST, weight 0.333")
    assert dist.accuracy == {0: 82.0, 1: 84.0, 2: 86.0, 4: 90.0}
    assert dist.difference == {0: 1.0, 1: 2.0, 2: 3.0}
    assert (chosen.difference, chosen.published) == ({0: 4.0}, False)  # the seed that chooses is not in it
    assert of(rows, "KD").difference == {0: -1.0, 1: -2.0, 2: -3.0}
    assert (of(rows, "KD + LS").difference, of(rows, "KD + LS").accuracy) == ({}, {0: 81.0, 1: 82.0, 2: 83.0})
    assert of(rows, "NormKD").mean is None
    assert family.choice(store) == {"dist": {0.333: 71.0, 1.0: 70.0, 3.0: 69.0}}
    elsewhere = {"teacher": {"network": "wrn_16_2", "digest": "of another machine"}}
    put(store, "digit-pairs-family", 0, {"dist": 10.0}, **elsewhere)
    put(store, "digit-pairs", 4, {"kd_ls": 10.0}, **elsewhere)
    assert of(family.rows(store), "DIST") == dist
    planned = [row.label for row in family.rows(store) if row.published]
    assert len(planned) == len(set(planned)) == 14


def test_other_settings_precision_or_a_failure_do_not_count(store: Path) -> None:
    put(store, "digit-pairs-family", 5, {"ttm": 60.0})
    last = max(store.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    record = json.loads(last.read_text())
    for change in (
        {"config": {**record["config"], "epochs": 2}},
        {"execution": {"device": "cpu", "precision": "bf16"}},
    ):
        last.write_text(json.dumps(record | change))
        assert of(family.rows(store), "TTM").accuracy == {}
    record["members"]["ttm"] |= {"failure": {"reason": "NaN", "epoch": 1}}
    last.write_text(json.dumps(record))
    ttm = of(family.rows(store), "TTM")
    assert (ttm.accuracy, ttm.failed) == ({}, (5,))


def test_the_table_and_the_picture_say_what_is_not_run(store: Path, tmp_path: Path) -> None:
    rows = family.rows(store)
    shown = {row[0]: [text.replace("\u00a0", " ") for text in row[1:]] for row in drawn.table(rows).rows}
    assert shown["DIST"] == ["1", "4", "85.50 ± 5.44", "+2.00 ± 2.48", "–"]
    assert shown["DIST, chosen weight"] == ["0.333", "1", "85.00 (n = 1)", "+4.00 (n = 1)", "–"]
    assert shown["GDKD + LS"] == ["1", "0", "not run yet", "–", "–"]
    assert shown["KD + LS"][-1] == "+2.00 ± 2.48"
    assert (
        "Of 14 members 0 were run with all 10 seeds that the plan has, 11 not at all yet" in drawn.table(rows).caption
    )
    (line,) = drawn.choice_table(family.choice(store)).rows
    assert line == ["DIST", "0.333: 71.00 ←", "1: 70.00", "3: 69.00"]
    (line,) = drawn.choice_table({"dist": {0.333: None, 1.0: 70.0, 3.0: None}}).rows  # a number that nothing measured
    assert line == ["DIST", "0.333: stopped early", "1: 70.00 ←", "3: stopped early"]
    picture = drawn.dots(rows, folder=tmp_path / "out", files=[path for path, _ in family.runs(store)])
    assert all(path.is_file() for path in picture.paths)
    assert "DIST +2.00 ± 2.48" in picture.alt
    data = pd.read_csv(tmp_path / "out" / "family.csv")
    assert set(data["member"]) == {"KD", "DIST", "DIST, weight 0.333"}
    nothing = tmp_path / "none"
    nothing.mkdir()
    empty = drawn.dots(family.rows(nothing), folder=tmp_path / "out", files=[], name="empty")
    assert "No pair was run yet" in empty.alt
