"""Evidence: what figures need to know of a trained network, measured once on the whole test set.

Figures never load weights. An evidence pack is one ``.npz`` without pickled objects; :class:`Evidence` says
what is in it. Training writes full packs; :func:`paper.compact_evidence.compact` makes the small ones that are kept
with records, with a two-dimensional view in place of the features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lskd.data.dataset import Dataset
from lskd.data.views import normalize
from lskd.errors import LskdError
from lskd.files import atomic_path, read_arrays
from lskd.losses import standardize

WHOLE_ROWS = 200  # of logits, that are kept as they are
BATCH = 500  # images of one forward pass
# What a compact pack stores in float16, and how finely it keeps the places of its view.
HALF = ("logit_mean", "logit_std", "logit_min", "logit_max", "class_mean_logits", "class_mean_z", "logits")
STEPS = np.float32(100)  # to one unit of a t-SNE axis
TEACHER = "teacher.evidence.npz"  # of one without a run of its own: beside the records it taught, or with the packs


@dataclass(frozen=True)
class Evidence:
    """Per-sample facts of one network on the n test images of a K-class data set.

    Attributes:
        label, prediction: int16 ``[n]``.
        logit_mean, logit_std, logit_min, logit_max: float32 ``[n]``, over classes; the standard deviation is
            the population's (divided by K), as in the paper's figures.
        class_mean_logits: float32 ``[K, K]``; row = true class, mean over its test images; NaN without any.
        class_mean_z: the same of Z-scores (K-1 form, :func:`lskd.losses.standardize`).
        features: float16 ``[n, F]``, pooled features; None in a compact pack.
        logits: float32 ``[m, K]``, whole rows of the images ``logits_index``.
        class_names, superclass, superclass_names: of the data set.
        meta: network, recipe, member, seed, test accuracy in percent, digests of data and weights. In a compact
            pack also ``embedding``: how the view was made, and what was measured in the features before they went.
        embedding: float32 ``[n, 2]``, the view; None in a full pack.
    """

    label: np.ndarray
    prediction: np.ndarray
    logit_mean: np.ndarray
    logit_std: np.ndarray
    logit_min: np.ndarray
    logit_max: np.ndarray
    class_mean_logits: np.ndarray
    class_mean_z: np.ndarray
    features: np.ndarray | None
    logits: np.ndarray
    logits_index: np.ndarray
    class_names: np.ndarray
    superclass: np.ndarray
    superclass_names: np.ndarray
    meta: dict[str, Any]
    embedding: np.ndarray | None = None

    @property
    def compact(self) -> bool:
        """Whether the features were left out."""
        return self.features is None

    @property
    def feature_count(self) -> int:
        """F, also where the features themselves were left out."""
        return int(self.meta["embedding"]["features"]) if self.features is None else self.features.shape[1]

    @property
    def flaw(self) -> str | None:
        """Why no number of this network can be told, in words; None when all logits are finite."""
        bad = int((~np.isfinite(self.logit_mean + self.logit_std + self.logit_range)).sum())
        return f"logits of {bad} of {len(self.label)} test images are not finite" if bad else None

    @property
    def unseen(self) -> np.ndarray:
        """Classes that no test image has, bool ``[K]``."""
        return np.bincount(self.label, minlength=len(self.class_names)) == 0

    @property
    def correct(self) -> np.ndarray:
        """bool ``[n]``."""
        return self.label == self.prediction

    @property
    def logit_range(self) -> np.ndarray:
        """Largest minus smallest logit of each image, float32 ``[n]``."""
        return self.logit_max - self.logit_min


def collect(
    model: nn.Module, dataset: Dataset, *, meta: dict[str, Any], device: torch.device | str = "cpu"
) -> Evidence:
    """Measure a network on the test set, in eval mode; the model stays where it is."""
    model.eval()
    logit_parts: list[Tensor] = []
    feature_parts: list[Tensor] = []
    with torch.no_grad():
        size = BATCH if max(dataset.test_images.shape[2:]) <= 64 else BATCH // 10
        for start in range(0, len(dataset.test_images), size):
            images = dataset.test_images[start : start + size].to(device)
            features, logits = model.forward_with_features(normalize(images, dataset))  # type: ignore[operator]
            feature_parts.append(features.half().cpu())
            logit_parts.append(logits.float().cpu())
    logits, label = torch.cat(logit_parts), dataset.test_labels
    prediction = logits.argmax(dim=-1)
    rows = np.unique(np.linspace(0, len(label) - 1, min(WHOLE_ROWS, len(label))).round().astype(np.int32))
    return Evidence(
        label=label.numpy().astype(np.int16),
        prediction=prediction.numpy().astype(np.int16),
        logit_mean=logits.mean(dim=-1).numpy(),
        logit_std=logits.std(dim=-1, correction=0).numpy(),
        logit_min=logits.amin(dim=-1).numpy(),
        logit_max=logits.amax(dim=-1).numpy(),
        class_mean_logits=_class_means(logits, label, dataset.classes),
        class_mean_z=_class_means(standardize(logits), label, dataset.classes),
        features=torch.cat(feature_parts).numpy(),
        logits=logits.numpy()[rows],
        logits_index=rows,
        class_names=np.array(dataset.class_names),
        superclass=dataset.superclass.numpy().astype(np.int16),
        superclass_names=np.array(dataset.superclass_names),
        meta={
            **meta,
            "dataset": dataset.name,
            "dataset_digest": dataset.digest,
            "test_accuracy": 100 * float((prediction == label).double().mean()),
        },
    )


def save(evidence: Evidence, path: Path) -> None:
    """Write a pack, whole or not at all. Equal packs give equal bytes: nothing of time or place goes in."""
    arrays = {k: v for k, v in vars(evidence).items() if k != "meta" and v is not None}
    if evidence.compact:
        arrays |= {name: arrays[name].astype(np.float16) for name in HALF}
        arrays["embedding"] = np.rint(arrays["embedding"] * STEPS).astype(np.int16)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, meta=np.array(json.dumps(evidence.meta)), **arrays)


def load(path: Path | str) -> Evidence:
    """Read a pack, full or compact.

    Raises:
        ValueError: the file is damaged or is no evidence pack; says what is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no evidence pack there; it is written at the end of a training run")
    arrays = read_arrays(path, "delete it and run the training again")
    space = "embedding" if "embedding" in arrays else "features"
    names = set(Evidence.__dataclass_fields__) - {"embedding", "features"} | {space}
    missing = sorted(names - set(arrays))
    if missing:
        raise ValueError(f"{path}: no evidence pack, {', '.join(missing)} missing")
    try:
        meta = dict(json.loads(str(arrays.pop("meta"))))
    except (ValueError, TypeError):
        raise ValueError(f"{path}: no evidence pack, its meta is no table") from None
    found: dict[str, Any] = {k: arrays[k] for k in names if k != "meta"}
    if space == "embedding":
        found |= {name: found[name].astype(np.float32) for name in HALF}
        found |= {"embedding": found["embedding"].astype(np.float32) / STEPS, "features": None}
    return Evidence(meta=meta, **found)


def load_of(record: Mapping[str, Any], path: Path) -> Evidence:
    """Read a pack of a record's data, and of its members' weights or, as :data:`TEACHER`, of its teacher's.

    Raises:
        LskdError: it is of others; names both. A damaged one is a ValueError.
    """
    pack = load(path)
    members, teacher = record["members"].values(), record.get("teacher")
    known = {m["evidence"]["file"]: m.get("weights", {}).get("digest") for m in members if m.get("evidence")}
    known |= {TEACHER: teacher["digest"]} if teacher and TEACHER not in known else {}
    if path.name not in known:
        raise LskdError(f"{path}: its record has no such evidence")
    expected, found = known[path.name], str(pack.meta.get("weights_digest"))
    if expected and found != expected:
        raise LskdError(f"{path}: measured on weights {found[:12]}; its record has {expected[:12]}")
    if pack.meta.get("dataset_digest") != record["dataset"]["digest"]:
        raise LskdError(f"{path}: measured on other data than its record")
    return pack


def _class_means(values: Tensor, label: Tensor, classes: int) -> np.ndarray:
    sums = torch.zeros(classes, classes, dtype=torch.float64).index_add_(0, label, values.double())
    counts = torch.bincount(label, minlength=classes)[:, None]  # 0 / 0: a class without images has no mean
    return (sums / counts).float().numpy()
