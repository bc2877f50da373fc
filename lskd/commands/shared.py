"""What several commands say in the same words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["say_sizes", "short"]


def say_sizes(paths: Iterable[Path]) -> None:
    """Print files that were written, with their sizes."""
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def short(path: Path) -> Path:
    """Relative to the folder in which the command was given, when it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
