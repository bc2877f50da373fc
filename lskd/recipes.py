"""Recipes: what is trained, on what and how, as TOML files; the one source of every hyperparameter.

A file is a cohort: its top-level keys are the protocol that all members share, ``[members.NAME]`` is one
objective each. Files live in ``recipes/`` and its folders; a name is the file's path there without ``.toml``
("cifar100/resnet56-resnet20"), or the path of any file.

A member also says what is known about it, which decides nothing: its published value, where the settings come
from, which of them are assumed, and where sources disagree (names explained in ``recipes/doubts.toml``).

A recipe may need packages that are not installed (:meth:`Recipe.obstacles`): it is read and checked all the same, and
training it is refused with the reason.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from lskd.data import DATASETS
from lskd.errors import LskdError, nearest
from lskd.models import create_model, list_models
from lskd.objectives import METHODS, create_objective
from lskd.own_code import is_external, load_function
from lskd.recipe import OPTIMIZATION, OPTIMIZATION_CHOICES, About, Recipe, Teacher

__all__ = [
    "About",
    "Recipe",
    "Teacher",
    "alone_recipe",
    "doubts",
    "list_recipes",
    "load_recipe",
    "parse_settings",
    "recipe_and_members",
    "teacher_training",
]

FOLDERS = (Path(__file__).resolve().parent.parent / "recipes", Path(__file__).resolve().parent / "_recipes")

DOUBTS = "doubts.toml"
SLOW = ("MobileNetV2", "ShuffleV1", "ShuffleV2")  # a fifth of the others' learning rate (protocol 4.2)
TEMPLATE = "cifar100/alone/resnet32x4"


def list_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    found = {_name(path) for folder in FOLDERS for path in folder.rglob("*.toml") if path.name != DOUBTS}
    return sorted(found, key=lambda name: (name.count("/") > 0, name))


def recipe_and_members(name: str, members: list[str] | None) -> tuple[str, list[str] | None]:
    """What ``lskd train --recipe NAME --members ...`` means: a recipe's name or file, or RECIPE/MEMBER.

    Raises:
        LskdError: members besides RECIPE/MEMBER, which is one already.
    """
    recipe, _, member = name.rpartition("/")
    if name.endswith(".toml") or name in list_recipes() or recipe not in list_recipes():
        return name, members
    if members is not None:
        raise LskdError(f"{name!r} is one member; leave out --members, or give the recipe {recipe}")
    return recipe, [member]


def alone_recipe(network: str, dataset: str | None = None) -> tuple[str, dict[str, Any]]:
    """The recipe that trains a network alone, as the paper's teachers were trained (protocol 4.2), and changes to it.

    Networks without a recipe of their own, and other data sets, take that of resnet32x4.

    Raises:
        LskdError: no such network; names the nearest.
    """
    own = f"cifar100/alone/{network}"
    if dataset in (None, "cifar100") and own in list_recipes():
        return own, {}
    if not is_external(network) and network not in list_models():
        with torch.device("meta"):
            create_model(network)  # other depths and widths; the error names near ones
    settings: dict[str, Any] = {"student": network} | ({"learning_rate": 0.01} if network in SLOW else {})
    return TEMPLATE, settings | ({} if dataset in (None, "cifar100") else {"dataset": dataset})


@functools.cache
def doubts() -> dict[str, str]:
    """Where sources disagree or something is unknown: name to sentence, from ``recipes/doubts.toml``."""
    path = next(folder / DOUBTS for folder in FOLDERS if (folder / DOUBTS).is_file())
    return {k: " ".join(v.split()) for k, v in tomllib.loads(path.read_text(encoding="utf-8")).items()}


def parse_settings(items: Iterable[str]) -> dict[str, Any]:
    """``["epochs=2", "members.kd.temperature=3.0"]`` to a dictionary; values are TOML, bare words strings."""
    out: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise LskdError(f"setting {item!r}: expected key=value, for example epochs=2")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        out[key.strip()] = value
    return out


def load_recipe(
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    members: Iterable[str] | None = None,
    for_training: bool = True,
) -> Recipe:
    """Read, change and check a recipe.

    Args:
        name: a name in ``recipes/`` or the path of a TOML file.
        settings: changes by dotted key, such as ``{"epochs": 2, "members.kd.temperature": 3.0}``. A teacher's
            ``checkpoint`` takes the place of its ``recipe``, and the other way round.
        members: keep only these, in the file's order.
        for_training: refuse what cannot be trained with the packages that are here; False to read about it.

    Raises:
        LskdError: unknown recipe, key or member, wrong type, impossible value; names the nearest valid choice.
    """
    path = _find(name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise LskdError(f"recipe {path.name}: not valid TOML ({error})") from None
    for key, value in (settings or {}).items():
        _change(raw, key, value, name)
    if members is not None:
        wanted = list(members)
        for member in wanted:
            if member not in raw.get("members", {}):
                raise LskdError(f"recipe {name}: no member {member!r}{_near(member, raw.get('members', {}))}")
        raw["members"] = {k: v for k, v in raw["members"].items() if k in wanted}
    recipe = _checked(_name(path), raw)
    if for_training and (reasons := recipe.obstacles()):
        raise LskdError(f"recipe {recipe.name} cannot be trained here: {'; '.join(reasons)}")
    return recipe


def teacher_training(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """The recipe that trains a cohort's teacher, and the changes with which it does so.

    The teacher sees its students' data, whatever its own recipe says of it, at its own size where it has one. Only
    what differs from its recipe is a change: whoever trains it, for whichever cohort, gives its run the same identity.

    Raises:
        LskdError: the recipe has no teacher, or one that comes as a checkpoint.
    """
    source = recipe.teacher
    if source is None or source.recipe is None:
        found = "no teacher" if source is None else f"a teacher that comes as a checkpoint, {source.checkpoint}"
        raise LskdError(f"recipe {recipe.name} has {found}; nothing has to be trained for it")
    given = load_recipe(source.recipe, settings=source.settings, for_training=False)
    own = {} if source.input_size is None else {"size": source.input_size}
    wanted = {"student": source.network, "dataset": recipe.dataset, "data": {**recipe.data, **own}}
    return source.recipe, source.settings | {k: v for k, v in wanted.items() if getattr(given, k) != v}


def _name(path: Path) -> str:
    """The name that finds a file: its path below a folder of recipes, or its stem when it lies elsewhere."""
    for folder in FOLDERS:
        if path.resolve().is_relative_to(folder):
            return path.resolve().relative_to(folder).with_suffix("").as_posix()
    return path.stem


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        if Path(name).is_file():
            return Path(name)
        raise LskdError(f"recipe {name}: no such file")
    for folder in FOLDERS:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    raise LskdError(f"unknown recipe {name!r}{_near(name, list_recipes())}")


def _change(raw: dict[str, Any], dotted: str, value: Any, name: str) -> None:
    *parents, last = dotted.split(".")
    table = raw
    for i, part in enumerate(parents):
        if part in ("data", "teacher", "settings"):
            table.setdefault(part, {})
        if not isinstance(table.get(part), dict):
            where = ".".join(parents[: i + 1])
            raise LskdError(f"recipe {name}: cannot set {dotted}: there is no {where}{_near(part, table)}")
        table = table[part]
    other = {"checkpoint": "recipe", "recipe": "checkpoint"}.get(last)
    if parents == ["teacher"] and other:
        table.pop(other, None)  # a teacher has one origin; naming another replaces it
    table[last] = value


def _checked(name: str, raw: dict[str, Any]) -> Recipe:
    shared = About(**_about(name, "", {k: raw.pop(k) for k in ("sources", "doubts") if k in raw}))
    known = {f.name: f for f in dataclasses.fields(Recipe) if f.name not in ("name", "about")}
    for key in raw:
        if key not in known:
            raise LskdError(f"recipe {name}: unknown key {key!r}{_near(key, [*known, 'sources', 'doubts'])}")
    required = [k for k, f in known.items() if f.default is f.default_factory is dataclasses.MISSING]
    missing = [k for k in required if k not in raw]
    if missing:
        raise LskdError(f"recipe {name}: missing {', '.join(missing)}")
    values = dict(raw, name=name)
    for key, expected in _TYPES.items():
        if key in values:
            values[key] = _typed(name, key, values[key], expected)
    dataset = values["dataset"]
    if is_external(dataset):
        load_function(dataset)
    elif dataset not in DATASETS:
        raise LskdError(f"recipe {name}: unknown data set {dataset!r}{_near(dataset, DATASETS)}")
    _check_optimization(name, values.get("optimization", {}))
    if values.get("teacher") is not None:
        values["teacher"] = _teacher(name, values["teacher"])
    for network in (values["student"], getattr(values.get("teacher"), "network", None)):
        _check_network(name, network)
    if not values["members"]:
        raise LskdError(f"recipe {name}: it has no members; give at least one [members.NAME]")
    values["about"] = {}
    for member, given in values["members"].items():
        place = f"recipe {name}, member {member}"
        if not isinstance(given, dict):
            raise LskdError(f"{place}: expected a table [members.{member}], found {given!r}")
        own = About(**_about(name, member, {k: v for k, v in given.items() if k in _ABOUT}))
        settings = {k: v for k, v in given.items() if k not in _ABOUT}
        values["about"][member] = dataclasses.replace(
            own, sources=own.sources + shared.sources, doubts=own.doubts + shared.doubts
        )
        needs_teacher = _check_member(place, settings)
        if needs_teacher and values.get("teacher") is None:
            raise LskdError(f"{place}: method {settings['method']!r} needs a [teacher]")
        for key in own.assumed:
            if key not in settings and key not in known:
                raise LskdError(f"{place}: assumed names {key!r}, which it does not set{_near(key, settings)}")
        values["members"] = values["members"] | {member: settings}
    for key in ("epochs", "batch_size", "learning_rate", "threads"):
        if not values.get(key, 1) > 0:
            raise LskdError(f"recipe {name}: {key} is {values[key]}; it must be positive")
    milestones = values.get("milestones", ())
    if list(milestones) != sorted(set(milestones)) or any(m < 1 for m in milestones):
        raise LskdError(f"recipe {name}: milestones {list(milestones)} must be increasing epochs from 1")
    return Recipe(**values)


def _check_member(place: str, settings: Mapping[str, Any]) -> bool:
    """Check method and settings of a member; True when it needs a teacher."""
    given = dict(settings)
    method = given.pop("method", None)
    if method is None:
        raise LskdError(f"{place}: missing method")
    if method in METHODS:
        types = {k: str(p.annotation) for k, p in inspect.signature(METHODS[method]).parameters.items()}
        _check_types(place, given, types)
    try:
        objective = create_objective(method, **given)
    except (ValueError, TypeError) as error:
        raise LskdError(f"{place}: {error}") from None
    for key in ("temperature", "t_start", "t_end"):
        if key in given and not given[key] > 0:
            raise LskdError(f"{place}: {key} is {given[key]}; it must be positive")
    for key in ("kd_weight", "ce_weight", "alpha", "beta"):
        if key in given and given[key] < 0:
            raise LskdError(f"{place}: {key} is {given[key]}; it must not be negative")
    return objective.needs_teacher


def _check_types(place: str, given: Mapping[str, Any], types: Mapping[str, str], prefix: str = "") -> None:
    for key, value in given.items():
        found, wanted = type(value).__name__, types.get(key, "").partition(" |")[0].partition("[")[0]
        if key in types and found != wanted and (wanted, found) != ("float", "int"):
            raise LskdError(f"{place}: {prefix}{key} is {value!r} ({found}); expected {wanted}")


@functools.cache
def _exists(network: str) -> str | None:
    """None when there is such a network, else the reason in words."""
    try:
        with torch.device("meta"):
            create_model(network)
    except LskdError as error:
        return str(error)
    return None


def _check_network(name: str, network: str | None) -> None:
    if network is not None and is_external(network):
        load_function(network)
    # Those of the paper need no trial: some come from torchvision, which whoever only reads a recipe may not have.
    elif network is not None and network not in list_models() and (reason := _exists(network)):
        raise LskdError(f"recipe {name}: {reason}")


def _check_optimization(name: str, given: Mapping[str, Any]) -> None:
    for key in given:
        if key not in OPTIMIZATION:
            raise LskdError(f"recipe {name}: unknown key optimization.{key}{_near(key, OPTIMIZATION)}")
    _check_types(f"recipe {name}", given, OPTIMIZATION, "optimization.")
    for key, choices in OPTIMIZATION_CHOICES.items():
        found = given.get(key, [])
        for word in found if isinstance(found, list) else [found]:
            if word not in choices:
                raise LskdError(f"recipe {name}: optimization.{key} says {word!r}{_near(str(word), choices)}")
    betas = given.get("betas", [0.9, 0.999])
    if len(betas) != 2 or not all(isinstance(b, int | float) and 0 <= b < 1 for b in betas):
        raise LskdError(f"recipe {name}: optimization.betas is {betas}; expected two numbers in [0, 1)")
    if not 0 <= given.get("drop_path", 0.0) < 1:
        raise LskdError(f"recipe {name}: optimization.drop_path is {given['drop_path']}; expected a rate in [0, 1)")


_ABOUT = {f.name for f in dataclasses.fields(About)}


def _about(name: str, member: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checked fields of :class:`About`."""
    place = f"recipe {name}" + (f", member {member}" if member else "")
    out = dict(given)
    for key, value in given.items():
        if key.startswith("published"):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
                raise LskdError(f"{place}: {key} is {value!r}; expected an accuracy in percent")
            out[key] = float(value)
        elif not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise LskdError(f"{place}: {key} is {value!r}; expected a list of strings")
        else:
            out[key] = tuple(value)
    for doubt in out.get("doubts", ()):
        if " " not in doubt and doubt not in doubts():
            raise LskdError(f"{place}: unknown doubt {doubt!r}{_near(doubt, doubts())}")
    return out


_TYPES: dict[str, type] = {
    "dataset": str,
    "student": str,
    "description": str,
    "epochs": int,
    "batch_size": int,
    "learning_rate": float,
    "decay": float,
    "momentum": float,
    "weight_decay": float,
    "threads": int,
    "milestones": tuple,
    "members": dict,
    "data": dict,
    "teacher": dict,
    "optimization": dict,
}


def _typed(name: str, key: str, value: Any, expected: type) -> Any:
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected is tuple and isinstance(value, list) and all(type(v) is int for v in value):
        return tuple(value)
    if type(value) is not expected:
        words: dict[type, str] = {tuple: "a list of integers", dict: "a table"}
        wanted = words.get(expected, expected.__name__)
        raise LskdError(f"recipe {name}: {key} is {value!r} ({type(value).__name__}); expected {wanted}")
    return value


def _teacher(name: str, raw: dict[str, Any]) -> Teacher:
    known = {f.name for f in dataclasses.fields(Teacher)}
    for key in raw:
        if key not in known:
            raise LskdError(f"recipe {name}: unknown key teacher.{key}{_near(key, known)}")
    side = raw.get("input_size")
    if side is not None and (type(side) is not int or side < 8):
        raise LskdError(f"recipe {name}: teacher.input_size is {side!r}; expected the side of an image, from 8")
    teacher = Teacher(**raw) if "network" in raw else None
    if teacher is None or (teacher.recipe is None) == (teacher.checkpoint is None):
        raise LskdError(f"recipe {name}: [teacher] needs a network and either a recipe or a checkpoint")
    return teacher


def _near(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    if not choices:
        return ""
    listed = f"There are {', '.join(choices)}" if len(choices) <= 24 else "`lskd recipe list` has all"
    return f"; did you mean {nearest(word, choices)[0]!r}? {listed}"
