"""What figures and tables say about logits: their spread, and the gap between teacher and student."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from lskd.evidence import Evidence
from lskd.losses import standardize
from paper.members import label


def z_scores(logits: np.ndarray) -> np.ndarray:
    """Standardised rows, float64, by the function that training uses (K - 1 form)."""
    return standardize(torch.from_numpy(np.asarray(logits, dtype=np.float64))).numpy()


def logit_statistics(networks: Mapping[str, Evidence]) -> pd.DataFrame:
    """One row a network, over its n test images (protocol section 7, the table of Fig. 5).

    Columns: label, network, n, test_accuracy [%], mean_of_means, mean_of_std, mean_of_range, all in logits;
    ``spread_of_std`` (sd over images); ``standardized_std``, the population standard deviation after
    standardisation, over the stored whole rows: sqrt((K-1)/K) for any network, because the Z-score divides by the
    K-1 form.
    """
    rows = []
    for name, e in networks.items():
        rows.append(
            {
                "member": name,
                "label": _label(name, e),
                "network": e.meta.get("network", ""),
                "n": len(e.label),
                "test_accuracy": 100 * float(e.correct.mean()),
                "mean_of_means": float(e.logit_mean.mean(dtype=np.float64)),
                "mean_of_std": float(e.logit_std.mean(dtype=np.float64)),
                "spread_of_std": float(e.logit_std.std(dtype=np.float64)),
                "mean_of_range": float(e.logit_range.mean(dtype=np.float64)),
                "standardized_std": float(z_scores(e.logits).std(axis=-1).mean()),
            }
        )
    return pd.DataFrame(rows)


def _label(member: str, e: Evidence) -> str:
    return label(member, method=e.meta.get("method", ""), standardize=e.meta.get("standardize"))


def gap_matrix(teacher: Evidence, student: Evidence, *, standardized: bool) -> np.ndarray:
    """|student - teacher| of class-mean logits, float64 ``[K, K]``, diagonal set to 0 (Fig. 3, second row).

    Rows are true classes, NaN for one that no test image has. Taken from raw logits or from Z-scores.

    Raises:
        ValueError: the packs are of different test sets.
    """
    if not np.array_equal(teacher.label, student.label):
        raise ValueError("gap_matrix: teacher and student were measured on different test sets")
    field = "class_mean_z" if standardized else "class_mean_logits"
    gap = np.abs(getattr(student, field).astype(np.float64) - getattr(teacher, field))
    np.fill_diagonal(gap, 0.0)
    gap[teacher.unseen] = np.nan
    return gap


def gap_statistics(teacher: Evidence, students: Mapping[str, Evidence]) -> pd.DataFrame:
    """Mean and largest gap of every student, raw and standardised.

    Classes that no test image has are left out.

    Columns: member, label, kind ("raw", "standardised"), mean (the paper's: the K zeros of the diagonal count),
    mean_off_diagonal, max, and the place of the largest as row (true class) and column.
    """
    rows = []
    for name, student in students.items():
        for kind in ("raw", "standardised"):
            gap = gap_matrix(teacher, student, standardized=kind == "standardised")
            seen, classes = gap[~teacher.unseen], len(gap)
            row, column = np.unravel_index(int(np.nanargmax(gap)), gap.shape)
            rows.append(
                {
                    "member": name,
                    "label": _label(name, student),
                    "kind": kind,
                    "mean": float(seen.mean()),
                    "mean_off_diagonal": float(seen.sum() / (len(seen) * (classes - 1))),
                    "max": float(seen.max()),
                    "row": str(student.class_names[row]),
                    "column": str(student.class_names[column]),
                }
            )
    return pd.DataFrame(rows)
