"""``lskd workflow``: the book and all it needs; ``make book`` calls this."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    workflow = commands.add_parser(
        "workflow", help="make the book and all it needs, or one target; `make book` is this"
    )
    workflow.add_argument("targets", nargs="*", metavar="TARGET", help="teacher, students, a notebook's name, book")
    workflow.add_argument("--preset", default="default", help="a name in workflow/*.yaml: default, tiny")
    workflow.add_argument("--cores", default="all")
    workflow.add_argument("-n", "--dry-run", action="store_true", help="only say what would be made, and why")
    workflow.set_defaults(call=_run)


def _run(given: argparse.Namespace) -> int:
    from lskd import workflow

    return workflow.start(Path.cwd(), given.preset, given.targets, cores=given.cores, dry_run=given.dry_run)
