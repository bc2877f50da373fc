"""The family of losses on digit pairs, as docs/LOG.md laid down before the first run: what was run, seed by seed.

Three recipes of one student, teacher and schedule: the default experiment, the others at published settings, and the
others at three weights, of which one seed alone, that counts for nothing else, chooses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lskd.recipes import load_recipe
from lskd.records import computed_with, trainer_of
from paper.members import SUFFIX, label, order
from paper.statistics import Mean, at_epoch, summarize
from paper.store import STORE, as_it_stands, groups

BASE, PUBLISHED, WEIGHTS = "digit-pairs", "digit-pairs-family", "digit-pairs-family-weights"
COMPARED = ("alone", "kd", "kd_ls", "dkd", "dkd_ls")  # of the default experiment
REFERENCE = "kd_ls"
CHOOSING = 10  # the seed that chooses a weight
PLANNED = 10  # seeds, 0 to 9


@dataclass(frozen=True)
class Row:
    """A member at one weight. Accuracies are percent, at the last epoch, by seed.

    Attributes:
        member: its name in digit-pairs-family; weight: of its distillation loss.
        published: whether the weight is the published one.
        accuracy: by seed. difference: from KD + LS of the same seed, where that was run with the same trainer.
        failed: seeds at which it left the finite numbers.
    """

    member: str
    method: str
    weight: float | None
    published: bool
    accuracy: Mapping[int, float]
    difference: Mapping[int, float]
    failed: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return label(self.member) + ("" if self.published else f", weight {self.weight:g}")

    @property
    def mean(self) -> Mean | None:
        return summarize(list(self.accuracy.values())) if self.accuracy else None

    @property
    def gain(self) -> Mean | None:
        return summarize(list(self.difference.values())) if self.difference else None


def runs(store: Path | str = STORE) -> list[tuple[Path, dict[str, Any]]]:
    """Records of the three recipes with their files: float32 on a processor, of the newest trainer that has any, on the
    data and behind the teacher that most of these have."""
    found = [
        (path, record)
        for group in groups(store)
        if group.name in (BASE, PUBLISHED, WEIGHTS) and as_it_stands(group)
        for path, record in group.runs
        if "trainer" in record and computed_with(record) == "cpu, float32"
    ]
    newest = max((int(record["trainer"]) for _, record in found), default=0)
    found = [(path, record) for path, record in found if trainer_of(record) == str(newest)]
    behind = [(r["dataset"]["digest"], (r.get("teacher") or {}).get("digest")) for _, r in found]
    return [run for run, own in zip(found, behind, strict=True) if own == Counter(behind).most_common(1)[0][0]]


def rows(store: Path | str = STORE) -> list[Row]:
    """A row a member at its published settings, run or not, then those at a weight that was chosen instead."""
    records = [record for _, record in runs(store)]
    reference = at_epoch([record for record in records if record["name"] == BASE], REFERENCE)
    planned = [(BASE, name, load_recipe(BASE).members[name]) for name in COMPARED]
    planned += [(PUBLISHED, name, settings) for name, settings in load_recipe(PUBLISHED).members.items()]
    others = {n: s for n, s in load_recipe(WEIGHTS).members.items() if n != stem(n)}
    out = []
    for of, name, settings in [*planned, *((WEIGHTS, n, s) for n, s in others.items())]:
        own = [r for r in records if r["name"] == of and r["seed"] != CHOOSING and name in r["members"]]
        if of == WEIGHTS and not own:
            continue
        accuracy = at_epoch(own, name)
        out.append(
            Row(
                stem(name),
                str(settings["method"]),
                settings.get("kd_weight"),
                of != WEIGHTS,
                accuracy,
                {s: v - reference[s] for s, v in accuracy.items() if s in reference and name != REFERENCE},
                tuple(sorted(r["seed"] for r in own if r["members"][name].get("failure"))),
            )
        )
    rank = {name: i for i, name in enumerate(order({row.member for row in out}))}
    return sorted(out, key=lambda row: (not row.published, rank[row.member]))


def over_twin(row: Row, rows: Iterable[Row]) -> Mean | None:
    """What LS adds to a member at its published settings, seed by seed; None where either was not run."""
    without = [other for other in rows if other.published and other.member + SUFFIX == row.member]
    if not row.published or not without:
        return None
    change = [value - without[0].accuracy[s] for s, value in row.accuracy.items() if s in without[0].accuracy]
    return summarize(change) if change else None


def choice(store: Path | str = STORE) -> dict[str, dict[float, float | None]]:
    """Accuracy by weight at the seed that chooses, None where it left the finite numbers, by member of
    digit-pairs-family; empty before that run."""
    out: dict[str, dict[float, float | None]] = {}
    for _, record in runs(store):
        if record["name"] == WEIGHTS and record["seed"] == CHOOSING:
            for name, settings in record["config"]["members"].items():
                if (found := at_epoch([record], name)) or record["members"][name].get("failure"):
                    out.setdefault(stem(name), {})[settings["kd_weight"]] = found.get(CHOOSING)
    return {name: out[name] for name in order(out)}


def stem(member: str) -> str:
    """``"rld_third_ls"`` is "rld_ls" at another weight."""
    return member.replace("_third", "").replace("_triple", "")
