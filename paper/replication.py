"""What of the paper was replicated here, and what not: a row a claim, by rule from records and published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from paper.gains import PUBLISHED_EPOCHS, Gain
from paper.statistics import ENOUGH_SEEDS
from paper.tables import Entry
from paper.text import counted, signed

HEADINGS = ("claim", "published", "run here", "replicated?")
CLAIMS = {  # baseline: what the paper's tables say of LS beside it
    "literature": "KD + LS is above the KD that the tables quote",
    "same": "KD + LS is above KD at the same settings",
    "best": "KD + LS is above KD, each at its best setting",
}


def summary(
    measured: Sequence[Gain], printed: Sequence[Gain], tables: Mapping[int, Sequence[Entry]]
) -> list[tuple[str, str, str, str]]:
    """Rows under :data:`HEADINGS`: gains of LS over KD first, one a data set, then each table cell by cell.

    Args:
        measured, printed: of :func:`paper.gains.measured` and :func:`paper.gains.printed`.
        tables: of :func:`paper.tables.entries`, by their number.
    """
    rows = []
    for baseline, claim in CLAIMS.items():
        said = next(gain for gain in printed if gain.baseline == baseline)
        points = f"{signed(median(said.values))} points ({said.experiment})"
        own = [gain for gain in measured if gain.baseline == baseline]
        for dataset in dict.fromkeys(["cifar100", *(gain.dataset for gain in own)]):
            longest = max((g for g in own if g.dataset == dataset), key=lambda g: g.epochs, default=None)
            ours = f"{longest.experiment}: {longest.text}" if longest else "–"
            rows.append((claim, points, ours, _verdict(longest)))
    return rows + [_table(number, found) for number, found in tables.items()]


def _verdict(gain: Gain | None) -> str:
    if gain is None:
        return "not run"
    if len(gain.seeds) < ENOUGH_SEEDS:
        return f"open: {counted(len(gain.seeds), 'seed')}, " + _length(gain)
    found = (
        "yes" if gain.decided and gain.mean.mean > 0 else "no, the contrary" if gain.decided else "open: zero is inside"
    )
    return found if gain.dataset == "cifar100" and gain.epochs >= PUBLISHED_EPOCHS else f"{found}, {_length(gain)}"


def _length(gain: Gain) -> str:
    if gain.dataset != "cifar100":
        return "on other data"
    return f"{gain.epochs} of {PUBLISHED_EPOCHS} epochs"


def _table(number: int, entries: Sequence[Entry]) -> tuple[str, str, str, str]:
    """How many of a table's cells were run, and how many of these have the published value in their interval."""
    ran = [entry for entry in entries if entry.ours]
    sure = [entry for entry in ran if entry.ours and not entry.ours["few"]]
    inside = sum(e.ours["best"]["low"] <= e.published <= e.ours["best"]["high"] for e in sure if e.ours)
    verdict = f"{inside} of {len(sure)} within our interval" if sure else "open: too few seeds" if ran else "not run"
    return f"Table {number}", counted(len(entries), "cell"), counted(len(ran), "cell"), verdict
