"""The same recipe, seed and machine give the same bits for as long as ``lskd.trainer.TRAINER`` is the same number.

A short training of each kind (two epochs of digit pairs) against ``trainer_bits.json``: to the bit on kinds of machine
that it knows, within ``CLOSE`` elsewhere, where libraries sum in another order. When bits were meant to change, raise
TRAINER and write the file anew: ``python tests/lskd/test_trainer_bits.py``, which adds the machine it runs on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import MLKD, run

from lskd.records import describe_device
from lskd.trainer import TRAINER
from lskd.trainer.execution import bf16_units

FILE = Path(__file__).with_name("trainer_bits.json")
CLOSE = {"float32": 2e-3, "bf16": 5e-2}  # of a mean loss of the last epoch, seen between kinds of processor
MEMBERS = ["alone", "kd", "kd_ls", "dkd_ls", "ctkd_ls", "mlkd"]
KINDS: dict[str, dict[str, Any]] = {
    "float32": {"members": MEMBERS},
    "table": {"members": ["kd_ls"], "teacher_logits": "table"},
    "bf16": {"members": MEMBERS, "precision": "bf16"},
}


def machine() -> str:
    """What decides the order in which libraries sum."""
    units = [torch.backends.cpu.get_cpu_capability(), *bf16_units()]
    return f"torch {torch.__version__}, {describe_device(torch.device('cpu'))['name']}, {' '.join(units)}"


def measured(kind: str, folder: Path) -> dict[str, Any]:
    """Digests of all final weights of a kind of training, and the last epoch's mean loss of each member."""
    changes = KINDS[kind]
    units = {"precision": "bf16-emulated"} if kind == "bf16" and not bf16_units() else {}
    record = run(folder / kind, folder / "runs", settings=MLKD, **changes | units)
    weights = [record["members"][name]["weights"]["digest"] for name in changes["members"]]
    losses = {name: record["members"][name]["epochs"][-1]["train_loss"] for name in changes["members"]}
    return {"digest": hashlib.sha256("".join(weights).encode()).hexdigest(), "losses": losses}


@pytest.mark.parametrize("kind", KINDS)
def test_bits_move_only_with_the_number_of_the_trainer(kind: str, tmp_path: Path) -> None:
    known = json.loads(FILE.read_text(encoding="utf-8"))
    assert known["trainer"] == TRAINER, "TRAINER was raised: write the file anew, see the head of this test"
    found, advice = measured(kind, tmp_path), "bits changed: raise TRAINER in lskd/trainer/__init__.py"
    assert found["losses"] == pytest.approx(known[kind], rel=CLOSE["bf16" if kind == "bf16" else "float32"]), advice
    if digest := known["machines"].get(machine(), {}).get(kind):
        assert found["digest"] == digest, advice


if __name__ == "__main__":
    import tempfile

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    kept = before.get("machines", {}) if before.get("trainer") == TRAINER else {}
    result: dict[str, Any] = {"trainer": TRAINER, "machines": {**kept, machine(): {}}}
    with tempfile.TemporaryDirectory() as place:
        for name in KINDS:
            one = measured(name, Path(place))
            result[name] = one["losses"]
            result["machines"][machine()][name] = one["digest"]
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(FILE.read_text(encoding="utf-8"))
