"""Losses and gradients against numbers of elsewhere: of the released implementation, and of formulas in NumPy alone."""

from __future__ import annotations

import inspect
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lskd import losses
from lskd.losses import CurriculumTemperature, curriculum_reversal, dkd_loss, dkd_terms, kd_loss, standardize
from lskd.objectives import Logits, create_objective

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
KD_DKD = sorted(GOLDEN.glob("loss_kd_dkd_*.npz"))
MLKD = sorted(GOLDEN.glob("loss_mlkd_*.npz"))
CTKD = sorted(GOLDEN.glob("loss_ctkd_*.npz"))
VIT = sorted(GOLDEN.glob("loss_vit_*.npz"))
FAMILY = sorted(GOLDEN.glob("family_*.npz"))
# The letters of a key of the family to the arguments of its function.
ARGUMENTS = {"T": "temperature", "alphaT": "alpha_temperature", "ls": "standardize"}
ARGUMENTS |= {"wzero": "w0", "wone": "w1", "wtwo": "w2"}


def ids(path: Path) -> str:
    return path.stem.removeprefix("loss_")


def double(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


def close(found: torch.Tensor, expected: np.ndarray | float, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(found.detach().double().numpy(), expected, rtol=rtol, atol=1e-300)


def both_close(loss: Callable[..., torch.Tensor], expected: np.ndarray, *logits: torch.Tensor) -> None:
    """In double and in single precision."""
    close(loss(*logits), expected)
    close(loss(*(x.detach().float() for x in logits)), expected, rtol=1e-5)


def gradient_close(found: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-8) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_fixtures_are_there() -> None:
    assert [len(files) for files in (KD_DKD, MLKD, CTKD, VIT, FAMILY)] == [10, 4, 2, 1, 2]


@pytest.mark.parametrize("path", KD_DKD, ids=ids)
def test_kd_and_dkd(path: Path) -> None:
    g = np.load(path)
    student, teacher, target = double(g["student"]), double(g["teacher"]), torch.from_numpy(g["target"])
    close(standardize(student), g["z_student"])
    close(standardize(teacher), g["z_teacher"])
    for ls in (0, 1):
        for i, t in enumerate(g["temperatures"].tolist()):
            options = {"temperature": t, "standardize": bool(ls)}
            both_close(partial(kd_loss, **options), g[f"kd_ls{ls}"][i], student, teacher)
            for name, term in zip(("tckd", "nckd"), dkd_terms(student, teacher, target, **options), strict=True):
                close(term, g[f"{name}_ls{ls}"][i])
        for i, (alpha, beta, t) in enumerate(g["dkd_params"].tolist()):
            options = {"alpha": alpha, "beta": beta, "temperature": t, "standardize": bool(ls)}
            both_close(partial(dkd_loss, target=target, **options), g[f"dkd_ls{ls}"][i], student, teacher)


@pytest.mark.parametrize("path", KD_DKD, ids=ids)
def test_kd_and_dkd_gradients_and_totals(path: Path) -> None:
    g = np.load(path)
    teacher, target = double(g["teacher"]), torch.from_numpy(g["target"])
    words = {"a": "alpha", "b": "beta", "T": "temperature", "w": "kd_weight"}
    keys = [key for key in g.files if re.match("(grad|total)_d?kd_", key)]
    assert len(keys) >= 4
    for key in keys:
        student = double(g["student"]).requires_grad_()
        settings = {words[k]: float(v) for k, v in re.findall(r"_([abTw])([\d.]+)", key)}
        settings["standardize"] = "_ls1" in key
        kind, method = key.split("_")[:2]
        if kind == "grad":
            labels = (target,) if method == "dkd" else ()
            getattr(losses, f"{method}_loss")(student, teacher, *labels, **settings).backward()
            gradient_close(student.grad, g[key])
            continue
        objective = create_objective(method, **settings)
        objective.start_epoch(int((re.findall(r"epoch(\d+)", key) or ["1"])[0]))
        ce, *distilled = objective(Logits(student, target, teacher)).values()
        close(torch.stack((ce, sum(distilled), ce + sum(distilled))), g[key])


@pytest.mark.parametrize("path", MLKD, ids=ids)
def test_mlkd(path: Path) -> None:
    g = np.load(path)
    target = torch.from_numpy(g["target"])

    def inputs() -> list[torch.Tensor]:
        names = ("student_weak", "student_strong", "teacher_weak", "teacher_strong")
        return [double(g[n]).requires_grad_(n.startswith("student")) for n in names]

    for row, expected in zip(g["settings_ls_T_w"], g["losses_ce_kd_cc_bc_total"], strict=True):
        ls, t, w = bool(row[0]), float(row[1]), float(row[2])
        x = inputs()
        terms = losses.mlkd_terms(*x, target, temperature=t, kd_weight=w, standardize=ls)
        total = sum(terms.values())
        close(torch.stack([*(terms[k] for k in ("ce", "kd", "cc", "bc")), total]), expected)
        key = f"T{t:g}_w{w:g}_ls{int(ls)}"
        if f"grad_weak_{key}" in g.files:
            total.backward()
            gradient_close(x[0].grad, g[f"grad_weak_{key}"])
            gradient_close(x[1].grad, g[f"grad_strong_{key}"])
        single = losses.mlkd_terms(*(v.detach().float() for v in x), target, temperature=t, kd_weight=w, standardize=ls)
        close(sum(single.values()), expected[-1], rtol=1e-5)


@pytest.mark.parametrize("path", MLKD, ids=ids)
def test_mlkd_paper_definitions_recombine_the_golden_parts(path: Path) -> None:
    """With every strong term and correlations standardised, the sums follow from the stored single terms."""
    g = np.load(path)
    x = [double(g[n]) for n in ("student_weak", "student_strong", "teacher_weak", "teacher_strong")]
    index = {t: i for i, t in enumerate(g["temperatures"].tolist())}
    order = [index[t] for t in (2.0, 3.0, 5.0, 2.0, 6.0)]
    mu, nu = g["sample_mask"].mean(), g["class_mask"].mean()
    target, usual = torch.from_numpy(g["target"]), {"temperature": 2.0, "kd_weight": 1.0}
    every = {"standardize": True, "standardize_correlations": True, "strong_terms": "all"}
    terms = losses.mlkd_terms(*x, target, **usual, **every)
    close(terms["kd"], mu * g["kl_weak_ls1"][order].sum() + g["kl_strong_ls1"][order].sum())
    # The stored standardised correlations have no epsilon, ours adds 1e-7 to the deviation.
    close(terms["cc"], nu * g["cc_weak_standardised"][order].sum() + g["cc_strong_standardised"][order].sum(), 1e-5)
    close(terms["bc"], mu * g["bc_weak_standardised"][order].sum() + g["bc_strong_standardised"][order].sum(), 1e-5)
    elementwise = losses.mlkd_terms(*x, target, **usual, masks="elementwise")
    kept = torch.from_numpy(g["sample_mask"])
    weak = sum(kd_loss(x[0][kept], x[2][kept], temperature=float(t)) for t in (2, 3, 5, 2, 6)) * kept.double().mean()
    rest = g["kl_strong_ls0"][order[:3]].sum() + g["kl_weak_ls0"][order[3:]].sum()
    close(elementwise["kd"], float(weak) + rest)


@pytest.mark.parametrize("path", CTKD, ids=ids)
def test_ctkd(path: Path) -> None:
    g = np.load(path)
    columns = g["columns"].tolist()
    teacher = double(g["teacher"])
    for values in g["rows"]:
        row = dict(zip(columns, values.tolist(), strict=True))
        module = CurriculumTemperature(row["t_start"], row["t_end"]).double()
        with torch.no_grad():
            module.theta.fill_(row["theta"])
        reversal = curriculum_reversal(int(row["epoch"]))
        for ls in (0, 1):
            module.zero_grad()
            temperature = module(reversal)
            close(temperature, [row[f"T_ls{ls}"]])
            student = double(g["student"])
            loss = kd_loss(student, teacher, temperature=temperature, standardize=bool(ls))
            loss.backward()
            close(loss, row[f"loss_ls{ls}"])
            np.testing.assert_allclose(module.theta.grad.item(), row[f"grad_theta_ls{ls}"], rtol=1e-8)
    for ls in (0, 1):
        module = CurriculumTemperature().double()
        student = double(g["student"]).requires_grad_()
        kd_loss(student, teacher, temperature=module(-1.0), standardize=bool(ls)).backward()
        gradient_close(student.grad, g[f"grad_student_ls{ls}_ts1_te20_theta1"])


@pytest.mark.parametrize("path", VIT, ids=ids)
def test_vit(path: Path) -> None:
    g = np.load(path)
    student, teacher, target = double(g["student"]), double(g["teacher"]), torch.from_numpy(g["target"])
    columns = g["columns"].tolist()
    for values in g["rows"]:
        row = dict(zip(columns, values.tolist(), strict=True))
        options = {"temperature": row["T"], "weight": row["weight"], "standardize": bool(row["logit_stand"])}
        terms = losses.vit_logit_terms(student, student, teacher, target, **options)
        close(terms["kd"], row["logit_loss"])
        close(terms["ce"], 0.5 * row["cross_entropy"])
        close(terms["ce"] + terms["kd"], row["total"])
    projected = F.conv2d(double(g["lg_student_map"]), double(g["lg_weight"]), double(g["lg_bias"]))
    close(losses.locality_guidance_loss(projected, double(g["lg_teacher_map"])), g["lg_loss"])


def call_of(key: str) -> tuple[str, dict[str, Any]]:
    """``"gdkd_k5_w1_2_8_T4"`` to the function's name and its arguments."""
    name, *words = re.sub(r"_w([\d.]+)_([\d.]+)_([\d.]+)", r"_wzero\1_wone\2_wtwo\3", key).split("_")
    pairs = [re.fullmatch(r"([A-Za-z]+)([\d.]+)", word).groups() for word in words]
    return f"{name}_loss", {ARGUMENTS.get(k, k): int(v) if k in ("k", "ls") else float(v) for k, v in pairs}


@pytest.mark.parametrize("path", FAMILY, ids=lambda path: path.stem)
def test_family(path: Path) -> None:
    g = np.load(path)
    teacher, target = double(g["teacher"]), torch.from_numpy(g["target"])
    keys = [key for key in g.files if f"grad_{key}" in g.files]
    assert len(keys) == 22
    for key in keys:
        name, arguments = call_of(key)
        function, student = getattr(losses, name), double(g["student"]).requires_grad_()
        if "target" in inspect.signature(function).parameters:
            arguments["target"] = target
        both_close(partial(function, **arguments), g[key], student, teacher)
        function(student, teacher, **arguments).backward()
        gradient_close(student.grad, g[f"grad_{key}"], tolerance=1e-9)


def test_schedules() -> None:
    g = np.load(GOLDEN / "schedules.npz")
    for loops in (5, 10):
        found = [curriculum_reversal(e, loops=loops) for e in g["epochs"].tolist()]
        np.testing.assert_array_equal(found, g[f"ctkd_lambda_loops{loops}"])
    for warmup in (1, 20):
        dkd = create_objective("dkd", warmup=warmup)
        found = []
        for epoch in g["epochs"].tolist():
            dkd.start_epoch(epoch)
            found.append(dkd.of_epoch)
        np.testing.assert_array_equal(found, g[f"dkd_warmup{warmup}"])


# --- the vectors of conformance/ -------------------------------------------------------------------------------------


FOLDER = ROOT / "conformance"


def script(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / f"{name}.py")))


check = script("check")


def ctkd(theta: Tensor, reversal: float, t_start: float, t_end: float, **given: Any) -> Tensor:
    module = CurriculumTemperature(t_start, t_end)
    return kd_loss(temperature=torch.func.functional_call(module, {"theta": theta}, (reversal,)), **given)


OURS: dict[str, Callable[..., Any]] = {
    **{name.removesuffix("_loss"): getattr(losses, name) for name in losses.__all__ if name.endswith("_loss")},
    "standardize": standardize,
    "mlkd": losses.mlkd_terms,
    "ctkd": ctkd,
}
del OURS["locality_guidance"]  # it compares feature maps


@pytest.mark.parametrize("loss", OURS)
def test_every_loss_agrees_with_its_vectors(loss: str) -> None:
    told = list(check.check(OURS[loss], loss, torch=True))
    assert told
    assert [(case["options"], wrong) for case, wrong in told if wrong] == []
    if "mask" in inspect.signature(OURS[loss]).parameters:
        assert any("mask" in case["given"] for case, _ in told)


def test_the_file_is_what_the_formulas_give_in_numpy_alone() -> None:
    made = script("make").make()
    file = FOLDER / "vectors.json"
    assert file.stat().st_size < 300_000
    json.loads(file.read_text(encoding="utf-8"), parse_constant=pytest.fail)  # JSON has no infinity
    assert made["inputs"] == check.VECTORS["inputs"]
    assert {case["loss"] for case in made["cases"]} == set(OURS)
    for new, old in zip(made["cases"], check.VECTORS["cases"], strict=True):
        assert {**new, "value": 0, "gradient": 0} == {**old, "value": 0, "gradient": 0}
        numbers = [
            np.concatenate([np.ravel(x) for x in [*check.numbers(case["value"]), *case["gradient"].values()]])
            for case in (new, old)
        ]
        np.testing.assert_allclose(*numbers, rtol=1e-11, atol=1e-13, err_msg=str(old))
    imported = re.findall(r"^(?:from|import) (\w+)", (FOLDER / "make.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(imported) <= {"__future__", "collections", "json", "numpy", "pathlib", "typing"}


def numpy_z_score(logits: np.ndarray, eps: float, correction: int) -> np.ndarray:
    deviation = logits.std(axis=-1, ddof=correction, keepdims=True)
    return (logits - logits.mean(axis=-1, keepdims=True)) / (deviation + eps)


def test_differences_serve_where_there_is_no_autograd() -> None:
    told = [wrong for _, wrong in check.check(numpy_z_score, "standardize")]
    assert told[:2] == ["", ""]
    assert told[2].startswith("not there: ")
    assert "mask" in told[2]


def test_what_public_copies_disagree_on_is_seen() -> None:
    def divides_by_n(logits: np.ndarray, eps: float, correction: int) -> np.ndarray:
        return numpy_z_score(logits, eps, 1 - correction)

    def eps_in_the_root(logits: np.ndarray, eps: float, correction: int) -> np.ndarray:
        variance = logits.var(-1, ddof=correction, keepdims=True)
        return (logits - logits.mean(-1, keepdims=True)) / np.sqrt(variance + eps)

    for function in (divides_by_n, eps_in_the_root):
        told = [wrong for _, wrong in check.check(function, "standardize")]
        assert all(wrong.startswith("value differs by") for wrong in told[:2])
    no_square = [told for _, told in check.check(lambda **o: kd_loss(**o) / o["temperature"] ** 2, "kd", torch=True)]
    assert [not told for told in no_square] == [case["options"]["temperature"] == 1 for case in cases("kd")]


def cases(loss: str) -> list[dict[str, Any]]:
    return [case for case in check.VECTORS["cases"] if case["loss"] == loss]


def test_the_command_and_the_twenty_lines_of_the_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^python (conformance/check.py lskd.*)$", page, re.MULTILINE)
    done = subprocess.run([sys.executable, *command[1].split()], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"kd: {len(cases('kd'))} of {len(cases('kd'))} cases agree, 0 differ"
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(code[1], {})
    with pytest.raises(AssertionError):
        exec(code[1].replace("t * t * sum", "sum"), {})


def test_the_page_names_every_loss_and_option() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for case in check.VECTORS["cases"]:
        (row,) = re.findall(rf"^\| `{case['loss']}` \|.*$", page, re.MULTILINE)
        assert all(option in row or option == "reduction" for option in case["options"]), (row, case["options"])
