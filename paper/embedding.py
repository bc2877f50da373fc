"""Two-dimensional views of features, and numbers about the features themselves that no view can distort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from joblib.externals.loky.process_executor import TerminatedWorkerError  # type: ignore[import-untyped]
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

from lskd.errors import LskdError
from lskd.evidence import Evidence
from lskd.files import atomic_path


@dataclass(frozen=True)
class Embedding:
    """Attributes: ``points`` float32 ``[n, 2]``; ``neighbors`` accuracy in percent and ``silhouette`` in -1..1,
    both measured in the original feature space; ``divergence``, the KL divergence that t-SNE ended with."""

    points: np.ndarray
    neighbors: float
    silhouette: float
    divergence: float


def obstacle(pack: Evidence, perplexity: float = 30.0) -> str | None:
    """Why a network's features have no picture, in words: compiled code ends its process on some features."""
    if pack.features is None:
        return None
    images, classes = len(pack.features), len(np.unique(pack.label))
    if not 1 <= perplexity < images:
        return f"perplexity is {perplexity:g}; it must be at least 1 and below the {images} images"
    if not 2 <= classes < images:
        return f"{images} test images of {classes} classes; it needs two classes, and two images of one of them"
    if bad := int((~np.isfinite(pack.features).all(axis=1)).sum()):
        return f"features of {bad} of {len(pack.features)} test images are not finite in float16"
    if not np.ptp(pack.features.astype(np.float32), axis=0).any():
        return "all test images have equal features"
    return None


def embed(pack: Evidence, *, perplexity: float = 30.0, seed: int = 0) -> Embedding:
    """t-SNE (Barnes-Hut, scikit-learn) of a network's pooled features, started from their PCA.

    The paper used scikit-learn's defaults of its time, perplexity 30 and no seed (protocol section 7, Fig. 4).
    A compact pack has its view already, and the numbers that were measured in the features before they went.

    Args:
        seed: of the few random draws that are left after a PCA start.

    Raises:
        ValueError: features that have no picture (:func:`obstacle`), or a compact pack has a view that was made with
            another perplexity or seed.
    """
    if pack.features is None:
        return _stored(pack, perplexity, seed)
    if why := obstacle(pack, perplexity):
        raise ValueError(f"embed: {pack.meta.get('member')} has no picture: {why}")
    features = pack.features.astype(np.float32)
    # One thread: its threads spin while they wait, and on a busy machine that costs more than they gain.
    with threadpool_limits(1):
        model = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        points = model.fit_transform(features)
    return Embedding(
        points=points.astype(np.float32),
        neighbors=neighbor_accuracy(features, pack.label),
        silhouette=float(silhouette_score(features, pack.label)),  # of the true classes: 1 apart, 0 touching, -1 mixed
        divergence=float(model.kl_divergence_),
    )


def _stored(pack: Evidence, perplexity: float, seed: int) -> Embedding:
    made = pack.meta["embedding"]
    if (made["perplexity"], made["seed"]) != (perplexity, seed):
        raise ValueError(
            f"embed: the pack of {pack.meta.get('member')} is compact, its only view has perplexity "
            f"{made['perplexity']:g} and seed {made['seed']}; asked for {perplexity:g} and {seed}. Use those, or the "
            "full pack that training wrote"
        )
    assert pack.embedding is not None
    return Embedding(pack.embedding, made["neighbors"], made["silhouette"], made["divergence"])


def embed_all(
    packs: Mapping[str, Evidence], *, perplexity: float = 30.0, seed: int = 0, jobs: int = 1
) -> dict[str, Embedding]:
    """:func:`embed` for several networks, ``jobs`` at a time, each in a process of its own; compact packs have it.

    Networks without a picture are left out.

    Raises:
        LskdError: none has a picture, or the system ended one of the processes.
    """
    without = {name: why for name, pack in packs.items() if (why := obstacle(pack, perplexity))}
    packs = {name: pack for name, pack in packs.items() if name not in without}
    if not packs:
        raise LskdError(f"t-SNE: no network has a picture; {'; '.join(f'{n}: {why}' for n, why in without.items())}")
    if all(pack.compact for pack in packs.values()):
        return {name: embed(pack, perplexity=perplexity, seed=seed) for name, pack in packs.items()}
    work = Parallel(n_jobs=min(jobs, len(packs)), return_as="generator")(
        delayed(embed)(pack, perplexity=perplexity, seed=seed) for pack in packs.values()
    )
    bar = tqdm(zip(packs, work, strict=True), total=len(packs), desc="t-SNE", unit="network")
    done: dict[str, Embedding] = {}
    try:
        for name, made in bar:
            done[name] = made
    except TerminatedWorkerError:
        waiting = ", ".join(name for name in packs if name not in done)
        raise LskdError(f"t-SNE of {waiting}: a process was ended from outside; try again with jobs=1") from None
    return done


def neighbor_accuracy(features: np.ndarray, label: np.ndarray, *, k: int = 5) -> float:
    """Percent of images whose class is the most frequent among their k nearest others, Euclidean.

    A tie goes to the class of the nearest of the tied neighbours.
    """
    known = NearestNeighbors(n_neighbors=min(k, len(features) - 1)).fit(features)
    votes = label[known.kneighbors(return_distance=False)]  # each image's but itself
    counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    winner = votes[np.arange(len(votes)), counts.argmax(axis=1)]
    return 100 * float((winner == label).mean())


def save(embeddings: Mapping[str, Embedding], pack: Evidence, path: Path | str) -> None:
    """All views in one ``.npz``: ``<member>`` float32 ``[n, 2]``, with labels and names of classes."""
    arrays: dict[str, Any] = {name: e.points for name, e in embeddings.items()}
    common = {k: getattr(pack, k) for k in ("label", "class_names", "superclass", "superclass_names")}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays, **common)
