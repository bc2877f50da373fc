"""What this machine has: interpreter, packages against their pins, device, browser."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import lskd
from lskd.sources import ROOT

__all__ = ["browser", "report"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser() -> Path | None:
    """A Chromium for the page tests: ``LSKD_BROWSER``, the path, or what Playwright has installed."""
    if chosen := os.environ.get("LSKD_BROWSER"):
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


def report() -> Iterator[str]:
    """Lines for a person, problems marked with ``!``."""
    old = sys.version_info < (3, 11)
    yield f"{'!' if old else ' '} python     {platform.python_version()} at {sys.executable}{'; needs 3.11' * old}"
    yield f"  lskd       {lskd.__version__} at {Path(lskd.__file__).parent}"
    yield from _torch()
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
    yield f"  torch      {torch.__version__}, {torch.get_num_threads()} thread(s) on {os.cpu_count()} core(s)"
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            yield f"  device     cuda:{i} {torch.cuda.get_device_name(i)}"
    else:
        yield f"  device     cpu ({platform.machine()}); no CUDA device"


def _packages() -> Iterator[str]:
    """Differences between what is installed and what the book pins; nothing outside a checkout."""
    project = ROOT / "pyproject.toml"
    if not project.is_file():
        return
    pins = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]["book"]
    for pin in pins:
        name, _, wanted = pin.partition("==")
        try:
            found = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            yield f"! {name:10} missing; pip install -e '.[book]'"
            continue
        if found != wanted:
            yield f"! {name:10} {found}; the book was made with {wanted}"
