"""Recipes: what is trained, on what and how, as TOML files; the one source of every hyperparameter.

A file is a cohort: its top-level keys are the protocol that all members share (:class:`Protocol`), ``[members.NAME]``
is one objective each, with the settings of its constructor. Files live in ``recipes/`` and its folders; a name is the
file's path there without ``.toml`` ("cifar100/resnet56-resnet20"), or the path of any file. A member also says what is
known about it (:class:`About`), which decides nothing.

A recipe may need packages that are not installed (:meth:`Recipe.obstacles`): it is read and checked all the same, and
training it is refused with the reason.
"""

from __future__ import annotations

import copy
import functools
import json
import os
from collections.abc import Iterable, Mapping
from importlib import util
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from lskd.checked import Count, Natural, NotNegative, Positive, Share, arguments, convert
from lskd.data import check_options, data_source
from lskd.errors import LskdError, hint, pick
from lskd.files import read_toml, visible
from lskd.models import list_models, model_info
from lskd.objectives import METHODS
from lskd.own_code import is_external, load_function, source_digest

# Inside the package where it is installed; what else lies beside it there is other people's.
_HERE = Path(__file__).resolve().parent
FOLDER = _HERE / "_recipes" if (_HERE / "_recipes").is_dir() else _HERE.parent / "recipes"
DOUBTS = "doubts.toml"
SLOW = ("MobileNetV2", "ShuffleV1", "ShuffleV2")  # a fifth of the others' learning rate (protocol 4.2)
TEMPLATE = "cifar100/alone/resnet32x4"

Percent = Annotated[float, Meta(ge=0, le=100)]


class Teacher(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a cohort's teacher comes from: a recipe that trains it on the same data, or a checkpoint.

    Attributes:
        network: name for :func:`lskd.models.create_model`.
        recipe: name of the recipe that trains it.
        seed: the seed of that run; one teacher serves the students of all seeds.
        settings: changes to that recipe, dotted keys.
        checkpoint: path of a ``.safetensors`` or published ``.pth`` file, used instead of ``recipe``; for
            ImageNet ResNets also "torchvision:" and the name of its weights, such as ``torchvision:IMAGENET1K_V1``.
        input_size: height and width of the images that it sees, resized from the students' (bilinear, protocol
            1.6); None: the students' own. A recipe that trains it gets the same number as ``data.size``.
    """

    network: str
    recipe: str | None = None
    seed: Natural = 0
    settings: dict[str, Any] = {}
    checkpoint: str | None = None
    input_size: Annotated[int, Meta(ge=8)] | None = None


class Optimization(Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[optimization]``; without it SGD with learning rates in steps (:mod:`lskd.trainer.optimization`)."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    betas: tuple[Share, Share] = (0.9, 0.999)
    nesterov: bool = False
    schedule: Literal["steps", "cosine"] = "steps"
    warmup_epochs: Natural = 0
    first_rate: NotNegative = 0.0
    final_rate: NotNegative = 0.0
    drop_last_batch: bool = False
    drop_path: Share | None = None
    exempt_from_decay: tuple[
        Literal["biases", "norms", "class token", "position embedding", "distillation token"], ...
    ] = ()


class About(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known about a member. Nothing here decides what is trained.

    Attributes:
        published: the published test accuracy in percent; None where nothing is published at these settings.
        published_top5: the same for the five largest logits.
        sources: where the value and the settings come from.
        assumed: settings that no source gives.
        doubts: where sources disagree or something is unknown, names in ``recipes/doubts.toml`` or sentences.
    """

    published: Percent | None = None
    published_top5: Percent | None = None
    sources: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class Doubt(Struct, frozen=True):
    """Where sources disagree or something is unknown, and the sections of the protocol that say more."""

    text: str
    sections: list[str]

    def __str__(self) -> str:
        plural = "s" * (len(self.sections) > 1)
        return f"{self.text.removesuffix('.')} (protocol section{plural} {' and '.join(self.sections)})."


class Protocol(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a recipe's file. Epochs count from 1; ``milestones`` are the last epochs before each decay.

    ``threads`` is what one network computes with on a CPU. It decides the order of sums, hence bits; members are
    trained side by side on the threads there are, so more than 1 is for a network that is trained alone.
    ``members``, ``data`` and ``optimization`` stay as they are written, because they are part of a run's identity;
    ``sources`` and ``doubts`` are those of all members.
    """

    dataset: str
    student: str
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    members: Annotated[dict[str, dict[str, Any]], Meta(min_length=1)]
    description: str = ""
    teacher: Teacher | None = None
    data: dict[str, Any] = {}
    milestones: tuple[Count, ...] = ()
    decay: Positive = 0.1
    momentum: Share = 0.9
    weight_decay: NotNegative = 5e-4
    threads: Count = 1
    optimization: dict[str, Any] = {}
    sources: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class Recipe(Protocol, frozen=True, kw_only=True):
    """A resolved recipe: ``members`` have the settings of their objectives alone, ``about`` an entry for each."""

    name: str
    about: dict[str, About] = {}

    @property
    def optimizing(self) -> Optimization:
        """``optimization`` with its defaults."""
        return convert(self.optimization, Optimization, f"recipe {self.name}: optimization.")

    @property
    def needs_teacher(self) -> bool:
        """Whether the objective of any member compares with a teacher."""
        return any(METHODS[settings["method"]].needs_teacher for settings in self.members.values())

    def config(self) -> dict[str, Any]:
        """Everything that decides a run's result, as plain JSON values."""
        out = {"name": self.name} | structs.asdict(self) | {"teacher": self.teacher and structs.asdict(self.teacher)}
        usual = [key for key, value in (("optimization", {}), ("threads", 1)) if out[key] == value]
        for key in ("description", "about", "sources", "doubts", *usual):
            del out[key]
        if self.teacher is not None and self.teacher.input_size is None:
            del out["teacher"]["input_size"]
        names = {self.dataset, self.student, *([self.teacher.network] if self.teacher else [])}
        own = {name: source_digest(name) for name in sorted(names) if is_external(name)}
        plain: dict[str, Any] = json.loads(json.dumps(out | ({"external": own} if own else {})))
        return plain

    def obstacles(self) -> list[str]:
        """Why the recipe cannot be trained with what is installed, one reason each; empty when it can."""
        missing = [] if is_external(self.dataset) else data_source(self.dataset).missing()
        weights = self.teacher.checkpoint if self.teacher else None
        if (weights or "").startswith("torchvision:") and util.find_spec("torchvision") is None:
            missing.append("torchvision")
        return [f"{self.dataset} needs {package}, which is not installed" for package in missing]


def list_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    found = {_name(path) for path in visible(FOLDER, "**/*.toml") if path.name != DOUBTS}
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
        model_info(network)  # other depths and widths; the error names near ones
    settings: dict[str, Any] = {"student": network} | ({"learning_rate": 0.01} if network in SLOW else {})
    return TEMPLATE, settings | ({} if dataset in (None, "cifar100") else {"dataset": dataset})


@functools.cache
def doubts() -> dict[str, Doubt]:
    """What is doubtful, by name, from ``recipes/doubts.toml``."""
    return {name: Doubt(" ".join(d["text"].split()), d["sections"]) for name, d in read_toml(FOLDER / DOUBTS).items()}


def load_recipe(
    name: str | os.PathLike[str],
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
    name = os.fspath(name)
    path = _find(name)
    raw = read_toml(path)
    for key, value in (settings or {}).items():
        _change(raw, key, value, name)
    if members is not None:
        wanted, known = list(members), raw.get("members", {})
        for member in wanted:
            if member not in known:
                raise LskdError(f"recipe {name}: no member {member!r}{hint(member, known, 'it has')}")
        raw["members"] = {k: v for k, v in known.items() if k in wanted}
    recipe = _checked(_name(path), raw)
    if for_training and (reasons := recipe.obstacles()):
        raise LskdError(f"recipe {recipe.name} cannot be trained here: {'; '.join(reasons)}")
    return recipe


def teacher_training(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """The recipe that trains a cohort's teacher, and the changes with which it does so.

    The teacher sees its students' data, whatever its own recipe says of it, at its own size where it has one. Only
    what differs from its recipe is a change: whoever trains it, for whichever cohort, gives its run the same identity.

    Raises:
        LskdError: the recipe has no teacher, one that comes as a checkpoint, or one that it teaches itself.
    """
    source = recipe.teacher
    if source is None or source.recipe is None:
        found = "no teacher" if source is None else f"a teacher that comes as a checkpoint, {source.checkpoint}"
        raise LskdError(f"recipe {recipe.name} has {found}; nothing has to be trained for it")
    given = last = load_recipe(source.recipe, settings=source.settings, for_training=False)
    chain = [recipe.name]
    while last.name not in chain and last.teacher and last.teacher.recipe:
        chain.append(last.name)
        last = load_recipe(last.teacher.recipe, settings=last.teacher.settings, for_training=False)
    if last.name in chain:
        raise LskdError(f"recipes teach each other: {' -> '.join([*chain, last.name])}; look at their [teacher]")
    if len(given.members) != 1:
        raise LskdError(
            f"recipe {recipe.name}: the recipe of its teacher, {source.recipe}, trains {len(given.members)} networks; "
            "expected one that trains one network, which then teaches: write one with a single member"
        )
    own = {} if source.input_size is None else {"size": source.input_size}
    wanted = {"student": source.network, "dataset": recipe.dataset, "data": {**recipe.data, **own}}
    return source.recipe, source.settings | {k: v for k, v in wanted.items() if getattr(given, k) != v}


def _name(path: Path) -> str:
    """The name that finds a file: its path below the folder of recipes, or its stem when it lies elsewhere."""
    inside = path.resolve().is_relative_to(FOLDER)
    return path.resolve().relative_to(FOLDER).with_suffix("").as_posix() if inside else path.stem


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        if Path(name).is_file():
            return Path(name)
        raise LskdError(f"recipe {name}: no such file")
    if (FOLDER / f"{name}.toml").is_file():
        return FOLDER / f"{name}.toml"
    raise LskdError(f"unknown recipe {name!r}{hint(name, list_recipes())}; `lskd recipe list` has all")


def _change(raw: dict[str, Any], dotted: str, value: Any, name: str) -> None:
    *parents, last = dotted.split(".")
    table = raw
    for i, part in enumerate(parents):
        found = table.get(part) if table is raw.get("members") else table.setdefault(part, {})
        if not isinstance(found, dict):
            there = f"{'.'.join(parents[: i + 1])} is {found!r}, no table"
            wrong = there if part in table else f"no member {part!r}{hint(part, table, 'it has')}"
            raise LskdError(f"recipe {name}: cannot set {dotted}: {wrong}")
        table = found
    other = {"checkpoint": "recipe", "recipe": "checkpoint"}.get(last)
    if parents == ["teacher"] and other:
        table.pop(other, None)  # a teacher has one origin; naming another replaces it
    table[last] = copy.deepcopy(value)  # another setting may change it


def _checked(name: str, raw: dict[str, Any]) -> Recipe:
    place = f"recipe {name}"
    shared = convert(raw, Protocol, f"{place}: ")
    members: dict[str, dict[str, Any]] = {}
    about: dict[str, About] = {}
    for member, given in shared.members.items():
        if not member or member.startswith(".") or "/" in member:
            raise LskdError(
                f"{place}: a member is called {member!r}, as its files will be; choose a name that a file can have"
            )
        if alike := [other for other in members if other.casefold() == member.casefold()]:
            raise LskdError(
                f"{place}: members {alike[0]!r} and {member!r} differ in case alone, and disks that do not tell it "
                "apart would keep the files of one; choose another name"
            )
        own = {key: given[key] for key in given if key in About.__struct_fields__}
        members[member] = {key: given[key] for key in given if key not in own}
        said = convert(own, About, f"{place}, member {member}: ")
        about[member] = structs.replace(said, sources=said.sources + shared.sources, doubts=said.doubts + shared.doubts)
    recipe = Recipe(**(structs.asdict(shared) | {"name": name, "members": members, "about": about}))
    check_options(recipe.dataset, recipe.data)
    _ = recipe.optimizing
    teacher = recipe.teacher
    if teacher is not None and (teacher.recipe is None) == (teacher.checkpoint is None):
        raise LskdError(f"{place}: [teacher] needs a network and either a recipe or a checkpoint")
    for network in (recipe.student, *([teacher.network] if teacher else [])):
        _check_network(name, network)
    for member, settings in members.items():
        _check_member(f"{place}, member {member}", settings, about[member], teacher)
    if list(recipe.milestones) != sorted(set(recipe.milestones)):
        raise LskdError(f"{place}: milestones {list(recipe.milestones)} must be increasing epochs from 1")
    return recipe


def _check_member(place: str, settings: Mapping[str, Any], about: About, teacher: Teacher | None) -> None:
    if "method" not in settings:
        raise LskdError(f"{place}: missing method; there are {', '.join(METHODS)}")
    given = dict(settings)
    method = convert(given.pop("method"), str, f"{place}: method")
    try:
        objective = pick("method", method, METHODS)
        made = objective(**arguments(objective, given, f"method {method!r}", "setting"))
    except (LskdError, ValueError) as error:
        raise LskdError(f"{place}: {error}") from None
    if made.needs_teacher and teacher is None:
        raise LskdError(f"{place}: method {method!r} needs a [teacher]")
    for key in about.assumed:
        if key not in settings and key not in Protocol.__struct_fields__:
            raise LskdError(f"{place}: assumed names {key!r}, which it does not set{hint(key, settings, 'it sets')}")
    for doubt in about.doubts:
        if " " not in doubt and doubt not in doubts():
            raise LskdError(f"{place}: unknown doubt {doubt!r}{hint(doubt, doubts())}")


def _check_network(name: str, network: str) -> None:
    if is_external(network):
        load_function(network)
    elif network not in list_models():  # those of the paper need no trial
        try:
            model_info(network)
        except LskdError as error:
            raise LskdError(f"recipe {name}: {error}") from None
