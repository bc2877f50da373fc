"""Tables of the chapters on temperature and Z-score."""

from __future__ import annotations

from typing import NamedTuple

import torch

from figures.networks import Networks
from figures.table import Table
from lskd.losses import kd_loss
from paper.theory import best_spread, largest_probability


class SizeShare(NamedTuple):
    """How far a student is from its teacher, and how much of that is the size of its logits; means over rows."""

    plain: float  # the loss without LS, as it is
    best: float  # the same when every row is stretched by the factor that is best for it
    factor: float  # the median of those factors
    standardised: float  # the loss between Z-scores, which no stretching changes

    @property
    def share(self) -> float:
        """The part of the plain loss that stretching removes, 0 to 1."""
        return 1 - self.best / self.plain if self.plain else 0.0


def size_shares(networks: Networks, *, temperature: float) -> dict[str, SizeShare]:
    """By student, over the rows whose logits are kept whole."""
    teacher, found = torch.from_numpy(networks.teacher.logits), {}
    for name, pack in networks.students.items():
        student = torch.from_numpy(pack.logits)
        plain, best, factor = best_spread(student, teacher, temperature=temperature)
        z = kd_loss(student.double(), teacher.double(), temperature=temperature, standardize=True)
        found[name] = SizeShare(float(plain.mean()), float(best.mean()), float(factor.median()), float(z))
    return found


def spread_table(networks: Networks, *, temperature: float) -> Table:
    """Each student's plain loss as it is, at its best spread, and between Z-scores."""
    rows = [
        [
            networks.look(name).label,
            *(f"{found.plain:.3f}", f"{found.best:.3f}", _percent(found.share)),
            *(f"{found.factor:.2f}", f"{found.standardised:.3f}"),
        ]
        for name, found in size_shares(networks, temperature=temperature).items()
    ]
    return Table(
        ["student", "plain loss", "at its best spread", "due to size", "median factor", "loss between Z-scores"], rows
    )


def spread_text(networks: Networks, *, temperature: float) -> str:
    """What :func:`spread_table` shows in this run, Markdown; it says so when a run does not show what is expected."""
    shares = size_shares(networks, temperature=temperature)
    lowest, highest = (_percent(pick(found.share for found in shares.values())) for pick in (min, max))
    lines = []
    if pairs := sorted(networks.methods, key=lambda pair: pair[0] != "kd")[:1]:
        (without, with_ls) = (shares[name] for name in pairs[0])
        a, b = (networks.look(name).label for name in pairs[0])
        lines.append(
            f"Compare *{a}* with *{b}*. Of what separates the {a} student from its teacher, {_percent(without.share)} "
            f"is size; for the {b} student it is {_percent(with_ls.share)}."
        )
        lines.append(
            "Only the first has been asked for the teacher's spread; the second was free to have another."
            if with_ls.share > without.share
            else "Only the first has been asked for the teacher's spread, so one would expect the larger part in the "
            "second; this run does not show it."
        )
        near, far = f"{with_ls.standardised:.3f}", f"{without.standardised:.3f}"
        place = "as near to" if near == far else "nearer to" if float(near) < float(far) else "farther from"
        lines.append(f"Between Z-scores the {b} student is {place} the teacher ({near}, against {far}).")
    lines.append(
        f"Over all students of this run the part lies between {lowest} and {highest}: other terms of a loss have a say "
        "in the size, too. (Each row may choose its own factor, so a part of each share is chance.)"
    )
    return " ".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def confidence_table() -> Table:
    """The largest probability that a standardised row can express."""
    temperatures = (1, 2, 3, 4)
    rows = [[f"K = {k:,}", *(f"{largest_probability(k, t):.3f}" for t in temperatures)] for k in (2, 10, 100, 1000)]
    return Table(["largest probability", *(f"τ = {t}" for t in temperatures)], rows)
