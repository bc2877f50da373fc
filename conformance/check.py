"""Check one loss of any implementation against vectors.json: ``check.py MODULE:NAME LOSS [--torch]``.

    python conformance/check.py lskd.losses:kd_loss kd --torch
    python conformance/check.py mine:distillation_loss kd

The function is called by keyword, as README.md says: with NumPy arrays, gradients being central differences of its
values, or with float64 tensors (--torch) and autograd. A TypeError or NotImplementedError is an option that it lacks.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))


def array(x: Any) -> np.ndarray:
    """Of JSON, whose null is -inf."""
    found = np.array(x, dtype=object)
    return np.where(found == None, -np.inf, found).astype(float) if None in found.ravel() else np.array(x)  # noqa: E711


def numbers(value: Any) -> list[Any]:
    """A number, an array or named ones as a list, in the order of the file."""
    parts = list(value.values()) if isinstance(value, dict) else [value]
    return [x for part in parts for x in (part.reshape(-1) if getattr(part, "ndim", 0) else [part])]


def score(value: Any) -> Any:
    """What gradients are of: the sum of number i divided by i, counted from 1."""
    return sum(x / i for i, x in enumerate(numbers(value), start=1))


def by_autograd(function: Callable[..., Any], given: dict[str, Any], towards: list[str]) -> tuple[list[Any], list[Any]]:
    import torch

    tensors = {k: tuple(map(torch.tensor, x)) if isinstance(x, tuple) else torch.tensor(x) for k, x in given.items()}
    wanted = [tensors[name].requires_grad_() for name in towards]
    value = function(**tensors)
    gradients = torch.autograd.grad(score(value), wanted)
    return [x.item() for x in numbers(value)], [x.numpy() for x in gradients]


def by_differences(function: Callable[..., Any], given: dict[str, Any], towards: list[str], step: float = 1e-5) -> Any:
    def slope(name: str, place: tuple[int, ...]) -> float:
        moved = np.zeros(given[name].shape)
        moved[place] = step
        up, down = (float(score(function(**{**given, name: given[name] + way}))) for way in (moved, -moved))
        return (up - down) / (2 * step)

    gradients = [[slope(name, place) for place in np.ndindex(given[name].shape)] for name in towards]
    return numbers(function(**given)), [np.reshape(g, given[n].shape) for g, n in zip(gradients, towards, strict=True)]


def check(function: Callable[..., Any], loss: str, *, torch: bool = False) -> Iterator[tuple[dict[str, Any], str]]:
    """Every case of a loss and what is wrong with it, an empty text where nothing is."""
    inputs = {name: array(x) for name, x in VECTORS["inputs"].items()}
    for case in (case for case in VECTORS["cases"] if case["loss"] == loss):
        given = {k: tuple(inputs[i] for i in n) if isinstance(n, list) else inputs[n] for k, n in case["given"].items()}
        towards, wrong = list(case["gradient"]), []
        try:
            value, gradients = (by_autograd if torch else by_differences)(
                lambda case=case, **arrays: function(**arrays, **case["options"]), given, towards
            )
        except (TypeError, NotImplementedError) as error:
            yield case, f"not there: {error}"
            continue
        of_value = case["value"]
        expected = [array(list(of_value.values()) if isinstance(of_value, dict) else of_value).reshape(-1)]
        expected += map(array, case["gradient"].values())
        for name, found, right in zip(["value", *towards], [value, *gradients], expected, strict=True):
            found = np.array(found, dtype=float)
            far = np.abs(found - right).max() / np.abs(right).max() if found.shape == right.shape else np.inf
            if not far <= (1e-9 if name == "value" else 1e-8 if torch else 1e-5):
                wrong.append(f"{name} differs by {far:.1e} of its largest entry")
        yield case, "; ".join(wrong)


if __name__ == "__main__":
    sys.path.insert(0, ".")
    module, _, name = sys.argv[1].partition(":")
    told = list(check(getattr(importlib.import_module(module), name), sys.argv[2], torch="--torch" in sys.argv))
    for case, wrong in told:
        print(f"{wrong or 'agrees'}: {', '.join(case['given'])}, {case['options']}")
    differ = sum(bool(wrong) and not wrong.startswith("not there") for _, wrong in told)
    print(f"{sys.argv[2]}: {sum(not wrong for _, wrong in told)} of {len(told)} cases agree, {differ} differ")
    sys.exit(bool(differ) or not told)
