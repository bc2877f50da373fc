"""Tables of the chapters on temperature and Z-score."""

from __future__ import annotations

import pandas as pd
import torch

from figures.networks import Networks
from figures.table import Table
from lskd.losses import kd_loss
from paper.theory import best_spread, largest_probability


def size_shares(networks: Networks, *, temperature: float) -> pd.DataFrame:
    """How far each student is from its teacher, and how much of that is the size of its logits.

    Means over the rows whose logits are kept whole, by member: plain, the loss without LS; best, the same when every
    row is stretched by the factor that is best for it; factor, the median of those; standardised, the loss between
    Z-scores, which no stretching changes; share, the percentage of the plain loss that stretching removes; label.
    """
    teacher, found = torch.from_numpy(networks.teacher.logits), {}
    for name, pack in networks.students.items():
        student = torch.from_numpy(pack.logits)
        plain, best, factor = best_spread(student, teacher, temperature=temperature)
        z = kd_loss(student.double(), teacher.double(), temperature=temperature, standardize=True)
        means = {"plain": float(plain.mean()), "best": float(best.mean()), "standardised": float(z)}
        found[name] = {"label": networks.look(name).label, **means, "factor": float(factor.median())}
    frame = pd.DataFrame.from_dict(found, orient="index")
    return frame.assign(share=(100 - 100 * frame["best"] / frame["plain"]).fillna(0))


def spread_table(networks: Networks, *, temperature: float) -> Table:
    """Each student's plain loss as it is, at its best spread, and between Z-scores."""
    columns = {
        "student": "{label}", "plain loss": "{plain:.3f}", "at its best spread": "{best:.3f}",
        "due to size": "{share:.0f} %", "median factor": "{factor:.2f}",
        "loss between Z-scores": "{standardised:.3f}",
    }  # fmt: skip
    return Table.of(size_shares(networks, temperature=temperature), columns)


def spread_text(networks: Networks, *, temperature: float) -> str:
    """What :func:`spread_table` shows in this run, Markdown; it says so when a run does not show what is expected."""
    shares = size_shares(networks, temperature=temperature)
    lowest, highest = (f"{share:.0f} %" for share in (shares["share"].min(), shares["share"].max()))
    lines = []
    if pairs := sorted(networks.methods, key=lambda pair: pair[0] != "kd")[:1]:
        without, with_ls = (shares.loc[name] for name in pairs[0])
        a, b = without.label, with_ls.label
        lines.append(
            f"Compare *{a}* with *{b}*. Of what separates the {a} student from its teacher, {without.share:.0f} % "
            f"is size; for the {b} student it is {with_ls.share:.0f} %."
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


def confidence_table() -> Table:
    """The largest probability that a standardised row can express."""
    temperatures = (1, 2, 3, 4)
    rows = [[f"K = {k:,}", *(f"{largest_probability(k, t):.3f}" for t in temperatures)] for k in (2, 10, 100, 1000)]
    return Table(["largest probability", *(f"τ = {t}" for t in temperatures)], rows)
