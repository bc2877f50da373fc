"""What is to be run: one checked file of ``workflow/tables/`` and changes to it, or of ``workflow/`` for the book."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from lskd.checked import Count, Natural, convert
from lskd.errors import LskdError, hint, nearest
from lskd.files import visible


class Runs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Runs by name: a recipe, its members (None: all) and seeds."""

    recipe: str
    members: tuple[str, ...] | None = None
    seeds: tuple[Natural, ...] = (0,)


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which runs, and how they are carried out: the keys of a file in ``workflow/tables/``.

    Attributes:
        first: runs that come before all others, in this order, whether or not a table prints them.
        tables: of the paper, 1 to 5; "vit" are the vision transformers.
        pairs: of these tables, None for all; a network that is trained alone goes by its name.
        members: "printed" ones, or "all" of the recipes that the tables take them from.
        order: "listed", as the tables print them, or "worth": what fills most cells an hour (:mod:`paper.jobs`).
        rehearsal: allows ``settings``, changes to every recipe, and keeps records out of the store of the book.
        precision: of every run; "auto" goes on with a run in the precision in which it was begun.
        runs, store, folder: of networks and tables of logits, of records, and of what Snakemake has to know.
        threads, memory_mb, minutes: what a job asks a cluster for.
    """

    name: str
    first: tuple[Runs, ...] = ()
    tables: tuple[Literal[1, 2, 3, 4, 5, "vit"], ...] = ()
    pairs: tuple[str, ...] | None = None
    members: Literal["printed", "all"] = "printed"
    seeds: tuple[Natural, ...] = (0, 1, 2)
    order: Literal["listed", "worth"] = "listed"
    rehearsal: bool = False
    settings: dict[str, Any] = {}
    device: str = "auto"
    precision: Literal["auto", "float32", "tf32", "bf16"] = "auto"
    teacher_logits: Literal["auto", "table", "live"] = "auto"
    table_dtype: Literal["float32", "float16"] = "float32"
    runs: str = "build/runs"
    store: str = "results"
    folder: str = "build/tables"
    threads: Count = 4
    memory_mb: Count = 24_000
    minutes: Count = 1440


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a cohort of the book is trained by: a recipe, its members ((): all) and changes by dotted key."""

    recipe: str
    members: tuple[str, ...] = ()
    settings: dict[str, Any] = {}


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the book is made: the keys of a file in ``workflow/``; ``notebooks`` has parameters by notebook."""

    teacher: Part
    students: Part
    seed: Natural
    device: str
    book: str
    notebooks: dict[str, dict[str, Any]] = {}


def preset(name: str, *, root: Path) -> Preset:
    """Read ``workflow/NAME.yaml``; errors as :func:`load` has them."""
    found: Preset = convert(_read(root / "workflow", "preset", name), Preset, f"preset {name}: ")
    return found


def load(name: str, changes: Mapping[str, Any] | None = None, *, root: Path) -> Plan:
    """Read ``workflow/tables/NAME.yaml`` and change it.

    Args:
        changes: by key; ``settings.KEY`` is a recipe's. ``pairs`` may be "all", ``seeds`` how many.

    Raises:
        LskdError: no such file, an unknown key, a value of the wrong kind, or changed recipes outside a rehearsal.
    """
    raw = _read(root / "workflow" / "tables", "plan", name)
    for key, value in (changes or {}).items():
        head, dot, rest = key.partition(".")
        if key in ("epochs", "batch_size"):
            raise LskdError(f"plan {name}: {key} is a recipe's setting; settings.{key} changes it, in a rehearsal")
        raw |= {"settings": {**(raw.get("settings") or {}), rest: value}} if dot else {key: value}
        if dot and head != "settings":
            meant = rest if nearest(head, ["settings"], cutoff=0.7) else key
            raise LskdError(f"plan {name} has no {key!r}; a recipe's setting is settings.{meant}")
    raw = {key: _numbers(value) for key, value in raw.items()}
    for key in ("tables", "pairs"):
        raw |= {key: [raw[key]]} if isinstance(raw.get(key), str | int) else {}
    raw |= {"pairs": None} if raw.get("pairs") == ["all"] else {}
    raw |= {"seeds": list(range(raw["seeds"]))} if type(raw.get("seeds")) is int and raw["seeds"] > 0 else {}
    plan: Plan = convert({"name": name, **raw}, Plan, f"plan {name}: ")
    if plan.settings and not plan.rehearsal:
        changed = ", ".join(f"{k}={v!r}" for k, v in plan.settings.items())
        raise LskdError(
            f"plan {name}: settings {changed} change the recipes, so that its runs are no cells of the paper's tables. "
            "Leave them out, or make it a rehearsal: --set rehearsal=true with runs and store of its own"
        )
    if plan.rehearsal and (root / plan.store).resolve().is_relative_to((root / "results").resolve()):
        raise LskdError(
            f"plan {name}: a rehearsal's numbers mean nothing, and the book reads its store, {plan.store!r}; "
            "give another, such as build/rehearsal/results"
        )
    return plan


def _read(place: Path, kind: str, name: str) -> dict[str, Any]:
    """The keys of a YAML file, texts; of one that stands there twice YAML would take the last."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key) for key, _ in node.value]
            for key, (at, _) in zip(keys, node.value, strict=True):
                if not isinstance(key, str) or keys.count(key) > 1:
                    wrong = "there twice" if isinstance(key, str) else "no text; quote it"
                    raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is {wrong}", at.start_mark)
            return super().construct_mapping(node, deep)

    known = [path.stem for path in visible(place, "*.yaml")]
    if name not in known:
        raise LskdError(f"{place}: no {kind} {name!r}{hint(name, known)}; call this in a checkout of the project")
    try:
        found = yaml.load((place / f"{name}.yaml").read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LskdError(f"{kind} {name}: {place / name}.yaml cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise LskdError(f"{kind} {name}: {place / name}.yaml holds {found!r}; expected keys, such as `seed: 0`")
    return found


def _numbers(value: Any) -> Any:
    """Lists as Snakemake's ``--config tables=[1,2]`` gives them, of strings, to lists of numbers."""
    if isinstance(value, list):
        return [int(item) if isinstance(item, str) and item.strip().isdecimal() else item for item in value]
    return value
