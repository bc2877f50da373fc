"""Write vectors.json: every loss from its formula, in NumPy alone. Nothing of ``lskd`` is used here.

Gradients are complex steps: the imaginary part of f(x + ih) / h with h = 1e-40 is exact to rounding. All that decides
(who is largest, what is masked) is decided by the teacher, so that every formula is smooth in what is differentiated.

    python conformance/make.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray as Array

FILE = Path(__file__).with_name("vectors.json")

# --- of one row: student s, teacher v, label y -----------------------------------------------------------------------


def log_softmax(x):
    x = x - x.real.max()
    return x - np.log(np.exp(x).sum())


def z_score(x, eps=1e-7, correction=1):
    centred = x - x.mean()
    return centred / (np.sqrt((centred * centred).sum() / (len(x) - correction)) + eps)


def divergence(v, s):
    """KL(softmax(v) || softmax(s))."""
    p, q = log_softmax(v), log_softmax(s)
    return (np.exp(p) * (p - q)).sum()


def of_two(p, q):
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def both(s, v, standardize, **how):
    return (z_score(s, **how), z_score(v, **how)) if standardize else (s, v)


def kd(s, v, y, *, temperature, standardize=False, **how):
    s, v = both(s, v, standardize, **how)
    return temperature**2 * divergence(v / temperature, s / temperature)


def ctkd(s, v, y, *, theta, t_start, t_end, standardize=False):
    return kd(s, v, y, temperature=t_start + t_end / (1 + np.exp(-theta)), standardize=standardize)


def dkd(s, v, y, *, alpha, beta, temperature, standardize=False, **how):
    s, v = (x / temperature for x in both(s, v, standardize, **how))
    target = of_two(np.exp(log_softmax(v))[y], np.exp(log_softmax(s))[y])
    return temperature**2 * (alpha * target + beta * divergence(np.delete(v, y), np.delete(s, y)))


def normkd(s, v, y, *, temperature):
    deviation = v.std(ddof=1)
    return deviation**2 * kd(s, v, y, temperature=temperature, standardize=True, eps=0.0)


def ttm(s, v, y, *, gamma):
    return divergence(gamma * v, s)


def wttm(s, v, y, *, gamma):
    return (np.exp(log_softmax(v)) ** gamma).sum() * ttm(s, v, y, gamma=gamma)


def rld(s, v, y, *, alpha, beta, temperature, alpha_temperature, standardize=False):
    s, v = both(s, v, standardize)
    p, q = (np.exp(log_softmax(x / alpha_temperature)) for x in (v, s))
    below = v < v[y]
    rest = divergence(v[below] / temperature, s[below] / temperature) if below.any() else 0.0
    return alpha * alpha_temperature**2 * of_two(p.max(), q[y]) + beta * temperature**2 * rest


def gdkd(s, v, y, *, k, w0, w1, w2, temperature, standardize=False):
    s, v = (x / temperature for x in both(s, v, standardize))
    order = np.argsort(-v)
    top, rest = order[:k], order[k:]
    mass = of_two(*(np.exp(log_softmax(x))[top].sum() for x in (v, s)))
    parts = divergence(v[top], s[top]), divergence(v[rest], s[rest])
    return temperature**2 * (w0 * mass + w1 * parts[0] + w2 * parts[1])


# --- of a batch ------------------------------------------------------------------------------------------------------


def columns_scored(x):
    centred = x - x.mean(axis=0)
    return centred / np.sqrt((centred * centred).mean(axis=0) + 1e-5)


def luminet(s, v, *, alpha, temperature):
    pairs = zip(columns_scored(s) / temperature, columns_scored(v) / temperature, strict=True)
    return [alpha**2 * divergence(b, a) for a, b in pairs]


def correlations(p, q):
    """Of the rows of two tables."""
    p, q = (x - x.mean(axis=1, keepdims=True) for x in (p, q))
    return (p * q).sum(axis=1) / (np.sqrt((p * p).sum(axis=1)) * np.sqrt((q * q).sum(axis=1)) + 1e-8)


def dist(s, v, *, beta, gamma, temperature):
    q, p = (np.exp(np.stack([log_softmax(row) for row in x / temperature])) for x in (s, v))
    within = (1 - correlations(p.T, q.T)).mean()
    return [temperature**2 * (beta * (1 - rho) + gamma * within) for rho in correlations(p, q)]


def mlkd(s, strong, v, teacher_strong, labels, *, temperature, kd_weight, ce_weight, standardize=False):
    """As released: masks act by their mean, the last two temperatures of the strong view take the weak one."""

    def probabilities(x, t):
        return np.exp(np.stack([log_softmax(row) for row in x / t]))

    def grams(p, q):
        difference = p @ p.T - q @ q.T
        return (difference * difference).sum(axis=1).mean()

    def mean_kd(a, b, t):
        rows = zip(a, b, strict=True)
        return np.mean([kd(x, w, None, temperature=t, standardize=standardize) for x, w in rows])

    p = probabilities(v, 1.0)
    sure, common = p.max(axis=1), p.sum(axis=0)
    of_samples, of_classes = (np.mean(x <= np.percentile(x, 50)) for x in (sure, common))
    views = [(s, v)] * 2, [(strong, teacher_strong)] * 3 + [(s, v)] * 2
    temperatures = (temperature, 3.0, 5.0, 2.0, 6.0)
    terms = dict.fromkeys(("ce", "kd", "cc", "bc"), 0.0 + 0j)
    for x in (s, strong):
        terms["ce"] -= ce_weight * np.mean([log_softmax(row)[y] for row, y in zip(x, labels, strict=True)])
    for (a, b), t in zip(views[1], temperatures, strict=True):
        terms["kd"] += kd_weight * (of_samples * mean_kd(s, v, t) + mean_kd(a, b, t))
        p, q = probabilities(v, t), probabilities(s, t)
        terms["cc"] += kd_weight * of_classes * grams(p.T, q.T)
        terms["bc"] += kd_weight * of_samples * grams(p, q)
    return terms


# --- rows, masks, weights --------------------------------------------------------------------------------------------

OF_A_ROW = {"kd": kd, "ctkd": ctkd, "dkd": dkd, "normkd": normkd, "ttm": ttm, "wttm": wttm, "rld": rld, "gdkd": gdkd}
OF_A_BATCH = {"luminet": luminet, "dist": dist}


def rows_of(loss: str, s: Array, v: Array, labels: Array, options: dict[str, Any]) -> list[Any]:
    if loss in OF_A_BATCH:
        return OF_A_BATCH[loss](s, v, **options)
    out = []
    for x, w, y in zip(s, v, labels, strict=True):
        kept = ~np.isneginf(w)
        out.append(OF_A_ROW[loss](x[kept], w[kept], int(kept[:y].sum()), **options))
    return out


def value(loss: str, given: dict[str, Any], options: dict[str, Any]) -> Any:
    """What a case computes: a number, a list, or named numbers."""
    given = dict(given)
    if loss == "mlkd":
        names = ("student_weak", "student_strong", "teacher_weak", "teacher_strong", "target")
        return mlkd(*(given[name] for name in names), **options)
    s, v = given.get("student_logits", given.get("logits")), given.get("teacher_logits")
    count = np.ones(len(s), dtype=bool) if given.get("mask") is None else given["mask"].astype(bool)
    if loss == "standardize":
        return np.stack([z_score(row, **options) if on else 0 * row for row, on in zip(s, count, strict=True)])
    if "teacher_topk" in given:
        v, indices = given["teacher_topk"]
        s = np.take_along_axis(s, indices, axis=1)
    options = dict(options) | ({"theta": given["theta"]} if "theta" in given else {})
    reduction, reversal = options.pop("reduction", "mean"), options.pop("reversal", 1.0)
    if "theta" in given:  # the gradient is what the reversal layer makes of it
        options["theta"] = options["theta"].real + 1j * reversal * options["theta"].imag
    labels = given.get("target", np.zeros(len(s), dtype=int))
    found = np.array(rows_of(loss, s[count], v[count], labels[count], options))
    found = found * given.get("weights", np.ones(len(s)))[count]
    if reduction == "none":
        out = np.zeros(len(s), dtype=found.dtype)
        out[count] = found
        return out
    return found.sum() if reduction == "sum" else found.mean()


def flat(found: Any) -> Array:
    parts = found.values() if isinstance(found, dict) else [found]
    return np.concatenate([np.ravel(part) for part in parts])


def gradient(loss: str, given: dict[str, Any], options: dict[str, Any], name: str) -> Array:
    x = np.array(given[name], dtype=complex)
    out = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        if np.isneginf(x[place].real):
            continue
        moved = x.copy()
        moved[place] += 1e-40j
        found = flat(value(loss, given | {name: moved}, options)).imag / 1e-40
        out[place] = (found / np.arange(1, len(found) + 1)).sum()
    return out


# --- the cases -------------------------------------------------------------------------------------------------------


def inputs() -> dict[str, Array]:
    """Named arrays, rounded so that the file shows all of their digits."""
    random = np.random.RandomState(0)
    out = {name: random.standard_normal((5, 7)) * 3 for name in ("student", "teacher", "strong", "teacher_strong")}
    out |= {"target": np.array([0, 6, 2, 3, 3]), "mask": np.array([1, 0, 1, 1, 0]), "theta": np.array(0.3)}
    out["teacher"][0, 0] += 9.0  # confident and right; in the next row the label is the smallest: nothing below it
    out["teacher"][1, 6] = out["teacher"][1].min() - 1.0
    out["weights"] = random.uniform(size=5)
    out = {name: x if x.dtype == int else np.round(x, 3) for name, x in out.items()}
    out["topk_indices"] = np.argsort(-out["teacher"], axis=1)[:, :3]
    out["topk_values"] = np.take_along_axis(out["teacher"], out["topk_indices"], axis=1)
    for side in ("student", "teacher"):  # a class that is forbidden, another in every row and never the label
        out[f"{side}_excluded"] = out[side].copy()
        out[f"{side}_excluded"][np.arange(5), (out["target"] + 2) % 7] = -np.inf
    return out


PAIR = {"student_logits": "student", "teacher_logits": "teacher"}
LABELLED = PAIR | {"target": "target"}
EXCLUDED = {"student_logits": "student_excluded", "teacher_logits": "teacher_excluded"}
TOPK = {"student_logits": "student", "teacher_topk": ["topk_values", "topk_indices"]}
MLKD = {"student_weak": "student", "student_strong": "strong", "teacher_weak": "teacher",
        "teacher_strong": "teacher_strong", "target": "target"}  # fmt: skip
CTKD = {"t_start": 2.0, "t_end": 40.0, "reversal": -0.5}
RLD = {"alpha": 1.0, "beta": 8.0, "temperature": 4.0, "alpha_temperature": 1.0}
GDKD = {"k": 3, "w0": 1.0, "w1": 2.0, "w2": 8.0, "temperature": 4.0}
LS = {"standardize": True}


def cases() -> Iterable[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(loss, arguments by the names of inputs, options)."""
    student = {"logits": "student"}
    yield from (("standardize", student, {"eps": 1e-7, "correction": correction}) for correction in (1, 0))
    yield "standardize", student | {"mask": "mask"}, {"eps": 1e-7, "correction": 1}
    for options in ({}, LS, LS | {"correction": 0}, LS | {"eps": 0.1}):
        yield from (("kd", PAIR, {"temperature": t} | options) for t in (1.0, 4.0))
    for given in (EXCLUDED, TOPK, TOPK | {"mask": "mask"}):
        yield from (("kd", given, {"temperature": 2.0} | options) for options in ({}, LS))
    yield from (("ctkd", PAIR | {"theta": "theta"}, CTKD | options) for options in ({}, LS))
    for weights in ((1.0, 8.0), (1.0, 0.0), (0.0, 1.0)):
        options = {"alpha": weights[0], "beta": weights[1], "temperature": 2.0}
        yield from (("dkd", LABELLED, options | more) for more in ({}, LS))
    yield "dkd", EXCLUDED | {"target": "target"}, {"alpha": 1.0, "beta": 8.0, "temperature": 2.0} | LS
    yield from (
        ("mlkd", MLKD, {"temperature": 2.0, "kd_weight": 9.0, "ce_weight": 0.1} | options) for options in ({}, LS)
    )
    members: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("kd", PAIR, {"temperature": 2.0} | LS),
        ("dkd", LABELLED, {"alpha": 1.0, "beta": 8.0, "temperature": 4.0} | LS),
        ("normkd", PAIR, {"temperature": 2.0}),
        ("luminet", PAIR, {"alpha": 33.0, "temperature": 4.0}),
        ("dist", PAIR, {"beta": 2.0, "gamma": 3.0, "temperature": 4.0}),
        ("ttm", PAIR, {"gamma": 0.1}),
        ("wttm", PAIR, {"gamma": 0.1}),
        ("rld", LABELLED, RLD),
        ("rld", LABELLED, RLD | LS),
        ("gdkd", PAIR, GDKD),
        ("gdkd", PAIR, GDKD | LS),
    ]
    for loss, given, options in members:
        if loss not in ("kd", "dkd"):
            yield loss, given, options
        yield loss, given | {"mask": "mask"}, options
        yield loss, given | {"mask": "mask", "weights": "weights"}, options | {"reduction": "sum"}
    yield "kd", PAIR | {"mask": "mask"}, {"temperature": 2.0, "reduction": "none"}


def plain(x: Any) -> Any:
    """For JSON, which has no infinity: null is -inf."""
    if isinstance(x, dict):
        return {key: plain(item) for key, item in x.items()}
    if np.ndim(x):
        return [plain(item) for item in x]
    x = np.asarray(x).real.item()
    return None if isinstance(x, float) and np.isneginf(x) else x


def make() -> dict[str, Any]:
    arrays, out = inputs(), []
    for loss, names, options in cases():
        given = {k: [arrays[i] for i in n] if isinstance(n, list) else arrays[n] for k, n in names.items()}
        towards = [name for name in names if name.startswith(("logits", "student", "theta"))]
        gradients = {name: plain(gradient(loss, given, options, name)) for name in towards}
        found = plain(value(loss, given, options))
        out.append({"loss": loss, "given": names, "options": options, "value": found, "gradient": gradients})
    return {"inputs": plain(arrays), "cases": out}


if __name__ == "__main__":
    found = make()
    lines = ",\n".join(json.dumps(case) for case in found["cases"])
    FILE.write_text(f'{{"inputs": {json.dumps(found["inputs"])},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{FILE}: {len(found['cases'])} cases, {FILE.stat().st_size:,} bytes")
