"""Records: nothing lost or overwritten, equal experiments together."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic
from synthetic import put

from lskd.errors import LskdError
from lskd.records import identity
from paper import statistics
from paper import store as results

Told = Callable[..., str]


def run(members: dict[str, tuple[float, float]], **options: Any) -> dict[str, Any]:
    """A record as a training run writes it, with its identity."""
    record = synthetic.record(members, **options) | {"source_digest": "s" * 64}
    return record | {"identity": identity(record)}


def seeds(tmp_path: Path, values: dict[str, list[float]]) -> Path:
    """A store of one run a position of the lists; ``best`` is half a point above ``last``."""
    runs = []
    for seed, row in enumerate(zip(*values.values(), strict=True)):
        runs.append(run({name: (last, last + 0.5) for name, last in zip(values, row, strict=True)}, seed=seed))
    return synthetic.store(tmp_path, *runs)


def test_a_record_is_kept_where_its_configuration_says(tmp_path: Path) -> None:
    record = run({"kd": (70.0, 71.0)}, seed=3)
    path, new = results.add(put(tmp_path / "run", record), tmp_path / "store")
    assert new
    assert path.parent == tmp_path / "store" / "synthetic" / "resnet32-resnet8"
    assert path.name == f"seed-3-{results.address(record)[:12]}.json"
    stored = json.loads(path.read_text())
    assert stored.pop("store") == {"address": results.address(record), "sha256": results.content_digest(record)}
    assert stored == record
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_adding_again_changes_nothing_and_another_result_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    path, _ = results.add(put(tmp_path / "run", run({"kd": (70.0, 71.0)})), store)
    before = path.read_bytes()
    assert results.add(tmp_path / "run", store) == (path, False)
    assert results.add(path, store) == (path, False)  # also from the store itself
    with pytest.raises(LskdError, match="already has seed 0 of kd of 'synthetic' with another result"):
        results.add(put(tmp_path / "other", run({"kd": (72.0, 73.0)})), store)
    with pytest.raises(LskdError, match="already has seed 0 of kd of 'synthetic'"):
        results.add(put(tmp_path / "more", run({"kd": (70.0, 71.0), "dkd": (70.0, 71.0)})), store)
    other = put(tmp_path / "edited", run({"kd": (70.0, 71.0)}) | {"seed": 1})
    with pytest.raises(LskdError, match="its configuration, seed, data or teacher was changed after it was run"):
        results.add(other, store)  # a run counts once, whatever seed it is said to have
    (other / "record.json").write_text('{"schema": 1, "name": "kd", "seed": 0}')
    with pytest.raises(LskdError, match=r"record\.json: record needs config; take it away"):
        results.add(other, store)
    assert path.read_bytes() == before
    assert list(store.rglob("*.json")) == [path]


def test_the_address_depends_on_what_decides_a_result_alone() -> None:
    record = run({"kd": (70.0, 71.0)})
    same = {"device.name": "another", "wall_seconds": 1.0, "source_digest": "x", "command": "other"}
    for place, value in same.items():
        assert results.address(synthetic.change(record, place, value)) == results.address(record)
    other = {
        "seed": 1,
        "config.epochs": 4,
        "dataset.digest": "e" * 64,
        "teacher.digest": "another teacher",
        "device.type": "cuda",
        "execution": {"device": "cpu", "precision": "bf16"},
        "distributed": {"processes": 4, "sync_batchnorm": False},  # each normalises with a quarter of a batch
    }
    for place, value in other.items():
        assert results.address(synthetic.change(record, place, value)) != results.address(record)


def test_where_files_lay_on_a_machine_makes_no_other_experiment(tmp_path: Path) -> None:
    for seed, place in enumerate(("/home/a", "/data/b", "C:/c")):
        record = run({"kd": (70.0 + seed, 72.0)}, seed=seed)
        record["config"] |= {"teacher": {"checkpoint": f"{place}/t.pth"}, "data": {"path": place, "size": 32}}
        record["identity"] = identity(record)
        results.add(put(tmp_path / f"run-{seed}", record), tmp_path / "store")
    (group,) = results.groups(tmp_path / "store")
    assert [r["seed"] for r in group.records] == [0, 1, 2]
    first = group.records[0]
    assert results.address(synthetic.change(first, "config.data.path", "elsewhere")) == results.address(first)
    assert results.address(synthetic.change(first, "config.data.size", 64)) != results.address(first)


def _add(source: Path, store: Path) -> str:
    try:
        return "new" if results.add(source, store)[1] else "there"
    except LskdError:
        return "refused"


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Three seeds by two writers each, and two different results of a fourth seed: four records."""
    sources = [put(tmp_path / f"run-{i}", run({"kd": (70.0 + i, 72.0)}, seed=i)) for i in range(3)] * 2
    sources += [put(tmp_path / f"rival-{i}", run({"kd": (60.0 + i, 72.0)}, seed=3)) for i in range(2)]
    # Forked from a process without threads: beside them a child may wait for a lock for ever.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(len(sources)) as writers:
        answers = writers.starmap(_add, [(source, tmp_path / "store") for source in sources], chunksize=1)
    assert sorted(answers) == ["new"] * 4 + ["refused"] + ["there"] * 3
    found = [json.loads(p.read_text()) for p in sorted((tmp_path / "store").rglob("*.json"))]
    assert [record["seed"] for record in found] == [0, 1, 2, 3]
    assert all(record["store"]["sha256"] == results.content_digest(record) for record in found)


def test_only_runs_of_one_experiment_are_put_together(tmp_path: Path) -> None:
    kd = {"kd": (70.0, 71.0)}
    usual = [run(kd, seed=seed) for seed in (2, 0, 1)] + [run({"dkd": (70.0, 71.0)})]
    places = {"epochs": 4, "members.kd.temperature": 3.0, "teacher.digest": "another", "dataset.digest": "another"}
    others = []
    for key, value in places.items():
        place = key if "digest" in key else f"config.{key}"
        others.append(synthetic.change(run(kd, seed=3), place, value))
    store = synthetic.store(tmp_path, *others, *usual, run(kd, name="short", seed=4))
    found = results.groups(store)
    assert sorted([r["seed"] for r in g.records] for g in found) == [[0, 0, 1, 2], *[[3]] * len(others), [4]]
    with pytest.raises(LskdError, match="the name of 5 experiments") as error:
        results.find("synthetic", store)
    assert all(f"{key} {value}" in str(error.value) for key, value in places.items())
    assert results.find(found[0].digest[:8], store).digest == found[0].digest
    by_recipe = results.aggregate(store)  # the experiment with most seeds
    assert {name: [r["seed"] for r in group] for name, group in by_recipe.items()} == {
        "synthetic": [0, 0, 1, 2],
        "short": [4],
    }
    assert results.aggregate(tmp_path / "nothing there") == {}


def test_paired_differences_by_hand(tmp_path: Path) -> None:
    store = seeds(tmp_path, {"kd": [70.0, 71.0, 73.0], "kd_ls": [71.0, 73.0, 74.0], "dkd": [70.0, 70.0, 70.0]})
    group = results.find("resnet32 -> resnet8", store)
    found = statistics.compare(group, "kd", group, "kd_ls")
    assert found["seeds"] == [0, 1, 2]
    assert found["last"]["mean"] == pytest.approx(4 / 3)
    # differences 1, 2, 1: sd 0.57735; t(0.975; 2) = 4.302653; half width = 4.302653 * 0.57735 / sqrt(3)
    assert (found["last"]["high"] - found["last"]["low"]) / 2 == pytest.approx(1.434218, abs=1e-5)
    assert found["differs"] == {"standardize": [False, True]}
    (tmp_path / "later").mkdir()
    later = synthetic.store(tmp_path / "later", *(r | {"source_digest": "t" * 64} for r in group.records))
    apart = statistics.compare(group, "kd", results.find("synthetic", later), "kd_ls")["differs"]
    assert apart["trainers"] == [["before 1 (ssssssss)"], ["before 1 (tttttttt)"]]
    other = statistics.compare(group, "kd", group, "dkd")["differs"]
    assert other["method"] == ["kd", "dkd"]
    with pytest.raises(LskdError, match="no results of a member 'kdls'; did you mean 'kd_ls'"):
        statistics.compare(group, "kd", group, "kdls")


def test_fewer_than_three_seeds_are_marked_and_programs_get_json(tmp_path: Path, told: Told) -> None:
    store = seeds(tmp_path, {"kd": [70.0, 71.0], "kd_ls": [71.0, 73.0]})
    shown = {}
    for words in (["list"], ["show", "synthetic"], ["compare", "synthetic/kd", "synthetic/kd_ls"]):
        for style in ("text", "json"):
            shown[words[0], style] = told("results", *words, "--store", store, "--format", style)
    assert "fewer than 3 seeds" in shown["list", "text"]
    assert "Fewer than 3 seeds: no interval" in shown["show", "text"]
    assert re.search(r"KD \+ LS +2  72\.00 ± 1\.41 +– +71\.00 73\.00  ", shown["show", "text"])
    assert "+1.50 points" in shown["compare", "text"]
    assert json.loads(shown["list", "json"])[0]["n"] == 2
    assert json.loads(shown["compare", "json"])["last"]["mean"] == 1.5
    row, _ = json.loads(shown["show", "json"])["rows"]
    assert row["few"]
    assert row["last"]["low"] is None


def test_a_mean_says_who_is_not_in_it_and_counts_seeds_once(tmp_path: Path, told: Told) -> None:
    runs = [run({"kd": (70.0, 71.0), "kd_ls": (71.0, 72.0)}, seed=seed) for seed in range(3)]
    runs[1]["members"]["kd_ls"]["failure"] = {"reason": "its loss is not finite"}
    store = synthetic.store(tmp_path, *runs, *(run({"dkd": (70.0, 71.0)}, seed=seed) for seed in range(3)))
    shown = told("results", "show", "synthetic", "--store", store)
    assert re.search(r"KD \+ LS +2  71\.00", shown)
    assert "Stopped early, and in no mean: kd_ls, seed 1." in shown
    assert [g["n"] for g in json.loads(told("results", "list", "--store", store, "--format", "json"))] == [3]


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(LskdError, match="no records; `lskd results add RUN_FOLDER`"):
        results.find("x", tmp_path)
    store = seeds(tmp_path, {"kd": [70.0]})
    with pytest.raises(LskdError, match=r"no experiment 'synthetc'.*did you mean 'synthetic'"):
        results.find("synthetc", store)


def test_a_table_can_be_pasted_and_says_whose_seeds_it_averages(tmp_path: Path, told: Told) -> None:
    values = {"kd": [70.0, 71.0, 72.5], "kd_ls": [71.0, 73.0, 73.5]}
    alone = seeds(tmp_path, values)
    assert "trainer" not in told("results", "show", "synthetic", "--store", alone)
    *others, last = results.find("synthetic", alone).records
    (tmp_path / "mixed").mkdir()
    store = synthetic.store(tmp_path / "mixed", *others, last | {"source_digest": "t" * 64})
    show = ("results", "show", "synthetic", "--store", store, "--format")
    shown = {style: told(*show, style) for style in ("text", "json", "csv", "latex", "markdown")}
    half = 4.302653 * 1.258306 / 3**0.5  # t with two degrees of freedom, and the deviation of 70, 71 and 72.5
    low, high = 71.166667 - half, 71.166667 + half
    mixed = "3 seeds of 2 trainers (trainer before 1 (ssssssss): seeds 0, 1; trainer before 1 (tttttttt): seed 2)"
    for style in ("text", "markdown", "latex"):
        assert f"{low:.2f} to {high:.2f}" in shown[style]
        assert "70.00 71.00 72.50" in shown[style]
        assert mixed in shown[style]
    assert "| kd | 3 | 71.17 ± 1.26 |" in shown["markdown"]
    assert r"kd\_ls & 3 & 72.50 $\pm$ 1.32 & " in shown["latex"]
    for word in (r"\toprule", r"\midrule", r"\bottomrule", "last epoch [\\%]"):
        assert word in shown["latex"]
    columns = re.search(r"tabular}{(\w+)}", shown["latex"])
    assert {line.count("&") for line in shown["latex"].splitlines() if "&" in line} == {len(columns[1]) - 1}
    (first, _) = csv.DictReader(io.StringIO(shown["csv"]))
    assert (first["member"], first["n"], first["seeds"], first["last_values"]) == ("kd", "3", "0 1 2", "70.0 71.0 72.5")
    assert float(first["last_low"]) == pytest.approx(low, abs=1e-4)
    row, twin = json.loads(shown["json"])["rows"]
    assert (row["label"], row["n"], row["seeds"], row["few"]) == ("KD", 3, [0, 1, 2], False)
    assert row["values"]["best"] == [70.5, 71.5, 73.0]
    assert row["best"]["mean"] == pytest.approx(row["last"]["mean"] + 0.5)
    assert twin["standardize"] is True
