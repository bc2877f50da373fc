"""The page of benchmarks: its numbers are those of the files, a missed goal says so, a lost field is an error."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from synthetic import pack, put, record

from figures.benchmarks import book_table, comparison, gpu_table, growth, growth_frame, losses_table, precision_table
from figures.fingerprint import ROOT
from lskd import losses
from lskd.evidence import save
from lskd.models import model_info
from paper import benchmarks

RESULT: dict[str, Any] = {
    "cohort6_ratio": 1.5,
    "table_fraction_of_student": 0.96,
    "weak_views_per_s": 30000.0,
    "strong_views_per_s": 4990.0,
    "goals": {
        "weak_views_per_s": 20000.0,
        "strong_views_per_s": 5000.0,
        "cohort6_ratio": 2.5,
        "table_fraction_of_student": 0.95,
    },
    "pipelines": {
        "weak": {"ours": 30000.0, "workers 0": 10000.0, "workers 2": 15000.0},
        "strong": {"ours": 4990.0, "workers 0": 998.0, "workers 2": 499.0},
    },
    "networks": {
        "resnet56 forward": {"ours": 600.0, "baseline": 500.0},
        "resnet20 forward + backward": {"ours": 500.0, "baseline": 400.0},
    },
    "cohort6": {
        "ours": 300.0, "workers 0": 200.0, "workers 2": 100.0, "teacher": "resnet56", "student": "resnet20",
        "batch": 64, "members": list("abcdef"),
    },
    "cohort6_share_of_matrix_product_rate": 0.5,
    "table": {"table": 480.0, "student": 500.0},
    "growth": {
        "members": {"1": 320.0, "2": 400.0},
        "batch": {"16": 160.0, "64": 320.0},
        "classes": {"10": 640.0, "100": 320.0},
        "loss_microseconds_by_classes": {"10": {"kd": 500.0, "kd_ls": 900.0}, "100": {"kd": 600.0, "kd_ls": 1800.0}},
    },
    "multiply_adds_per_s": 1e11,
    "repeats": 5,
    "steps": 4,
    "machine": {"name": "a machine", "threads": 2, "load_before": 0.25},
    "versions": {"torch": "2.13.0"},
    "finished": "2026-11-21T10:00:00+00:00",
}  # fmt: skip


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program in benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module(name)


def test_ratios_goals_and_shares_by_hand() -> None:
    rows = {row.what: row for row in benchmarks.rows(RESULT)}
    weak, strong, six = rows["weak views"], rows["strong views"], rows["cohort of 6 students"]
    assert (weak.ratio, weak.verdict) == (2.0, "reached")
    assert (strong.ratio, strong.verdict) == (5.0, "missed by less than 1 %")
    assert (six.ratio, six.verdict, six.share) == (1.5, "missed by 40 %", 0.5)
    share = 3 * 500 * model_info("resnet20").multiply_adds / 1e11
    assert rows["resnet20 forward + backward"].share == pytest.approx(share)
    assert rows["resnet20 forward + backward"].verdict == ""
    # 6 (1/500 + 1/400) / (1/500 + 6/400) = 27/17
    assert benchmarks.sharing_alone(RESULT) == pytest.approx(27 / 17)
    shown = comparison(RESULT)
    (cells,) = [row[1:] for row in shown.rows if row[0].startswith("cohort")]
    assert [c.replace("\u00a0", " ") for c in cells] == ["300", "200", "1.50", "ratio 2.5", "missed by 40 %", "50 %"]
    assert "load 0.2 at the start" in shown.caption
    assert "100 billion multiply-adds" in shown.caption


def test_a_processor_with_bf16_has_its_rows() -> None:
    more = copy.deepcopy(RESULT) | {"cohort6_ratio_bf16": 3.0, "student_bf16_ratio": 2.5}
    more["cohort6"]["ours, bf16"], more["student"] = 600.0, {"bf16": 250.0, "float32": 100.0}
    more["goals"] |= {"cohort6_ratio_bf16": 6.0, "student_bf16_ratio": 2.3}
    rows = {row.what: row for row in benchmarks.rows(more)}
    six, student = rows["cohort of 6 students, bf16"], rows["student alone, bf16 / float32"]
    assert (six.ratio, six.verdict) == (3.0, "missed by 50 %")
    assert (student.ratio, student.verdict) == (2.5, "reached")


def test_two_precisions_are_paired_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(seed: int, precision: str, accuracy: float, spread: float, decay: float = 0.0) -> None:
        made_up = record({"kd": (accuracy, accuracy)}, seed=seed, name="digit-pairs")
        made_up |= {"trainer": 1, "teacher_logits": None, "execution": {"precision": precision}}
        made_up["config"]["weight_decay"] = decay
        folder = put(tmp_path / f"{precision}-{seed}", made_up)
        made = pack("kd")
        save(dataclasses.replace(made, logit_std=np.full_like(made.logit_std, spread)), folder / "kd.evidence.npz")

    for seed, (single, half) in enumerate([(80.0, 81.0), (81.0, 82.5), (82.0, 82.5)]):
        run(seed, "float32", single, 2.0)
        run(seed, "bf16", half, 2.5)
    run(3, "float32", 90.0, 9.0)  # has no partner
    measure = script("precision", monkeypatch).measure
    shown = precision_table(measure([tmp_path], "digit-pairs"))
    assert [list(row) for row in shown.rows] == [["KD", "3", "+1.00 ± 1.24", "+0.500 ± 0.000 *"]]
    assert "excludes zero: KD's deviation" in shown.caption
    for seed in (0, 2):  # a record alone pairs by its accuracy
        (tmp_path / f"float32-{seed}" / "record.json").rename(tmp_path / f"seed-{seed}.json")
    (line,) = precision_table(measure([tmp_path], "digit-pairs")).rows
    assert list(line) == ["KD", "3", "+1.00 ± 1.24", "+0.500 (n = 1)"]
    run(4, "bf16", 90.0, 9.0, decay=0.1)
    with pytest.raises(SystemExit, match="another experiment than the first run"):
        measure([tmp_path], "digit-pairs")


def test_growth_is_milliseconds_of_a_step(tmp_path: Path) -> None:
    frame = growth_frame(RESULT).set_index(["grows", "series", "size"])["milliseconds"]
    assert frame["members", "whole step", 2] == pytest.approx(1000 * 2 * 64 / 400)
    assert frame["batch", "whole step", 16] == pytest.approx(100)
    assert frame["classes", "kd_ls", 100] == pytest.approx(1.8)
    assert frame["classes", "whole step", 100] == pytest.approx(1000 * 64 / 320)
    published = growth(RESULT, folder=tmp_path, files=[])
    assert "1 to 2 students: 1.6 times the cost" in published.alt
    assert "10 to 100 classes: 2.0 times the cost" in published.alt


def test_the_committed_measurements_can_be_shown(tmp_path: Path) -> None:
    cpu, book, gpu = (benchmarks.read(ROOT / "benchmarks" / "results", name) for name in ("cpu", "make_book", "gpu"))
    assert gpu is None or gpu_table(gpu).rows
    assert cpu is not None
    assert book is not None
    assert len(comparison(cpu).rows) >= 6
    assert {row.verdict for row in benchmarks.rows(cpu) if row.missed} == {
        f"missed by {100 * (1 - cpu[key] / aim):.0f} %" for key, aim in cpu["goals"].items() if cpu[key] < aim
    }
    assert benchmarks.sharing_alone(cpu) > 1
    assert not growth_frame(cpu).empty
    assert len(book_table(book).rows) == 3
    assert benchmarks.read(tmp_path, "gpu") is None  # it never ran


GPU: dict[str, Any] = {
    **{key: RESULT[key] for key in ("machine", "versions", "finished")},
    "networks": {"teacher": "resnet32x4", "student": "resnet8x4"},
    "batch": 64,
    "goals": {"cohort6_student_images_per_s": 80000.0, "cohort6_240_epochs_minutes": 15.0},
    "cohort6_student_images_per_s": 100000.0,
    "cohort6_240_epochs_minutes": 20.0,
    "rates": {
        "student_images_per_s": {"six from a table, plain": 5e3, "six from a table, tf32, all": 1e5, "MLKD": 9e3},
    },
    "checks": [{"check": "resumed", "passed": True}, {"check": "a < b", "passed": False}],
}  # fmt: skip


def test_goals_and_pieces_of_a_gpu() -> None:
    goals = {name: (aim, reached, verdict) for name, aim, reached, verdict in benchmarks.gpu_goals(GPU)}
    assert goals["cohort6 student images/s"] == (80000, 100000, "reached")
    assert goals["cohort6 240 epochs minutes"] == (15, 20, "missed by 25 %")  # fewer minutes are better
    shown = gpu_table(GPU)
    rows = {row[0]: row[1:] for row in shown.rows}
    assert rows["six from a table, tf32, all, student-images/s"][:2] == ["100,000", "20.0"]
    assert rows["MLKD, student-images/s"][1] == "–"
    assert "1 of 2 checks" in shown.caption
    assert "failed: a &lt; b" in shown.caption


def test_the_gpu_script_writes_what_the_page_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it does for its file, with small networks on a CPU and steps that are not taken."""
    gpu = script("gpu", monkeypatch)
    monkeypatch.setattr(gpu, "NETWORKS", dict(gpu.REHEARSED))
    monkeypatch.setattr(gpu, "seconds_a_step", lambda chosen, steps: 0.064)
    monkeypatch.setattr(gpu, "checks", lambda device, little: [{"check": "all", "passed": True}])
    written = json.loads(json.dumps(gpu.measured(gpu.CPU, little=True)))
    shown = gpu_table(written)
    rows = {row[0]: row[1] for row in shown.rows}
    assert rows["six from a table, tf32, all, student-images/s"] == "6,000"
    assert rows["one from a table, plain, student-images/s"] == "1,000"
    assert rows["cohort6 student images/s"] == "6,000"
    assert [name for name, *_ in benchmarks.gpu_goals(written)] == [
        key.replace("_", " ").replace(" per s", "/s") for key in gpu.GOALS
    ]
    assert "1 of 1 checks" in shown.caption


def test_losses_are_told_in_times_kds_and_memory_in_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = script("losses", monkeypatch)
    monkeypatch.setattr(bench, "CLASSES", {700: 300})
    measured = bench.times(turns=1)
    assert set(measured["ratios"]["700"]) == set(bench.LOSSES)
    assert measured["ratios"]["700"]["kd"] == 1
    timed = {f"{name.removesuffix('_ls')}_loss" for name in bench.LOSSES} | {"dkd_terms"}
    public = (name for name in losses.__all__ if "student_logits" in signature(getattr(losses, name)).parameters)
    assert timed == set(public)  # every loss of logits
    whole = {"tensor": 100, "inputs": 1000, "chunked": 1150, "plain": 2250}
    by_rows = {"4": whole, "4096": {"tensor": 100, "inputs": 1000, "chunked": 1100}}
    result = {
        **{key: RESULT[key] for key in ("machine", "versions", "finished")},
        "ratios": {"100": {"dkd_ls": 3.26, "kd": 1.0}, "151936": {"dkd_ls": 4.0, "kd": 1.0}},
        "kd_microseconds": {"100": 250.0, "151936": 90000.0},
        "rows": {"100": 64, "151936": 16},
        "turns": 9,
        "memory": {"classes": 151936, "chunk": 64, "dtype": "bfloat16", "bytes_by_rows": by_rows},
    }
    table = losses_table(result)
    assert table.headings == ["loss", "100 classes, 64 rows", "151,936 classes, 16 rows"]
    assert table.rows == [["KD", "1.0", "1.0"], ["DKD + LS", "3.3", "4.0"]]
    assert "KD itself takes 0.2, 90.0 milliseconds" in table.caption
    assert "4 rows: 12.5 as a whole, 1.5 in pieces; 4,096 rows: not measured as a whole, 1.0" in table.caption
