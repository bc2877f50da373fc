"""The jobs of a plan: runs and tables of logits, which of them share a teacher, which waits for which, what they cost.

A run is a recipe and a seed: all of its members are one cohort and share teacher, batches and views. A network that
teaches is trained once, with the seed that the recipes name, and serves the students of all seeds; so does the table
of its logits. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lskd.data import DATASETS
from lskd.errors import LskdError, nearest
from lskd.models.registry import model_info
from lskd.objectives import METHODS
from lskd.recipes import Recipe, load_recipe, teacher_training
from lskd.records import deciding
from lskd.trainer import TRAINER
from lskd.trainer.logit_table import choose
from lskd.trainer.published_teachers import published_teacher
from paper import tables as paper_tables
from paper.cells import Cell, cells
from paper.plan import Plan

# --- jobs ------------------------------------------------------------------------------------------------------------


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
        passes: networks and how many images pass forward, a backward pass counting as two forwards.
        key: what a run's folder and record say of it, see :func:`key_of`; empty for a table.
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
    passes: tuple[tuple[str, int], ...]
    key: str = dataclasses.field(default="", repr=False)

    @property
    def networks(self) -> str:
        """ "resnet32x4 -> resnet8x4", or one network."""
        return " -> ".join(plain(n) for n in (self.teacher, self.student) if n)

    @property
    def multiply_adds(self) -> float:
        """Of all passes; the first question about a network builds it, which takes a moment."""
        return float(sum(images * model_info(network).multiply_adds for network, images in self.passes))


def make(plan: Plan) -> list[Job]:
    """All jobs of a plan in the order in which one process does them, each after those that it waits for.

    Raises:
        LskdError: pairs that no table has, or a setting that a recipe refuses.
    """
    jobs: dict[str, Job] = {}
    first = [name for runs in plan.first for name in _add_runs(jobs, plan, runs.recipe, runs.members, runs.seeds)]
    for recipe, (members, tables) in _selected(plan).items():
        _add_runs(jobs, plan, recipe, members, plan.seeds, tuple(tables))
    placed: dict[str, Job] = {}
    for name in first:
        placed |= _with_needs(jobs, name, placed)
    if plan.order == "worth":
        _by_worth(jobs, placed)
    for name in jobs:
        placed |= _with_needs(jobs, name, placed)
    return list(placed.values())


def _with_needs(jobs: Mapping[str, Job], name: str, placed: Mapping[str, Job]) -> dict[str, Job]:
    """A job after those that it needs, without those that are placed."""
    if name in placed:
        return {}
    found: dict[str, Job] = {}
    for before in jobs[name].after:
        found |= _with_needs(jobs, before, {**placed, **found})
    return found | {name: jobs[name]}


def _by_worth(jobs: Mapping[str, Job], placed: dict[str, Job]) -> None:
    """Place what fills most cells an hour first, with what it needs.

    A member that the paper prints is worth 1, its second seed 1/2, its third 1/3, whatever recipe trains it; the hours
    are those of the job and of whatever it needs that is not placed yet. What cannot be run comes last.
    """
    fills = {name: _fills(job) for name, job in jobs.items()}
    seeds = Counter(cell for name in placed for cell in fills[name])
    waiting = [name for name, job in jobs.items() if name not in placed and job.kind != "logits"]

    def rank(name: str) -> tuple[bool, float]:
        needed = _with_needs(jobs, name, placed).values()
        worth = sum(1 / (1 + seeds[cell]) for cell in fills[name])
        return not jobs[name].obstacles, worth / sum(job.multiply_adds for job in needed)

    while waiting:
        best = max(waiting, key=rank)  # the earlier one of equals
        placed |= _with_needs(jobs, best, placed)
        waiting = [name for name in waiting if name not in placed]
        seeds.update(fills[best])


def _fills(job: Job) -> list[str]:
    """What a job's members are to the tables, see :func:`paper.tables.content`."""
    config = load_recipe(job.recipe, settings=job.settings, for_training=False).config()
    return [json.dumps(paper_tables.content(config, member), sort_keys=True) for member in job.members]


def plain(network: str) -> str:
    """ "imagenet/ResNet18" is ResNet18 to a reader."""
    return network.rpartition("/")[2]


# --- which cells -----------------------------------------------------------------------------------------------------


def _selected(plan: Plan) -> dict[str, tuple[list[str], list[int | str]]]:
    """Recipe to members and the tables that they are for."""
    asked = {_pair(pair): pair for pair in plan.pairs or ()}
    alone = {network for key in asked for network in key}  # of a pair too, where a table has them
    chosen: dict[str, tuple[list[str], list[int | str]]] = {}
    known: dict[tuple[str, ...], str] = {}
    for table in plan.tables:
        for cell in _of_table(table):
            name = " -> ".join(plain(network) for network in (cell.teacher, cell.student) if network)
            key = _pair(name)
            known[key] = name
            if plan.pairs is not None and key not in asked and (cell.teacher or key[0] not in alone):
                continue
            members, tables = chosen.setdefault(cell.recipe, ([], []))
            every = [cell.member] if plan.members == "printed" else load_recipe(cell.recipe, for_training=False).members
            members += [member for member in every if member not in members]
            tables += [table] if table not in tables else []
    for key, pair in asked.items():
        if key not in known:
            near = ", ".join(repr(n) for n in nearest(pair, [*known.values()], n=3))
            listed = ", ".join(map(str, plan.tables))
            raise LskdError(f"pairs: nothing in table {listed} is called {pair!r}; did you mean {near}?")
    return chosen


def _of_table(table: int | str) -> tuple[Cell, ...]:
    if table == "vit":
        return tuple(cell for cell in cells() if cell.recipe.startswith("vit/"))
    return tuple(paper_tables.printed(int(table)))


def _pair(pair: str) -> tuple[str, ...]:
    """Networks of a pair, whatever the arrow and the case."""
    return tuple(plain(word).lower() for word in re.split(r"\s*(?:->|→|,|\s)\s*", pair.strip()) if word)


def _add_runs(
    jobs: dict[str, Job],
    plan: Plan,
    name: str,
    members: Iterable[str] | None,
    seeds: Iterable[int],
    serves: tuple[int | str, ...] = (),
) -> list[str]:
    """Put a recipe's runs, and all that they need, among the jobs; returns their names."""
    settings = plan.settings
    if settings and (source := load_recipe(name, for_training=False).teacher) and source.recipe:
        # A rehearsal's settings are its teacher's too, which has the students' data from the trainer.
        teacher = {k: v for k, v in settings.items() if k.partition(".")[0] not in ("dataset", "data")}
        settings = {**settings, "teacher.settings": teacher}
    recipe = load_recipe(name, settings=settings, members=members, for_training=False)
    return [_add_run(jobs, plan, name, recipe, settings, seed, serves) for seed in seeds]


def _add_run(
    jobs: dict[str, Job],
    plan: Plan,
    name: str,
    recipe: Recipe,
    settings: dict[str, Any],
    seed: int,
    serves: tuple[int | str, ...],
) -> str:
    """One of them: ``recipe`` is that of this name with these settings."""
    obstacles, after, logits = tuple(recipe.obstacles()), [], None
    teacher = recipe.teacher
    if not any(METHODS[m["method"]].needs_teacher for m in recipe.members.values()):
        teacher = None
    if teacher is not None:
        train, _, views = _sizes(recipe)
        logits = "live"
        if views is not None:
            logits = choose(plan.teacher_logits, epochs=recipe.epochs, train_size=train, views=views)[0]
        if teacher.recipe is not None and not published_teacher(recipe):
            by, before = teacher_training(recipe)
            trained = load_recipe(by, settings=before, for_training=False)
            after.append(_add_run(jobs, plan, by, trained, before, teacher.seed, serves))
            obstacles += tuple(o for o in jobs[after[0]].obstacles if o not in obstacles)
    dtype = plan.table_dtype if logits == "table" else "float32"
    key = key_of(
        {
            "config": recipe.config(),
            "seed": seed,
            "teacher_logits": logits and {"source": logits, "dtype": dtype},
            "trainer": TRAINER,
            "dataset": {"digest": ""},
            "teacher": None,
        }
    )
    job = Job(
        name="",
        kind="cohort" if logits else "network",
        recipe=name,
        seed=seed,
        members=tuple(recipe.members),
        settings=settings,
        dataset=recipe.dataset,
        teacher=teacher.network if teacher else None,
        student=recipe.student,
        epochs=recipe.epochs,
        logits=logits,
        after=tuple(after),
        serves=serves,
        obstacles=obstacles,
        passes=_passes(recipe, logits),
        key=key,
    )
    if logits == "table":
        job = dataclasses.replace(job, after=(*after, _add_table(jobs, plan, recipe, job)))
    return _put(jobs, job, f"{name}/seed-{seed}", [key, plan.device, plan.precision])


def _add_table(jobs: dict[str, Job], plan: Plan, recipe: Recipe, cohort: Job) -> str:
    """The table of a cohort's teacher; all cohorts of that teacher say the same of it and the data, and share it."""
    assert recipe.teacher is not None
    train, _, views = _sizes(recipe)
    network, seed, config = recipe.teacher.network, recipe.teacher.seed, recipe.config()
    table: dict[str, Any] = {"kind": "logits", "seed": seed, "passes": ((network, train * (views or 0)),)}
    job = dataclasses.replace(cohort, **table, members=(), student=None, epochs=0, key="")
    parts = [config["teacher"], config["dataset"], config["data"], plan.table_dtype, plan.device, list(job.after)]
    return _put(jobs, job, f"{recipe.teacher.recipe or plain(network)}/seed-{seed}", parts)


def _put(jobs: dict[str, Job], job: Job, name: str, parts: list[Any]) -> str:
    """Name a job by what it does; one of that name gets what this one serves."""
    name = f"{job.kind}/{name}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]}"
    before = jobs.get(name, job)
    serves = tuple(sorted({*before.serves, *job.serves}, key=str))
    jobs[name] = dataclasses.replace(before, name=name, serves=serves)
    return name


def _sizes(recipe: Recipe) -> tuple[int, int, int | None]:
    """Training and test images, and how many weak views one has; None: too many for a table."""
    source = DATASETS.get(recipe.dataset)
    if source is None or source.train is None or source.test is None:
        known = ", ".join(name for name, one in DATASETS.items() if one.train is not None)
        raise LskdError(f"recipe {recipe.name}: no plan knows the size of {recipe.dataset!r}; it knows {known}")
    train = recipe.data.get("train_size", source.train) - recipe.data.get("holdout", 0)
    return train, recipe.data.get("test_size", source.test), source.views


# --- cost ------------------------------------------------------------------------------------------------------------


def _passes(recipe: Recipe, logits: str | None) -> tuple[tuple[str, int], ...]:
    """Forwards of the teacher, forwards and backwards of every member, and a test after every epoch."""
    train, test, _ = _sizes(recipe)
    strong = sum(METHODS[m["method"]].needs_strong for m in recipe.members.values())
    students = train * 3 * (len(recipe.members) + strong) + test * len(recipe.members)
    found = ((recipe.student, recipe.epochs * students),)
    if logits is None:
        return found
    assert recipe.teacher is not None
    views = (logits == "live") + (strong > 0)
    return (*found, (recipe.teacher.network, recipe.epochs * train * views)) if views else found


def key_of(about: Mapping[str, Any]) -> str:
    """What a plan can know of a run before data and teacher are there."""
    parts = deciding(about)
    known = [parts[k] for k in ("config", "seed", "teacher_logits", "trainer")]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
