"""The vectors of conformance/: ours agree with them, they are what their formulas give, and what differs is told."""

from __future__ import annotations

import inspect
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lskd import losses
from lskd.losses import CurriculumTemperature, kd_loss, standardize

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "conformance"


def load(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / f"{name}.py")))


check = load("check")


def ctkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    theta: Tensor,
    reversal: float,
    t_start: float,
    t_end: float,
    **more: bool,
) -> Tensor:
    module = CurriculumTemperature(t_start, t_end)
    temperature = torch.func.functional_call(module, {"theta": theta}, (reversal,))
    return kd_loss(student_logits, teacher_logits, temperature=temperature, **more)


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
    made = load("make").make()
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
