"""One thread a process, so that tests can run side by side; a cache of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported here or in a child. Bits of a run depend on the number of threads; these tests
# compare runs with one another, never with a run made elsewhere.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def lskd_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets that tests generate, shared by one test process and its children."""
    folder = tmp_path_factory.mktemp("lskd-cache")
    os.environ["LSKD_CACHE"] = str(folder)
    return folder
