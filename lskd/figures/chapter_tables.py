"""Tables of the chapters on temperature and Z-score."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from lskd.figures.inputs import Networks
from lskd.figures.style import LIGHT
from lskd.figures.tables import Table
from lskd.losses import kd_loss
from lskd.standardization import best_spread, largest_probability

__all__ = ["confidence_table", "constant_table", "spread_table"]


def spread_table(networks: Networks, *, temperature: float) -> Table:
    """Each student's plain loss as it is, at its best spread, and between Z-scores; means over whole rows."""
    teacher = torch.from_numpy(networks.teacher.logits)
    rows = []
    for name, pack in networks.students.items():
        student = torch.from_numpy(pack.logits)
        plain, best, factor = best_spread(student, teacher, temperature=temperature)
        z = kd_loss(student.double(), teacher.double(), temperature=temperature, standardize=True)
        share = 1 - float(best.mean() / plain.mean())
        cells = [f"{plain.mean():.3f}", f"{best.mean():.3f}", f"{share:.0%}".replace("%", " %")]
        rows.append([networks.look(name, LIGHT).label, *cells, f"{factor.median():.2f}", f"{z:.3f}"])
    return Table(
        ["student", "plain loss", "at its best spread", "due to size", "median factor", "loss between Z-scores"], rows
    )


def confidence_table(
    classes: Sequence[int] = (2, 10, 100, 1000), temperatures: Sequence[float] = (1.0, 2.0, 3.0, 4.0)
) -> Table:
    """The largest probability that a standardised row can express."""
    rows = [[f"K = {k:,}", *(f"{largest_probability(k, t):.3f}" for t in temperatures)] for k in classes]
    return Table(["largest probability", *(f"τ = {t:g}" for t in temperatures)], rows)


def constant_table(limits: pd.DataFrame) -> Table:
    """:func:`lskd.standardization.constant_rows` for readers."""
    rows = []
    for values in limits.to_dict("records"):
        s, z, here, literal = (float(values[name]) for name in ("deviation", "z", "gradient", "literal"))
        shown = f"{s:.0e}" if 0 < s < 0.1 else f"{s:g}"
        rows.append([shown, f"{z:.4f}", f"{here:,.2f}", f"{literal:,.2f}"])
    return Table(["deviation of the logits", "of the Z-scores", "gradient, here", "gradient, literal formula"], rows)
