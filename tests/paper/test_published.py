"""The published numbers: whole, readable, in this project's words, and in agreement with the released logs."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from figures import published_logs
from lskd.errors import LskdError
from lskd.models import list_models
from lskd.objectives import METHODS
from paper import published


def test_all_numbers_are_there() -> None:
    rows = published.numbers()
    assert len(rows) == 669
    assert all(0 < n.value < 100 for n in rows)
    assert all(n.source for n in rows)
    assert len(published.find(source="released README (= paper Tables 1-2")) == 112


def test_names_are_those_of_the_project() -> None:
    known = {*list_models(), "wrn_28_2", "wrn_16_4", "wrn_28_4", "PVTv2-B0", "ConViT-Tiny", ""}
    rows = published.numbers()
    assert {n.teacher for n in rows} | {n.student for n in rows} <= known
    assert all(n.student for n in rows)
    assert {"plain", "kd", "ctkd", "dkd", "mlkd", "locality"} <= {n.method for n in rows} & {*METHODS}
    assert {n.dataset for n in rows} == {"cifar100", "imagenet", "cifar100_224"}


def test_numbers_typed_from_the_paper() -> None:
    def one(**keys: object) -> float:
        (found,) = {n.value for n in published.find(metric="top1_test", **keys)}
        return found

    assert one(teacher="resnet32x4", student="resnet8x4", method="mlkd", standardize=True) == 78.28
    assert one(student="resnet56", method="plain") == 72.34
    assert one(student="PiT-Tiny", method="locality") == 78.48
    z = [n for n in published.find(source="Table 4") if n.standardize and n.kd_weight == 9]
    assert {(n.variant, n.value) for n in z} == {("KD, z-score", 76.62), ("KD, logits over std", 76.30)}
    imagenet = published.find(dataset="imagenet", teacher="imagenet/ResNet50", method="kd", standardize=True)
    assert [(n.metric, n.value) for n in imagenet] == [("top1_val", 72.18), ("top5_val", 90.80)]


def test_weights_are_more_delicate_without_ls_as_the_chapter_on_losses_says() -> None:
    """Its last sentence on weights, from the paper's Table 4."""
    values = {
        on: [n.value for n in published.find(source="Table 4", standardize=on) if (n.kd_weight or 0) >= 9]
        for on in (False, True)
    }
    assert {len(found) for found in values.values()} == {8}
    assert max(values[False]) - min(values[False]) > 10
    assert max(values[True]) - min(values[True]) < 0.5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cifar100,", "cifar10,", "Invalid enum value 'cifar10' - at `$[0].dataset`"),
        (",73.33,", ",73.3x,", "at `$[0].value`"),
        (",top1_test,", ",top1,", "Invalid enum value 'top1' - at `$[0].metric`"),
        (",false,", ",no,", "at `$[0].standardize`"),
    ],
)
def test_a_damaged_row_is_named(
    old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "published.csv"
    file.write_text(published.NUMBERS.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(published, "NUMBERS", file)
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        published.numbers.__wrapped__()


# --- the page of the released logs -----------------------------------------------------------------------------------


def test_what_the_page_computes_is_what_the_summary_says() -> None:
    """Two computations of the same facts: this project's from the epochs, and the released summary."""
    found = published_logs.runs()
    summaries = {
        (s["method"].lower(), f"{s['teacher']} → {s['student']}", s["run"]): s for s in published.logs()["logs"]
    }
    assert len(found) == 57
    for row in found.to_dict("records"):
        summary = summaries[row["method"], row["pair"], row["run"]]
        assert row["epochs"] == summary["epochs"]
        assert row["best"] == summary["best_test_acc"]
        assert row["best_epoch"] == summary["best_epochs"][0]
        assert row["last"] == summary["last_test_acc"]
        assert row["best"] - row["last"] == pytest.approx(summary["best_minus_last"], abs=0.0051)
        assert row["reported"] == summary["reported"]
        assert row["mean"] == pytest.approx(summary["mean_last10_test_acc"], abs=1e-3)
    for method, rows in found.groupby("method"):
        gain = (rows["best"] - rows["last"]).mean()
        assert gain == pytest.approx(
            published.logs()["aggregate"][str(method).upper()]["mean_best_minus_last"], abs=1e-3
        )


def test_the_irregular_epochs_are_found_and_no_others() -> None:
    found = [(r["method"], r["pair"], r["epoch"]) for r in published_logs.jumps().to_dict("records")]
    kd, mlkd = ("kd", "resnet32x4 → resnet8x4"), ("mlkd", "ResNet50 → MobileNetV2")
    assert found == [(*kd, 150), (*kd, 210), (*mlkd, 76), (*mlkd, 84), (*mlkd, 85)]


def test_gains_by_hand() -> None:
    # KD, Tables 1 and 2 in their order, with LS minus without; the median of 14 is between the two middle ones
    kd = [3.29, 1.38, 0.83, 1.19, 0.77, 1.09, 0.81, 1.11, 0.36, 0.22, 3.14, 0.87, 1.24, 1.67]
    assert published_logs.gains()["kd"] == pytest.approx(sorted(kd)[6] / 2 + sorted(kd)[7] / 2, abs=0.005)


def test_figures_are_written_and_a_pair_without_logs_is_named(tmp_path: Path) -> None:
    drawn = [
        published_logs.best_and_last(folder=tmp_path),
        published_logs.curves(folder=tmp_path, pair="vgg13 -> vgg8"),
        published_logs.irregular(folder=tmp_path),
    ]
    assert all(path.is_file() for figure in drawn for path in figure.paths)
    assert "0.31 points on average" in drawn[0].alt
    with pytest.raises(LskdError, match="no released log of 'vgg13 → vgg9'; did you mean 'vgg13 → vgg8'"):
        published_logs.curves(folder=tmp_path, pair="vgg13 -> vgg9")
