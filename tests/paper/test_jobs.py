"""The plan of the full paper: which jobs, what they share, what waits for what, and what they cost."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from figures.fingerprint import ROOT
from lskd.errors import LskdError
from lskd.files import write_json
from lskd.models.registry import model_info
from lskd.recipes import load_recipe
from lskd.trainer import TRAINER
from paper import benchmarks, job_listing, run_jobs
from paper import jobs as plan
from paper import tables as paper_tables
from paper.plan import Plan, load

SHORT, FULL = "cifar100-resnet56-resnet20-short-30", "cifar100-resnet56-resnet20-full-240"
CELLS, REST, METHODS = ("kd_literature", "kd_ls"), ("alone", "kd"), ("dkd", "dkd_ls", "ctkd", "ctkd_ls")


def wanted(name: str = "paper", **changes: object) -> Plan:
    return load(name, changes, root=ROOT)


@pytest.fixture(scope="module")
def paper() -> list[plan.Job]:
    return plan.make(wanted())


def test_every_printed_cell_is_trained_with_three_seeds(paper: list[plan.Job]) -> None:
    cells = {(c.recipe, c.member) for table in paper_tables.TABLES for c in paper_tables.printed(table)}
    for seed in (0, 1, 2):
        trained = Counter((j.recipe, m) for j in paper if j.seed == seed for m in j.members)
        assert set(trained) == cells
        assert set(trained.values()) == {1}  # once


def test_a_cohort_shares_its_teacher_and_the_table_of_its_logits_and_comes_after_them(paper: list[plan.Job]) -> None:
    known = {job.name: job for job in paper}
    cohorts = [job for job in paper if job.kind == "cohort" and job.dataset == "cifar100"]
    tables_of: dict[str, set[str]] = {}
    for job in cohorts:
        network, logits = (known[name] for name in job.after)
        assert (network.kind, network.seed, network.student) == ("network", 0, job.teacher)
        assert (logits.kind, logits.teacher, logits.after) == ("logits", job.teacher, (network.name,))
        tables_of.setdefault(str(job.teacher), set()).add(logits.name)
    assert len(cohorts) > 80
    assert {len(names) for names in tables_of.values()} == {1}  # built once
    six = next(job for job in cohorts if job.recipe == "cifar100/resnet32x4-resnet8x4")
    assert six.members == ("kd", "kd_ls", "ctkd", "ctkd_ls", "dkd", "dkd_ls")
    assert set(known[six.after[0]].serves) == {1, 2, 4}
    place = {job.name: i for i, job in enumerate(paper)}
    assert all(place[before] < place[job.name] for job in paper for before in job.after)


def test_what_fills_most_cells_an_hour_comes_first() -> None:
    asked = {"tables": [2], "pairs": ["resnet56 -> resnet20", "vgg13 -> vgg8"]}
    jobs = plan.make(wanted("cifar100", **asked))
    assert [(j.recipe, j.seed, set(j.members)) for j in jobs[:10]] == [
        *((SHORT, seed, {*CELLS, *REST}) for seed in (0, 1, 2)),
        *((FULL, 0, set(members)) for members in (CELLS, REST, METHODS)),
        *((FULL, seed, set(members)) for members in (CELLS, REST) for seed in (1, 2)),
    ]
    assert {job.logits for job in jobs if job.kind == "cohort"} == {"live"}
    assert len({job.name for job in jobs}) == len(jobs)
    cheap, dear = ("cohort", "resnet56 -> resnet20", 0), ("cohort", "vgg13 -> vgg8", 0)
    after = [(job.kind, job.networks, job.seed) for job in jobs[10:]]
    assert after.index(("network", "vgg8", 0)) < after.index(("network", "resnet20", 0))  # a cell that is filled before
    rest = [(job.kind, job.networks, job.seed) for job in plan.make(wanted("cifar100", first=[], **asked))]
    assert rest[0] == ("network", "resnet20", 0)  # a cell, and the cheapest
    assert rest.index(("network", "resnet56", 0)) < rest.index(cheap) < rest.index(dear)
    assert rest.index(cheap) < rest.index(("network", "resnet20", 1))  # a second seed is worth half


def test_a_name_holds_all_that_decides_a_job(paper: list[plan.Job]) -> None:
    names = {job.name for job in paper}
    assert len(names) == len(paper)
    again = plan.make(wanted(tables=[2], pairs=["resnet56 -> resnet20"]))
    assert {job.name for job in again} <= names  # a part of a plan has the same jobs
    half = plan.make(wanted(tables=[2], pairs=["resnet56 -> resnet20"], table_dtype="float16"))
    changed = [job.kind for job in half if job.name not in names]
    assert Counter(changed) == {"logits": 1, "cohort": 6}


def test_parts_of_the_paper_are_chosen_by_table_pair_and_seed() -> None:
    jobs = plan.make(wanted(tables=[2], pairs=["ResNet56 → resnet20"], seeds=[4]))
    assert {job.networks for job in jobs} == {"resnet56", "resnet20", "resnet56 -> resnet20"}
    assert {job.seed for job in jobs if job.kind == "cohort"} == {4}
    assert {j.seed for j in jobs if j.student == "resnet56"} == {0, 4}  # the teacher keeps the recipe's seed
    more = plan.make(wanted(tables=[2], pairs=["resnet56 -> resnet20"], seeds=1, members="all"))
    assert any("kd_like_for_like" in job.members for job in more)
    with pytest.raises(LskdError, match=r"'resnet56 -> resnet21'; did you mean 'resnet56 -> resnet20'"):
        plan.make(wanted(tables=[2], pairs=["resnet56 -> resnet21"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, r"epochs is a recipe's setting; settings\.epochs changes it, in a rehearsal"),
        ({"setings.epochs": 3}, r"has no 'setings\.epochs'; a recipe's setting is settings\.epochs"),
        ({"settings.epochs": 3}, "settings epochs=3 change the recipes"),
        ({"tables": [7]}, r"tables\[0\] is 7; expected one of 1, 2, 3, 4, 5, vit"),
        ({"seeds": -1}, "seeds is -1"),
        ({"seeds": 0}, "seeds is 0"),
        ({"minutes": "long"}, r"minutes is 'long' \(str\); expected int"),
        ({"members": "some"}, "members is 'some'"),
        ({"sedes": 3}, "has no 'sedes'; did you mean 'seeds'"),
        ({"first": [{"seeds": [0]}]}, r"first\[0\] needs recipe"),
        ({"rehearsal": True}, "give another, such as build/rehearsal/results"),
    ],
)
def test_a_wrong_configuration_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(LskdError, match=message):
        wanted(**changes)


def test_a_profile_that_is_not_there_and_a_time_that_is_over_are_named() -> None:
    with pytest.raises(LskdError, match="minutes is -1; expected more than 0"):
        run_jobs.run_here(wanted(), [], minutes=-1)
    there = "no folder with a config.yaml; workflow/profiles has kubernetes, local, slurm"
    with pytest.raises(LskdError, match=f"profile 'slrm': {there}"):
        run_jobs.start(ROOT, "paper", [], profile="slrm")


def test_a_rehearsal_has_the_same_graph_on_generated_data() -> None:
    jobs = plan.make(wanted("rehearsal"))
    assert Counter(job.kind for job in jobs) == {"network": 2, "logits": 1, "cohort": 2}
    assert {(job.dataset, job.epochs) for job in jobs if job.kind != "logits"} == {("digit_pairs", 1)}


def test_hours_come_from_the_benchmark_of_a_gpu_or_say_that_they_do_not(paper: list[plan.Job], tmp_path: Path) -> None:
    assert benchmarks.training_rate(tmp_path) is None

    def bench(kind: str, **found: object) -> benchmarks.Rate:
        write_json(tmp_path / "benchmarks" / "results" / f"{kind}.json", found)
        return benchmarks.training_rate(tmp_path)

    six = {"ours": 500.0, "teacher": "resnet56", "student": "resnet20", "members": ["a"] * 6}
    slow = bench("cpu", cohort6=six, machine={"name": "a processor"})
    assert slow.unit == "CPU hours"
    assert "no GPU has been measured" in job_listing.listing(wanted(), paper, slow, {})
    rates = {"student_images_per_s": {"six from a table, tf32, all": 50_000.0}}
    fast = bench("gpu", networks=six, members=six["members"], rates=rates)
    done = run_jobs.Run(tmp_path, {"seed": 0, "config": {"epochs": 240}}, True, 240)
    text = job_listing.listing(wanted(), paper, fast, {paper[0].name: done})
    assert "GPU hours" in text
    assert "1 of 1 done" in text or "1 of 3 done" in text
    assert "CPU hours" not in text
    # The cohort that was measured takes the time that was measured: 6 students, one epoch without tests.
    teacher, student = (model_info(name).multiply_adds for name in ("resnet56", "resnet20"))
    assert fast.hours(50_000 * 18 * student) == pytest.approx(50_000 * 6 / 50_000 / 3600)
    assert slow.hours(50_000 * (teacher + 18 * student)) == pytest.approx(50_000 * 6 / 500 / 3600)


def test_the_cost_of_a_run_is_counted_from_its_networks(paper: list[plan.Job]) -> None:
    teacher, student = (model_info(name).multiply_adds for name in ("resnet56", "resnet20"))
    by_recipe = {job.recipe: job for job in paper if job.kind == "cohort"}
    weak = by_recipe["cifar100/resnet56-resnet20"]
    assert weak.multiply_adds == 240 * 6 * (50_000 * 3 + 10_000) * student  # the teacher's part is in the table
    both = by_recipe["cifar100/resnet56-resnet20-mlkd"]
    assert both.multiply_adds == 480 * (50_000 * (teacher + 2 * 6 * student) + 10_000 * 2 * student)
    logits = next(job for job in paper if job.kind == "logits" and job.teacher == "resnet56")
    assert logits.multiply_adds == 50_000 * 162 * teacher


def test_the_command_lists_the_jobs_and_their_hours(told: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = told("plan", "--set", "tables=[4]", "--set", "seeds=2")
    assert "resnet32x4 -> resnet8x4  seeds 0,1" in text
    assert "weight_0p9_raw … weight_18_z (28 members)" in text
    found = json.loads(told("plan", "--set", "tables=[4]", "--json"))
    assert found["totals"]["jobs"] == 5
    assert found["totals"]["hours"] > 0
    assert {job["state"] for job in found["jobs"]} <= {"to do", "done", "begun"}
    assert found["estimate"]["unit"] in ("GPU hours", "CPU hours")


def test_jobs_that_cannot_run_here_are_named_by_the_plan_and_by_the_run(
    told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as where it is not installed
    for command in (("plan",), ("run", "-n")):
        text = told(*command, "--plan", "rehearsal")
        assert "cannot run" in text, command
        assert "cifar100/resnet56-resnet20: digit_pairs needs scikit-learn, which is not installed" in text
    told("run", "--plan", "rehearsal", status=1)  # what was asked for is not done


def test_time_that_is_over_is_told_before_what_cannot_run_here(
    tmp_path: Path, told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(run_jobs, "impossible", lambda jobs: ["one job needs what is not here"])
    told("run", "--plan", "rehearsal", "--set", f"runs={tmp_path}", "--minutes", "1e-9", status=3)


def about(job: plan.Job, **changes: object) -> dict[str, object]:
    """What a run's folder says of a job's run; ``changes`` of its recipe's configuration."""
    recipe = load_recipe(job.recipe, settings=job.settings, members=job.members, for_training=False)
    return {
        "name": job.recipe,
        "config": json.loads(json.dumps({**recipe.config(), **changes})),
        "seed": job.seed,
        "dataset": {"digest": "d", "train_size": 50_000},
        "teacher": {"network": job.teacher, "digest": "t"} if job.teacher else None,
        "teacher_logits": {"source": job.logits, "dtype": "float32"} if job.logits else None,
        "execution": {"device": "cpu", "precision": "bf16"},
        "trainer": TRAINER,
    }


def test_a_record_of_more_members_does_the_jobs_of_some(tmp_path: Path) -> None:
    chosen = {"runs": str(tmp_path / "runs"), "store": str(tmp_path), "tables": [2], "pairs": ["resnet56 -> resnet20"]}
    jobs = plan.make(config := wanted("cifar100", **chosen))
    own = [job for job in jobs if job.recipe == FULL]
    whole = dataclasses.replace(own[0], members=tuple(load_recipe(FULL).members))
    write_json(tmp_path / "a.json", {**about(whole), "schema": 1})
    to_do = run_jobs.left(jobs, run_jobs.runs_of(config, jobs))
    assert [job.seed for job in own if job not in to_do] == [0, 0, 0]
    other = about(whole)
    other["config"]["members"]["kd"]["temperature"] = 3.0  # type: ignore[index]
    write_json(tmp_path / "a.json", {**other, "schema": 1})
    to_do = run_jobs.left(jobs, run_jobs.runs_of(config, jobs))
    assert [job.members for job in own if job not in to_do] == [own[0].members, own[2].members]


@pytest.mark.parametrize(("units", "precision"), [(["amx"], "bf16"), ([], "bf16-emulated")])
def test_a_run_begun_in_bf16_goes_on_in_it(
    units: list[str], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = wanted(runs=str(tmp_path), pairs=["resnet56 -> resnet20"], tables=[2], seeds=[0], device="cpu")
    job = next(job for job in plan.make(config) if job.kind == "cohort")
    write_json(tmp_path / "a" / "run.json", about(job))
    monkeypatch.setattr("lskd.data.download_if_missing", lambda name: None)
    monkeypatch.setattr("lskd.trainer.execution.bf16_units", lambda: units)
    asked: list[str] = []

    def train_cached(recipe: str, *, precision: str, **options: object) -> None:
        asked.append(precision)
        raise LskdError("enough")

    monkeypatch.setattr("lskd.trainer.run.train_cached", train_cached)
    with pytest.raises(LskdError, match="enough"):
        run_jobs.carry_out(config, job.name)
    assert asked == [precision]


def test_a_run_with_a_record_is_done_and_nothing_else(tmp_path: Path) -> None:
    chosen = {"pairs": ["resnet56 -> resnet20"], "tables": [2], "seeds": [0], "teacher_logits": "table"}
    config = wanted(runs=str(tmp_path / "runs"), store=str(tmp_path / "store"), **chosen)
    jobs = plan.make(config)
    by_kind = {(job.kind, job.networks): job for job in jobs}
    teacher, cohort = by_kind["network", "resnet56"], by_kind["cohort", "resnet56 -> resnet20"]

    def to_do(plan_: Plan = config) -> list[str]:
        return [job.name for job in run_jobs.left(jobs, run_jobs.runs_of(plan_, jobs))]

    assert to_do() == [job.name for job in jobs]
    folder = tmp_path / "runs" / "cifar100" / "a"
    write_json(folder / "run.json", about(cohort))
    for hidden in (tmp_path / "store" / "._x.json", tmp_path / "runs" / ".old" / "run.json"):  # as systems leave them
        hidden.parent.mkdir(parents=True)
        hidden.write_bytes(b"\x00\x05\xff")
    (folder / "checkpoints" / "step-00001600").mkdir(parents=True)
    found = run_jobs.runs_of(config, jobs)[cohort.name]
    assert (found.done, found.epoch, found.precision) == (False, 2, "bf16")  # of 782 steps
    assert cohort.name in to_do()
    write_json(folder / "record.json", {})
    assert cohort.name not in to_do()
    write_json(folder / "run.json", about(cohort, optimization={"drop_last_batch": True}))
    (folder / "record.json").rename(tmp_path / "record.json")
    (folder / "checkpoints" / "step-00001600").rename(folder / "checkpoints" / "step-00001562")
    assert [run.epoch for run in run_jobs._begun(folder)] == [2]  # of 781 steps
    (tmp_path / "record.json").rename(folder / "record.json")
    write_json(folder / "run.json", about(cohort))
    assert cohort.name in to_do(msgspec.structs.replace(config, precision="float32"))
    write_json(folder / "run.json", about(cohort, epochs=239))
    assert cohort.name in to_do()
    # A record in the store is enough for what no other job needs; a teacher has to be there, with its weights.
    for job in (teacher, cohort):
        write_json(tmp_path / "store" / f"{job.kind}.json", {**about(job), "schema": 1})
    assert cohort.name not in to_do()
    assert teacher.name in to_do()
    for job in (job for job in jobs if job.key):
        write_json(tmp_path / "store" / f"{job.key}.json", {**about(job), "schema": 1})
    assert to_do() == []  # a teacher whose students all are done is not trained again
    shutil.rmtree(tmp_path / "store")
    assert cohort.name in to_do()
    assert teacher.name in to_do()
    for job in (job for job in jobs if job.key):
        write_json(tmp_path / "runs" / job.name.replace("/", "-") / "run.json", about(job))
        write_json(tmp_path / "runs" / job.name.replace("/", "-") / "record.json", {})
    assert to_do() == []  # and no table is needed any more


def test_a_transformers_teacher_is_trained_at_its_own_size_and_once() -> None:
    """What the plan trains is what the trainer will look for: the convolutional teacher sees 32 pixels, not 224."""
    jobs = plan.make(wanted(tables=["vit"], seeds=1))
    known = {job.name: job for job in jobs}
    taught = [job for job in jobs if job.kind == "cohort"]
    teachers = {known[name].name for job in taught for name in job.after if known[name].kind == "network"}
    assert len(taught) > 3
    assert len(teachers) == 1
    (teacher,) = (known[name] for name in teachers)
    trained = load_recipe(teacher.recipe, settings=teacher.settings, for_training=False)
    assert (trained.student, trained.dataset, trained.data["size"]) == ("pycls-ResNet-56", "cifar100_224", 32)


def test_what_needs_no_teacher_is_trained_without_one() -> None:
    """`alone` of a recipe that has a teacher for another member: its run has that member alone."""
    (job,) = plan.make(wanted(tables=["vit"], pairs=["DeiT-Tiny"], seeds=1))
    assert (job.kind, job.members, job.teacher, job.after) == ("network", ("alone",), None, ())


def test_a_job_that_no_plan_has_is_named() -> None:
    for tables, near in (([5], "; did you mean 'logits/cifar100/alone/vgg13/seed-0-"), ([], "; there are none")):
        with pytest.raises(LskdError, match=f"no job is called 'logits/cifar100/alone/vgg13/seed-0'{near}"):
            run_jobs.carry_out(wanted(tables=tables, seeds=1), "logits/cifar100/alone/vgg13/seed-0")
