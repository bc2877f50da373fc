"""The family beyond KD: values and gradients of the released implementations, and what no paper writes down."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lskd import losses
from lskd.losses import dist_loss, kd_loss, luminet_loss, normkd_loss, standardize, ttm_loss, wttm_loss

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = sorted(Path(os.environ.get("LSKD_GOLDEN", GOLDEN)).glob("family_*.npz"))
# The letters of a golden key to the arguments of the function.
ARGUMENTS = {"T": "temperature", "alphaT": "alpha_temperature", "ls": "standardize"}


def double(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


def call_of(key: str) -> tuple[str, dict[str, float]]:
    """``"gdkd_k5_w1_2_8_T4"`` to the function's name and its arguments."""
    name, *words = re.sub(r"_w([\d.]+)_([\d.]+)_([\d.]+)", r"_wzero\1_wone\2_wtwo\3", key).split("_")
    own = ARGUMENTS | {"wzero": "w0", "wone": "w1", "wtwo": "w2"}
    pairs = [re.fullmatch(r"([A-Za-z]+)([\d.]+)", word).groups() for word in words]
    return f"{name}_loss", {own.get(k, k): int(v) if k in ("k", "ls") else float(v) for k, v in pairs}


def test_fixtures_are_there() -> None:
    assert len(FILES) >= 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_values_and_gradients_of_the_released_code(path: Path) -> None:
    g = np.load(path)
    teacher, target = double(g["teacher"]), torch.from_numpy(g["target"])
    keys = [key for key in g.files if f"grad_{key}" in g.files]
    assert len(keys) == 22
    for key in keys:
        name, arguments = call_of(key)
        function, student = getattr(losses, name), double(g["student"]).requires_grad_()
        labels = (target,) if "target" in inspect.signature(function).parameters else ()
        loss = function(student, teacher, *labels, **arguments)
        loss.backward()
        np.testing.assert_allclose(loss.item(), g[key], rtol=1e-9, err_msg=key)
        largest = np.abs(g[f"grad_{key}"]).max()
        np.testing.assert_allclose(student.grad, g[f"grad_{key}"], rtol=0, atol=1e-9 * largest, err_msg=key)
        single = function(double(g["student"]).float(), teacher.float(), *labels, **arguments)
        np.testing.assert_allclose(single.item(), g[key], rtol=1e-5, err_msg=key)


def logits(seed: int, rows: int = 6, k: int = 12) -> torch.Tensor:
    return 3 * torch.randn(rows, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_normkd_is_ls_with_a_weight_for_every_sample() -> None:
    student, teacher = logits(0), logits(1)
    ls = kd_loss(student, teacher, temperature=3.0, standardize=True, eps=0.0, reduction="none")
    found = normkd_loss(student, teacher, temperature=3.0, reduction="none")
    torch.testing.assert_close(found, ls * teacher.var(dim=-1), rtol=1e-12, atol=0)
    # What a softmax makes of x / (T sigma) and of the Z-score over T is one distribution.
    scaled = (teacher / (3 * teacher.std(dim=-1, keepdim=True))).softmax(-1)
    torch.testing.assert_close(scaled, (standardize(teacher, eps=0.0) / 3).softmax(-1), rtol=1e-12, atol=0)


def test_dists_row_term_is_the_distance_of_two_z_scores() -> None:
    student, teacher = logits(2), logits(3)
    q, p = (student / 4).softmax(-1), (teacher / 4).softmax(-1)
    z, v = (standardize(x, correction=0, eps=0.0) for x in (q, p))
    row = dist_loss(student, teacher, beta=1.0, gamma=0.0, temperature=4.0, reduction="none") / 4**2
    torch.testing.assert_close((z - v).square().mean(-1), 2 * row, rtol=1e-6, atol=0)
    column = dist_loss(student, teacher, beta=0.0, gamma=1.0, temperature=1.0)
    z, v = (standardize(x.softmax(-1), correction=0, eps=0.0, dim=0) for x in (student, teacher))
    torch.testing.assert_close((z - v).square().mean(), 2 * column, rtol=1e-6, atol=0)


def test_luminet_standardises_over_the_batch_what_ls_standardises_over_classes() -> None:
    student, teacher = logits(4), logits(5)
    z, v = (standardize(x, dim=0, correction=0, eps=0.0) for x in (student, teacher))
    expected = 33.0**2 * kd_loss(z, v, temperature=4.0) / 4.0**2
    torch.testing.assert_close(luminet_loss(student, teacher), expected, rtol=1e-4, atol=0)  # its eps: 1e-5 in the root


def test_ttm_is_kd_of_a_teacher_of_another_temperature_and_wttm_its_weighted_form() -> None:
    student, teacher = logits(6), logits(7)
    ttm = ttm_loss(student, teacher, gamma=0.25, reduction="none")
    torch.testing.assert_close(ttm, kd_loss(4 * student, teacher, temperature=4.0, reduction="none") / 16)
    weight = teacher.softmax(-1).pow(0.25).sum(-1)
    torch.testing.assert_close(wttm_loss(student, teacher, gamma=0.25, reduction="none"), weight * ttm)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: losses.gdkd_loss(x, x, k=13), "k is 13; expected 1 to 12"),
        (lambda x: losses.ttm_loss(x, x, gamma=0.0), "gamma is 0.0; it must be a positive number"),
        (lambda x: losses.rld_loss(x, x, torch.arange(6), alpha_temperature=-1.0), "alpha_temperature is -1"),
        (lambda x: losses.rld_loss(x, x, x.softmax(-1)), "a distribution.*mixup"),
        (lambda x: losses.normkd_loss(x, x, temperature=0.0), "temperature is 0"),
    ],
)
def test_a_wrong_argument_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(logits(8))
