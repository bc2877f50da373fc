"""MemberThreads: units of a job in order, jobs side by side, the same bits whatever the number of lanes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import DATA, cohort, results

from lskd.recipes import load_recipe
from lskd.trainer.cpu_threads import MemberThreads


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("most", [1, 3])
def test_units_of_a_job_keep_their_order_and_every_job_ends(most: int, three_threads: None) -> None:
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": [], "d": []}

    def job(name: str, units: int) -> Iterator[None]:
        for unit in range(units):
            seen[name].append(unit)
            yield

    with MemberThreads(most=most) as lanes:
        assert lanes.count == most
        lanes.run([job("a", 5), job("b", 0), job("c", 7), job("d", 2)])
    assert seen == {"a": list(range(5)), "b": [], "c": list(range(7)), "d": [0, 1]}


def test_jobs_run_side_by_side(three_threads: None) -> None:
    meeting = threading.Barrier(3, timeout=20)  # broken when the three are not there at once

    def job() -> Iterator[None]:
        meeting.wait()
        yield

    with MemberThreads() as lanes:
        lanes.run([job() for _ in range(3)])


@pytest.mark.parametrize("most", [1, 3])
def test_an_error_in_a_job_comes_out_and_the_lanes_close(most: int, three_threads: None) -> None:
    def job() -> Iterator[None]:
        yield
        raise ValueError("a unit went wrong")

    def endless() -> Iterator[None]:
        while True:
            yield

    with pytest.raises(ValueError, match="a unit went wrong"), MemberThreads(most=most) as lanes:
        lanes.run([endless(), job(), endless()])
    assert not [t for t in threading.enumerate() if t.name.startswith("lane")]


def test_threads_of_a_lane_hold_inside_and_are_put_back(three_threads: None) -> None:
    found = []

    def job() -> Iterator[None]:
        found.append(torch.get_num_threads())
        yield

    with MemberThreads(1) as lanes:
        lanes.run([job() for _ in range(3)])
        assert torch.get_num_threads() == 1
    assert found == [1, 1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("method", ["kd", "mlkd"])
def test_bits_do_not_depend_on_the_number_of_lanes_or_the_window(method: str, three_threads: None) -> None:
    members: dict[str, Any] = {
        "one": {"method": method, "temperature": 2.0, "kd_weight": 9.0, "standardize": True},
        "two": {"method": "plain"},
        "three": {"method": method, "temperature": 4.0, "kd_weight": 0.9},
    }

    def trained(lanes: int, window: int) -> dict[str, Any]:
        torch.manual_seed(0)
        made = cohort(settings={"data": DATA, "epochs": 1, "milestones": [], "members": members})
        made.lanes = MemberThreads(made.recipe.threads, most=lanes)
        seen: list[int] = []
        made.run(after_step=lambda: seen.append(made.step), window=window)
        assert seen == ([5] if lanes > 1 and window > 64 else [1, 2, 3, 4, 5])
        return results(made)

    alone = trained(1, 512)
    assert trained(3, 512) == alone
    assert trained(3, 1) == alone


def test_the_teacher_takes_as_many_turns_as_a_member_or_it_goes_on_alone_at_the_end(three_threads: None) -> None:
    made = cohort()
    turns: list[int] = []

    def run(jobs: list[Iterator[None]], all_of_them: Any = made.lanes.run) -> None:
        taken: Counter[int] = Counter()

        def counted(number: int, job: Iterator[None]) -> Iterator[None]:
            for _ in job:
                taken[number] += 1
                yield

        all_of_them([counted(number, job) for number, job in enumerate(jobs)])
        turns.extend(taken.values())

    made.lanes.run = run  # type: ignore[method-assign]
    made.run(window=128)
    assert max(turns) == 2  # of 64 images each


def test_a_recipe_says_how_many_threads_a_network_computes_with(tmp_path: Path) -> None:
    recipe = load_recipe("digit-pairs")
    assert recipe.threads == 1
    assert "threads" not in recipe.config()
    assert load_recipe("digit-pairs", settings={"threads": 2}).config()["threads"] == 2
    with pytest.raises(Exception, match=r"threads is 0 \(int\); expected int >= 1"):
        load_recipe("digit-pairs", settings={"threads": 0})
