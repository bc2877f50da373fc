"""Statistics, gains and what the chapters compute: against numbers by hand, scipy, and facts of the specification."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
import torch
from scipy import stats
from synthetic import longer

from figures.fingerprint import ROOT
from figures.table import Table, results_table
from lskd.records import load_record
from paper import gains, logits, members, published, statistics, text


@pytest.mark.parametrize(
    ("member", "method", "label"),
    [
        ("teacher", "", "teacher"),
        ("alone", "plain", "student alone"),
        ("kd_ls", "", "KD + LS"),
        ("ctkd", "ctkd", "CTKD"),
        ("kd_t4", "kd", "KD (kd_t4)"),
        ("kd_like_for_like", "kd", "KD, like for like"),
    ],
)
def test_labels_name_method_and_standardization(member: str, method: str, label: str) -> None:
    assert members.label(member, method=method, standardize=False if method else None) == label


def test_members_are_ordered_as_in_the_papers_figures() -> None:
    shuffled = ["dkd_ls", "kd_ls", "teacher", "ctkd", "dkd", "alone", "kd", "ctkd_ls"]
    expected = ["teacher", "alone", "kd", "kd_ls", "ctkd", "ctkd_ls", "dkd", "dkd_ls"]
    assert members.order(shuffled) == expected
    assert members.pairs(shuffled) == [("kd", "kd_ls"), ("ctkd", "ctkd_ls"), ("dkd", "dkd_ls")]
    assert members.pairs(["kd", "dkd_ls", "alone"]) == []
    assert members.pairs(["kd_like_for_like", "kd_ls"]) == [("kd_like_for_like", "kd_ls")]
    assert members.pairs(["kd_literature", "kd", "kd_ls"]) == [("kd", "kd_ls")]
    assert members.pairs(["kd_literature", "kd_ls", "alone"]) == [("kd_literature", "kd_ls")]


def test_mean_and_t_interval_agree_with_scipy_and_with_numbers_by_hand() -> None:
    values = [70.0, 71.0, 73.0]
    found = statistics.summarize(values)
    assert found.mean == pytest.approx(214 / 3)
    assert found.sd == pytest.approx(math.sqrt(7 / 3))
    # t(0.975; 2) = 4.302653; half width = 4.302653 * 1.527525 / sqrt(3)
    assert found.half_width == pytest.approx(3.794579, abs=1e-5)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[], [70.0], [70.0, 71.0]])
def test_fewer_than_three_seeds_have_no_interval(values: list[float]) -> None:
    found = statistics.summarize(values)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.sd) == (len(values) < 2)
    assert math.isnan(found.mean) == (not values)


def test_binomial_error_by_hand() -> None:
    assert statistics.binomial_error(90.0, 2000) == pytest.approx(0.670820, abs=1e-6)  # 100 sqrt(0.9 * 0.1 / 2000)
    assert statistics.binomial_error(100.0, 2000) == 0.0


def test_paired_error_counts_only_images_on_which_networks_differ() -> None:
    first, second = synthetic.pack("kd", n=100, noise=0.0), synthetic.pack("kd", n=100, noise=0.0)
    first.prediction[:] = second.prediction[:] = first.label
    wrong = (first.label + 1) % synthetic.CLASSES
    first.prediction[:6] = wrong[:6]  # six that only the second gets right
    second.prediction[6:8] = wrong[6:8]  # two that only the first gets right
    first.prediction[90:] = second.prediction[90:] = wrong[90:]  # both wrong: says nothing
    difference, error = statistics.paired_error(first, second)
    assert difference == pytest.approx(4.0)
    assert error == pytest.approx(100 * math.sqrt((8 / 100 - 0.04**2) / 100))
    with pytest.raises(ValueError, match="different test labels"):
        statistics.paired_error(first, synthetic.pack("kd", n=60))


def _runs(seeds: int) -> list[dict[str, Any]]:
    table = {"kd": [80.0, 81.0, 83.0], "kd_ls": [80.5, 82.0, 83.0]}
    return [
        synthetic.record({m: (v[s], v[s] + 0.5) for m, v in table.items()} | {"alone": (70.0, 70.0)}, seed=s)
        for s in range(seeds)
    ]


def test_results_pair_seeds_and_give_the_interval_of_the_difference() -> None:
    found = statistics.results(_runs(3)).set_index("member")
    kd = found.loc["kd"]
    assert list(found.index) == ["alone", "kd"]
    assert kd["without_mean"] == pytest.approx(244 / 3)
    assert kd["with_mean"] == pytest.approx(245.5 / 3)
    assert kd["difference_mean"] == pytest.approx(0.5)  # of 0.5, 1, 0
    half = stats.t.ppf(0.975, 2) * 0.5 / math.sqrt(3)
    assert (kd["difference_low"], kd["difference_high"]) == pytest.approx((0.5 - half, 0.5 + half))
    assert not kd["few"]
    assert kd["settings"] == ""
    assert found.loc["alone", "with_n"] == 0
    best = statistics.results(_runs(3), epoch="best").set_index("member")
    assert best.loc["kd", "without_mean"] == pytest.approx(244 / 3 + 0.5)
    with pytest.raises(ValueError, match="last, best"):
        statistics.results(_runs(1), epoch="first")


def test_differences_use_only_seeds_that_both_have() -> None:
    runs = _runs(3)
    del runs[2]["members"]["kd_ls"]
    kd = statistics.results(runs).set_index("member").loc["kd"]
    assert (kd["without_n"], kd["with_n"], kd["difference_n"]) == (3, 2, 2)
    assert kd["difference_mean"] == pytest.approx(0.75)
    assert math.isnan(kd["difference_low"])
    assert kd["few"]
    apart = [synthetic.record({"kd": (80, 80)}), synthetic.record({"kd_ls": (81, 81)})]  # one seed, run in two parts
    assert statistics.results(apart)["difference_mean"].tolist() == [1.0]


def test_results_say_which_other_settings_differ_with_defaults_filled_in() -> None:
    run = synthetic.record({"dkd": (80, 80), "dkd_ls": (81, 81)})
    assert statistics.results([run])["settings"].tolist() == ["temperature 4 → 2, kd_weight 1 → 9"]


def test_members_without_a_result_have_no_row() -> None:
    run = synthetic.record({"kd": (80, 80), "kd_ls": (81, 81)})
    run["members"]["kd_ls"].update(last=None, best=None, failure="loss is not finite")
    assert statistics.accuracies([run])["member"].tolist() == ["kd"]
    assert statistics.results([run])["with_n"].tolist() == [0]


def test_the_table_marks_single_runs_wherever_a_number_stands() -> None:
    single = results_table(statistics.results(_runs(1)), epoch="last", paired={"kd": 0.4321})
    assert [cell.replace("\u00a0", " ") for cell in single.rows[1]] == ["KD", "80.00", "80.50", "+0.50", "0.43", "none"]
    assert "n = 1 seed. <b>Fewer than 3 seeds" in single.caption
    several = results_table(statistics.results(_runs(3)), epoch="last")
    assert several.rows[1][1].replace("\u00a0", " ") == "81.33 ± 3.79"
    assert several.rows[1][3].replace("\u00a0", " ") == "+0.50 ± 1.24"
    assert "n = 3 seeds. ± is" in several.caption
    counts = results_table(statistics.results(_runs(3)), epoch="last", counts=True)
    assert counts.rows[1][1].replace("\u00a0", " ") == "81.33 ± 3.79 (n = 3)"
    assert "n = 3" not in counts.caption
    mixed = results_table(statistics.results(_runs(3)).assign(with_n=2), epoch="last")
    assert mixed.rows[1][1].replace("\u00a0", " ") == "81.33 ± 3.79 (n = 3)"
    assert "Fewer" not in several.caption
    assert several.rows[0][2] == "–"
    markdown = several.to_markdown().splitlines()
    assert markdown[0].startswith("| method | without LS |")
    assert len({line.count("|") for line in markdown}) == 1
    assert "<script" not in Table(["a"], [["<script>"]]).to_html()


def test_numbers_stand_at_the_right_text_at_the_left_and_a_table_may_be_empty() -> None:
    made = Table(["name", "value", "words"], [["a", "1.0", "x" * 40], ["b", "2.0", "–"]])
    assert made.to_markdown().splitlines()[1] == "| --- | --: | --- |"
    assert '<td style="text-align:left">–</td>' in made.to_html()
    assert "<tbody></tbody>" in Table(["name", "value"], []).to_html()


def test_a_held_out_choice_has_columns_where_a_record_has_it_and_none_elsewhere() -> None:
    runs = _runs(3)
    usual = statistics.results(runs, epoch="selected")
    assert usual.empty
    assert "selected" not in statistics.accuracies(runs)
    without = results_table(statistics.results(runs), epoch="last", selected=usual)
    assert without == results_table(statistics.results(runs), epoch="last")
    assert "held-out" not in text.run_table(runs[0])
    for run in runs:
        for name, change in (("kd", -1.0), ("kd_ls", 2.0)):
            member = run["members"][name]
            chosen = {"epoch": 2, "test_accuracy": member["last"]["test_accuracy"] + change, "held_accuracy": 70.0}
            member["selected"] = chosen
    table = results_table(
        statistics.results(runs), epoch="last", selected=statistics.results(runs, epoch="selected"), paired={"kd": 0.4}
    )
    assert list(table.headings[5:8]) == ["selected, without LS", "selected, with LS", "selected, LS − without"]
    alone, kd = (dict(zip(table.headings, row, strict=True)) for row in table.rows[:2])
    assert kd["method"] == "KD"
    assert kd["selected, without LS"].replace("\u00a0", " ").startswith("80.33 ± ")
    assert kd["selected, LS − without"].replace("\u00a0", " ") == "+3.50 ± 1.24"
    assert kd["other settings changed"] == "none"
    assert {alone[name] for name in table.headings[5:8]} == {"–"}
    assert "held out of the training set" in table.caption
    shown = text.run_table(runs[0]).splitlines()
    assert shown[0].endswith("| test, epoch chosen on a held-out part (%) |")
    assert [line.split("|")[-2].strip() for line in shown[2:5]] == ["79.00", "82.50", "–"]


def test_logit_statistics_by_hand_and_the_constant_of_the_specification() -> None:
    packs = {"teacher": synthetic.pack("teacher"), "kd_ls": synthetic.pack("kd_ls", scale=0.01)}
    found = logits.logit_statistics(packs).set_index("member")
    # Protocol section 7: any network, standardised, has population deviation sqrt((K-1)/K).
    constant = math.sqrt((synthetic.CLASSES - 1) / synthetic.CLASSES)
    assert found["standardized_std"].to_numpy() == pytest.approx([constant] * 2, abs=1e-4)
    teacher = packs["teacher"]
    assert found.loc["teacher", "mean_of_std"] == pytest.approx(teacher.logit_std.mean(), rel=1e-6)
    ranges = (teacher.logit_max - teacher.logit_min).astype(np.float64)
    assert found.loc["teacher", "mean_of_range"] == pytest.approx(ranges.mean(), rel=1e-6)
    assert found.loc["teacher", "n"] == 120
    assert found.loc["kd_ls", "label"] == "KD + LS"


def test_gap_by_hand() -> None:
    teacher, student = synthetic.pack("teacher"), synthetic.pack("teacher")
    student.class_mean_logits[3, 5] -= 1.5
    student.class_mean_logits[4, 4] += 100  # on the diagonal, so not seen
    gap = logits.gap_matrix(teacher, student, standardized=False)
    assert gap[3, 5] == pytest.approx(1.5, abs=1e-5)
    assert gap.sum() == pytest.approx(1.5, abs=1e-5)
    raw, z = logits.gap_statistics(teacher, {"kd": student}).to_dict("records")
    assert raw["mean"] == pytest.approx(1.5 / 400, abs=1e-6)
    assert raw["mean_off_diagonal"] == pytest.approx(1.5 / 380, abs=1e-6)
    assert (raw["max"], raw["row"], raw["column"]) == (pytest.approx(1.5, abs=1e-5), "03", "05")
    assert (z["kind"], z["max"]) == ("standardised", 0.0)
    with pytest.raises(ValueError, match="different test sets"):
        logits.gap_matrix(teacher, synthetic.pack("kd", n=60), standardized=False)


def test_standardising_removes_a_gap_of_scale_and_offset_alone() -> None:
    teacher = synthetic.pack("teacher", noise=0.0)
    student = synthetic.pack("kd_ls", noise=0.0, scale=0.7)
    raw, z = logits.gap_statistics(teacher, {"kd_ls": student})["max"]
    assert raw > 1
    assert z < 1e-5


def test_class_mean_of_the_last_layer_decays_as_predicted_whatever_is_learned() -> None:
    config = synthetic.record({"kd": (80, 80)})["config"]
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, synthetic.CLASSES).double()
    start = layer.weight.detach().mean(dim=0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for epoch in range(1, 4):
        optimizer.param_groups[0]["lr"] = 0.1 if epoch <= 2 else 0.01
        for _ in range(10):  # 95 images in batches of 10
            x, y = torch.randn(10, 6).double(), torch.randint(synthetic.CLASSES, (10,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(x), y).backward()
            optimizer.step()
    factor = statistics.mean_decay(config, train_size=95)
    assert 0.1 < factor < 0.99
    assert math.isnan(statistics.mean_decay({**config, "optimization": {"schedule": "cosine"}}, train_size=95))
    dropped = statistics.mean_decay({**config, "optimization": {"drop_last_batch": True}}, train_size=95)
    assert dropped == statistics.mean_decay(config, train_size=90)
    torch.testing.assert_close(layer.weight.detach().mean(dim=0), factor * start, rtol=1e-9, atol=1e-12)


STORE = ROOT / "results"
SHORT = next(p for p in (STORE / "cifar100").rglob("seed-0*.json") if load_record(p)["config"]["epochs"] == 8)
PRINTED = gains.printed()


@pytest.fixture
def lengths(tmp_path: Path) -> Path:
    """The committed short run of CIFAR-100, and made-up ones of 30 epochs and 3 seeds and of 240 epochs and 1."""
    shutil.copy(SHORT, tmp_path / SHORT.name)
    for epochs, accuracies in ((30, (66.0, 66.5, 67.0)), (240, (70.0,))):
        for seed, kd in enumerate(accuracies):
            last = {"kd": kd, "kd_literature": kd + 0.5, "kd_ls": kd + 1 + seed}
            made = longer(load_record(SHORT), epochs, seed, **last) | {"name": f"made-up-{epochs}", "store": {}}
            made["config"]["name"] = made["name"]
            (tmp_path / f"{epochs}-{seed}.json").write_text(json.dumps(made))
    return tmp_path


def of(found: list[gains.Gain], epochs: int, baseline: str) -> gains.Gain:
    (gain,) = (gain for gain in found if (gain.epochs, gain.baseline) == (epochs, baseline))
    return gain


def test_a_gain_is_taken_seed_by_seed_over_the_baseline_of_its_name(lengths: Path) -> None:
    found = gains.measured(lengths)
    assert [(gain.epochs, gain.baseline) for gain in found] == [
        (epochs, baseline) for epochs in (8, 30, 240) for baseline in ("same", "literature")
    ]
    assert of(found, 30, "same").values == pytest.approx((1.0, 2.0, 3.0))
    assert of(found, 30, "literature").values == pytest.approx((0.5, 1.5, 2.5))
    assert of(found, 30, "same").decided is False  # 2 ± 2.48
    assert of(found, 240, "same").text == "+1.00 points (n = 1 seed, no interval)"
    assert of(found, 240, "same").experiment.endswith("240 epochs, bf16")


def test_the_third_arm_is_a_baseline_of_its_own(tmp_path: Path) -> None:
    record = load_record(SHORT)
    record["members"]["kd_effective"] = json.loads(json.dumps(record["members"]["kd"]))
    record["config"]["members"]["kd_effective"] = record["config"]["members"]["kd"]
    record["members"]["kd_effective"]["settings"]["effective_weight"] = True
    record["members"]["kd_effective"]["last"]["test_accuracy"] = 54.0
    del record["store"]
    (tmp_path / "seed-0.json").write_text(json.dumps(record))
    last = record["members"]["kd_ls"]["last"]["test_accuracy"]
    assert of(gains.measured(tmp_path), 8, "effective").values == pytest.approx((last - 54.0,))
    assert len(gains.measured(tmp_path)) == 3
    (tmp_path / "again.json").write_text(json.dumps(record | {"name": "the same students in another cohort"}))
    assert len(gains.measured(tmp_path)) == 3


def test_a_sweep_compares_each_side_at_its_best(tmp_path: Path) -> None:
    (place,) = (STORE / "digit_pairs" / "wrn_16_2-resnet8-surface").glob("seed-0*.json")
    shutil.copy(place, tmp_path)
    (gain,) = gains.measured(tmp_path)
    members = load_record(place)["members"].values()
    best = {ls: max(m["last"]["test_accuracy"] for m in members if m["standardize"] == ls) for ls in (False, True)}
    assert (gain.baseline, gain.values) == ("best", pytest.approx((best[True] - best[False],)))


def test_seeds_of_several_trainers_are_said() -> None:
    made = [{"seed": seed, "source_digest": "a" * 64} for seed in (0, 1)]
    assert gains.provenance(made) == ""
    part = {"launch": {"emulated_steps": [[1000, 2000], [3000, None]]}}
    assert gains.provenance([made[0] | part]) == (
        "bf16 was emulated in steps 1,000 to 2,000 of seed 0, 3,000 to the end of seed 0."
    )
    assert gains.provenance([*made, {"seed": 5, "trainer": 1}]).startswith(
        "3 seeds of 2 trainers (trainer 1: seed 5; trainer before 1 (aaaaaaaa): seeds 0, 1)"
    )


def test_table_4_at_equal_weight_and_at_each_side_s_best() -> None:
    found = gains.table_4()
    at = {(n.variant, n.kd_weight): n.value for n in published.find(source="paper Table 4")}
    assert found["same"] == pytest.approx(at["KD, z-score", 9.0] - at["KD, raw logits", 9.0]) == pytest.approx(3.29)
    assert found["best"] == pytest.approx(1.80)
    assert found["best"] < found["same"]


def test_published_gains_have_a_value_a_pair() -> None:
    tables, logs, *_ = PRINTED
    assert len(tables.values) == len(logs.values) == 14
    assert min(tables.values) > 0
    assert not any(gain.decided for gain in PRINTED)


def test_the_sentences_follow_the_records(lengths: Path) -> None:
    (lengths / "one").mkdir()
    shutil.copy(SHORT, lengths / "one")
    short = " ".join(gains.sentences(gains.measured(lengths / "one"), PRINTED))
    shutil.rmtree(lengths / "one")
    assert "8 epochs" in short
    assert "which was not run" in short
    grown = " ".join(gains.sentences(gains.measured(lengths), PRINTED))
    assert "240 epochs, bf16" in grown  # the longest runs are spoken of
    assert "+1.00 points (n = 1 seed, no interval)" in grown
    assert "which has 1 seed so far" in grown


def test_the_cost_is_that_of_the_quickest_seed(tmp_path: Path) -> None:
    for seed, minutes in enumerate((90, 30, 60)):  # the others shared their processor
        made = longer(load_record(SHORT), 8, seed) | {"wall_seconds": 60 * minutes, "store": {}}
        (tmp_path / f"{seed}.json").write_text(json.dumps(made))
    (gain,) = {gains.cost(gain) for gain in gains.measured(tmp_path)}
    assert gain == "30.0 min for 3 students at once on AMD EPYC, the quickest of 3 seeds"
    one = longer(load_record(SHORT), 8, 0) | {"wall_seconds": 60, "store": {}}  # `kd` was trained by itself
    two = json.loads(json.dumps(one)) | {"wall_seconds": 600}
    for made, gone in ((one, ("kd_ls", "kd_literature")), (two, ("kd",))):
        for name in gone:
            del made["members"][name], made["config"]["members"][name]
        (tmp_path / f"{gone[0]}.json").write_text(json.dumps(made))
    for seed in range(3):
        (tmp_path / f"{seed}.json").unlink()
    found = gains.measured(tmp_path)
    assert gains.cost(of(found, 8, "literature")).startswith("10.0 min for 2 students at once")
    assert [len(of(found, 8, baseline).paths) for baseline in ("same", "literature")] == [2, 1]


def test_a_verdict_needs_an_interval_without_zero() -> None:
    def said(*values: float) -> str:
        gain: Any = gains.Gain("e", "same", values, tuple(range(len(values))))
        return gains.sentences([gain], PRINTED)[0]

    assert "LS helps" in said(1.0, 1.1, 0.9)
    assert "LS costs accuracy" in said(-1.0, -1.1, -0.9)
    assert "includes zero" in said(-1.0, 1.1, 0.9)
    assert "too few to say what another seed would do" in said(1.0, 1.1)
    pairs: list[Any] = [
        gains.Gain(p, "same", (v, v), (0, 1), dataset="d") for p, v in (("a → b", 1.0), ("c → d", -2.0))
    ]
    assert re.fullmatch(
        r"\*\*a → b\*\*, .* \+1\.00 .*\. \*\*c → d\*\*, .* −2\.00 .*", gains.sentences(pairs, PRINTED)[0]
    )
