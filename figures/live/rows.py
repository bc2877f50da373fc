"""What the chapters' live figures share: logits of some images, colours with one meaning, a still picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from figures import theme
from figures.live import figure as live
from figures.networks import Networks

TEACHER, STUDENT = theme.look("teacher").color, theme.look("kd").color
PLAIN, STANDARD = theme.look("dkd").color, theme.look("ctkd").color  # the two losses, wherever both are drawn


def rows(networks: Networks, images: Sequence[int] | np.ndarray, members: Sequence[str]) -> dict[str, Any]:
    """Data of a live figure: whole logit rows of some images by the teacher and by ``members``.

    Args:
        images: places in the evidence's ``logits``.
    """
    teacher, images = networks.teacher, np.asarray(images, dtype=int)
    return {
        "classes": len(teacher.class_names),
        "names": [str(name) for name in teacher.class_names],
        "label": teacher.label[teacher.logits_index[images]].tolist(),
        "networks": {name: {"rows": live.pack(networks.packs[name].logits[images])} for name in ["teacher", *members]},
    }


def of_all_kinds(networks: Networks, count: int = 24) -> np.ndarray:
    """Places of ``count`` images in the evidence's ``logits``, from those that the teacher is surest of on."""
    sure = torch.softmax(torch.from_numpy(networks.teacher.logits).double(), dim=-1).amax(dim=-1).numpy()
    order = np.argsort(-sure, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]


def source(networks: Networks, images: np.ndarray) -> str:
    """The end of a caption, HTML: which run the logits are from."""
    run = networks.record
    return (
        f"One of {len(images)} test images at a time; n = 1 run of each network (recipe <code>{run['name']}</code>, "
        f"seed {run['seed']}, {run['config']['epochs']} epochs)."
    )


def image_slider(images: np.ndarray, start: int | None = None, *, more: bool = False) -> live.Slider:
    """Chooses one of ``images``; starts at ``start``, or where the teacher is neither sure nor lost."""
    last = len(images) - 1
    begin = last // 2 if start is None else start
    return live.Slider("image", "image, surest first", 0, last, 1, begin, digits=0, more=more)


def student_choice(
    networks: Networks, members: Sequence[str], *others: tuple[str, str], more: bool = False
) -> live.Choice:
    """Chooses one of ``members``; ``others`` are further (value, text) pairs."""
    return live.Choice("network", "student", [*((m, networks.look(m).label) for m in members), *others], more=more)
