"""The examples of "The loss in your own loop": each is run as a script, and all take the steps of one reference.

The reference spells the loss out with PyTorch's own functions. An example that let its teacher train, clipped
gradients, skipped a batch or used another weight would leave the path after a step.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from figures.fingerprint import ROOT
from lskd.losses import dkd_loss, kd_loss

sys.path.insert(0, str(ROOT / "examples"))
import framework_runs
import generated

EXAMPLES = ROOT / "examples"
PACKAGES = {
    "plain_loop": [],
    "mdistiller_fork": [],
    "segmentation": [],
    "lightning_module": ["lightning"],
    "hf_trainer": ["transformers", "accelerate"],
    "hf_language_model": ["transformers", "accelerate"],
    "torchdistill_loss": ["torchdistill", "yaml"],
}
STEPS = 4


@pytest.fixture(scope="module")
def reference() -> tuple[dict[str, Tensor], list[float]]:
    """State dict of the student and losses after ``STEPS`` steps."""
    teacher, student = generated.teacher().eval(), generated.student().train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    losses = []
    for images, labels in DataLoader(generated.dataset(STEPS), batch_size=generated.BATCH_SIZE):
        z, v = student(images), teacher(images).detach()
        loss = framework_runs.spelled_out(z, v, labels) / len(labels)
        by_lskd = 0.1 * F.cross_entropy(z, labels) + 9 * kd_loss(z, v, temperature=2.0, standardize=True)
        torch.testing.assert_close(loss, by_lskd)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return student.state_dict(), losses


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PACKAGES, "generated"}


@pytest.fixture(scope="module", params=PACKAGES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the example did as a script, in its ``main`` and, where it has one, in its framework's own routines."""
    name = request.param
    if absent := [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]:
        message = f"examples/{name}.py needs {', '.join(absent)}; install it: pip install '.[integrations]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp(name)
    paths = os.pathsep.join([str(EXAMPLES), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("framework_runs.py")), name, str(STEPS), "result"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf_home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "step 8: loss " in done.stdout  # as a script it says what it did
    assert list(folder.glob("lightning_logs")) + list(folder.glob("checkpoints")) == []
    found = torch.load(folder / "result", weights_only=True)
    assert ("resumed" in found) == bool(PACKAGES[name])  # a framework's own routines were run
    return found


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-3, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_example_takes_the_steps_of_the_reference(
    run: dict[str, Any], reference: tuple[dict[str, Tensor], list[float]]
) -> None:
    state, losses = reference
    expected = run.get("spelled_out", losses)
    assert run["losses"][: len(expected)] == pytest.approx(expected, rel=1e-4)
    assert run["losses"][0] > 1.5 * run["losses"][-1]
    if "spelled_out" not in run:
        equal(run["student"], state)
        untrained = generated.student().state_dict()
        assert [key for key, tensor in run["student"].items() if torch.equal(tensor, untrained[key])] == []


def test_small_batches_make_the_step_of_a_large_one(run: dict[str, Any]) -> None:
    for one, accumulated in zip(run.get("one_batch", []), run.get("accumulated", []), strict=True):
        equal(accumulated, one)


def test_a_resumed_run_ends_as_one_that_was_not_stopped_and_saves_no_teacher(run: dict[str, Any]) -> None:
    if "resumed" in run:
        equal(run["resumed"], run["straight"])
    if "sizes" in run:
        student, saved, teacher = run["sizes"]
        assert student < saved < teacher


def test_predictions_are_those_of_a_plain_loop(run: dict[str, Any]) -> None:
    for predicted in run.get("predicted", []):
        torch.testing.assert_close(predicted, run["expected"])
    if "accuracy" in run:
        labels = generated.dataset(4).tensors[1][: len(run["expected"])]
        accuracy = (run["expected"].argmax(1) == labels).float().mean().item()
        assert run["accuracy"] == pytest.approx(accuracy)


def test_torchdistill_finds_the_decoupled_loss(run: dict[str, Any]) -> None:
    if "decoupled" in run:
        settings = {"alpha": 9, "beta": 72, "temperature": 2, "standardize": True}
        torch.testing.assert_close(run["decoupled"], dkd_loss(*run["logits"], torch.arange(8), **settings))


def test_the_chapter_shows_every_example() -> None:
    chapter = (ROOT / "book" / "chapters" / "use.md").read_text(encoding="utf-8")
    assert [name for name in PACKAGES if f"../../examples/{name}.py" not in chapter] == []
