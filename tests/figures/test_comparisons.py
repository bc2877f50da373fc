"""Figures and tables of results: gains, the family, ours beside published; what each says it mixes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import longer, record, run

from figures import family as drawn
from figures import gain, learning_curves, logit_range, temperature_and_weight
from figures.fingerprint import ROOT
from figures.ours_and_published import accuracy_table, committed, records_of
from lskd.errors import LskdError
from lskd.recipes import load_recipe
from lskd.records import load_record, trainer_of
from paper import family, gains
from paper.published import find
from paper.store import aggregate


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


@pytest.mark.parametrize("methods", [("kd", "dkd"), ("kd", "dkd", "mlkd")])
def test_a_panel_without_curves_is_not_drawn(tmp_path: Path, methods: tuple[str, ...]) -> None:
    made_up = record({name + ls: (80.0, 81.0) for name in methods for ls in ("", "_ls")})
    with mock.patch.object(learning_curves, "publish") as published:
        learning_curves.figure(made_up, folder=tmp_path, source=tmp_path)
    published.call_args.args[0](fig := Figure())
    assert [ax.axison for ax in fig.axes] == [bool(ax.lines) for ax in fig.axes]


def put(folder: Path, recipe: str, seed: int, accuracies: dict[str, float], **changes: Any) -> None:
    """A made-up record of some members of a recipe, with today's trainer."""
    made = run({name: (value, 99.0) for name, value in accuracies.items()}, recipe=recipe, seed=seed)
    made |= {"trainer": 2, "execution": {"device": "cpu", "precision": "float32"}} | changes
    folder.joinpath(f"{recipe}-{seed}-{len(list(folder.iterdir()))}.json").write_text(json.dumps(made))


@pytest.fixture
def family_store(tmp_path: Path) -> Path:
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


def test_members_pair_by_seed_with_ls_of_the_same_trainer(family_store: Path) -> None:
    rows = family.rows(family_store)
    dist, chosen = of(rows, "DIST"), of(rows, "DIST, weight 0.333")
    assert dist.accuracy == {0: 82.0, 1: 84.0, 2: 86.0, 4: 90.0}
    assert dist.difference == {0: 1.0, 1: 2.0, 2: 3.0}
    assert (chosen.difference, chosen.published) == ({0: 4.0}, False)  # the seed that chooses is not in it
    assert of(rows, "KD").difference == {0: -1.0, 1: -2.0, 2: -3.0}
    assert (of(rows, "KD + LS").difference, of(rows, "KD + LS").accuracy) == ({}, {0: 81.0, 1: 82.0, 2: 83.0})
    assert of(rows, "NormKD").mean is None
    assert family.choice(family_store) == {"dist": {0.333: 71.0, 1.0: 70.0, 3.0: 69.0}}
    elsewhere = {"teacher": {"network": "wrn_16_2", "digest": "of another machine"}}
    put(family_store, "digit-pairs-family", 0, {"dist": 10.0}, **elsewhere)
    put(family_store, "digit-pairs", 4, {"kd_ls": 10.0}, **elsewhere)
    assert of(family.rows(family_store), "DIST") == dist
    planned = [row.label for row in family.rows(family_store) if row.published]
    assert len(planned) == len(set(planned)) == 14


def test_other_settings_precision_or_a_failure_do_not_count(family_store: Path) -> None:
    put(family_store, "digit-pairs-family", 5, {"ttm": 60.0})
    last = max(family_store.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    record = json.loads(last.read_text())
    for change in (
        {"config": {**record["config"], "epochs": 2}},
        {"execution": {"device": "cpu", "precision": "bf16"}},
    ):
        last.write_text(json.dumps(record | change))
        assert of(family.rows(family_store), "TTM").accuracy == {}
    record["members"]["ttm"] |= {"failure": {"reason": "NaN", "epoch": 1}}
    last.write_text(json.dumps(record))
    ttm = of(family.rows(family_store), "TTM")
    assert (ttm.accuracy, ttm.failed) == ({}, (5,))


def test_the_table_and_the_picture_say_what_is_not_run(family_store: Path, tmp_path: Path) -> None:
    rows = family.rows(family_store)
    shown = {row[0]: [text.replace("\u00a0", " ") for text in row[1:]] for row in drawn.table(rows).rows}
    assert shown["DIST"] == ["1", "4", "85.50 ± 5.44", "+2.00 ± 2.48", "–"]
    assert shown["DIST, chosen weight"] == ["0.333", "1", "85.00 (n = 1)", "+4.00 (n = 1)", "–"]
    assert shown["GDKD + LS"] == ["1", "0", "not run yet", "–", "–"]
    assert shown["KD + LS"][-1] == "+2.00 ± 2.48"
    assert (
        "Of 14 members 0 were run with all 10 seeds that the plan has, 11 not at all yet" in drawn.table(rows).caption
    )
    (line,) = drawn.choice_table(family.choice(family_store)).rows
    assert line == ["DIST", "0.333: 71.00 ←", "1: 70.00", "3: 69.00"]
    (line,) = drawn.choice_table({"dist": {0.333: None, 1.0: 70.0, 3.0: None}}).rows  # a number that nothing measured
    assert line == ["DIST", "0.333: stopped early", "1: 70.00 ←", "3: stopped early"]
    picture = drawn.dots(rows, folder=tmp_path / "out", files=[path for path, _ in family.runs(family_store)])
    assert all(path.is_file() for path in picture.paths)
    assert "DIST +2.00 ± 2.48" in picture.alt
    data = pd.read_csv(tmp_path / "out" / "family.csv")
    assert set(data["member"]) == {"KD", "DIST", "DIST, weight 0.333"}
    nothing = tmp_path / "none"
    nothing.mkdir()
    empty = drawn.dots(family.rows(nothing), folder=tmp_path / "out", files=[], name="empty")
    assert "No pair was run yet" in empty.alt


STORE = ROOT / "results" / "cifar100" / "resnet56-resnet20"
RECIPE = "cifar100-resnet56-resnet20-short-8"


def records() -> list[dict[str, Any]]:
    return [record for _, record in records_of(STORE, RECIPE)]


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
    (first, *_), recipe = records(), load_recipe("cifar100-resnet56-resnet20-full-240")
    for name in ("alone", "ctkd", "ctkd_ls", "dkd", "dkd_ls"):  # of which the sources tell fewer settings, or other
        settings = dict(recipe.members[name])
        about = {"method": settings.pop("method"), "standardize": name.endswith("_ls"), "settings": settings}
        first["members"][name] = first["members"]["kd"] | about
    best = {row[0].partition(",")[0]: row[3] for row in accuracy_table([first]).rows}
    (alone,) = find(student="resnet20", method="plain", source="paper Tables 1-2 ")
    assert best["student alone"] == f"{alone.value:.2f}"
    assert all(best[f"{method}{ls}"] for method in ("CTKD", "DKD") for ls in ("", " + LS"))


def test_every_length_has_its_columns_side_by_side() -> None:
    first, *_ = records()
    more = [longer(first, 30, seed, kd_ls=accuracy) for seed, accuracy in enumerate((50.0, 51.0, 52.0))]
    table = accuracy_table([*more, longer(first, 240, 0, kd_ls=71.0), first])
    assert list(table.headings)[5:] == [f"{n} epochs, {epoch}" for n in (8, 30, 240) for epoch in ("last", "best")]
    (row,) = (row for row in table.rows if row[0] == "KD + LS")
    last = first["members"]["kd_ls"]["last"]["test_accuracy"]
    # t(2) at 97.5 % is 4.303, times 1 / sqrt(3)
    assert [row[5], row[7], row[9]] == [f"{last:.2f}", "51.00 ± 2.48", "71.00"]
    assert "30 epochs: n = 3 seeds, cpu, bf16" in table.caption
    assert "Short runs (8, 30 of 240 epochs)" in table.caption
    assert "Short" not in accuracy_table([longer(first, 240, 0, kd_ls=71.0)]).caption


def test_what_differs_in_more_than_seed_is_not_averaged() -> None:
    first, *_ = records()
    others = [longer(first, 8, seed, kd_ls=40.0) | {"execution": {}} for seed in (1, 2, 3)]
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
    assert ("KD, effective_weight yes", "2", "9") in of


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
    for path, made in records_of(STORE, RECIPE):
        (tmp_path / path.name).write_text(json.dumps(made))
    with pytest.raises(LskdError, match="no evidence beside the records"):
        committed(tmp_path, RECIPE)


def test_the_longest_run_with_evidence_is_drawn(tmp_path: Path) -> None:
    (path, first), *_ = records_of(STORE, RECIPE)
    for name, epochs in (("short", 8), ("long", 30), ("bare", 240)):
        (tmp_path / f"{name}.json").write_text(json.dumps(longer(first, epochs, 0, kd_ls=70.0)))
        if name != "bare":
            (tmp_path / name).symlink_to(path.with_suffix(""))
    (tmp_path / "teacher.evidence.npz").symlink_to(STORE / "teacher.evidence.npz")
    assert committed(tmp_path).record["config"]["epochs"] == 30


def test_full_length_is_drawn_from_the_members_that_are_there(tmp_path: Path) -> None:
    (path, first), *_ = records_of(STORE, RECIPE)
    for name, members in (("a", ["kd"]), ("b", ["dkd", "dkd_ls"]), ("c", ["kd_literature", "kd_ls"])):
        made = longer(first, 240, 0)
        made["members"] = dict.fromkeys(members, made["members"]["kd_ls"])
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
        (tmp_path / name).symlink_to(path.with_suffix(""))
    (tmp_path / "teacher.evidence.npz").symlink_to(STORE / "teacher.evidence.npz")
    networks = committed(tmp_path)
    assert networks.methods == [("kd_literature", "kd_ls")]  # no difference can be drawn of KD alone
    drawn = logit_range.bars(networks, folder=tmp_path / "drawn")
    assert "KD, literature" in drawn.alt


RECORDS = ROOT / "results" / "digit_pairs" / "wrn_16_2-resnet8-surface"


def sweep(members: dict[str, tuple[float, float, bool, float]], seed: int = 0) -> dict[str, Any]:
    """A record with KD members given as (temperature, weight, LS, accuracy)."""
    made = record({name: (given[3], given[3]) for name, given in members.items()}, name="sweep", seed=seed, tested=100)
    for name, (t, w, ls, _) in members.items():
        made["members"][name] |= {"method": "kd", "standardize": ls, "settings": {"temperature": t, "kd_weight": w}}
    return made


MEMBERS = {"a": (1, 9, False, 80.0), "a_ls": (1, 9, True, 82.0), "b": (2, 9, False, 85.0), "b_ls": (2, 9, True, 84.0)}


def test_cells_are_means_over_records_and_the_summary_compares_each_at_its_best(tmp_path: Path) -> None:
    other = {**MEMBERS, "a": (1, 9, False, 82.0)}
    frame = temperature_and_weight.cells([sweep(MEMBERS), sweep(other, seed=1)])
    columns = ["temperature", "without", "with", "difference", "n"]
    assert frame[columns].to_numpy().tolist() == [[1, 81, 82, 1, 2], [2, 85, 84, -1, 2]]
    stopped = sweep({**MEMBERS, "a": (1, 9, False, 1.0)})
    stopped["members"]["a"]["failure"] = {"reason": "its loss is not finite"}
    fewer = temperature_and_weight.cells([sweep(MEMBERS), sweep(other, seed=1), stopped | {"seed": 2}])
    pd.testing.assert_frame_equal(fewer.iloc[:, :3], frame.iloc[:, :3])
    assert fewer["n"].tolist() == [2, 3]
    found = temperature_and_weight.maps([sweep(MEMBERS), stopped | {"seed": 1}], folder=tmp_path, files=[])
    assert "n = 1 to 2 seeds a cell" in found.caption
    expected = {"without_best": 85, "without_temperature": 2, "with_best": 84, "with_temperature": 2}
    expected |= {"difference_at_best": -1, "above": 1, "settings": 2}
    assert expected.items() <= temperature_and_weight.summary(frame).items()


def test_a_setting_without_its_twin_is_an_error() -> None:
    with pytest.raises(LskdError, match="a member without and one with LS"):
        temperature_and_weight.cells([sweep({k: v for k, v in MEMBERS.items() if k != "b_ls"})])
    wrong = sweep(MEMBERS)
    wrong["members"]["a"]["method"] = "dkd"
    with pytest.raises(LskdError, match="member a of recipe sweep is dkd"):
        temperature_and_weight.cells([wrong])


def test_the_committed_sweep_is_complete_and_drawn(tmp_path: Path) -> None:
    (records,) = aggregate(RECORDS).values()
    assert len(temperature_and_weight.cells(records)) >= 12
    drawn = temperature_and_weight.maps(records, folder=tmp_path, files=sorted(RECORDS.glob("*.json")))
    assert all(path.is_file() for path in drawn.paths)
    assert f"n = {len(records)} seed" in drawn.caption


def test_one_collapsed_student_leaves_the_colours_and_the_axis_to_the_others(tmp_path: Path) -> None:
    sides = {False: (85.0, 88.0, 1.0), True: (80.0, 87.0, 89.0)}
    members = {f"{ls}{w}": (2, w, ls, a) for ls, row in sides.items() for w, a in zip((3, 9, 81), row, strict=True)}
    swept = [sweep(members)]
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
    found = temperature_and_weight.summary(temperature_and_weight.cells([sweep(members)]))
    assert found["without_edge"] == "at the edge of the grid, the smallest temperature tried"
    assert found["with_edge"] == "at the edge of the grid, the smallest temperature and the largest weight tried"
    inside = temperature_and_weight.cells(
        [sweep({k: (t, w, ls, -abs(t - 2) - abs(w - 9)) for k, (t, w, ls, _) in members.items()})]
    )
    assert temperature_and_weight.summary(inside)["with_edge"] == ""


def test_at_equal_pull_weights_are_divided_by_both_deviations(tmp_path: Path) -> None:
    members = {f"{w}{ls}": (2, w, ls, float(w if not ls else w / 9)) for w in (1, 9, 81) for ls in (False, True)}
    swept = [sweep(members)]
    frame = temperature_and_weight.cells(swept)
    assert temperature_and_weight.at_equal_pull(frame, 9.0) == pytest.approx([0.0, 0.0])  # 9 and 81 pull like 1 and 9
    assert temperature_and_weight.at_equal_pull(frame, 1000.0) == []
    drawn = temperature_and_weight.over_effective_weight(swept, student=3, teacher=3, folder=tmp_path, files=[])
    assert "s<sub>z</sub> = 3.00" in drawn.caption
    far = temperature_and_weight.over_effective_weight(swept, student=50, teacher=50, folder=tmp_path, files=[])
    assert "nowhere" in far.alt
