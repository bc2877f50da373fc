"""Recipes: every committed one resolves; whatever is wrong with one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lskd.errors import LskdError
from lskd.recipes import list_recipes, load_recipe, parse_settings


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_resolves(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.members
    if recipe.teacher is not None and recipe.teacher.recipe is not None:
        teacher = load_recipe(recipe.teacher.recipe, settings=recipe.teacher.settings)
        assert teacher.student == recipe.teacher.network
        assert len(teacher.members) == 1


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 2}, "unknown key 'epoch'; did you mean 'epochs'"),
        ({"epochs": "2"}, r"epochs is '2' \(str\); expected int"),
        ({"epochs": True}, r"epochs is True \(bool\); expected int"),
        ({"epochs": 0}, "must be positive"),
        ({"milestones": [3, 2]}, "increasing"),
        ({"members.kdd.temperature": 2.0}, "no members.kdd; did you mean 'kd'"),
        ({"members.kd.temprature": 2.0}, "member kd: method 'kd' has no setting 'temprature'"),
        ({"members.kd.method": "dk"}, "unknown method 'dk'; did you mean"),
        ({"members.new": {"temperature": 1.0}}, "member new: missing method"),
        ({"teacher": {"network": "resnet8"}}, "either a recipe or a checkpoint"),
        ({"teacher.nework": "resnet8"}, "unknown key teacher.nework"),
        ({"members": {}}, "no members"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LskdError, match=message):
        load_recipe("digit-pairs", settings=settings)


def test_unknown_names() -> None:
    with pytest.raises(LskdError, match="unknown recipe 'digit-pair'; did you mean 'digit-pairs'"):
        load_recipe("digit-pair")
    with pytest.raises(LskdError, match="no member 'kdls'; did you mean 'kd_ls'"):
        load_recipe("digit-pairs", members=["kdls"])
    with pytest.raises(LskdError, match="no such file"):
        load_recipe("absent.toml")
    with pytest.raises(LskdError, match="expected key=value"):
        parse_settings(["epochs"])


def test_a_recipe_may_be_any_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("epochs = = 2")
    with pytest.raises(LskdError, match=r"mine\.toml: not valid TOML"):
        load_recipe(str(file))
    file.write_text('dataset = "digit_pairs"\nstudent = "resnet8"\nepochs = 1\n[members.a]\nmethod = "plain"\n')
    with pytest.raises(LskdError, match="missing batch_size, learning_rate"):
        load_recipe(str(file))
