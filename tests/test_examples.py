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

from lskd.losses import dkd_loss, kd_loss
from lskd.sources import ROOT

EXAMPLES = ROOT / "examples"
PACKAGES = {
    "plain_loop": [],
    "lightning_module": ["lightning"],
    "hf_trainer": ["transformers", "accelerate"],
    "torchdistill_loss": ["torchdistill", "yaml"],
}
STEPS = 4

# In a process of its own: the frameworks set signal handlers, loggers and warning filters.
RUN = """
import runpy, sys
folder, name, steps, result = sys.argv[1:]
sys.path.insert(0, folder)
names = runpy.run_path(f"{folder}/{name}.py", run_name="__main__")
student, losses = names["main"](int(steps))
import torch
torch.save({"losses": losses, "student": student.state_dict()}, result)
if name == "torchdistill_loss":
    x = torch.load(f"{result}.in")
    outputs = {".": {"output": x["student"]}}, {".": {"output": x["teacher"]}}
    dkd = names["DecoupledLoss"](alpha=9.0, beta=72.0, temperature=2.0, standardize=True)
    torch.save(dkd(*outputs, x["labels"]), f"{result}.dkd")
"""


@pytest.fixture(scope="module")
def generated() -> Any:
    spec = importlib.util.spec_from_file_location("generated", EXAMPLES / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def z_score(x: Tensor) -> Tensor:
    return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-7)


@pytest.fixture(scope="module")
def reference(generated: Any) -> tuple[dict[str, Tensor], list[float]]:
    """State dict of the student and losses after ``STEPS`` steps."""
    teacher, student = generated.teacher().eval(), generated.student().train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    losses = []
    for images, labels in DataLoader(generated.dataset(STEPS), batch_size=generated.BATCH_SIZE):
        z, v = student(images), teacher(images).detach()
        q, p = (z_score(z) / 2).log_softmax(1), (z_score(v) / 2).softmax(1)
        loss = 0.1 * F.cross_entropy(z, labels) + 9 * 4 * F.kl_div(q, p, reduction="batchmean")
        by_lskd = 0.1 * F.cross_entropy(z, labels) + 9 * kd_loss(z, v, temperature=2.0, standardize=True)
        torch.testing.assert_close(loss, by_lskd)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return student.state_dict(), losses


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PACKAGES, "generated"}


@pytest.mark.parametrize("name", PACKAGES)
def test_example_takes_the_steps_of_the_reference(
    name: str, generated: Any, reference: tuple[dict[str, Tensor], list[float]], tmp_path: Path
) -> None:
    if absent := [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]:
        message = f"examples/{name}.py needs {', '.join(absent)}; install it: pip install '.[integrations]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    generator = torch.Generator().manual_seed(5)
    logits = {side: 3 * torch.randn(8, 10, generator=generator) for side in ("student", "teacher")}
    labels = torch.arange(8)
    torch.save({**logits, "labels": labels}, tmp_path / "result.in")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(EXAMPLES), name, str(STEPS), str(tmp_path / "result")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "step 8: loss " in done.stdout  # as a script it says what it did
    assert list(tmp_path.glob("*.ckpt")) + list(tmp_path.glob("*_logs")) == []

    state, losses = reference
    found = torch.load(tmp_path / "result", weights_only=True)
    assert found["losses"] == pytest.approx(losses, rel=1e-4)
    assert losses[0] > 2 * losses[-1]
    untrained = generated.student().state_dict()
    for key, tensor in found["student"].items():
        torch.testing.assert_close(tensor, state[key], rtol=1e-3, atol=1e-5)
        assert not torch.equal(tensor, untrained[key]), f"{key} did not move"
    if name == "torchdistill_loss":
        expected = dkd_loss(
            logits["student"], logits["teacher"], labels, alpha=9, beta=72, temperature=2, standardize=True
        )
        torch.testing.assert_close(torch.load(tmp_path / "result.dkd"), expected)


def test_the_chapter_shows_every_example() -> None:
    chapter = (ROOT / "book" / "use.md").read_text(encoding="utf-8")
    assert [name for name in PACKAGES if f"../../examples/{name}.py" not in chapter] == []
