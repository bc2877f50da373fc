"""The teacher of a run: a checkpoint, or a network that is trained first; live, or as a table of what it says."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from lskd.data import Dataset
from lskd.errors import LskdError
from lskd.models import create_model, load_checkpoint, state_digest
from lskd.models.base import Resized
from lskd.models.checkpoints import load_torchvision
from lskd.recipes import Recipe, list_recipes, load_recipe, teacher_training
from lskd.trainer import logit_table as tables
from lskd.trainer.distributed import world
from lskd.trainer.evaluation import evaluate
from lskd.trainer.options import Options
from lskd.trainer.published_teachers import find_weights, published_teacher

Train = Callable[..., tuple[Path, dict[str, Any]]]


def logits_source(recipe: Recipe, dataset: Dataset, options: Options) -> tuple[dict[str, Any] | None, str]:
    """Where logits of weak views come from, for the run's identity, and why; None when no member uses any."""
    if not recipe.needs_teacher:
        return None, "no member uses a teacher"
    if dataset.view_count is None:
        if options.teacher_logits == "table":
            raise LskdError(f"{dataset.name} has more views than a table can hold; take --teacher-logits live")
        return {"source": "live", "dtype": "float32"}, f"{dataset.name} has more views than a table can hold"
    source, reason = tables.choose(
        options.teacher_logits, epochs=recipe.epochs, train_size=len(dataset.train_labels), views=dataset.view_count
    )
    return {"source": source, "dtype": options.table_dtype if source == "table" else "float32"}, reason


def logit_table_of(
    recipe: Recipe,
    dataset: Dataset,
    teacher: nn.Module,
    device: torch.device,
    options: Options,
    *,
    folder: Path | None = None,
    make: bool = True,
) -> tables.LogitTable:
    """The table of a recipe's teacher, opened; ``make`` builds or finishes it first."""
    assert recipe.teacher is not None
    header = tables.header_of(teacher, recipe.teacher.network, dataset, dtype=options.table_dtype)
    folder = folder or tables.table_folder(Path(options.runs), header)
    if make:
        tables.build(folder, header, teacher, dataset, device=device, progress=options.progress)
    return tables.open_table(folder, header, teacher, dataset, device=device)


def load_or_train_teacher(
    recipe: Recipe, dataset: Dataset, device: torch.device, options: Options, train: Train
) -> tuple[nn.Module | None, dict[str, Any] | None]:
    """The network in eval mode and what a record says of it, or (None, None) where no member needs one.

    Its test accuracy is said, with a warning when it is at chance, or more than a point from what is published.

    Args:
        train: trains a recipe of this name in its usual folder, :func:`lskd.trainer.run.train_cached`.
    """
    source = recipe.teacher
    if source is None or not recipe.needs_teacher:
        return None, None
    model, here = create_model(source.network, num_classes=dataset.classes), world()
    facts = _load(model, recipe, device, options, train)
    shown = model if source.input_size is None else Resized(model, source.input_size)
    shown = shown.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    here.broadcast_weights(shown)
    digest = state_digest(model.state_dict())
    images, labels = dataset.test_images.to(device), dataset.test_labels.to(device)
    tested = evaluate(shown, images, labels, dataset, world=here)
    published = _published(recipe, trained_here="checkpoint" not in facts)
    origin = facts.get("checkpoint") or f"trained by {facts['recipe']}, seed {facts['seed']}"
    known = "" if published is None else f", published {published:.2f} %"
    options.say(f"teacher {source.network}: test accuracy {tested.accuracy:.2f} %{known} ({origin})")
    if here.first and (doubt := _doubt(tested.accuracy, published, dataset)):
        tqdm.write(f"warning: the teacher {source.network} {doubt}", file=sys.stderr)
    return shown, {
        "network": source.network,
        "digest": digest,
        "test_accuracy": tested.accuracy,
        **({} if tested.top5 is None else {"test_top5": tested.top5}),
        **facts,
    }


def _load(model: nn.Module, recipe: Recipe, device: torch.device, options: Options, train: Train) -> dict[str, Any]:
    """Put the teacher's weights into its network; where they are from, for the record."""
    source, here = recipe.teacher, world()
    assert source is not None
    kind, _, weights = (source.checkpoint or "").partition(":")
    if kind == "torchvision":
        here.on_rank_zero(lambda: load_torchvision(model, source.network, weights))
        return {"checkpoint": source.checkpoint}
    if source.checkpoint is not None:
        file = Path(source.checkpoint)
        if not (path := Path(source.checkpoint.partition("#")[0])).exists():
            elsewhere = find_weights(path.name, options.teachers)
            file = elsewhere.with_name(file.name) if elsewhere else file
        try:
            here.on_rank_zero(lambda: load_checkpoint(model, file))
        except FileNotFoundError as error:
            raise LskdError(
                f"{error}, and recipe {recipe.name} takes its teacher's from there; put them there, or name "
                "another place: --set teacher.checkpoint=FILE, or --teachers or LSKD_TEACHERS for a folder that has "
                "this file. The head of the recipe's file says where they come from"
            ) from None
        return {"checkpoint": file.name}
    if found := published_teacher(recipe, options.teachers, options.say):
        here.on_rank_zero(lambda: load_checkpoint(model, found[0] / found[1]))
        return {"checkpoint": found[1]}
    name, settings = teacher_training(recipe)
    usual = {"teacher_logits": "live", "table_dtype": "float32", "log": None, "keep_epochs": None}
    own = vars(options) | usual | {"device": str(device), "sync_batchnorm": False}
    folder, record = train(name, seed=source.seed, settings=settings, **own)
    ((trained, member),) = record["members"].items()
    if "failure" in member:
        raise LskdError(f"{folder}: the teacher {trained} failed: {member['failure']['reason']}; change its recipe")
    here.on_rank_zero(lambda: load_checkpoint(model, folder / member["weights"]["file"]))
    return {"recipe": name, "seed": source.seed, "run": record["identity"]}


def _published(recipe: Recipe, *, trained_here: bool) -> float | None:
    """The published test accuracy of a recipe's teacher, where this one is of the same data."""
    source = recipe.teacher
    assert source is not None
    name = source.recipe or f"{recipe.dataset}/alone/{source.network}"
    if (
        source.settings
        or recipe.data.keys() & {"test_size", "train_size" if trained_here else ""}
        or name not in list_recipes()
    ):
        return None
    alone = load_recipe(name, for_training=False)
    same = (alone.dataset, alone.student) == (recipe.dataset, source.network)
    return next(iter(alone.about.values())).published if same else None


def _doubt(accuracy: float, published: float | None, dataset: Dataset) -> str:
    """What is suspicious about a teacher's test accuracy, in percent; empty where nothing is."""
    count = len(dataset.test_labels)
    share = float(dataset.test_labels.bincount().max()) / count  # of always answering the most frequent class
    chance = 100 * (share + 2 * math.sqrt(share * (1 - share) / count))
    if accuracy > chance and (published is None or abs(accuracy - published) <= 1):
        return ""
    found = f"has {accuracy:.2f} % on {count:,} test images, "
    found += "which is chance" if accuracy <= chance else f"and {published:.2f} % are published"
    return (
        f"{found}. Usual reasons: another order of classes (here {', '.join(dataset.class_names[:3])}, ...), "
        "another normalisation (data.mean, data.std), weights of another training or data set"
    )
