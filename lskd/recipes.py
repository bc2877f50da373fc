"""Recipes: what is trained, on what and how, as TOML files; the one source of every hyperparameter.

A file is a cohort: its top-level keys are the protocol that all members share, ``[members.NAME]`` is one
objective each. Files live in ``recipes/``; a name is the file's name without ``.toml``, or a path.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from lskd.objectives import create_objective

__all__ = ["Recipe", "Teacher", "list_recipes", "load_recipe", "parse_settings"]

FOLDERS = (Path(__file__).resolve().parent.parent / "recipes", Path(__file__).resolve().parent / "_recipes")


@dataclass(frozen=True)
class Teacher:
    """Where a cohort's teacher comes from: a recipe that trains it on the same data, or a checkpoint.

    Attributes:
        network: name for :func:`lskd.models.create_model`.
        recipe: name of the recipe that trains it.
        seed: the seed of that run; one teacher serves the students of all seeds.
        settings: changes to that recipe, dotted keys.
        checkpoint: path of a ``.safetensors`` or published ``.pth`` file, used instead of ``recipe``.
    """

    network: str
    recipe: str | None = None
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe. Epochs count from 1; ``milestones`` are the last epochs before each decay."""

    name: str
    dataset: str
    student: str
    epochs: int
    batch_size: int
    learning_rate: float
    members: dict[str, dict[str, Any]]
    description: str = ""
    teacher: Teacher | None = None
    data: dict[str, Any] = field(default_factory=dict)
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def config(self) -> dict[str, Any]:
        """Everything that decides a run's result, as plain JSON values."""
        out = json.loads(json.dumps(dataclasses.asdict(self)))
        del out["description"]
        return out


def list_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.stem for folder in FOLDERS if folder.is_dir() for path in folder.glob("*.toml"))


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
    name: str, *, settings: Mapping[str, Any] | None = None, members: Iterable[str] | None = None
) -> Recipe:
    """Read, change and check a recipe.

    Args:
        name: a name in ``recipes/`` or the path of a TOML file.
        settings: changes by dotted key, such as ``{"epochs": 2, "members.kd.temperature": 3.0}``.
        members: keep only these, in the file's order.

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
    return _checked(path.stem, raw)


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
    table[last] = value


def _checked(name: str, raw: dict[str, Any]) -> Recipe:
    known = {f.name: f for f in dataclasses.fields(Recipe) if f.name != "name"}
    for key in raw:
        if key not in known:
            raise LskdError(f"recipe {name}: unknown key {key!r}{_near(key, known)}")
    required = [k for k, f in known.items() if f.default is f.default_factory is dataclasses.MISSING]
    missing = [k for k in required if k not in raw]
    if missing:
        raise LskdError(f"recipe {name}: missing {', '.join(missing)}")
    values = dict(raw, name=name)
    for key, expected in _TYPES.items():
        if key in values:
            values[key] = _typed(name, key, values[key], expected)
    if values.get("teacher") is not None:
        values["teacher"] = _teacher(name, values["teacher"])
    if not values["members"]:
        raise LskdError(f"recipe {name}: it has no members; give at least one [members.NAME]")
    for member, given in values["members"].items():
        member_settings = dict(given)
        method = member_settings.pop("method", None)
        if method is None:
            raise LskdError(f"recipe {name}, member {member}: missing method")
        try:
            objective = create_objective(method, **member_settings)
        except (ValueError, TypeError) as error:
            raise LskdError(f"recipe {name}, member {member}: {error}") from None
        if objective.needs_teacher and values.get("teacher") is None:
            raise LskdError(f"recipe {name}, member {member}: method {method!r} needs a [teacher]")
    for key in ("epochs", "batch_size", "learning_rate"):
        if not values[key] > 0:
            raise LskdError(f"recipe {name}: {key} is {values[key]}; it must be positive")
    milestones = values.get("milestones", ())
    if list(milestones) != sorted(set(milestones)) or any(m < 1 for m in milestones):
        raise LskdError(f"recipe {name}: milestones {list(milestones)} must be increasing epochs from 1")
    return Recipe(**values)


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
    "milestones": tuple,
    "members": dict,
    "data": dict,
    "teacher": dict,
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
    teacher = Teacher(**raw) if "network" in raw else None
    if teacher is None or (teacher.recipe is None) == (teacher.checkpoint is None):
        raise LskdError(f"recipe {name}: [teacher] needs a network and either a recipe or a checkpoint")
    return teacher


def _near(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    if not choices:
        return ""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0)
    return f"; did you mean {near[0]!r}? There are {', '.join(choices)}"
