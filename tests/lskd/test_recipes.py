"""Recipes: every committed one resolves; whatever is wrong with one is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import words

from figures.fingerprint import ROOT
from lskd.checked import parse_settings
from lskd.errors import LskdError
from lskd.recipes import alone_recipe, list_recipes, load_recipe, recipe_and_members, teacher_training
from lskd.records import load_record
from paper.store import address


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_resolves(name: str) -> None:
    recipe = load_recipe(name, for_training=False)
    assert recipe.members
    if recipe.teacher is not None and recipe.teacher.recipe is not None:
        teacher = load_recipe(recipe.teacher.recipe, settings=recipe.teacher.settings, for_training=False)
        assert teacher.student == recipe.teacher.network
        assert len(teacher.members) == 1
    twins = {m: m.replace("_like_for_like", "_ls") for m in recipe.members if m.endswith("_like_for_like")}
    assert {m: recipe.about[m].assumed for m in twins} == {m: recipe.about[ls].assumed for m, ls in twins.items()}
    assert recipe.optimizing.drop_last_batch == name.startswith("vit/")  # released loaders drop it there


def test_the_default_experiment_pairs_every_method_with_its_standardised_form() -> None:
    members = load_recipe("digit-pairs").members
    for method in ("kd", "dkd", "ctkd"):
        assert not members[method].get("standardize", False)
        assert members[f"{method}_ls"]["standardize"] is True
    like_for_like = dict(members["kd_ls"])
    del like_for_like["standardize"]
    assert like_for_like == members["kd"]


def test_settings_change_what_they_name_and_nothing_else() -> None:
    before = load_recipe("digit-pairs").config()
    settings = parse_settings(["epochs=2", "members.kd.temperature=3", "data.noise=0.2", "teacher.seed=4"])
    after = load_recipe("digit-pairs", settings=settings).config()
    before["epochs"] = 2
    before["members"]["kd"]["temperature"] = 3
    before["data"]["noise"] = 0.2
    before["teacher"]["seed"] = 4
    assert after == before
    given = {"data": {"noise": 0.1}, "data.noise": 0.2}
    assert load_recipe("digit-pairs", settings=given).data["noise"] == 0.2
    assert given["data"] == {"noise": 0.1}  # the caller's


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 2}, "recipe digit-pairs has no 'epoch'; did you mean 'epochs'"),
        ({"epochs": 0}, "epochs is 0 .* expected int >= 1"),
        ({"threads": 0}, r"threads is 0 \(int\); expected int >= 1"),
        ({"milestones": [3, 2]}, "increasing"),
        ({"members.kdd.temperature": 2.0}, "no member 'kdd'; did you mean 'kd'"),
        ({"members.kd.temprature": 2.0}, "member kd: method 'kd' has no setting 'temprature'"),
        ({"members.kd.method": "dk"}, "unknown method 'dk'; did you mean"),
        ({"members.new": {"temperature": 1.0}}, "member new: missing method"),
        ({"members": {"a/b": {"method": "plain"}}}, "a member is called 'a/b', as its files will be"),
        ({"members.KD": {"method": "plain"}}, "'kd' and 'KD' differ in case alone"),
        ({"teacher": {"network": "resnet8"}}, "either a recipe or a checkpoint"),
        ({"teacher.nework": "resnet8"}, "teacher has no 'nework'; did you mean 'network'"),
        ({"members": {}}, "members is .* expected table of length >= 1"),
        ({"members.kd.temperature": "hot"}, r"member kd: method 'kd': temperature is 'hot' \(str\); expected float"),
        ({"members.kd_ls.standardize": 1}, r"member kd_ls: method 'kd': standardize is 1 \(int\); expected bool"),
        ({"members.kd.temperature": 0.0}, r"temperature is 0.0 \(float\); expected float > 0"),
        ({"members.alone.standardize": True}, "method 'plain' has no setting 'standardize'"),
        ({"student": "resnet9"}, "no network is called 'resnet9'"),
        ({"teacher.network": "wrn_16"}, "no network is called 'wrn_16'"),
        ({"dataset": "cifar10"}, "unknown data set 'cifar10'; there are digit_pairs"),
        ({"dataset": "cifar-100"}, "unknown data set 'cifar-100'; did you mean 'cifar100'"),
        ({"optimization": {"optimiser": "adamw"}}, "optimization has no 'optimiser'; did you mean 'optimizer'"),
        ({"optimization": {"optimizer": "adam"}}, "optimization.optimizer is 'adam'; did you mean 'adamw'"),
        ({"optimization": {"exempt_from_decay": ["bias"]}}, r"exempt_from_decay\[0\] is 'bias'; did you mean 'biases'"),
        ({"optimization": {"betas": [0.9]}}, "expected list of length 2"),
        ({"optimization": {"drop_path": 1.0}}, "expected float < 1.0"),
        ({"momentum": -1}, r"momentum is -1 \(int\); expected float >= 0"),
        ({"teacher.input_size": 2}, "teacher.input_size is 2"),
        ({"members.kd.method": "locality"}, "method 'locality' has no setting 'temperature'"),
        ({"members.kd.published": "high"}, r"published is 'high' \(str\); expected float"),
        ({"members.kd.published": 101}, "published is 101 .* expected float <= 100"),
        ({"epochs.of": 1}, "cannot set epochs.of: epochs is 10, no table"),
        ({"name": "other"}, "has no 'name'"),
        ({"nothing.near": 1}, "has no 'nothing'; it has dataset"),
        ({"members.kd.doubts": ["best-epok"]}, "unknown doubt 'best-epok'; did you mean 'best-epoch'"),
        ({"members.kd.assumed": ["temprature"]}, "assumed names 'temprature', which it does not set; did you mean"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LskdError, match=message):
        load_recipe("digit-pairs", settings=settings)


def test_what_a_recipe_lacks_can_be_set() -> None:
    recipe = load_recipe("digit-pairs")
    assert (recipe.threads, "threads" in recipe.config()) == (1, False)
    assert load_recipe("digit-pairs", settings={"threads": 2}).config()["threads"] == 2
    recipe = load_recipe("digit-pairs", settings={"optimization.nesterov": True})
    assert recipe.optimizing.nesterov
    assert recipe.optimizing.betas == (0.9, 0.999)
    assert recipe.config()["optimization"] == {"nesterov": True}  # as written: it is part of a run's identity


@pytest.mark.parametrize("path", sorted((ROOT / "results").rglob("*.json")), ids=lambda path: path.stem)
def test_committed_records_keep_their_configuration_and_address(path: Path) -> None:
    record = load_record(path)
    settings = dict(record["overrides"])
    settings.pop("members", None)
    members = list(record["config"]["members"])  # a recipe may have more since
    config = load_recipe(record["name"], settings=settings, members=members, for_training=False).config()
    assert json.dumps(config, sort_keys=True) == json.dumps(record["config"], sort_keys=True)
    assert address(record | {"config": config}) == address(record)


def test_a_recipe_may_be_any_file_and_has_all_keys_and_members_that_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('dataset = "digit_pairs"\nstudent = "resnet8"\nepochs = 1\n[members.a]\nmethod = "plain"\n')
    with pytest.raises(LskdError, match="recipe mine needs batch_size"):
        load_recipe(file)
    with pytest.raises(LskdError, match="no member 'kdls'; did you mean 'kd_ls'"):
        load_recipe("digit-pairs", members=["kdls"])
    file = ROOT / "recipes" / "cifar100" / "resnet56-resnet20.toml"
    assert load_recipe(str(file)).name == "cifar100/resnet56-resnet20"  # one of the project's keeps its name


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("digit-pairs", {"teacher.recipe": "digit-pairs"}, "teach each other: digit-pairs -> digit-pairs; look at"),
        ("digit-pairs", {"teacher.recipe": "playground"}, "teacher, playground, trains . networks; expected one"),
        ("digit-pairs", {"teacher.checkpoint": "a.pth"}, r"comes as a checkpoint, a\.pth; nothing has to be trained"),
        ("digit-pairs-teacher", {}, "recipe digit-pairs-teacher has no teacher"),
    ],
)
def test_a_teacher_comes_from_a_recipe_of_one_network(name: str, settings: dict[str, str], message: str) -> None:
    recipe = load_recipe(name, settings=settings)
    if "teacher.checkpoint" in settings:  # one origin replaces the other
        assert (recipe.teacher.checkpoint, recipe.teacher.recipe) == ("a.pth", None)
    with pytest.raises(LskdError, match=message):
        teacher_training(recipe)


def test_recipes_that_teach_each_other_are_named(tmp_path: Path, told: Callable[..., str]) -> None:
    text = (ROOT / "recipes" / "digit-pairs.toml").read_text(encoding="utf-8").partition("[members.")[0]
    for name, by in (("a", "b"), ("b", "c"), ("c", "b")):
        other = text.replace('"digit-pairs-teacher"', f"'{tmp_path / by}.toml'")
        (tmp_path / f"{name}.toml").write_text(
            f'{other}[members.kd]\nmethod = "kd"\ntemperature = 2.0\nkd_weight = 9.0\n'
        )
    first = f"first=[{{recipe='{tmp_path / 'a.toml'}', seeds=[0]}}]"
    for command in (("train", "--recipe", tmp_path / "a.toml"), ("plan", "--set", "tables=[]", "--set", first)):
        assert "recipes teach each other: a -> b -> c -> b; look at their [teacher]" in told(*command, status=2)


def test_a_teacher_is_trained_on_its_students_data_at_its_own_size() -> None:
    """Only what differs from the teacher's recipe is a change, so that all who need this teacher train one."""
    assert teacher_training(load_recipe("digit-pairs")) == ("digit-pairs-teacher", {})
    less = {"data.train_size": 200, "teacher.settings": {"epochs": 1}, "teacher.network": "resnet8"}
    name, changes = teacher_training(load_recipe("digit-pairs", settings=less))
    assert changes == {"epochs": 1, "student": "resnet8", "data": {"train_size": 200}}
    trained = load_recipe(name, settings=changes)
    assert (trained.student, trained.dataset, trained.data) == ("resnet8", "digit_pairs", {"train_size": 200})
    small = load_recipe("vit/DeiT-Tiny", for_training=False)
    assert small.teacher.input_size == 32
    assert teacher_training(small) == ("vit/alone/pycls-ResNet-56", {})
    wide = load_recipe("vit/DeiT-Tiny", settings={"teacher.input_size": 64}, for_training=False)
    assert teacher_training(wide)[1] == {"data": {"size": 64}}


# --- what `lskd train` takes -----------------------------------------------------------------------------------------


def test_train_takes_one_member_by_name() -> None:
    assert recipe_and_members("cifar100/resnet56-resnet20/kd_ls", None) == ("cifar100/resnet56-resnet20", ["kd_ls"])
    assert recipe_and_members("digit-pairs", ["kd"]) == ("digit-pairs", ["kd"])
    assert recipe_and_members("own/file.toml", None) == ("own/file.toml", None)
    with pytest.raises(LskdError, match="is one member; leave out --members"):
        recipe_and_members("cifar100/resnet56-resnet20/kd_ls", ["kd"])


def test_a_teacher_is_trained_by_name() -> None:
    assert alone_recipe("resnet56") == ("cifar100/alone/resnet56", {})
    for network, rate in (("resnet44", 0.05), ("ShuffleV1", 0.01), ("ShuffleV2", 0.01), ("wrn_28_10", 0.05)):
        name, settings = alone_recipe(network)
        recipe = load_recipe(name, settings=settings)
        assert (recipe.student, recipe.dataset, recipe.learning_rate) == (network, "cifar100", rate)
        assert (recipe.epochs, recipe.batch_size, recipe.milestones) == (240, 64, (150, 180, 210))
        assert (recipe.weight_decay, recipe.momentum, recipe.teacher) == (5e-4, 0.9, None)
    with pytest.raises(LskdError, match="no network is called 'resnet57'"):
        alone_recipe("resnet57")
    with pytest.raises(LskdError, match="did you mean ShuffleV2"):
        alone_recipe("ShufleV2")


def test_train_takes_a_network_for_a_teacher(tmp_path: Path, told: Callable[..., str]) -> None:
    out = tmp_path / "run"
    small = words({"epochs": 1, "milestones": [], "data": {"train_size": 128, "test_size": 100}})
    call = ("train", "--out", out, "--device", "cpu", *small)
    assert "test accuracy" in told(*call, "--teacher", "resnet8", "--dataset", "digit_pairs")
    record = load_record(out)
    assert (record["config"]["student"], record["config"]["batch_size"]) == ("resnet8", 64)
    assert record["dataset"]["name"] == "digit_pairs"
    assert (out / "alone.safetensors").is_file()
    said = told(*call, "--teacher", "resnet8", "--dataset", "digit_pears", status=2)
    assert "did you mean 'digit_pairs'" in said
    said = told(*call, "--recipe", "digit-pairs", "--dataset", "cifar100", status=2)
    assert "--dataset goes with --teacher" in said


def test_recipes_of_others_beside_an_installed_package_are_not_ours(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "lskd", tmp_path / "lskd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "recipes", tmp_path / "lskd" / "_recipes")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "soup.toml").write_text("water = 1\n")
    code = "from lskd.recipes import doubts, list_recipes; assert doubts(); print(*list_recipes(), sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == list_recipes(), done.stderr
