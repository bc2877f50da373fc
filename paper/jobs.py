"""The jobs that fill the paper's tables: which runs, which share a teacher and its logits, what waits for what.

A run is a recipe and a seed: all of its members are one cohort and share teacher, batches and views. A network that
teaches is trained once, with the seed that the recipes name, and serves the students of all seeds; so does the table
of its logits. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
import functools
import graphlib
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lskd.data import DATASETS
from lskd.errors import LskdError, nearest
from lskd.models.registry import model_info
from lskd.objectives import METHODS
from lskd.recipes import Recipe, load_recipe, teacher_training
from lskd.trainer.table import choose
from paper import tables as paper_tables
from paper.cells import Cell, cells
from paper.job_settings import Wanted

__all__ = ["Job", "make", "ordered"]

STRONG = ("mlkd",)  # methods that see a weak and a strong view of every image


@dataclass(frozen=True)
class Job:
    """One thing that a machine does in one go.

    Attributes:
        name: kind, recipe and seed, ending in a digest of all that decides what the job does.
        kind: "network" trains one without a teacher, "logits" computes a teacher's table, "cohort" trains students.
        members: of the recipe; empty for a table.
        settings: changes to the recipe; only a rehearsal has any, and a teacher whose recipe names other data.
        teacher: what the students learn from, or None.
        logits: "table" or "live", for a cohort.
        after: names of the jobs whose results this one needs.
        serves: the paper's tables that it is needed for.
        obstacles: why what is installed cannot do it.
        multiply_adds: of all forward and backward passes, a backward pass counting as two forwards.
    """

    name: str
    kind: str
    recipe: str
    seed: int
    members: tuple[str, ...]
    settings: dict[str, Any]
    dataset: str
    teacher: str | None
    student: str | None
    epochs: int
    logits: str | None
    after: tuple[str, ...]
    serves: tuple[int | str, ...]
    obstacles: tuple[str, ...]
    multiply_adds: float

    @property
    def networks(self) -> str:
        """ "resnet32x4 -> resnet8x4", or one network."""
        return " -> ".join(plain(n) for n in (self.teacher, self.student) if n)


def make(wanted: Wanted) -> list[Job]:
    """All jobs of a plan, each after those that it waits for.

    Raises:
        LskdError: pairs that no table has, a setting that a recipe refuses, or recipes that teach each other.
    """
    jobs: dict[str, Job] = {}
    for recipe, (members, tables) in _selected(wanted).items():
        for seed in wanted.seeds:
            _add_run(jobs, wanted, recipe, seed, members, _changes(recipe, wanted.settings), tables, ())
    return ordered(_merged(jobs.values()))


def ordered(jobs: Iterable[Job]) -> list[Job]:
    """Jobs after those that they wait for: networks, tables, cohorts, each in the order given.

    Raises:
        LskdError: they wait for each other, or for a job that there is not.
    """
    given = {job.name: job for job in jobs}
    for job in given.values():
        for name in job.after:
            if name not in given:
                raise LskdError(f"job {job.name} waits for {name}, which is not among the jobs")
    try:
        order = list(graphlib.TopologicalSorter({n: job.after for n, job in given.items()}).static_order())
    except graphlib.CycleError as error:
        raise LskdError(f"jobs wait for each other: {' -> '.join(error.args[1])}; look at their [teacher]") from None
    rank = {"network": 0, "logits": 1, "cohort": 2}
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = max([rank[given[name].kind], *(depth[n] for n in given[name].after)])
    return sorted(given.values(), key=lambda job: (depth[job.name], rank[job.kind]))


def plain(network: str) -> str:
    """ "imagenet/ResNet18" is ResNet18 to a reader."""
    return network.rpartition("/")[2]


# --- which cells -----------------------------------------------------------------------------------------------------


def _selected(wanted: Wanted) -> dict[str, tuple[list[str], list[int | str]]]:
    """Recipe to members and the tables that they are for."""
    chosen: dict[str, tuple[list[str], list[int | str]]] = {}
    for table in wanted.tables:
        found = list(_of_table(table))
        if wanted.pairs is not None:
            found = [cell for cell in found if _is_asked_for(cell, wanted.pairs)]
        for cell in found:
            members, tables = chosen.setdefault(cell.recipe, ([], []))
            more = (
                [cell.member] if wanted.members == "printed" else [c.member for c in cells() if c.recipe == cell.recipe]
            )
            members += [member for member in more if member not in members]
            tables += [table] if table not in tables else []
    if wanted.pairs is not None:
        have = list(dict.fromkeys(name for table in wanted.tables for c in _of_table(table) for name in _names(c)))
        for pair in wanted.pairs:
            if _key(pair) not in {_key(name) for name in have}:
                near = ", ".join(repr(n) for n in nearest(pair, have, n=3))
                listed = ", ".join(map(str, wanted.tables))
                raise LskdError(f"pairs: nothing in table {listed} is called {pair!r}; did you mean {near}?")
    return chosen


@functools.cache
def _of_table(table: int | str) -> tuple[Cell, ...]:
    if table == "vit":
        return tuple(cell for cell in cells() if cell.recipe.startswith("vit/"))
    return tuple(paper_tables.printed(int(table)))


def _names(cell: Cell) -> list[str]:
    """What a reader may call it: its pair, or its network when that is trained alone."""
    return [f"{plain(cell.teacher)} -> {plain(cell.student)}"] if cell.teacher else [plain(cell.student)]


def _is_asked_for(cell: Cell, pairs: Iterable[str]) -> bool:
    keys = {_key(pair) for pair in pairs}
    alone = {network for key in keys for network in key} if cell.teacher is None else set()
    return any(_key(name) in keys for name in _names(cell)) or _key(cell.student)[0] in alone


def _key(pair: str) -> tuple[str, ...]:
    """Networks of a pair, whatever the arrow and the case."""
    return tuple(plain(word).lower() for word in re.split(r"\s*(?:->|→|,|\s)\s*", pair.strip()) if word)


# --- jobs ------------------------------------------------------------------------------------------------------------


def _add_run(
    jobs: dict[str, Job],
    wanted: Wanted,
    name: str,
    seed: int,
    members: Iterable[str] | None,
    settings: dict[str, Any],
    tables: Iterable[int | str],
    below: tuple[str, ...],
) -> str:
    """Put the run of a recipe, and all that it needs, among the jobs; returns its name."""
    if name in below:
        raise LskdError(f"recipes teach each other: {' -> '.join([*below, name])}; look at their [teacher]")
    recipe = load_recipe(name, settings=settings, members=members, for_training=False)
    obstacles, after, serves = tuple(recipe.obstacles()), [], tuple(tables)
    source = recipe.teacher
    taught = [m for m in recipe.members.values() if m["method"] not in METHODS or m["method"] != "plain"]
    logits = None
    if source is not None and taught:
        logits = _logits(recipe, wanted)
        if source.recipe is not None:
            by, before = teacher_training(recipe)
            after.append(_add_run(jobs, wanted, by, source.seed, None, before, serves, (*below, name)))
            obstacles += tuple(o for o in jobs[after[0]].obstacles if o not in obstacles)
        if logits == "table":
            after.append(_add_table(jobs, wanted, recipe, settings, after, serves, obstacles))
    job = Job(
        name="",
        kind="cohort" if logits else "network",
        recipe=name,
        seed=seed,
        members=tuple(recipe.members),
        settings=dict(settings),
        dataset=recipe.dataset,
        teacher=source.network if source is not None and taught else None,
        student=recipe.student,
        epochs=recipe.epochs,
        logits=logits,
        after=tuple(after),
        serves=serves,
        obstacles=obstacles,
        multiply_adds=_run_cost(recipe, logits),
    )
    return _put(jobs, job, f"{name}/seed-{seed}", [recipe.config(), seed, logits, wanted.table_dtype, wanted.device])


def _changes(recipe: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal's settings for a recipe: its teacher gets them too, and the students' data from the trainer."""
    source = load_recipe(recipe, for_training=False).teacher
    if not settings or source is None or source.recipe is None:
        return settings
    teacher = {k: v for k, v in settings.items() if k.partition(".")[0] not in ("dataset", "data")}
    return {**settings, "teacher.settings": teacher}


def _add_table(
    jobs: dict[str, Job],
    wanted: Wanted,
    recipe: Recipe,
    settings: dict[str, Any],
    after: list[str],
    serves: tuple[int | str, ...],
    obstacles: tuple[str, ...],
) -> str:
    """The table of a cohort's teacher; other cohorts of that teacher share it."""
    assert recipe.teacher is not None
    train, _, views = _sizes(recipe)
    job = Job(
        name="",
        kind="logits",
        recipe=recipe.name,  # any cohort of this teacher says the same about teacher and data
        seed=recipe.teacher.seed,
        members=(),
        settings=dict(settings),
        dataset=recipe.dataset,
        teacher=recipe.teacher.network,
        student=None,
        epochs=0,
        logits="table",
        after=tuple(after),
        serves=serves,
        obstacles=obstacles,
        multiply_adds=float(train * (views or 0) * _forward(recipe.teacher.network)),
    )
    config = recipe.config()
    deciding = [config["teacher"], config["dataset"], config["data"], wanted.table_dtype, wanted.device, list(after)]
    return _put(
        jobs, job, f"{recipe.teacher.recipe or plain(recipe.teacher.network)}/seed-{recipe.teacher.seed}", deciding
    )


def _put(jobs: dict[str, Job], job: Job, name: str, deciding: list[Any]) -> str:
    """Name a job by what it does; one of that name gets what this one serves."""
    name = f"{job.kind}/{name}-{hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]}"
    before = jobs.get(name)
    serves = before.serves if before else ()
    serves += tuple(table for table in job.serves if table not in serves)
    jobs[name] = dataclasses.replace(before or job, name=name, serves=serves)
    return name


def _merged(jobs: Iterable[Job]) -> list[Job]:
    """What the teachers' tables say that they serve, in the tables' order."""
    return [dataclasses.replace(j, serves=tuple(sorted(j.serves, key=str))) for j in jobs]


def _logits(recipe: Recipe, wanted: Wanted) -> str:
    train, _, views = _sizes(recipe)
    if views is None or not any(m["method"] in METHODS for m in recipe.members.values()):
        return "live"
    return choose(wanted.teacher_logits, epochs=recipe.epochs, train_size=train, views=views)[0]


def _sizes(recipe: Recipe) -> tuple[int, int, int | None]:
    """Training and test images, and how many weak views one has; None: too many for a table."""
    source = DATASETS.get(recipe.dataset)
    if source is None or source.train is None or source.test is None:
        known = ", ".join(name for name, one in DATASETS.items() if one.train is not None)
        raise LskdError(f"recipe {recipe.name}: no plan knows the size of {recipe.dataset!r}; it knows {known}")
    train = recipe.data.get("train_size", source.train) - recipe.data.get("holdout", 0)
    return train, recipe.data.get("test_size", source.test), source.views


# --- cost ------------------------------------------------------------------------------------------------------------


@functools.cache
def _forward(network: str) -> int:
    """Multiply-adds of one image's forward pass."""
    return model_info(network).multiply_adds


def _run_cost(recipe: Recipe, logits: str | None) -> float:
    """Forwards of the teacher, forwards and backwards of every member, and a test after every epoch."""
    train, test, _ = _sizes(recipe)
    student, methods = _forward(recipe.student), [m["method"] for m in recipe.members.values()]
    each = sum(3 * student * (2 if method in STRONG else 1) for method in methods)
    if logits is not None:
        assert recipe.teacher is not None
        views = (logits == "live") + any(method in STRONG for method in methods)
        each += views * _forward(recipe.teacher.network)
    return float(recipe.epochs * (train * each + test * student * len(methods)))
