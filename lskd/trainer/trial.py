"""Every network on one small batch before anything is trained: what would end a run later is said now.

Tried are copies that are thrown away, with random numbers of their own: nothing of a run's bits depends on it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lskd.data.dataset import Dataset
from lskd.errors import LskdError
from lskd.models import create_model, state_digest
from lskd.models.weight_files import plain_tensors
from lskd.own_code import is_external
from lskd.recipes import Recipe


def try_networks(recipe: Recipe, dataset: Dataset, device: torch.device, *, processes: int = 1) -> bool:
    """Try a recipe's student and, where a member needs one, its teacher; see :func:`try_network`.

    ``processes`` share a batch and normalise their own part of it. Returns whether the student is one's own and draws
    from PyTorch's generator while it is trained, as dropout does; the project's have drop path from the batch.
    """
    last = len(dataset.train_labels) % recipe.batch_size
    smallest = recipe.batch_size if not last or recipe.optimizing.drop_last_batch else last
    given = functools.partial(try_network, classes=dataset.classes, device=device)
    shape = dataset.image_shape
    draws = given(recipe.student, role="student", image_shape=shape, smallest=max(1, smallest // processes))
    if recipe.teacher is not None and recipe.needs_teacher:
        if side := recipe.teacher.input_size:
            shape = (shape[0], side, side)
        given(recipe.teacher.network, role="teacher", image_shape=shape, smallest=None)
    return draws and is_external(recipe.student)


def try_network(
    name: str, *, role: str, classes: int, image_shape: tuple[int, int, int], device: torch.device, smallest: int | None
) -> bool:
    """Make a network and pass images through it, forward and, for a student, backward; save and load its state.

    Args:
        image_shape: 3, height, width.
        smallest: images of the smallest batch that it is trained on; None for a teacher, which only answers.

    Returns:
        Whether it draws from PyTorch's generator of the CPU while it is trained.

    Raises:
        LskdError: it takes no such images or changes them, gives no logits ``[batch, classes]``, cannot be trained on a
            batch as small as the smallest, or has a state that a checkpoint cannot hold or bring back; names network
            and key.
    """
    who = f"{role} {name!r}"
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), enough_memory(who, device):
        torch.manual_seed(0)
        network = create_model(name, num_classes=classes).to(device)
        if late := [key for key, value in network.named_parameters() if is_lazy(value)]:
            raise LskdError(f"{who}: {late[0]} gets its size from a first batch; pass one through where it is made")
        _check_state(network, who)
        images = torch.randn(2, *image_shape, device=device)
        with torch.no_grad():
            answer = _passed(network.eval(), images, who)
            _check_logits(answer, images, classes, f"{who} in eval mode")
            if smallest is not None:
                _check_features(network, images, answer, who)
        return smallest is not None and _train(network.train(), images, smallest, classes, who)


@contextmanager
def enough_memory(who: str, device: torch.device) -> Iterator[None]:
    """Turn the end of memory into a sentence that names ``who`` needed it."""
    try:
        yield
    except Exception as error:
        if not _is_of_memory(error):
            raise
        text = str(error).partition("\n")[0]
        raise LskdError(
            f"{who}: the memory of {device} is at its end ({text[:200]}); take a smaller batch_size or fewer members "
            "at a time (--members), or a device with more. What was saved is kept"
        ) from None


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Put ``what`` before an error of somebody else's code; the end of memory is another's to name."""
    try:
        yield
    except Exception as error:
        if _is_of_memory(error):
            raise
        text = " ".join(str(error).split())[:300]
        said = text if isinstance(error, LskdError) else f"{type(error).__name__}: {text}"
        raise LskdError(f"{what}: {said}") from error


def _is_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        w in str(error) for w in ("allocate memory", "CUDA error: out of mem")
    )


def _check_state(network: nn.Module, who: str) -> None:
    """Its state dict goes into a file and comes back the same."""
    state = plain_tensors(network.state_dict(), of=who)
    with _named(f"{who}: its own state dict does not load, to resume a run"):
        network.load_state_dict(state)
    if state_digest(network.state_dict()) != state_digest(state):
        raise LskdError(f"{who}: its state dict comes back changed from loading; a run could not be resumed")


def _passed(network: nn.Module, images: Tensor, who: str) -> Any:
    mode = "training" if network.training else "eval"
    before = images.clone()
    with _named(f"{who}: does not take images {list(images.shape)} (batch, channels, height, width) in {mode} mode"):
        found = network(images)
    if not torch.equal(images, before):
        raise LskdError(f"{who}: changes its images in place, which others are given too; write x = x - mean, not x -=")
    return found


def _check_logits(found: Any, images: Tensor, classes: int, who: str, advice: str = "return the logits alone") -> None:
    if isinstance(found, Tensor) and found.is_floating_point() and found.ndim == 2 and len(found) == len(images):
        if found.shape[1] == classes:
            if bool((found >= 0).all()) and bool(((found.sum(dim=1) - 1).abs() < 1e-3).all()):
                raise LskdError(f"{who}: gives probabilities; expected logits: leave its softmax out, losses take one")
            return
        advice = f"the data has {classes} classes; make the last layer as wide as num_classes says"
    wanted = f"logits {[len(images), classes]}: {advice}"
    raise LskdError(f"{who}: gives {_described(found)} for {len(images)} images; expected {wanted}")


def _check_features(network: nn.Module, images: Tensor, answer: Tensor, who: str) -> None:
    """What evidence takes of it at the end; ``answer`` is what it gives by itself."""
    with _named(f"{who}: its forward_with_features fails"):
        features, logits = pair = network.forward_with_features(images)  # type: ignore[operator]
    alike = [isinstance(x, Tensor) and x.shape == answer.shape and torch.allclose(x.to(answer), answer) for x in pair]
    if alike == [True, False]:
        raise LskdError(f"{who}: forward_with_features gives (logits, features); return (features, logits)")
    _check_logits(logits, images, answer.shape[1], f"{who}, forward_with_features", "return (features, logits)")
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
        raise LskdError(
            f"{who}: forward_with_features gives {_described(features)} as features; expected [{len(images)}, width]"
        )


def _train(network: nn.Module, images: Tensor, smallest: int, classes: int, who: str) -> bool:
    state, before = network.state_dict().keys(), torch.get_rng_state()
    unsaved = {key: value.clone() for key, value in network.named_buffers() if key not in state}
    try:
        found = _passed(network, images[:smallest], who)
    except LskdError as error:
        if smallest > 1:
            raise
        _passed(network, images, who)
        raise LskdError(
            f"{who}: cannot be trained on one image, and the smallest batch of an epoch has one ({error.__cause__}); "
            "choose another batch_size, or leave that batch out: optimization.drop_last_batch=true"
        ) from None
    images, draws = images[:smallest], not torch.equal(before, torch.get_rng_state())
    _check_logits(found, images, classes, f"{who} in training mode")
    if not found.requires_grad:
        raise LskdError(f"{who}: its logits do not depend on anything that can be trained")
    with _named(f"{who}: no gradient passes through it"):
        F.cross_entropy(found.float(), torch.zeros(len(images), dtype=torch.long, device=images.device)).backward()
    changed = [key for key, value in network.named_buffers() if key in unsaved and not torch.equal(value, unsaved[key])]
    if changed:
        raise LskdError(
            f"{who}: {changed[0]} changes while it trains and is not in its state dict, so that a run could not be "
            "resumed; register it with persistent=True"
        )
    return draws


def _described(found: Any) -> str:
    if isinstance(found, Tensor):
        return f"{str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    if isinstance(found, tuple | list):
        return f"a {type(found).__name__} of {len(found)} ({', '.join(_described(part) for part in found[:3])})"
    if isinstance(found, Mapping):
        return f"a {type(found).__name__} with {', '.join(map(str, found))}"
    return f"an object of type {type(found).__name__}"
