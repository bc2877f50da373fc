"""The runs that several files of tests compare theirs with."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import MLKD, run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where teachers are, once they have been trained."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Path:
    """An uninterrupted run of the whole cohort."""
    out = tmp_path_factory.mktemp("whole")
    run(out, runs)
    return out


@pytest.fixture(scope="session")
def multilevel(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Path:
    """An uninterrupted run of MLKD beside KD."""
    out = tmp_path_factory.mktemp("mlkd")
    run(out, runs, settings=MLKD, members=["kd", "mlkd"])
    return out
