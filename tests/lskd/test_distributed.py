"""Two processes on one machine, started by torchrun: what one process does, and the same bits after a kill."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from figures.fingerprint import ROOT
from lskd.data import load_dataset
from lskd.errors import LskdError
from lskd.files import read_lines
from lskd.models import create_model, save_checkpoint
from lskd.records import load_record
from lskd.trainer.batches import Batch, Batches
from lskd.trainer.distributed import World
from lskd.trainer.run import train

# No BatchNorm: what a process computes does not depend on the others' images.
NETWORK = """
from torch import nn

def tiny(num_classes):
    body = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(16, num_classes))
"""

# 200 images in batches of 65: parts of 32 and 33, and a last batch of 5.
RECIPE = """
dataset = "digit_pairs"
student = "two_processes_net:tiny"
epochs = 2
batch_size = 65
learning_rate = 0.2
milestones = [1]
data = {{ train_size = 200, test_size = 100 }}
teacher = {{ network = "resnet8", checkpoint = "{checkpoint}" }}

[members.ctkd]
method = "ctkd"
kd_weight = 0.9

[members.dkd_ls]
method = "dkd"
standardize = true
"""

SCRIPT = """
import os, signal, sys
from lskd.errors import LskdError
from lskd.objectives import DKD
from lskd.trainer import member
from lskd.trainer.run import train

recipe, out, rank = sys.argv[1], sys.argv[2], int(os.environ["RANK"])
common = {"progress": False, "device": "cpu", "checkpoint_seconds": 0}

# A term that is not finite in one process, in the fifth step.
forward, calls = DKD.forward, 0
def dying(self, logits):
    global calls
    calls += 1
    terms = forward(self, logits)
    return terms | ({"nckd": terms["nckd"] * float("nan")} if calls == 5 and rank == 1 else {})
DKD.forward = dying
record = train(recipe, out + "/failing", **common)
assert record["members"]["dkd_ls"]["failure"]["step"] == 5, record
DKD.forward = forward

for folder, options, message in (
    ("size", {"settings": {"batch_size": 199}}, "the last batch of an epoch has 1 images for 2 processes"),
    ("sync", {"sync_batchnorm": True}, "PyTorch has it on GPUs only"),
    ("failing", {"seed": 7}, "holds another run"),  # found by the first process, told to both
):
    try:
        train(recipe, f"{out}/{folder}", **common, **options)
    except LskdError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)

original, steps = member.Member.train_step, 0
def counted(self, *args):
    global steps
    steps += self.name == "ctkd"
    if steps == 6 and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args)
member.Member.train_step = counted
train(recipe, out + "/killed", **common)
"""

TRAIN = ("-m", "lskd", "train", "--recipe", "recipe.toml", "--device", "cpu", "--out")


def torchrun(*arguments: str, cwd: Path, fails: bool = False) -> str:
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{cwd}", "OMP_NUM_THREADS": "1"}
    limit = 600  # a guard against hanging, not a measure
    done = subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    said = done.stdout[-3000:] + done.stderr[-6000:]
    assert (done.returncode != 0) == fails, said
    return said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a network, a teacher, a recipe, and a run of it in two processes."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two_processes_net.py").write_text(NETWORK)
    torch.manual_seed(0)
    save_checkpoint(create_model("resnet8", 100), folder / "teacher.safetensors")
    (folder / "recipe.toml").write_text(RECIPE.format(checkpoint=folder / "teacher.safetensors"))
    said = torchrun(*TRAIN, "both", cwd=folder)
    assert said.count("% after epoch") == 2  # of two members, by one process
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("two_processes_net", None)


def test_two_processes_compute_what_one_does(place: Path) -> None:
    assert importlib.util.find_spec("two_processes_net") is not None
    alone = train(str(place / "recipe.toml"), place / "alone", progress=False, device="cpu")
    both = load_record(place / "both")
    assert both["distributed"] == {"processes": 2, "sync_batchnorm": False}
    assert "distributed" not in alone
    assert both["launch"]["processes"] == 2
    assert both["config"] == alone["config"]
    assert both["identity"] != alone["identity"]
    assert both["command"].startswith("torchrun --standalone --nproc-per-node 2 -m lskd train --recipe")
    assert alone["command"].startswith("lskd train --recipe")
    torch.manual_seed(0)
    for name, member in alone["members"].items():
        for a, b in zip(member["epochs"], both["members"][name]["epochs"], strict=True):
            assert set(a) == set(b)
            assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-4)
            assert b["train_accuracy"] == pytest.approx(a["train_accuracy"], abs=0.51)
            assert b["test_loss"] == pytest.approx(a["test_loss"], rel=1e-4)
            assert list(b["terms"]) == list(a["terms"])
            assert b.get("temperature", 0) == pytest.approx(a.get("temperature", 0), rel=1e-4)
        one, two = (load_file(place / run / f"{name}.safetensors") for run in ("alone", "both"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-5)


def test_a_failure_a_refusal_and_a_kill_are_the_same_for_both(place: Path) -> None:
    (place / "script.py").write_text(SCRIPT)
    said = torchrun("script.py", "recipe.toml", ".", cwd=place, fails=True)
    assert "SIGKILL" in said or "exitcode  : -9" in said, said
    failing = load_record(place / "failing")
    assert failing["members"]["dkd_ls"]["failure"]["term"] == "nckd"
    assert failing["members"]["dkd_ls"]["failure"]["batch"] == 1  # of the second epoch
    stored = load_file(place / "failing" / failing["members"]["dkd_ls"]["failure"]["postmortem"]["file"])
    assert len(stored["batch/index"]) == 65  # the whole batch
    both = load_record(place / "both")
    # The other member went on as if alone, with the same bits.
    assert failing["members"]["ctkd"]["epochs"] == both["members"]["ctkd"]["epochs"]
    assert not (place / "killed" / "record.json").exists()
    torchrun(*TRAIN, "killed", cwd=place)
    killed = load_record(place / "killed")
    assert killed["sessions"] == 2
    assert [line["step"] for line in read_lines(place / "killed" / "sessions.jsonl")] == [0, 5]
    for name, member in both["members"].items():
        assert killed["members"][name]["epochs"] == member["epochs"]
        found = [(place / run / f"{name}.safetensors").read_bytes() for run in ("killed", "both")]
        assert found[0] == found[1]


def test_parts_make_up_every_batch() -> None:
    dataset = load_dataset("digit_pairs", train_size=200, test_size=100)
    options: dict[str, Any] = {"seed": 3, "size": 64, "device": torch.device("cpu")}

    def made(batches: Batches) -> list[Batch]:
        return list(map(batches.load, batches.draws(2, strong=lambda: True)))

    whole = made(Batches(dataset, **options))
    parts = [made(Batches(dataset, **options, world=World(3, r))) for r in range(3)]
    assert [len(b.index) for b in whole] == [64, 64, 64, 8]
    for batch, own in zip(whole, zip(*parts, strict=True), strict=True):
        for name in ("index", "view", "inputs", "target", "strong"):
            assert torch.equal(torch.cat([getattr(part, name) for part in own]), getattr(batch, name)), name
        assert sum(part.scale for part in own) == pytest.approx(3)
        means = [part.scale * part.inputs.mean() for part in own]
        assert float(sum(means) / 3) == pytest.approx(float(batch.inputs.mean()), abs=1e-5)
    with pytest.raises(LskdError, match="the last batch of an epoch has 8 images for 9 processes"):
        Batches(dataset, **options, world=World(9, 0))
