"""One thread a process, so that tests can run side by side; a cache of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported here or in a child. Bits of a run depend on the number of threads; these tests
# compare runs with one another, never with a run made elsewhere.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
# Started in the background, a shell has interrupts ignored, and so would every process that is interrupted here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine is no fault of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


BOOK, JOBS = "tests/book/test_book.py", "tests/paper/test_run_jobs.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First who makes the book, then who mostly waits, so that others compute meanwhile; the book's readers last."""
    readers = {item.path for item in items if "book" in getattr(item, "fixturenames", ())}

    def turn(item: pytest.Item) -> int:
        return 1 if item.nodeid.startswith(JOBS) else 3 if item.path in readers else 2

    maker = next((item for item in items if item.nodeid.startswith(BOOK)), None)
    items.sort(key=lambda item: 0 if item is maker else turn(item))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one file run in one process, but for two files whose tests are slow and share nothing.

    A scheduler, not marks: those of xdist 3.8 are lost in pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file in (BOOK, JOBS) else file

    return Files(config, log)


@pytest.fixture(scope="session", autouse=True)
def lskd_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets that tests generate, shared by one test process and its children."""
    folder = tmp_path_factory.mktemp("lskd-cache")
    os.environ["LSKD_CACHE"] = str(folder)
    return folder


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command of ``lskd``, which ends with the given status, and returns what it prints; of one that fails, its
    error."""
    from lskd import cli

    def call(*words: object, status: int = 0) -> str:
        assert cli.main([str(word) for word in words]) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    return call


@pytest.fixture(scope="session")
def book(testrun_uid: str) -> Path:
    """The folder of the built pages; built when they are missing or something they depend on has changed.

    The first process that asks looks, the others of a run take its word.
    """
    from figures.fingerprint import ROOT
    from lskd.files import locked

    seen = ROOT / "build" / ".cache" / "tests" / "made-for"
    seen.parent.mkdir(parents=True, exist_ok=True)
    with locked(seen.parent, wait=True):
        if not seen.is_file() or seen.read_text() != testrun_uid:
            call = [sys.executable, "-m", "lskd.cli", "workflow", "--preset", "tiny"]
            done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
            seen.write_text(testrun_uid)
    return ROOT / "build" / "tiny-book" / "_build" / "html"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium. Without one: a failure in continuous integration, a loud skip on a desk."""
    from book.doctor import browser

    place = browser()
    if place is None:
        message = "no Chromium found for the page tests; install one, or name it: LSKD_BROWSER=path"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=os.fspath(place), args=["--no-sandbox"])
        yield instance
        instance.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """An empty page that fails its test on any message of the console."""
    from reading import complaints, reader

    with reader(chromium, viewport={"width": 1280, "height": 1000}) as opened:
        wrong = complaints(opened)
        yield opened
    assert wrong == []
