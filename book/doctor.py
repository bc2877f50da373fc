"""What this machine has: interpreter, packages against their pins, device, browser."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path

import lskd
from figures.fingerprint import ROOT
from lskd.files import told_by

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser() -> Path | None:
    """A Chromium for the page tests: ``LSKD_BROWSER``, the path, or what Playwright has installed."""
    if chosen := told_by("LSKD_BROWSER"):
        found = shutil.which(chosen)
        return Path(found) if found else None
    for name in BROWSERS:
        if found := shutil.which(name):
            return Path(found)
    cache = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    folders = (
        [Path(cache)] if cache else [Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright"]
    )
    patterns = ("chromium-*/chrome-linux*/chrome", "chromium-*/chrome-mac*/Chromium.app/Contents/MacOS/Chromium")
    installed = [p for folder in folders for pattern in patterns for p in sorted(folder.glob(pattern))]
    return installed[-1] if installed else None


def install_browser() -> Path | None:
    """A Chromium that was there, or one installed by the system's package manager or by Playwright; None without."""
    if found := browser():
        return found
    if told_by("LSKD_BROWSER"):
        return None  # somebody has chosen one that is not there: say so, install nothing
    ways = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        ways = [["sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium"], *ways]
    for way in ways:
        print(f"lskd: no browser for the page tests; trying: {way[-1] if way[0] == 'sh' else ' '.join(way[1:])}")
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(way, check=False, timeout=600, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        if found := browser():
            return found
    return None


def report() -> Iterator[str]:
    """Lines for a person, problems marked with ``!``."""
    yield f"  python     {platform.python_version()} at {sys.executable}"
    yield f"  lskd       {lskd.__version__} at {Path(lskd.__file__).parent}"
    yield from _torch()
    free = shutil.disk_usage(Path.cwd()).free
    yield f"{'!' if free < 2**30 else ' '} disk       {free / 2**30:.1f} GiB free here"
    log = "yes" if util.find_spec("tensorboard") else "no, only jsonl; pip install tensorboard"
    yield f"  log        tensorboard: {log}"
    wrong = list(_packages())
    yield from wrong
    if not wrong:
        yield "  packages   the book's, in the pinned versions"
    found = browser()
    yield (
        f"  browser    {found}" if found else "! browser    none found; page tests need a Chromium (LSKD_BROWSER=path)"
    )


def _torch() -> Iterator[str]:
    try:
        import torch
    except ModuleNotFoundError:
        yield "! torch      missing; pip install -e ."
        return
    yield f"  torch      {torch.__version__}, threads: {torch.get_num_threads()}, cores: {os.cpu_count()}"
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            yield (
                f"  device     cuda:{i} {torch.cuda.get_device_name(i)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB "
                f"free, bf16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}"
            )
    else:
        yield f"  device     cpu ({platform.machine()}); no CUDA device"


def _packages() -> Iterator[str]:
    """Differences between what is installed and what the book pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for pin in project["optional-dependencies"]["book"]:
        name, _, wanted = pin.partition("==")
        try:
            found = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            yield f"! {name:10} missing; pip install -e '.[book]'"
            continue
        if found != wanted:
            yield f"! {name:10} {found}; the book was made with {wanted}"
