"""Evidence small enough to be kept with records: under 300 KB for 10,000 images of 100 classes.

The features are nine tenths of a full pack. They go; what the book says of them stays: their view in two dimensions
with its perplexity and seed, the accuracy of a five-neighbour vote and the silhouette, both measured in the features
themselves. What is left is rounded as little as pays: logits, their statistics and their class means to float16
(relative error below 0.0005), the view to a hundredth of a unit, which is how figures give it out anyway. Labels,
predictions, and with them every accuracy, are exact.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from tqdm import tqdm

from lskd import evidence
from lskd.data import load_dataset
from lskd.errors import LskdError
from lskd.evidence import HALF, STEPS, Evidence
from lskd.models import create_model, load_checkpoint, state_digest
from lskd.models.base import Resized
from lskd.recipes import load_recipe
from lskd.records import load_record
from paper.embedding import embed, obstacle

VIEW: dict[str, Any] = {"perplexity": 30.0, "seed": 0}


def compact(pack: Evidence) -> Evidence:
    """A pack without features, with their view; a pack that is compact already comes back as it is.

    Equal features and versions of scikit-learn give an equal pack. Figures can show no other view than this one.
    """
    if pack.features is None:
        return pack
    view, who = embed(pack, **VIEW), f"compact {pack.meta.get('member')}"
    steps = np.rint(view.points * STEPS)
    if np.abs(steps).max() > np.iinfo(np.int16).max:
        raise ValueError(f"{who}: its view reaches {np.abs(view.points).max():g} units; at most 327 can be stored")
    made: dict[str, Any] = {
        "method": "t-SNE",
        **VIEW,
        "features": pack.feature_count,
        "neighbors": view.neighbors,
        "silhouette": view.silhouette,
        "divergence": view.divergence,
        "scikit-learn": sklearn.__version__,
    }
    rounded = {name: getattr(pack, name).astype(np.float16).astype(np.float32) for name in HALF}
    if not all((np.isfinite(values) == np.isfinite(getattr(pack, name))).all() for name, values in rounded.items()):
        raise ValueError(f"{who}: logits beyond 65504 cannot be stored in float16; keep the full pack")
    return dataclasses.replace(
        pack, **rounded, features=None, embedding=steps / STEPS, meta={**pack.meta, "embedding": made}
    )


def compact_run(run: Path | str, out: Path | str) -> list[Path]:
    """Compact packs of every member of a finished run, in ``out``, under the names that its record gives.

    A pack that is there already, of the same weights, is not made again. A network without numbers or without a
    picture is left out, and that is said.

    Raises:
        LskdError: no record in ``run``, a pack of other weights or data there, or a pack with features in ``out``.
    """
    run, out, made = Path(run), Path(out), []
    record = load_record(run)
    bar = tqdm(record["members"].items(), desc="compact", unit="network", file=sys.stderr)
    for name, member in bar:
        if not member.get("evidence"):
            continue
        file = member["evidence"]["file"]
        pack = evidence.load_of(record, run / file)
        if why := pack.flaw or obstacle(pack):
            tqdm.write(f"{name} is left out: {why}", file=sys.stderr)
            continue
        there = evidence.load(out / file).meta if (out / file).is_file() else {}
        if there and "embedding" not in there:
            raise LskdError(f"{out / file}: a pack with features is there, which would be lost; choose another folder")
        if there != pack.meta | {"embedding": there.get("embedding")}:
            evidence.save(compact(pack), out / file)
        made.append(out / file)
    return made


def collect_checkpoint(
    *,
    network: str | None = None,
    checkpoint: Path | str | None = None,
    dataset: str | None = None,
    data: dict[str, Any] | None = None,
    recipe: str | None = None,
    device: str = "cpu",
) -> Evidence:
    """Measure a network that comes as a checkpoint, such as a published teacher, on a data set's test images.

    Args:
        network: name in :mod:`lskd.models`.
        checkpoint: ``.safetensors`` or a published ``.pth``.
        dataset, data: name and options of :func:`lskd.data.load_dataset`. What images are normalised with belongs
            to the network: give ``mean`` and ``std`` that it was trained with.
        recipe: takes whatever is not given from this recipe's teacher and data.

    Raises:
        LskdError: the network, the checkpoint or the data are given nowhere.
    """
    side = None
    if recipe is not None:
        told = load_recipe(recipe, for_training=False)
        dataset, data = dataset or told.dataset, {**told.data, **(data or {})}
        if told.teacher is not None:
            side = told.teacher.input_size if network in (None, told.teacher.network) else None
            network, checkpoint = network or told.teacher.network, checkpoint or told.teacher.checkpoint
    needed: dict[str, Any] = {"network": network, "checkpoint": checkpoint, "dataset": dataset}
    for word, value in needed.items():
        if value is None:
            raise LskdError(
                f"evidence of a checkpoint: no {word} is given, neither by itself nor by a recipe's teacher"
            )
    images = load_dataset(needed["dataset"], **(data or {}))
    model = create_model(needed["network"], num_classes=images.classes)
    load_checkpoint(model, needed["checkpoint"])
    meta = {
        "network": network,
        "recipe": recipe,
        "member": "teacher",
        "method": "plain",
        "standardize": False,
        "seed": None,
        "checkpoint": Path(needed["checkpoint"]).name,
        "weights_digest": state_digest(model.state_dict()),
    }
    shown = (model if side is None else Resized(model, side)).to(torch.device(device))
    return evidence.collect(shown, images, meta=meta, device=device)
