"""What is published: numbers, logs, cells of the tables, each with its recipe; and our runs in their cells alone."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image
from synthetic import RECIPE, change, run, store

from figures import published_logs
from figures.paper_tables import FEW, left_out_table, overview, table
from figures.table import write_csv
from lskd import cli, objectives
from lskd.data import Dataset
from lskd.data.cifar100_224 import enlarged
from lskd.data.imagenet import imagenet
from lskd.errors import LskdError
from lskd.models import create_model, list_models
from lskd.models.base import Network, Resized
from lskd.recipes import doubts, list_recipes, load_recipe
from lskd.trainer.cohort import Cohort
from paper import cells as catalogue
from paper import published, tables
from paper import store as results
from paper.text import recipe_text


def test_all_numbers_are_there() -> None:
    rows = published.numbers()
    assert len(rows) == 669
    assert all(0 < n.value < 100 for n in rows)
    assert all(n.source for n in rows)
    assert len(published.find(source="released README (= paper Tables 1-2")) == 112


def test_names_are_those_of_the_project() -> None:
    known = {*list_models(), "wrn_28_2", "wrn_16_4", "wrn_28_4", "PVTv2-B0", "ConViT-Tiny", ""}
    rows = published.numbers()
    assert {n.teacher for n in rows} | {n.student for n in rows} <= known
    assert all(n.student for n in rows)
    assert {"plain", "kd", "ctkd", "dkd", "mlkd", "locality"} <= {n.method for n in rows} & {*objectives.METHODS}
    assert {n.dataset for n in rows} == {"cifar100", "imagenet", "cifar100_224"}


def test_numbers_typed_from_the_paper() -> None:
    def one(**keys: object) -> float:
        (found,) = {n.value for n in published.find(metric="top1_test", **keys)}
        return found

    assert one(teacher="resnet32x4", student="resnet8x4", method="mlkd", standardize=True) == 78.28
    assert one(student="resnet56", method="plain") == 72.34
    assert one(student="PiT-Tiny", method="locality") == 78.48
    z = [n for n in published.find(source="Table 4") if n.standardize and n.kd_weight == 9]
    assert {(n.variant, n.value) for n in z} == {("KD, z-score", 76.62), ("KD, logits over std", 76.30)}
    imagenet = published.find(dataset="imagenet", teacher="imagenet/ResNet50", method="kd", standardize=True)
    assert [(n.metric, n.value) for n in imagenet] == [("top1_val", 72.18), ("top5_val", 90.80)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cifar100,", "cifar10,", "Invalid enum value 'cifar10' - at `$[0].dataset`"),
        (",73.33,", ",73.3x,", "at `$[0].value`"),
        (",top1_test,", ",top1,", "Invalid enum value 'top1' - at `$[0].metric`"),
        (",false,", ",no,", "at `$[0].standardize`"),
    ],
)
def test_damage_is_named(old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "published.csv"
    file.write_text(published.NUMBERS.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(published, "NUMBERS", file)
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        published.numbers.__wrapped__()


# --- the page of the released logs -----------------------------------------------------------------------------------


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


# Protocol 4.1, typed from the table: temperature and weight of KD; temperature, weight and beta of DKD; temperature
# and weight of MLKD, "-" where the log's name says nothing or there is no log.
LOG_NAMES = """
resnet32x4 resnet8x4      2 9     2 9 -     2 9
vgg13 vgg8                3 9     2 15 2    2 6
wrn_40_2 wrn_40_1         2 9     2 12 2    2 9
wrn_40_2 wrn_16_2         2 9     2 12 2    2 9
resnet56 resnet20         2 9     3 18 2    - -
resnet110 resnet32        2 9     2 15 2    2 9
resnet110 resnet20        4 12    2 15 2    2 9
resnet32x4 ShuffleV2      2 9     2 9 -     2 6
resnet32x4 wrn_16_2       3 9     2 9 2     2 9
resnet32x4 wrn_40_2       3 9     2 9 8     2 9
wrn_40_2 resnet8x4        2 9     2 18 2    2 9
wrn_40_2 MobileNetV2      3 9     2 15 2    - -
vgg13 MobileNetV2         3 9     3 9 2     2 6
ResNet50 MobileNetV2      3 1     2 15 2    2 9
"""
ROWS = [line.split() for line in LOG_NAMES.strip().splitlines()]
PAIRS = [(row[0], row[1]) for row in ROWS]
METHODS = ("kd", "ctkd", "dkd", "mlkd")
Told = Callable[..., str]


# --- complete --------------------------------------------------------------------------------------------------------


def test_experiments_beside_the_tables_pairs_are_there() -> None:
    cells = catalogue.cells()
    alone = {c.student: c.published for c in cells if c.recipe.startswith("cifar100/alone/")}
    networks = {name for pair in PAIRS for name in pair}
    assert {*alone} == networks | {"wrn_28_2", "wrn_16_4", "wrn_28_4"}
    table4 = {(c.kd_weight, c.temperature) for c in cells if c.recipe == "cifar100/table-4"}
    assert table4 == {(w, 2.0) for w in (0.9, 3, 6, 9, 12, 15, 18)}
    vit = Counter(c.student.replace("-distilled", "") for c in cells if c.recipe.startswith("vit/") and c.published)
    assert vit == dict.fromkeys(("DeiT-Tiny", "T2T-ViT-7", "PiT-Tiny", "PVT-Tiny"), 3)


# --- right -----------------------------------------------------------------------------------------------------------


def test_published_values_are_those_of_the_paper() -> None:
    for c in catalogue.cells():
        if c.published is None:
            continue
        printed = published.find(
            dataset=c.dataset,
            teacher=c.teacher or "",
            student=c.student.replace("-distilled", ""),
            method=c.method,
            standardize=c.standardize,
        )
        if c.recipe == "cifar100/table-4":
            variants = {"minus mean": "logits minus mean", "over std": "logits over std", "z": "z-score"}
            variant = f"KD, {variants.get(c.name.rpartition(', ')[2], 'raw logits')}"
            printed = [n for n in printed if (n.kd_weight, n.variant) == (c.kd_weight, variant)]
        first, five = ("top1_val", "top5_val") if c.dataset == "imagenet" else ("top1_test", "")
        assert (first, c.published) in {(n.metric, n.value) for n in printed}, c.name
        assert not five or (five, c.published_top5) in {(n.metric, n.value) for n in printed}, c.name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_settings_with_ls_are_those_of_the_logs_names(row: list[str]) -> None:
    teacher, student, kd_t, kd_w, dkd_t, dkd_w, dkd_beta, mlkd_t, mlkd_w = row
    kd, ctkd, dkd, mlkd = (catalogue.find(f"{teacher} -> {student}, {m}, ls") for m in METHODS)
    assert (kd.temperature, kd.kd_weight, kd.ce_weight) == (float(kd_t), float(kd_w), 0.1)
    assert (ctkd.settings["t_start"], ctkd.kd_weight, ctkd.temperature) == (2.0, 9.0, None)
    assert (dkd.temperature, dkd.kd_weight, dkd.alpha, dkd.ce_weight) == (float(dkd_t), float(dkd_w), 1.0, 1.0)
    if dkd_beta == "-":
        assert dkd.beta == 8.0
        assert dkd.assumed == ["beta"]
    else:
        assert dkd.beta == float(dkd_beta)
    if mlkd_t == "-":
        assert mlkd.assumed == ["temperature", "kd_weight"]
        assert any(d.startswith("no-log") for d in mlkd.doubts)
    else:
        assert (mlkd.temperature, mlkd.kd_weight) == (float(mlkd_t), float(mlkd_w))
        assert mlkd.assumed == []
    small_rate = student in ("MobileNetV2", "ShuffleV2")
    for c in (kd, ctkd, dkd):
        assert (c.epochs, c.batch_size, c.learning_rate) == (240, 64, 0.01 if small_rate else 0.05)
        assert (c.milestones, c.weight_decay, c.momentum, c.decay) == ([150, 180, 210], 5e-4, 0.9, 0.1)


# Cells typed from protocol 4.1, 1.2, 1.3, 1.5 and Tables 1 and 2.
PICKED: dict[str, dict[str, Any]] = {
    "resnet110 -> resnet20, kd, ls": {
        "dataset": "cifar100", "teacher": "resnet110", "student": "resnet20", "method": "kd", "standardize": True,
        "temperature": 4.0, "kd_weight": 12.0, "ce_weight": 0.1, "alpha": None, "beta": None, "epochs": 240,
        "batch_size": 64, "learning_rate": 0.05, "milestones": [150, 180, 210], "weight_decay": 5e-4,
        "published": 71.48,
    },
    "resnet32x4 -> ShuffleV2, mlkd, ls": {
        "method": "mlkd", "standardize": True, "temperature": 2.0, "kd_weight": 6.0, "ce_weight": 0.1, "epochs": 960,
        "batch_size": 64, "learning_rate": 0.01, "milestones": [150, 180, 210], "weight_decay": 5e-4,
    },
    "wrn_40_2 -> wrn_16_2, kd": {
        "standardize": False, "temperature": 4.0, "kd_weight": 0.9, "ce_weight": 0.1, "epochs": 240,
        "batch_size": 64, "learning_rate": 0.05, "milestones": [150, 180, 210], "weight_decay": 5e-4,
    },
    "wrn_40_2 -> MobileNetV2, mlkd, ls": {"epochs": 480, "learning_rate": 0.005},
    "vgg13 -> vgg8, mlkd, ls": {"epochs": 480, "learning_rate": 0.01},
    "vgg13 -> vgg8, mlkd": {"temperature": 4.0, "kd_weight": 0.9, "epochs": 480, "learning_rate": 0.025},
}  # fmt: skip


@pytest.mark.parametrize("name", PICKED)
def test_show_agrees_with_the_protocol(name: str, told: Told) -> None:
    shown = json.loads(told("recipe", "show", name, "--json"))
    assert {key: shown[key] for key in PICKED[name]} == PICKED[name]


def test_the_literature_baseline_and_the_like_for_like_baseline_are_two() -> None:
    for teacher, student in PAIRS:
        for method in METHODS:
            with_ls, like, quoted = (
                catalogue.find(f"{teacher} -> {student}, {method}{end}") for end in (", ls", ", like for like", "")
            )
            expected = dict(with_ls.settings)
            assert expected.pop("standardize") is True
            assert like.settings == expected
            assert quoted.settings != like.settings
            assert (like.epochs, like.learning_rate) == (with_ls.epochs, with_ls.learning_rate)


def test_what_the_protocol_doubts_is_said() -> None:
    for name, doubt in (
        ("resnet32x4 -> resnet8x4, kd, ls", "irregular-log"),
        ("resnet32x4 -> ShuffleV2, kd, ls", "weight-near-one"),
        ("resnet56 -> resnet20, ctkd, ls", "ctkd-temperature-range"),
        ("resnet56 -> resnet20, dkd, ls", "dkd-logs-predate-fix"),
        ("resnet110 -> resnet20, dkd", "dkd-no-config"),
        ("ResNet34 -> ResNet18, kd, ls", "imagenet-weight-doubtful"),
        ("ResNet34 -> ResNet18, mlkd, ls", "imagenet-settings-lost"),
        ("vgg13 -> wrn_16_2, kd, ls", "table-5-settings"),
        ("pycls-ResNet-56 -> PiT-Tiny, kd, ls", "vit-only-deit-works"),
    ):
        assert any(text.startswith(f"{doubt}: ") for text in catalogue.find(name).doubts), (name, doubt)
    assert {text.partition(":")[0] for c in catalogue.cells() for text in c.doubts} == set(doubts())
    assert all(c.sources for c in catalogue.cells() if "/" in c.recipe)
    assert all(c.doubts for c in catalogue.cells() if c.standardize and c.published is not None)


def test_what_is_known_about_a_cell_does_not_enter_the_identity_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = 'dataset = "digit_pairs"\nstudent = "resnet8"\nepochs = 1\nbatch_size = 64\nlearning_rate = 0.1\n'
    file.write_text(text + '[members.a]\nmethod = "plain"\n')
    bare = load_recipe(str(file)).config()
    extra = 'published = 70.0\nsources = ["a table"]\nassumed = ["epochs"]\ndoubts = ["best-epoch"]\n'
    file.write_text(f'description = "words"\nsources = ["x"]\n{text}[members.a]\nmethod = "plain"\n{extra}')
    known = load_recipe(str(file))
    assert known.config() == bare
    assert known.about["a"].published == 70.0
    assert known.about["a"].sources == ("a table", "x")


# --- runnable --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Four training and two test images of noise, 100 classes."""
    pixels = torch.randint(256, (6, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels, names = torch.arange(6), tuple(f"{k:02d}" for k in range(100))
    group, half = torch.zeros(100, dtype=torch.int64), (0.5, 0.5, 0.5)
    parts = pixels[:4], labels[:4], pixels[4:], labels[4:]
    return Dataset("cifar100", *parts, names, group, ("all",), half, half, pad=4, flip=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several sizes in folders, of three classes: four to train on, three to test."""
    root = tmp_path_factory.mktemp("imagenet")
    generator = np.random.default_rng(0)
    for part, counts in (("train", (2, 1, 1)), ("val", (1, 1, 1))):
        for name, count in zip(("n01", "n02", "n03"), counts, strict=True):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (70 + 9 * i, 90, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.JPEG")
    return root


@pytest.mark.parametrize("name", [n for n in list_recipes() if "/" in n])
def test_every_cell_runs_two_steps(name: str, images: Dataset, folders: Path) -> None:
    recipe = load_recipe(name, settings={"epochs": 1, "batch_size": 2, "learning_rate": 1e-3})
    dataset = images
    if recipe.dataset == "cifar100_224":
        recipe = structs.replace(recipe, optimization=recipe.optimization | {"warmup_epochs": 0})
        dataset = enlarged(images, size=recipe.data.get("size", 224))
    elif recipe.dataset == "imagenet":
        dataset = imagenet(path=str(folders), size=64)
    teacher: Network | None = None
    if recipe.teacher:
        teacher = create_model(recipe.teacher.network, dataset.classes)
        teacher = Resized(teacher, recipe.teacher.input_size) if recipe.teacher.input_size else teacher
    cohort = Cohort(recipe, dataset, seed=0, teacher=teacher, device=torch.device("cpu"))
    cohort.run()
    assert cohort.step == 2
    assert [m.failure for m in cohort.members] == [None] * len(recipe.members)
    assert all(len(m.history) == 1 for m in cohort.members)


def test_the_command_shown_is_the_one_that_trains_it() -> None:
    parser = cli._parser(())
    for c in catalogue.cells():
        if c.obstacles:
            assert c.command is None
            continue
        given = parser.parse_args(c.command.split()[1:])
        members = given.members.split(",") if given.members else None
        assert list(load_recipe(given.recipe, members=members).members) == [c.member]


def test_what_needs_missing_packages_is_refused(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = util.find_spec
    monkeypatch.setattr("lskd.recipes.util.find_spec", lambda name: None if name == "torchvision" else found(name))
    catalogue.cells.cache_clear()
    name, reason = "ResNet34 -> ResNet18, kd, ls", "imagenet needs torchvision, which is not installed"
    try:
        shown = told("recipe", "show", name)
        assert "it cannot be trained here" in shown
        assert reason in shown
        assert "lskd train" not in shown
        train = ("train", "--recipe", "imagenet/ResNet34-ResNet18/kd_ls", "--out", tmp_path / "run")
        assert reason in told(*train, status=2)
        assert not (tmp_path / "run").exists()
    finally:
        catalogue.cells.cache_clear()


# --- found -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "resnet32x4 -> resnet8x4, dkd, ls",
        "ResNet32x4 → ResNet8x4 DKD+LS",
        "resnet32x4>resnet8x4 dkd_ls",
        "cifar100/resnet32x4-resnet8x4/dkd_ls",
    ],
)
def test_names_are_matched_forgivingly(query: str) -> None:
    assert catalogue.find(query).name == "resnet32x4 -> resnet8x4, dkd, ls"


@pytest.mark.parametrize(
    ("query", "near"),
    [
        ("resnet56 -> resnet22, kd, ls", "'resnet56 -> resnet20, kd, ls'"),
        ("resnet8x4 -> resnet32x4, kd", "'resnet32x4 -> resnet8x4, kd'"),
        ("resnet56 -> resnet20, dkkd, ls", "'resnet56 -> resnet20, "),
        ("resnet56 -> resnet20", "'resnet56 -> resnet20, kd'"),
    ],
)
def test_an_unknown_name_gets_the_nearest(query: str, near: str, told: Told) -> None:
    assert re.search(f"no cell is called .*{re.escape(near)}", told("recipe", "show", query, status=2))


def test_list_has_an_object_a_cell_and_its_name_finds_it(told: Told) -> None:
    for c in catalogue.cells():
        assert catalogue.find(c.name) is c
        assert catalogue.find(f"{c.recipe}/{c.member}") is c
    rows = json.loads(told("recipe", "list", "--json"))
    assert len({row["name"] for row in rows}) == len(rows)
    assert len(rows) == len(catalogue.cells())
    assert all({*PICKED["resnet110 -> resnet20, kd, ls"], "name", "sources", "doubts"} <= {*row} for row in rows)
    assert len(told("recipe", "list").splitlines()) == len(rows)


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


# --- cells, published numbers, logs ----------------------------------------------------------------------------------


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


# --- ours ------------------------------------------------------------------------------------------------------------


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
    assert found.reason == "other weights of the teacher"
    assert "seed-7" in found.path.name


def test_a_recipe_is_told_with_its_own_optimiser_and_schedule() -> None:
    usual = recipe_text(load_recipe("cifar100/resnet56-resnet20", for_training=False))
    assert "optimiser SGD; momentum 0.9; epochs 240; batch 64; learning rate 0.05; " in usual
    assert "schedule times 0.1 after 150, 180, 210; weight decay 0.0005; " in usual
    transformer = recipe_text(load_recipe("vit/DeiT-Tiny", for_training=False)).partition("\n")[0]
    assert "optimiser AdamW; epochs 300; batch 128; learning rate" in transformer
    assert "schedule cosine; weight decay 0.05; β of AdamW 0.9, 0.999; warm-up epochs 20" in transformer
    assert "momentum" not in transformer
    assert "none" not in transformer
