"""The store of run records: append-only, safe with several writers, each file named by what decided its result.

``results/<dataset>/<teacher>-<student>/seed-<N>-<address>.json`` is one run. The address is a SHA-256 over
configuration, seed, data and the teacher's weights, so equal names mean the same experiment. A stored record also
carries the SHA-256 of its own content. Nothing is ever overwritten; records that were put there by hand under other
names are read too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lskd.errors import LskdError, nearest
from lskd.files import differences, locked, visible, write_json
from lskd.recipes import load_recipe
from lskd.records import computed_with, identity, load_record, without_places
from paper.members import order

STORE = Path("results")


@dataclass
class Group:
    """Runs of one experiment that differ in seed alone; they may hold different members of it."""

    name: str
    key: dict[str, Any]
    runs: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)  # files and records, by seed

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for _, record in self.runs]

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.runs[0][1]["config"])

    @property
    def networks(self) -> str:
        teacher = (self.runs[0][1].get("teacher") or {}).get("network")
        return f"{teacher} -> {self.config['student']}" if teacher else str(self.config["student"])

    @property
    def digest(self) -> str:
        """Names the experiment and its members' settings, whatever the seeds."""
        return _sha({**self.key, "members": self.settings})

    @property
    def settings(self) -> dict[str, Any]:
        """Every member's settings, as the recipe gives them."""
        return {name: member for record in self.records for name, member in record["config"]["members"].items()}


# --- adding ----------------------------------------------------------------------------------------------------------


def address(record: Mapping[str, Any]) -> str:
    """SHA-256 over what decides a run's result except the code; device and precision where they are unusual."""
    teacher = (record.get("teacher") or {}).get("digest")
    config = without_places(record["config"])
    deciding = {"config": config, "seed": record["seed"], "data": record["dataset"]["digest"]}
    with_ = computed_with(record)
    return _sha(deciding | {"teacher": teacher} | ({} if with_ == "cpu, float32" else {"computed_with": with_}))


def content_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 over a record as it was measured, without what the store adds."""
    return _sha({k: v for k, v in record.items() if k != "store"})


def record_path(record: Mapping[str, Any], store: Path | str = STORE) -> Path:
    """Where the store keeps a record."""
    teacher = (record.get("teacher") or {}).get("network")
    networks = [_plain(name) for name in (teacher, record["config"]["student"]) if name]
    folder = Path(store) / _plain(record["config"]["dataset"]) / "-".join(networks)
    return folder / f"seed-{record['seed']}-{address(record)[:12]}.json"


def add(source: Path | str, store: Path | str = STORE) -> tuple[Path, bool]:
    """Put the record of a finished run, its folder or its record.json, into the store.

    Returns:
        Where the record is, and whether it is new there. Adding the same record again changes nothing.

    Raises:
        LskdError: the store has another result of the same experiment, seed and member: a run counts once; or the
            record is not what its identity says.
    """
    record = load_record(source)
    record.pop("store", None)
    if "identity" in record and record["identity"] != identity(record):
        raise LskdError(f"{source}: its configuration, seed, data or teacher was changed after it was run; not added")
    final = record_path(record, store)
    Path(store).mkdir(parents=True, exist_ok=True)
    with locked(Path(store), doing="adding a record", wait=True):
        for path in visible(final.parent, "*.json"):
            found = load_record(path)
            if content_digest(found) == content_digest(record):
                return path, False
            twice = _same_experiment(found, record) and set(found["members"]) & set(record["members"])
            if twice and found["seed"] == record["seed"]:
                raise LskdError(
                    f"{path}: the store already has seed {record['seed']} of {', '.join(order(twice))} of "
                    f"{record['name']!r} with another result; a run counts once. Train another seed, or keep this "
                    "record in another store"
                )
        write_json(final, {**record, "store": {"address": address(record), "sha256": content_digest(record)}})
    return final, True


# --- reading ---------------------------------------------------------------------------------------------------------


def groups(store: Path | str = STORE) -> list[Group]:
    """All experiments of a store, in the order of folders, each with its records by seed.

    Raises:
        LskdError: a record that cannot be read or was changed after it was stored, or a member that was run twice with
            one seed.
    """
    found: list[Group] = []
    for path in visible(Path(store), "**/*.json"):
        record = load_record(path)
        if record.get("store", {}).get("sha256", "") not in ("", content_digest(record)):
            raise LskdError(f"{path}: was changed after it was stored; take it away, and add its run again")
        group = next((g for g in found if all(_same_experiment(other, record) for other in g.records)), None)
        if group is None:
            group = Group(record["name"], shared_settings(record))
            found.append(group)
        for other_path, other in group.runs:
            twice = set(other["members"]) & set(record["members"])
            if other["seed"] == record["seed"] and twice:
                raise LskdError(f"{other_path} and {path} both hold seed {record['seed']} of {', '.join(order(twice))}")
        group.runs.append((path, record))
    for group in found:
        group.runs.sort(key=lambda run: (run[1]["seed"], run[0]))
    return found


def find(name: str, store: Path | str = STORE) -> Group:
    """The experiment of that recipe's name, networks ("wrn_16_2 -> resnet8"), or beginning of a digest.

    Raises:
        LskdError: none, or several; names them.
    """
    have = groups(store)
    if not have:
        raise LskdError(f"{store}: no records; `lskd results add RUN_FOLDER` puts one there")
    found = [g for g in have if name in (g.name, g.networks) or (len(name) >= 6 and g.digest.startswith(name))]
    if len(found) == 1:
        return found[0]
    if not found:
        near = nearest(name, [g.name for g in have])[0]
        raise LskdError(f"no experiment {name!r} in {store}; did you mean {near!r}? `lskd results list` has all")
    listed = "; ".join(f"{g.digest[:12]} ({_different(g, found)})" for g in found)
    raise LskdError(f"{name!r} is the name of {len(found)} experiments in {store}; give one of {listed}")


def _same_experiment(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    mine, its = a["config"]["members"], b["config"]["members"]
    same = (a["name"], shared_settings(a)) == (b["name"], shared_settings(b))
    return same and all(mine[name] == its[name] for name in mine.keys() & its.keys())


def _different(group: Group, among: Sequence[Group]) -> str:
    """In what an experiment differs from another of its name, in a few words."""
    other = next(g for g in among if g is not group)
    settings = list(differences({"members": group.settings}, {"members": other.settings}))
    found = list(differences(group.key, other.key)) or [d for d in settings if d[1] is not None] or settings
    return ", ".join(f"{key.removeprefix('config.')} {value}" for key, value, _ in found[:3])


def _sha(obj: Any) -> str:
    return hashlib.sha256(json.dumps(obj, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _plain(name: str) -> str:
    """A name that is safe as part of a path: "imagenet/ResNet18" is ResNet18, "own.py:net" is own.py-net."""
    return re.sub(r"[^\w.]+", "-", name.rpartition("/")[2]).strip("-.")


def aggregate(folder: Path | str) -> dict[str, list[dict[str, Any]]]:
    """Records of a folder by recipe, sorted by seed; what the folder is about comes first. No folder: none.

    Of several experiments of one recipe, that counts which is the recipe as it stands, then which has most seeds: runs
    at changed settings, a playground's for example, lie beside it and never mix with it. Across recipes the same order
    says what comes first.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for group in sorted(
        groups(folder), key=lambda g: (not as_it_stands(g), -len({r["seed"] for r in g.records}), g.name)
    ):
        out.setdefault(group.name, group.records)
    return out


def as_it_stands(group: Group) -> bool:
    """Whether an experiment has the settings of the recipe of its name, as the project ships it."""
    try:
        recipe = without_places(load_recipe(group.name, for_training=False).config())
    except LskdError:
        return False
    own = recipe.pop("members")
    return group.key["config"] == recipe and all(own.get(name) == found for name, found in group.settings.items())


def shared_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """All that has to be equal between records that are averaged, beside the settings of members that both have."""
    teacher = record.get("teacher") or {}
    return {
        "config": {k: v for k, v in without_places(record["config"]).items() if k != "members"},
        "dataset": record["dataset"],
        "teacher": {k: teacher.get(k) for k in ("network", "digest")},
        "computed_with": computed_with(record),
    }
