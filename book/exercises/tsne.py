"""Answers of the exercises on the feature space, from this run's features and their picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

from book.exercises.model import Answer
from figures.networks import Networks
from paper.embedding import Embedding


def answers(networks: Networks, embeddings: Mapping[str, Embedding]) -> dict[str, Answer | None]:
    """By exercise; None for what needs features where a compact pack has left them out."""
    votes = {m: e.neighbors - 100 * float(networks.packs[m].correct.mean()) for m, e in embeddings.items()}
    better = sum(lead > 0 for lead in votes.values())
    out: dict[str, Answer | None] = {
        "distances": None,
        "votes": Answer(
            right=float(better),
            tolerance=0.2,
            whole=True,
            shown={"networks": len(votes), "low": min(votes.values()), "high": max(votes.values())},
        ),
        "vote": None,
    }
    if networks.teacher.features is None:
        return out
    features, labels = networks.teacher.features.astype(np.float64), networks.teacher.label
    true, drawn = (_between(x, labels) for x in (features, embeddings["teacher"].points))
    far = true > np.median(true)
    agreement = float(spearmanr(true, drawn).statistic)
    out["distances"] = Answer(
        right=agreement,
        tolerance=0.15,
        shown={"far": float(spearmanr(true[far], drawn[far]).statistic)},
        scope={"networks": networks, "embeddings": embeddings},
    )
    found = (
        NearestNeighbors(n_neighbors=min(5, len(features))).fit(features).kneighbors(features, return_distance=False)
    )
    out["vote"] = Answer(
        right=embeddings["teacher"].neighbors,
        tolerance=0.3,
        near={"itself": _winners(labels[found], labels), "one": _winners(labels[found[:, 1:2]], labels)},
        scope={"networks": networks},
    )
    return out


def _between(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Distances between the centres of all pairs of classes."""
    return pdist(np.stack([points[labels == k].mean(axis=0) for k in np.unique(labels)]))


def _winners(votes: np.ndarray, labels: np.ndarray) -> float:
    """Percent of rows whose most frequent vote, the first among equals, is the label."""
    counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    return 100 * float((votes[np.arange(len(votes)), counts.argmax(axis=1)] == labels).mean())
