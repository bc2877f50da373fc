"""Every cell of every table: the members of all recipes, found by forgiving names, with what is known about each.

A cell is one recipe member. Cells of published experiments are called by what they are, "resnet32x4 -> resnet8x4,
dkd, ls"; members of the project's own recipes by the recipe, "digit-pairs, kd, ls".
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lskd.errors import LskdError, nearest
from lskd.recipes import Recipe, doubts, list_recipes, load_recipe
from paper import published
from paper.members import LIKE, SUFFIX
from paper.text import aligned, counted, protocol, written

SCHEDULE = ("epochs", "batch_size", "learning_rate", "decay", "momentum", "weight_decay", "optimization")


@dataclass(frozen=True)
class Cell:
    """One experiment: a student, what teaches it, and every setting. Accuracies are percent.

    ``temperature`` to ``beta`` are None where the method has no such setting (CTKD learns its temperature);
    ``settings`` has all of the method's. With LS, DKD multiplies ``alpha`` and ``beta`` by ``kd_weight``.
    ``obstacles`` say why it cannot be trained with what is installed; then ``command`` is None.
    """

    name: str
    recipe: str
    member: str
    dataset: str
    teacher: str | None
    student: str
    method: str
    standardize: bool
    temperature: float | None
    kd_weight: float | None
    ce_weight: float | None
    alpha: float | None
    beta: float | None
    settings: dict[str, Any]
    epochs: int
    batch_size: int
    learning_rate: float
    milestones: list[int]
    decay: float
    momentum: float
    weight_decay: float
    optimization: dict[str, Any]
    protocol: dict[str, str]
    published: float | None
    published_top5: float | None
    sources: list[str]
    assumed: list[str]
    doubts: list[str]
    obstacles: list[str]
    command: str | None


@functools.cache
def cells() -> tuple[Cell, ...]:
    """Every member of every recipe that comes with the project, in the order of files and members."""
    return tuple(cell for name in list_recipes() for cell in of_recipe(load_recipe(name, for_training=False)))


def of_recipe(recipe: Recipe, called: str = "") -> list[Cell]:
    """The cells of one recipe; ``called`` is what a command calls it, by default its name."""
    return [_cell(recipe, member, called or recipe.name) for member in recipe.members]


def _cell(recipe: Recipe, member: str, called: str) -> Cell:
    settings, about = dict(recipe.members[member]), recipe.about[member]
    method = settings.pop("method")
    teacher = recipe.teacher.network if recipe.teacher is not None and method != "plain" else None
    obstacles = recipe.obstacles()
    same: dict[str, Any] = {key: getattr(recipe, key) for key in SCHEDULE}
    same |= {key: settings.get(key) for key in ("temperature", "kd_weight", "ce_weight", "alpha", "beta")}
    words = ["lskd", "train", "--recipe", called]
    words += ["--members", member] if len(recipe.members) > 1 else []
    return Cell(
        name=_name(recipe, member, method, teacher),
        recipe=recipe.name,
        member=member,
        dataset=recipe.dataset,
        teacher=teacher,
        student=recipe.student,
        method=method,
        standardize=bool(settings.get("standardize", False)),
        settings=settings,
        milestones=list(recipe.milestones),
        protocol=protocol(recipe),
        published=about.published,
        published_top5=about.published_top5,
        sources=list(about.sources),
        assumed=list(about.assumed),
        doubts=[f"{name}: {doubts()[name]}" if name in doubts() else name for name in about.doubts],
        obstacles=obstacles,
        command=None if obstacles else shlex.join([*words, "--seed", "0"]),
        **same,
    )


def _name(recipe: Recipe, member: str, method: str, teacher: str | None) -> str:
    words = [member]
    for end, meaning in ((SUFFIX, "ls"), (LIKE, "like for like")):
        if member.endswith(end):
            words = [member.removesuffix(end), meaning]
    if member.startswith("weight_"):  # of Table 4, "weight_0p9_over_std": a point would end a TOML key
        _, weight, column = member.split("_", 2)
        words = [method, f"weight {weight.replace('p', '.')}", column]
    text = ", ".join(word.replace("_", " ") for word in words)
    if "/" not in recipe.name:
        return f"{recipe.name}, {text}"
    student = recipe.student.removeprefix("imagenet/")
    return f"{teacher.removeprefix('imagenet/')} -> {student}, {text}" if teacher else f"{student}, {text}"


# --- finding ---------------------------------------------------------------------------------------------------------


def find(query: str) -> Cell:
    """The cell of that name, whatever the case and what stands between words: "ResNet32x4 → resnet8x4 DKD+LS".

    "RECIPE/MEMBER" works too: "cifar100/resnet56-resnet20/kd_ls".

    Raises:
        LskdError: no cell, or several, are called that; names the nearest.
    """
    exact = [c for c in cells() if query.strip() in (c.name, f"{c.recipe}/{c.member}", f"{c.recipe}, {c.member}")]
    wanted = _key(query)
    found = exact or [c for c in cells() if _key(c.name) == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        listed = " or ".join(f"'{c.recipe}/{c.member}'" for c in found)
        raise LskdError(f"{query!r} may be any of {listed}; give one of these")
    near = " or ".join(map(repr, nearest(query, [c.name for c in cells()], n=3)))
    raise LskdError(f"no cell is called {query!r}; did you mean {near}? `lskd recipe list` has all")


def select(query: str) -> list[Cell]:
    """All cells of a recipe (its name, or a TOML file), or the one cell of that name (:func:`find`)."""
    if query.endswith(".toml") or query in list_recipes():
        return of_recipe(load_recipe(query, for_training=False), query)
    return [find(query)]


def _key(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


# --- text ------------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Cell]) -> str:
    """A line a cell: name, published value, what is trained, marks for doubts and for what cannot be trained."""
    lines = []
    for c in rows:
        marks = [counted(len(c.doubts), "doubt")] * bool(c.doubts) + ["cannot be run"] * bool(c.obstacles)
        note = f"  ({', '.join(marks)})" if marks else ""
        lines.append([c.name, "–" if c.published is None else f"{c.published:.2f}", f"{c.recipe}/{c.member}{note}"])
    return "\n".join(aligned(lines, right=1))


def cell_text(cell: Cell) -> str:
    """Everything about a cell, for reading: settings, published value, sources, doubts, command."""
    shown = "nothing at these settings"
    if cell.published is not None:
        five = f", top five {cell.published_top5:.2f} %" if cell.published_top5 is not None else ""
        shown = f"{cell.published:.2f} %{five}"
    parts = [
        ("data set", cell.dataset),
        ("teacher", cell.teacher or "none"),
        ("student", cell.student),
        ("method", cell.method + " with logit standardisation" * cell.standardize),
        *(
            (key, written(value) + "  (assumed)" * (key in cell.assumed))
            for key, value in cell.settings.items()
            if key != "standardize"
        ),
        *cell.protocol.items(),
        ("published", shown),
    ]
    lines = [cell.name, *(f"  {line}" for line in aligned(parts))]
    told = {"published numbers of this cell": _others(cell), "sources": cell.sources, "doubts": cell.doubts}
    for title, texts in told.items():
        lines += [f"\n{title}", *(f"  - {text}" for text in texts)] if texts else []
    if cell.obstacles:
        lines += ["\nit cannot be trained here", *(f"  - {reason}" for reason in cell.obstacles)]
    else:
        lines += ["\nrun it", f"  {cell.command}"]
    return "\n".join(lines)


def numbers(cell: Cell, **more: str) -> list[published.Number]:
    """Published numbers of a cell's networks and method, whatever their settings; ``more`` fields as in ``find``."""
    same: dict[str, Any] = {"dataset": cell.dataset, "method": cell.method, "standardize": cell.standardize}
    networks = {"teacher": cell.teacher or "", "student": cell.student.removesuffix("-distilled")}  # its second head
    return published.find(**same, **networks, **more)


def _others(cell: Cell) -> list[str]:
    """Published numbers of the same networks and method, with their own settings where the source tells them."""
    if cell.published is None or "/" not in cell.recipe:
        return []
    out = []
    special = cell.member.startswith("weight_") or cell.member.endswith(LIKE)
    for n in numbers(cell):
        if n.variant and (n.kd_weight, n.temperature) != (cell.kd_weight, cell.temperature):
            continue
        if special and (not n.variant or n.value != cell.published):
            continue
        kind = n.metric.replace("_", " ").replace("last10", "of the last ten")
        given = ((n.temperature, "T"), (n.kd_weight, "weight"), (n.beta, "beta"))
        extra = [f"{word} {value:g}" for value, word in given if value is not None]
        out.append(f"{n.value:.2f} ({kind}; {n.source}{'; ' + ', '.join(extra) if extra else ''})")
    return list(dict.fromkeys(out))
