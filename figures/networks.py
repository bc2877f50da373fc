"""What the figure notebooks read: a teacher's and its students' published run folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from figures import theme
from lskd import evidence
from lskd.errors import LskdError
from lskd.evidence import Evidence
from lskd.records import load_record
from paper.members import label, order, pairs
from paper.text import data_name


@dataclass(frozen=True)
class Networks:
    """Evidence of one teacher and of the students it taught, all on the same test images.

    Attributes:
        packs: by member, the teacher first, in the order of :func:`paper.members.order`.
        record: of the students' run.
        files: of each pack.
        left_out: why a member is not among them, in words.
    """

    packs: dict[str, Evidence]
    record: dict[str, Any]
    files: dict[str, Path]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def teacher(self) -> Evidence:
        return self.packs["teacher"]

    @property
    def students(self) -> dict[str, Evidence]:
        return {name: pack for name, pack in self.packs.items() if name != "teacher"}

    @property
    def methods(self) -> list[tuple[str, str]]:
        """Students that differ by standardisation: (without, with)."""
        return pairs(self.students)

    @property
    def n(self) -> int:
        """Test images."""
        return len(self.teacher.label)

    def paths(self, *members: str) -> list[Path]:
        """Files of some members' packs, of all when none is named."""
        return [self.files[name] for name in members or self.packs]

    def by_image(self, members: Iterable[str], of: Callable[[Evidence], Mapping[str, Any]]) -> pd.DataFrame:
        """A row a member and test image: member, image, and what ``of`` says of a member's images."""
        images = range(self.n)
        return pd.concat([pd.DataFrame({"member": m, "image": images, **of(self.packs[m])}) for m in members])

    def look(self, member: str) -> theme.Look:
        return theme.look(member, self.packs[member].meta)

    @property
    def source(self) -> str:
        """The end of every caption, HTML: how many images, which run, how many seeds."""
        run, data = self.record, data_name(self.record["dataset"]["name"])
        return (
            f"n = {self.n:,} test images of {data}; one run of each network (recipe <code>{run['name']}</code>, "
            f"seed {run['seed']}, {run['config']['epochs']} epochs)."
            + "".join(f" {label(member)} is not shown: {why}." for member, why in self.left_out.items())
        )


def load(teacher: Path | str, students: Path | str) -> Networks:
    """Read what figures are drawn from.

    Members that failed have no evidence and are left out. So are those with logits that are not finite, which captions
    name.

    Args:
        teacher: a run's folder, or a record of the store, with one network; or an evidence pack alone (``.npz``),
            which is all there is of a teacher that came as a checkpoint.
        students: a run's folder, or a record of the store (``.json``), whose packs lie in the folder beside it that
            has its name.

    Raises:
        LskdError: a folder holds no record, the teacher's folder holds several networks, no student finished, or
            the networks were measured on different test images.
    """
    teacher, record = Path(teacher), load_record(students)
    if teacher.suffix != ".npz":
        own = load_record(teacher)["members"]
        if len(own) != 1:
            raise LskdError(f"{teacher}: holds {', '.join(own)}; a teacher's folder holds exactly one network")
        teacher = _packs(teacher) / next(iter(own.values()))["evidence"]["file"]
    kept = {name: member["evidence"]["file"] for name, member in record["members"].items() if member.get("evidence")}
    files = {"teacher": teacher, **{name: _packs(students) / file for name, file in kept.items()}}
    if len(files) == 1:
        raise LskdError(f"{students}: no member of this run has evidence; see 'failure' in its record")
    packs = {name: evidence.load(files[name]) for name in order(files)}
    digests = {name: pack.meta.get("dataset_digest") for name, pack in packs.items()}
    if len(set(digests.values())) > 1:
        listed = ", ".join(f"{name} {str(d)[:12]}" for name, d in digests.items())
        raise LskdError(f"networks were measured on different data (digests: {listed}); train both on one data set")
    taught_by = (record.get("teacher") or {}).get("digest")
    found_digest = packs["teacher"].meta.get("weights_digest")
    if taught_by and found_digest and taught_by != found_digest:
        raise LskdError(
            f"{students}: its students were taught by a network with weights {taught_by[:12]}, but {teacher} "
            f"holds {found_digest[:12]}; publish the teacher that taught them"
        )
    left_out = {name: pack.flaw for name, pack in packs.items() if pack.flaw}
    if "teacher" in left_out or len(left_out) == len(packs) - 1:
        said = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise LskdError(f"{students}: nothing can be drawn ({said}); train again with a lower learning rate")
    packs = {name: pack for name, pack in packs.items() if name not in left_out}
    return Networks(packs, record, {name: files[name] for name in packs}, left_out)


def _packs(source: Path | str) -> Path:
    """The folder of a record's packs: that of the run, or, in the store, the one beside the record."""
    source = Path(source)
    if source.name == "record.json":
        return source.parent
    return source.with_suffix("") if source.suffix == ".json" else source
