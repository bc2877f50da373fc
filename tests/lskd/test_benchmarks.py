"""The baseline computes what the trainer computes, and a missed check is said."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from figures.fingerprint import ROOT
from lskd.data.views import Views
from lskd.objectives import Logits, create_objective
from lskd.trainer.execution import Execution

sys.path.insert(0, str(ROOT / "benchmarks"))
import baseline
import cpu
import gpu


def test_the_benchmark_of_a_gpu_needs_no_pillow() -> None:
    code = "import sys; sys.modules['PIL'] = None; sys.path.insert(0, 'benchmarks'); "
    code += "import gpu; print(gpu.data.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "random_images", done.stderr
    assert cpu.data is gpu.data
    one, again = cpu.data(600, classes=7), gpu.data(600, classes=7)
    assert torch.equal(one.train_images, again.train_images)
    assert len(one.test_labels) == 512
    assert set(one.train_labels.tolist()) == set(range(7))


@pytest.mark.parametrize("name", cpu.MEMBERS)
def test_both_sides_compute_the_same_loss(name: str) -> None:
    settings = dict(cpu.MEMBERS[name])
    objective = create_objective(settings.pop("method"), **settings).double()
    objective.start_epoch(10)  # the last of CTKD's curriculum: the gradient is reversed in full
    distiller = baseline.Distiller(name).double()
    z, v = (3 * torch.randn(8, 20, dtype=torch.float64) for _ in range(2))
    y = torch.randint(20, (8,))
    z.requires_grad_()
    ours = torch.stack(list(objective(Logits(z, y, v)).values())).sum()
    plain = distiller(z, v, y)
    torch.testing.assert_close(ours, plain)
    inputs = [z, *objective.parameters()], [z, *distiller.parameters()]
    for a, b in zip(torch.autograd.grad(ours, inputs[0]), torch.autograd.grad(plain, inputs[1]), strict=True):
        torch.testing.assert_close(a, b)


def test_both_sides_make_the_same_weak_views(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    draws = iter([2, 7])
    monkeypatch.setattr(baseline.random, "randint", lambda low, high: next(draws))
    monkeypatch.setattr(baseline.random, "random", lambda: 0.0)  # mirrored
    found = np.array(baseline.weak(Image.fromarray(pixels)))
    view = torch.tensor([81 + 7 * 9 + 2])  # left 2, top 7
    views = Views(torch.from_numpy(pixels).permute(2, 0, 1)[None], pad=4, flip=True)
    expected = views(torch.tensor([0]), view)[0].permute(1, 2, 0)
    assert np.array_equal(found, expected.numpy())


def test_every_operation_of_the_baseline_runs() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    assert len(baseline.OPERATIONS) == 14
    for name, (low, high, operation) in baseline.OPERATIONS.items():
        changed = np.array(operation(image, high if low >= 0 else low))
        assert changed.shape == (32, 32, 3)
        # solarize at 256 and brightness at 0.95 are near the identity; posterize at 8 keeps 7 bits
        assert np.array_equal(changed, np.array(image)) == (name in ("identity", "autocontrast", "solarize"))
    assert baseline.strong(image).size == (32, 32)


def test_rates_are_measured_and_too_few_images_for_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = cpu.data(64, classes=10)
    member = {"kd_ls": cpu.MEMBERS["kd_ls"]}
    teacher = cpu.create_model("resnet8", 10).eval()
    assert cpu.cohort_rate(dataset, member, 1, teacher=teacher, batch=16, window=16) > 0
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    with cpu.plain_process() as process:
        assert process.submit(os.getenv, "GLIBC_TUNABLES").result() is None
        assert process.submit(cpu.baseline_rate, dataset, teacher, ["kd_ls"], 1, 0, batch=16).result() > 0
    with pytest.raises(ValueError, match="64 images are too few for 4 timed steps of 16"):
        cpu.cohort_rate(dataset, member, 4, teacher=teacher, batch=16, window=16)


def test_a_missed_check_of_the_gpu_is_told_from_one_that_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a CPU, with little data: all calls run, a deviation and an exception are failures, the others are seen."""
    monkeypatch.setattr(gpu, "NETWORKS", dict(gpu.REHEARSED))
    monkeypatch.setattr(gpu, "BATCH", 16)
    monkeypatch.setattr(gpu, "PIECES", {"fused": gpu.PIECES["fused"]})

    def check_epochs(device: object, little: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gpu, "check_epochs", check_epochs)
    found = gpu.checks(gpu.CPU, little=True)
    assert [c["check"] for c in found if not c["passed"]] == ["check_epochs"]
    assert "ZeroDivisionError" in capsys.readouterr().out
    monkeypatch.setattr(gpu, "PIECES", {"another rate": (gpu.PLAIN, -1.0)})
    changed = [c for c in gpu.check_pieces(gpu.CPU, True) if c[1] > c[2]]
    assert [name for name, _, _ in changed] == ["six members: another rate", "MLKD: another rate"]


def test_a_piece_that_raises_leaves_the_others_to_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [name for name, (how, _) in gpu.pieces(gpu.CPU).items() if how.graph]

    def train(how: Execution) -> None:
        if how.graph:
            raise RuntimeError("capture failed")

    monkeypatch.setattr(gpu, "short_training", lambda *given, **options: train)
    monkeypatch.setattr(gpu, "deviation", lambda before, after: 0.0)
    found = {name: value <= limit for name, value, limit in gpu.check_pieces(gpu.CPU, True)}
    assert [name for name in found if not found[name]] == [f"{a}: {b}" for a in ("six members", "MLKD") for b in graphs]


def test_goals_of_the_gpu_are_computed_from_its_rates() -> None:
    rates = {
        f"{n} from a table, tf32, {how}": 10.0 * i for n, i in (("six", 6), ("one", 2)) for how in ("all", "fused")
    }
    found = gpu.summary(
        {"student_images_per_s": rates, "test_images_per_s": 1000.0, "multiply_adds_per_s": {"tf32": 1e12}}
    )
    assert found["cohort6_student_images_per_s"] == 60.0
    trained, tested = 240 * 782 * 6 * 64 / 60, 240 * 6 * 10_000 / 1000
    assert found["cohort6_240_epochs_minutes"] == pytest.approx((trained + tested) / 60)
