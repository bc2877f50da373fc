"""Published numbers and released logs; and our runs in their cells alone."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from synthetic import RECIPE, change, run, store

from figures import published_logs
from figures.paper_tables import FEW, left_out_table, overview, table
from figures.table import write_csv
from lskd.errors import LskdError
from lskd.recipes import load_recipe
from paper import published, tables
from paper import store as results
from paper.text import recipe_text


def test_what_the_page_computes_is_what_the_summary_says() -> None:
    """Two computations of the same facts: this project's from the epochs, and the released summary."""
    found = published_logs.runs()
    summaries = {
        (s["method"].lower(), f"{s['teacher']} → {s['student']}", s["run"]): s for s in published.logs()["logs"]
    }
    assert len(found) == 57
    for row in found.to_dict("records"):
        summary = summaries[row["method"], row["pair"], row["run"]]
        assert row["epochs"] == summary["epochs"]
        assert row["best"] == summary["best_test_acc"]
        assert row["best_epoch"] == summary["best_epochs"][0]
        assert row["last"] == summary["last_test_acc"]
        assert row["best"] - row["last"] == pytest.approx(summary["best_minus_last"], abs=0.0051)
        assert row["reported"] == summary["reported"]
        assert row["mean"] == pytest.approx(summary["mean_last10_test_acc"], abs=1e-3)
    # KD, Tables 1 and 2 in their order, with LS minus without; the median of 14 is between the two middle ones
    kd = [3.29, 1.38, 0.83, 1.19, 0.77, 1.09, 0.81, 1.11, 0.36, 0.22, 3.14, 0.87, 1.24, 1.67]
    assert published_logs.gains()["kd"] == pytest.approx(sorted(kd)[6] / 2 + sorted(kd)[7] / 2, abs=0.005)
    for method, rows in found.groupby("method"):
        gain = (rows["best"] - rows["last"]).mean()
        assert gain == pytest.approx(
            published.logs()["aggregate"][str(method).upper()]["mean_best_minus_last"], abs=1e-3
        )


def test_the_irregular_epochs_are_found_and_no_others() -> None:
    found = [(r["method"], r["pair"], r["epoch"]) for r in published_logs.jumps().to_dict("records")]
    kd, mlkd = ("kd", "resnet32x4 → resnet8x4"), ("mlkd", "ResNet50 → MobileNetV2")
    assert found == [(*kd, 150), (*kd, 210), (*mlkd, 76), (*mlkd, 84), (*mlkd, 85)]


def test_figures_are_written_and_a_pair_without_logs_is_named(tmp_path: Path) -> None:
    drawn = [
        published_logs.best_and_last(folder=tmp_path),
        published_logs.curves(folder=tmp_path, pair="vgg13 -> vgg8"),
        published_logs.irregular(folder=tmp_path),
    ]
    assert all(path.is_file() for figure in drawn for path in figure.paths)
    assert "0.31 points on average" in drawn[0].alt
    with pytest.raises(LskdError, match="no released log of 'vgg13 → vgg9'; did you mean 'vgg13 → vgg8'"):
        published_logs.curves(folder=tmp_path, pair="vgg13 -> vgg9")


NAME = "resnet32x4 -> resnet8x4, kd, ls"
SHOWN = ("ours, best", "ours, last", "ours − published")


def filled(folder: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """Statistics of all cells that show something of ours, by table and name."""
    return {(n, e.cell.name): e.ours for n in tables.TABLES for e in tables.entries(n, folder) if e.ours}


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def line(number: int, name: str, folder: Path) -> dict[str, str]:
    shown = table(number, tables.entries(number, folder))
    (row,) = [row for row in shown.rows if row[0] == name]
    return dict(zip(shown.headings, row, strict=True))


def test_tables_have_the_printed_cells_once(tmp_path: Path) -> None:
    with pytest.raises(LskdError, match="no such folder of records; ours are in results"):
        tables.entries(1, tmp_path / "resluts")
    found = {n: tables.entries(n, tmp_path) for n in tables.TABLES}
    distilled = {n: [e for e in entries if e.cell.teacher] for n, entries in found.items()}
    assert {n: len(e) for n, e in distilled.items()} == {1: 7 * 8, 2: 7 * 8, 3: 2 * 8, 4: 7 * 4, 5: 6 * 4}
    for entries in found.values():
        assert len({e.cell.name for e in entries}) == len(entries)  # names that `recipe show` takes: all cells' are
    pairs = {n: {(e.cell.teacher, e.cell.student) for e in distilled[n]} for n in (1, 2)}
    assert not pairs[1] & pairs[2]
    # The paper's Table 1 has pairs of different architectures, its Table 2 those of one; both in this order.
    columns = {n: list(dict.fromkeys((e.cell.teacher, e.cell.student) for e in distilled[n])) for n in (1, 2)}
    assert columns[1] == [
        ("resnet32x4", "ShuffleV2"), ("resnet32x4", "wrn_16_2"), ("resnet32x4", "wrn_40_2"), ("wrn_40_2", "resnet8x4"),
        ("wrn_40_2", "MobileNetV2"), ("vgg13", "MobileNetV2"), ("ResNet50", "MobileNetV2"),
    ]  # fmt: skip
    assert columns[2] == [
        ("resnet32x4", "resnet8x4"), ("vgg13", "vgg8"), ("wrn_40_2", "wrn_40_1"), ("wrn_40_2", "wrn_16_2"),
        ("resnet56", "resnet20"), ("resnet110", "resnet32"), ("resnet110", "resnet20"),
    ]  # fmt: skip
    assert "different architectures" in table(1, found[1]).caption
    assert "of one architecture" in table(2, found[2]).caption
    with pytest.raises(LskdError, match="no table 6; there are 1, 2"):
        tables.entries(6)


def test_every_released_log_is_in_its_cell(tmp_path: Path) -> None:
    found = [e for n in (1, 2) for e in tables.entries(n, tmp_path)]
    for run_ in published.logs()["logs"]:
        if run_["dataset"] != "CIFAR-100":
            continue
        (entry,) = [
            e
            for e in found
            if (e.cell.teacher, e.cell.student, e.cell.method, e.cell.standardize)
            == (run_["teacher"], run_["student"], run_["method"].lower(), True)
        ]
        assert run_["best_test_acc"] in entry.log_best
        assert run_["last_test_acc"] in entry.log_last
    assert sum(len(e.log_best) for e in found) == 57
    assert all(e.cell.standardize for e in found if e.log_best)
    ablation = [e.cell.name for e in tables.entries(4, tmp_path) if e.log_best]
    assert ablation == ["resnet32x4 -> resnet8x4, kd, weight 9, z"]  # the one cell of Table 4 at a log's settings


def test_top_five_of_ours_stands_where_a_run_measured_it(tmp_path: Path) -> None:
    assert "ours, best, top five" not in table(3, tables.entries(3, tmp_path)).headings
    record = run({"kd": (70.0, 71.0), "kd_ls": (71.0, 71.5)}, recipe="imagenet/ResNet34-ResNet18")
    record["dataset"] |= {"name": "imagenet", "classes": 1000, "train_size": 1_281_167, "test_size": 50_000}
    for epoch, value in (("last", 89.0), ("best", 90.25)):
        record["members"]["kd"][epoch]["test_top5"] = value
    folder = store(tmp_path, record)
    told = line(3, "ResNet34 -> ResNet18, kd", folder)
    assert told["ours, best, top five"].replace("\u00a0", " ") == f"90.25 (n = 1){FEW}".replace("\u00a0", " ")
    assert told["published, top five"] == "90.05"
    assert line(3, "ResNet34 -> ResNet18, kd, ls", folder)["ours, best, top five"] == ""
    rows = {row["cell"]: row for row in read(write_csv(tables.frame(tables.entries(3, folder)), tmp_path / "3.csv"))}
    assert rows["ResNet34 -> ResNet18, kd"]["last_top5_mean"] == "89.0"
    assert rows["ResNet34 -> ResNet18, kd, ls"]["last_top5_mean"] == ""


def test_the_overview_has_the_paper_s_rows_columns_and_differences(tmp_path: Path) -> None:
    def rows(number: int, folder: Path = tmp_path) -> dict[str, list[str]]:
        shown = overview(number, tables.entries(number, folder))
        assert all(len(row) == len(shown.headings) for row in shown.rows)
        return {name: cells for name, *cells in ([c.replace("\u00a0", " ") for c in row] for row in shown.rows)}

    methods = [
        f"{start}{m}{end}"
        for m in ("KD", "CTKD", "DKD", "MLKD")
        for start, end in (("", ""), ("", " + LS"), ("Δ ", ""))
    ]
    for number in (1, 2):
        assert list(rows(number)) == ["teacher alone", "student alone", *methods]
    # typed from the paper's Tables 1 to 5
    assert rows(1)["Δ KD"][3] == "+3.14"
    assert rows(2)["student alone"] == ["72.50", "70.36", "71.98", "73.26", "69.06", "71.14", "69.06"]
    assert rows(2)["Δ MLKD"] == [f"+{v}" for v in ["1.20", "0.04", "0.21", "0.32", "0.14", "0.21", "0.38"]]
    assert rows(3)["Δ DKD"] == ["+0.18", "+0.80"]
    assert rows(4)["12"] == ["68.29", "71.56", "76.49", "76.56"]
    assert len(rows(5)["KD"]) == 6
    folder = store(tmp_path, run({"kd": (73.0, 73.5), "kd_ls": (76.0, 76.4)}))
    assert rows(2, folder)["KD + LS"][0] == f"76.62 / 76.40{FEW}".replace("\u00a0", " ")
    assert rows(2, folder)["Δ KD"][0] == f"+3.29 / +2.90{FEW}".replace("\u00a0", " ")
    store(tmp_path, run({"kd_ls": (70.0, 70.0)}, seed=1))  # a seed of one side alone is no difference
    assert rows(2, folder)["Δ KD"][0] == f"+3.29 / +2.90{FEW}".replace("\u00a0", " ")


def test_without_records_ours_is_empty_and_has_a_command(tmp_path: Path) -> None:
    assert filled(tmp_path) == {}
    for number in tables.TABLES:
        entries = tables.entries(number, tmp_path)
        shown = table(number, entries)
        assert not set(shown.headings) & set(SHOWN)
        assert "–" not in {cell for row in (*shown.rows, *overview(number, entries).rows) for cell in row}
        assert f"0 of {len(entries)} cells run here" in shown.caption
        rows = read(write_csv(tables.frame(entries), tmp_path / "out" / "table.csv"))
        assert {row["n"] for row in rows} == {"0"}
        assert {row["best_mean"] + row["last_mean"] + row["difference_mean"] + row["few"] for row in rows} == {""}
        assert all(row["command"].startswith("lskd train --recipe ") != bool(row["obstacles"]) for row in rows)
        assert ("lskd recipe show" in shown.caption) == any(row["command"] for row in rows)


def test_three_seeds_show_mean_interval_and_difference(tmp_path: Path) -> None:
    last, best = (76.0, 76.3, 76.6), (76.4, 76.5, 76.9)
    folder = store(tmp_path, *(run({"kd_ls": (last[s], best[s])}, seed=s) for s in range(3)))
    assert set(filled(folder)) == {(2, NAME)}
    # by hand: t(0.975, 2 degrees of freedom) = 4.3027; sd of the best ones sqrt(0.07)
    half = 4.3027 * math.sqrt(0.07) / math.sqrt(3)
    row = line(2, NAME, folder)
    assert row["ours, best"] == f"76.60 ± {half:.2f} (n = 3)".replace(" ", "\u00a0")
    assert row["ours, last"] == f"76.30 ± {4.3027 * 0.3 / math.sqrt(3):.2f} (n = 3)".replace(" ", "\u00a0")
    assert row["ours − published"] == f"−0.02 ± {half:.2f} (n = 3)".replace(" ", "\u00a0")
    entries = tables.entries(2, folder)
    assert "†" not in table(2, entries).caption
    (data,) = [r for r in read(write_csv(tables.frame(entries), tmp_path / "2.csv")) if r["n"] != "0"]
    assert (data["cell"], data["n"], data["seeds"], data["few"]) == (NAME, "3", "0; 1; 2", "False")
    assert float(data["difference_high"]) - float(data["difference_low"]) == pytest.approx(2 * half, abs=1e-4)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds_are_marked_everywhere(tmp_path: Path, n: int) -> None:
    folder = store(tmp_path, *(run({"kd_ls": (76.0, 76.4)}, seed=s) for s in range(n)))
    row = line(2, NAME, folder)
    for heading in SHOWN:
        assert row[heading].endswith(f"(n\u00a0=\u00a0{n}){FEW}")
        assert "±" not in row[heading]
    shown = table(2, tables.entries(2, folder))
    assert "n below 3: no interval" in shown.caption
    assert shown.to_html().count("lskd-measured") == len(SHOWN)  # seen at a glance


def test_a_cell_of_two_tables_is_in_both(tmp_path: Path) -> None:
    folder = store(tmp_path, run({"kd_ls": (75.0, 75.5), "ctkd_ls": (75, 76)}, recipe="cifar100/wrn_40_2-wrn_16_2"))
    pair = "wrn_40_2 -> wrn_16_2"
    assert set(filled(folder)) == {(2, f"{pair}, kd, ls"), (2, f"{pair}, ctkd, ls"), (5, f"{pair}, kd, ls")}


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("config.epochs", 8, "epochs is 8, 240 in the recipe"),
        ("config.members.kd_ls.temperature", 4.0, "settings.temperature is 4.0, 2.0 in the recipe"),
        ("config.members.kd_ls.standardize", False, "standardize is False, True in the recipe"),
        ("config.teacher.network", "resnet110", "teacher is 'resnet110', 'resnet32x4' in the recipe"),
        ("config.data", {"train_size": 1000}, "data.train_size is 1000, None in the recipe"),
        ("config.data", {"mean": [0.0, 0.0, 0.0]}, "data.mean is [0.0, 0.0, 0.0], None in the recipe"),
        ("config.student", "resnet20", "student is 'resnet20', 'resnet8x4' in the recipe"),
        ("dataset.train_size", 1000, "it is of 100 classes, 1,000 and 10,000 images"),
        ("members.kd_ls.last.epoch", 100, "it has 100 epochs of 240"),
        ("members.kd_ls.failure", "the loss is not a number", "it stopped early"),
    ],
)
def test_another_experiment_is_in_no_cell_for_a_reason(tmp_path: Path, place: str, value: object, reason: str) -> None:
    folder = store(tmp_path, change(run({"kd_ls": (76.0, 76.4)}), place, value))
    assert filled(folder) == {}
    (found,) = tables.left_out(folder)
    assert (found.recipe, found.member) == (RECIPE, "kd_ls")
    assert reason in found.reason
    assert found.reason in left_out_table([found]).rows[0]


def test_a_cell_is_a_cell_with_a_teacher_from_elsewhere_and_under_another_name(tmp_path: Path) -> None:
    published = run({"kd_ls": (76.0, 76.4)})
    published["config"]["teacher"] |= {"recipe": None, "checkpoint": "elsewhere/teacher.pth"}
    members = {"alone": (69.0, 69.3), "kd": (70.0, 70.3), "kd_literature": (70.5, 70.6), "dkd": (71.0, 71.9)}
    full = run(members, recipe="cifar100-resnet56-resnet20-full-240")
    folder = store(tmp_path, published, full)
    found = filled(folder)
    assert found[2, NAME]["teacher"]["network"] == "resnet32"  # of the synthetic record
    pair = "resnet56 -> resnet20"
    assert found[2, f"{pair}, kd"]["best"]["mean"] == 70.6  # the literature's; `kd` has the settings of LS there
    assert found[2, f"{pair}, dkd"]["best"]["mean"] == 71.9
    assert found[2, "resnet20, alone"]["teacher"] is None
    published["teacher"]["checkpoint"] = "teacher.pth"
    (tmp_path / "marked").mkdir()
    shown = overview(2, tables.entries(2, store(tmp_path / "marked", published)))
    assert "1 of 67 cells run here, † fewer than 3 seeds, ‡ taught by resnet32, 91.00 % (teacher.pth)" in shown.caption
    assert shown.to_html().count("lskd-measured") == 1
    assert len(found) == 4
    assert tables.left_out(folder) == []
    assert filled(store(tmp_path / "cosine", change(full, "config.optimization", {"schedule": "cosine"}))) == {}


def test_other_recipes_are_in_no_cell(tmp_path: Path) -> None:
    short = run({"kd_ls": (40.0, 41.0)}, recipe="cifar100-resnet56-resnet20-short-8")
    digits = run({"kd_ls": (87.0, 88.0)}, recipe="digit-pairs")
    like = run({"kd_like_for_like": (73.0, 74.0)})
    folder = store(tmp_path, short, digits, like)
    assert len(results.groups(folder)) == 3
    assert filled(folder) == {}
    assert tables.left_out(folder) == []


def test_a_changed_run_does_not_hide_a_whole_one(tmp_path: Path) -> None:
    changed = change(run({"kd_ls": (10.0, 11.0)}, seed=1), "config.members.kd_ls.temperature", 4.0)
    folder = store(tmp_path, run({"kd_ls": (76.0, 76.4)}), changed)
    assert line(2, NAME, folder)["ours, best"] == f"76.40\u00a0(n\u00a0=\u00a01){FEW}"
    assert len(tables.left_out(folder)) == 1


def test_runs_of_another_teacher_s_weights_are_not_averaged(tmp_path: Path) -> None:
    other = run({"kd_ls": (70.0, 70.4)}, seed=7)
    other["teacher"]["digest"] = "other weights"
    folder = store(tmp_path, other, *(run({"kd_ls": (76.0, 76.4)}, seed=s) for s in range(2)))
    assert line(2, NAME, folder)["ours, best"] == f"76.40\u00a0(n\u00a0=\u00a02){FEW}"
    (found,) = tables.left_out(folder)
    assert found.reason == "not averaged: another teacher, data or precision"
    assert "seed-7" in found.path.name
    other["teacher"]["checkpoint"] = "resnet56.pth"  # a published one is the paper's, whatever the number of seeds
    assert line(2, NAME, store(tmp_path / "b", other, *(run({"kd_ls": (76.0, 76.4)}, seed=s) for s in range(2))))[
        "ours, best"
    ].startswith("70.40")
    short = change(run({"kd_ls": (70.0, 70.4)}), "config.teacher.settings", {"epochs": 1})
    folder = store(tmp_path / "c", short)
    assert filled(folder) == {}
    (found,) = tables.left_out(folder)
    assert "teacher.settings.epochs is 1" in found.reason


def test_a_recipe_is_told_with_its_own_optimiser_and_schedule() -> None:
    usual = recipe_text(load_recipe("cifar100/resnet56-resnet20", for_training=False))
    assert "optimiser SGD; momentum 0.9; epochs 240; batch 64; learning rate 0.05; " in usual
    assert "schedule times 0.1 after 150, 180, 210; weight decay 0.0005; " in usual
    transformer = recipe_text(load_recipe("vit/DeiT-Tiny", for_training=False)).partition("\n")[0]
    assert "optimiser AdamW; epochs 300; batch 128; learning rate" in transformer
    assert "schedule cosine; weight decay 0.05; β of AdamW 0.9, 0.999; warm-up epochs 20" in transformer
    assert "momentum" not in transformer
    assert "none" not in transformer
