"""The pages of questions and of the audit: their words are what their tables show, and what they name exists."""

from __future__ import annotations

import json
import math
import re
import shlex
import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch
import yaml

from figures.fingerprint import ROOT
from lskd.errors import LskdError
from lskd.losses import curriculum_reversal, dkd_loss, kd_loss, standardize
from paper import cells, disagreements, questions
from paper.store import aggregate
from paper.toy import random_logits, toy_facts

RECORDS = ROOT / "results" / "digit_pairs" / "wrn_16_2-resnet8"
PAGE = json.loads((ROOT / "notebooks" / "questions.ipynb").read_text(encoding="utf-8"))["cells"]
PROSE = "\n\n".join("".join(c["source"]) for c in PAGE if c["cell_type"] == "markdown")


def numbers(cell: str) -> list[float]:
    return [float(x.replace("−", "-").replace(",", "")) for x in re.findall(r"−?\d[\d,]*\.?\d*", cell)]


def test_settings_are_those_in_the_names_of_the_logs() -> None:
    headings, rows = questions.settings()
    assert len(headings) == 5
    found = {row[0]: row[1:] for row in rows}
    assert len(found) == len(rows) == 14
    # typed from protocol section 4.1; the recipes of all pairs are held to it
    assert found["resnet32x4 → resnet8x4"] == ["2, 9", "9", "2, 9, 8*", "2, 9"]
    assert found["resnet56 → resnet20"] == ["2, 9", "9", "3, 18, 2", "2*, 9*"]
    assert found["resnet32x4 → ShuffleV2"][0] == "2, 9*"


def test_with_ls_the_loss_stays_and_the_pull_falls_with_the_student_s_spread() -> None:
    headings, rows = questions.loss_sizes()
    assert headings[3].startswith("KD + LS")
    spreads = [float(row[0]) for row in rows]
    plain, ls = ([numbers(row[i]) for row in rows] for i in (2, 3))
    assert len({loss for loss, _ in ls}) == 1
    for spread, (_, pull) in zip(spreads, ls, strict=True):
        assert pull * spread == pytest.approx(ls[1][1] * spreads[1], rel=0.03)
    assert all(a[1] > b[1] for a, b in zip(plain, ls, strict=True))  # "pulls harder in every row"


def test_a_row_s_own_temperature_is_standardisation() -> None:
    _, rows = questions.own_temperatures()
    assert rows[0][1] == rows[1][1]
    low, high = numbers(rows[1][0])[1:]
    assert high > 10 * low  # else it would say nothing


def test_repeated_runs_are_the_three_logs_with_two_runs() -> None:
    _, rows = questions.repeated_runs()
    assert [row[0].split(", ")[0] for row in rows] == ["CTKD"] * 3
    for row in rows:
        one, other, apart = map(float, row[1:])
        assert apart == pytest.approx(other - one, abs=0.006)


def test_intervals_by_hand() -> None:
    _, rows = questions.seed_precision(RECORDS)
    ((_, records),) = aggregate(RECORDS).items()
    kd, ls = ([r["members"][m]["last"]["test_accuracy"] for r in records] for m in ("kd", "kd_ls"))
    gap = statistics.stdev(b - a for a, b in zip(kd, ls, strict=True))
    five = next(row for row in rows if row[0] == "5")
    assert numbers(five[1])[0] == pytest.approx(2.7764 * statistics.stdev(kd) / math.sqrt(5), abs=0.006)
    assert numbers(five[2])[0] == pytest.approx(2.7764 * gap / math.sqrt(5), abs=0.006)
    with pytest.raises(LskdError, match="3 seeds at least"):
        questions.seed_precision(RECORDS.with_name("wrn_16_2-resnet8-surface"))


def test_pairs_keep_nothing_but_their_order() -> None:
    _, rows = questions.two_classes()
    assert {row[1] for row in rows} == {"0.7071, −0.7071", "−0.7071, 0.7071"}


def test_maps_are_their_places_and_a_wrong_axis_is_not() -> None:
    _, ((_, right), (_, places), (_, wrong)) = questions.dense_logits()
    assert right == places
    assert abs(float(wrong) - float(right)) > 0.01


def test_unused_entries_are_left_out_where_they_are_masks_and_else_take_over() -> None:
    _, (cut, *masked, logits) = questions.unused_vocabulary()
    assert all(row[1:] == cut[1:] for row in masked)
    assert logits[1] == cut[1]
    assert float(logits[2].replace("e−", "e-")) < float(cut[2]) / 100


def test_the_label_matters_to_dkd_and_less_where_shares_are_equal() -> None:
    _, rows = questions.mixed_labels()
    values = {float(row[0]): [float(x) for x in row[1:]] for row in rows}
    assert values[1.0][1] == values[1.0][3] != values[1.0][2]
    assert sorted(values, key=lambda share: abs(values[share][1] - values[share][2])) == [0.5, 0.7, 1.0]
    for share, (_, first, second, both) in values.items():
        assert both == pytest.approx(share * first + (1 - share) * second, abs=0.002)
    student, first = random_logits(64, 100, seed=1), torch.arange(64)
    teacher = questions._peaked(first, 0.7)
    shares = torch.full((64,), 0.7)
    weighted = sum(
        dkd_loss(student, teacher, y, temperature=2.0, standardize=True, weights=w)
        for y, w in ((first, shares), (first + 1, 1 - shares))
    )
    assert float(weighted) == pytest.approx(values[0.7][3], abs=0.001)
    assert kd_loss(student, teacher, temperature=2.0, standardize=True).item() == pytest.approx(
        values[0.7][0], abs=1e-3
    )


def test_lambda_moves_the_temperature_up_the_loss() -> None:
    _, rows = questions.learned_temperature()
    found = [[numbers(cell)[0] for cell in row] for row in rows]
    target = torch.arange(64)
    teacher = questions._peaked(target)
    student = standardize(teacher) + 2 * standardize(random_logits(64, 100, seed=1))
    for loss in (partial(kd_loss, student, teacher), partial(dkd_loss, student, teacher, target)):
        # larger where T is lower, so T has to fall
        assert loss(temperature=25.0, standardize=True) > loss(temperature=31.0, standardize=True)
    assert all(change < 0 for row in found for change in row[2:])
    for epoch, factor, kd, dkd in found:
        assert factor == pytest.approx(curriculum_reversal(int(epoch)), abs=0.001)
        assert (kd, dkd) == pytest.approx([-factor * change for change in found[-1][2:]], rel=0.1)


def test_weights_of_kldivloss_by_hand() -> None:
    _, rows = questions.kldiv_weights()
    assert [numbers(row[2])[0] for row in rows] == [9, 9, 9 * 4, 9 * 100, 9 * 4 * 100]  # T squared 4, 100 classes
    assert rows[0][1] == rows[1][1]


def test_an_average_of_raw_logits_is_the_larger_teacher_s() -> None:
    _, rows = questions.averaged_teachers()
    raw, scores = ([float(x) for x in row[1:]] for row in rows)
    assert raw[0] < 0.3 < 0.99 < raw[1]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_half_precision_breaks_the_formula_and_not_the_loss() -> None:
    _, (ordinary, flat, equal) = questions.half_precision()
    assert ordinary[1] == ordinary[2]
    assert flat[1] == "not finite"
    assert all(math.isfinite(numbers(row[2])[0]) for row in (ordinary, flat, equal))
    assert numbers(equal[1])[0] > 1000 > 1 > numbers(equal[2])[0]
    teacher = random_logits(64, 100, seed=2).half().double()
    for row, spread in ((ordinary, 3.0), (flat, 1e-4)):  # what arithmetic without rounding gives for the same logits
        student = random_logits(64, 100, spread=spread, seed=1).half().double().requires_grad_()
        (exact,) = torch.autograd.grad(kd_loss(student, teacher, temperature=2.0, standardize=True), student)
        assert numbers(row[2])[0] == pytest.approx(exact.abs().max().item(), rel=0.05)


def test_shards_average_to_the_batch_for_sums_over_samples_only() -> None:
    _, rows = questions.shards()
    found = {row[0]: row[1:] for row in rows}
    assert found["KD + LS"][0] == found["KD + LS"][1]
    assert found["MLKD, KL terms"][0] == found["MLKD, KL terms"][1]
    for name in ("MLKD, class correlation", "MLKD, batch correlation", "LumiNet", "DIST"):
        whole, halves = map(float, found[name])
        assert abs(whole - halves) > (0.1 if "MLKD" in name else 1e-4) * whole


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_shows_every_table() -> None:
    code = "\n".join("".join(c["source"]) for c in PAGE if c["cell_type"] == "code")
    assert set(re.findall(r'^table\("(\w+)"', code, flags=re.MULTILINE)) == {
        name for name, made in vars(questions).items() if getattr(made, "__annotations__", {}).get("return") == "Table"
    }


def test_the_page_asks_at_least_twenty_questions() -> None:
    assert len(re.findall(r"^### ", PROSE, flags=re.MULTILINE)) >= 20


def test_commands_that_are_named_run(told: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    named = re.findall(r'lskd recipe show ("[^"]+")', PROSE)
    assert len(named) >= 2
    for name in named:
        (word,) = shlex.split(name)
        assert cells.find(word).name == word
    monkeypatch.chdir(ROOT)
    assert "They differ in" in told("results", "compare", "digit-pairs/kd", "digit-pairs/kd_ls")


def test_pages_that_are_named_exist() -> None:
    content = yaml.safe_load((ROOT / "book" / "chapters" / "_toc.yml").read_text(encoding="utf-8"))
    known = {c["file"] for part in content["parts"] for c in part["chapters"]}
    for target in re.findall(r"\{doc\}`([^`<]+)`", PROSE):
        place = target.removeprefix("../") if target.startswith("../") else f"notebooks/{target}"
        assert place in known, f"{target} is no page"


def shown(table: disagreements.Table) -> dict[str, list[str]]:
    headings, rows = table
    assert all(len(row) == len(headings) for row in rows)
    return {row[0]: row[1:] for row in rows}


def test_the_code_divides_by_one_less() -> None:
    found = shown(disagreements.deviation())
    assert [float(found[k][0]) for k in ("4", "10", "100", "1000")] == pytest.approx(
        [0.8660, 0.9487, 0.9950, 0.9995], abs=1e-4
    )
    toy = toy_facts()
    assert (toy["toy_s1_ls"], toy["toy_s1_paper"]) == ("0.0995", "0.1347")  # the first is printed in the paper's Fig. 2


def test_subtracting_the_mean_changes_nothing_and_table_4_differs_nevertheless() -> None:
    found = {k: float(v[0]) for k, v in shown(disagreements.mean_subtraction()).items()}
    assert found["raw logits"] == pytest.approx(found["minus mean"], abs=1e-8)
    assert found["over deviation"] == pytest.approx(found["Z-score"], abs=1e-6)
    assert found["raw logits"] != pytest.approx(found["Z-score"], rel=0.1)
    differences = [float(row[2]) for row in shown(disagreements.table_4_repeats()).values()]
    assert min(differences) == 0.05
    assert max(differences) == 3.33


def test_a_constant_row_explodes_in_the_released_formula_alone() -> None:
    found = {k: float(v[0].replace(",", "")) for k, v in shown(disagreements.constant_row()).items()}
    assert found["released formula"] > 1e5
    assert found["lskd.losses.standardize"] < 1


def test_the_baselines_pull_differently() -> None:
    found = {k: float(v[-1]) for k, v in shown(disagreements.baseline_gradients()).items()}
    assert found["released KD command"] > 5 * found["literature's KD"]


def test_the_best_epoch_flatters() -> None:
    found = shown(disagreements.best_epoch())
    assert found["all"][:2] == ["57", "0.31"]
    assert found["MLKD"][2] == "0.92"


def test_the_headline_run_s_loss_halves_twice_before_the_rate_falls() -> None:
    found = shown(disagreements.headline_run())
    loss = {int(k): float(v[1]) for k, v in found.items()}
    assert loss[150] < 0.55 * loss[149]
    assert found["150"][0] == found["149"][0]
    assert loss[210] < 0.55 * loss[209]


def test_large_logits_end_the_released_arithmetic_alone() -> None:
    found = shown(disagreements.large_logits())
    assert found["3"][0] == found["3"][1]
    assert found["60"][0] == found["200"][0] == "not a number"
    assert all(float(v[1]) > 0 for v in found.values())


def test_masks_of_averages_do_not_look_at_single_images() -> None:
    found = {k: [float(x) for x in v] for k, v in shown(disagreements.mask_effect()).items()}
    released, written = found["mean of the mask (released code)"], found["image by image (as written)"]
    assert written[0] == 0 < released[0]
    assert written[1] == pytest.approx(2 * released[1], rel=1e-3)


def test_the_strong_view_s_correlations_are_dropped() -> None:
    found = shown(disagreements.strong_view_gradients())
    assert found["released code"][1:] == ["none", "none"]
    assert float(found["all terms"][0]) > float(found["released code"][0]) > 0


def test_the_logs_of_ctkd_stay_above_two() -> None:
    found = shown(disagreements.ctkd_temperatures())
    assert found["published logs, after epoch 1"] == ["2.00 to 30.39 (logged)", "22.3 to 30.4"]


def test_the_released_forward_counts_a_batch_twice() -> None:
    found = shown(disagreements.batch_statistics())
    once, twice = found["ordinary forward"], found["released forward, features collected"]
    assert (once[2], twice[2]) == ("1", "2")
    assert float(twice[1]) / float(once[1]) == pytest.approx(1.9, abs=0.01)


def test_no_loss_moves_the_mean_over_classes() -> None:
    for size, drift in shown(disagreements.class_mean_drift()).values():
        assert float(drift) < 1e-9 * float(size)
