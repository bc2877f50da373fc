"""Cells of the tables: complete, right, each with its recipe, found by what people type."""

from __future__ import annotations

import json
import re
import shutil
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

from figures.fingerprint import ROOT
from lskd import cli, objectives
from lskd.data import Dataset
from lskd.data.cifar100_224 import enlarged
from lskd.data.imagenet import imagenet
from lskd.models import create_model, list_models
from lskd.models.base import Network, Resized
from lskd.recipes import doubts, list_recipes, load_recipe
from lskd.trainer.cohort import Cohort
from paper import cells as catalogue
from paper import published


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


def test_experiments_beside_the_tables_pairs_are_there() -> None:
    cells = catalogue.cells()
    alone = {c.student: c.published for c in cells if c.recipe.startswith("cifar100/alone/")}
    networks = {name for pair in PAIRS for name in pair}
    assert {*alone} == networks | {"wrn_28_2", "wrn_16_4", "wrn_28_4"}
    table4 = {(c.kd_weight, c.temperature) for c in cells if c.recipe == "cifar100/table-4"}
    assert table4 == {(w, 2.0) for w in (0.9, 3, 6, 9, 12, 15, 18)}
    vit = Counter(c.student.replace("-distilled", "") for c in cells if c.recipe.startswith("vit/") and c.published)
    assert vit == dict.fromkeys(("DeiT-Tiny", "T2T-ViT-7", "PiT-Tiny", "PVT-Tiny"), 3)


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


def test_the_command_of_one_s_own_recipe_names_its_file(told: Told, tmp_path: Path) -> None:
    own = shutil.copy(ROOT / "recipes" / "digit-pairs-teacher.toml", tmp_path / "my own.toml")
    assert f"lskd train --recipe '{own}' --seed 0" in told("recipe", "show", own)


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
