"""Check one loss of any implementation against vectors.json: ``check.py MODULE:NAME LOSS [--torch]``.

The function is called by keyword, as README.md says: with NumPy arrays, gradients being central differences of its
values, or with float64 tensors (--torch) and autograd. A TypeError or NotImplementedError is an option that it lacks.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))


def array(x):
    """Of JSON, whose null is -inf."""
    found = np.array(x, dtype=object)
    return np.where(found == None, -np.inf, found).astype(float) if None in found.ravel() else np.array(x)  # noqa: E711


def numbers(value):
    """A number, an array or named ones as a list, in the order of the file."""
    parts = list(value.values()) if isinstance(value, dict) else [value]
    return [x for part in parts for x in (part.reshape(-1) if getattr(part, "ndim", 0) else [part])]


def score(value):
    """What gradients are of: the sum of number i divided by i, counted from 1."""
    return sum(x / i for i, x in enumerate(numbers(value), start=1))


def difference(call, given, name, place, step=1e-5):
    moved = np.zeros(given[name].shape)
    moved[place] = step
    up, down = (float(score(call(**{**given, name: given[name] + way}))) for way in (moved, -moved))
    return (up - down) / (2 * step)


def evaluate(call, given, towards, torch):
    """The numbers of a value, then one gradient for each of the arguments ``towards``."""
    if not torch:
        slopes = ([difference(call, given, n, place) for place in np.ndindex(given[n].shape)] for n in towards)
        return [numbers(call(**given)), *(np.reshape(s, given[n].shape) for s, n in zip(slopes, towards, strict=True))]
    from torch import autograd, tensor

    given = {k: tuple(map(tensor, x)) if isinstance(x, tuple) else tensor(x) for k, x in given.items()}
    wanted = [given[name].requires_grad_() for name in towards]
    value = call(**given)
    return [[x.item() for x in numbers(value)], *(x.numpy() for x in autograd.grad(score(value), wanted))]


def check(function, loss, *, torch=False):
    """Every case of a loss and what is wrong with it, an empty text where nothing is."""
    inputs = {name: array(x) for name, x in VECTORS["inputs"].items()}
    for case in (case for case in VECTORS["cases"] if case["loss"] == loss):
        given = {k: tuple(inputs[i] for i in n) if isinstance(n, list) else inputs[n] for k, n in case["given"].items()}
        try:
            found = evaluate(lambda c=case, **x: function(**x, **c["options"]), given, [*case["gradient"]], torch)
        except (TypeError, NotImplementedError) as error:
            yield case, f"not there: {error}"
            continue
        values = [*case["value"].values()] if isinstance(case["value"], dict) else case["value"]
        expected = {"value": array(values).reshape(-1)} | {k: array(g) for k, g in case["gradient"].items()}
        wrong = []
        for (name, right), own in zip(expected.items(), (np.array(x, dtype=float) for x in found), strict=True):
            far = np.abs(own - right).max() / np.abs(right).max() if own.shape == right.shape else np.inf
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
