"""``lskd table``: a teacher's logits for every weak view, built, verified, shown."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.commands.shared import short

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    table = commands.add_parser("table", help="a teacher's logits for every weak view, computed once")
    tasks = table.add_subparsers(title="actions", metavar="ACTION", required=True)
    for word, text in (
        ("build", "compute what is missing of it; goes on where an earlier call stopped"),
        ("verify", "check every block's sha256, and a sample against the live teacher"),
    ):
        task = tasks.add_parser(word, help=text)
        task.add_argument("--recipe", required=True, metavar="NAME", help="whose teacher and data")
        task.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
        task.add_argument("--table-dtype", default="float32", choices=("float32", "float16"))
        task.add_argument("--out", metavar="DIR", help="default: below --runs, named by its content")
        task.add_argument("--runs", default="build/runs", metavar="DIR")
        task.add_argument("--device", default="auto")
        task.set_defaults(call=_make, action=word)
    showing = tasks.add_parser("show", help="what a table holds and how much of it is there")
    showing.add_argument("folder", metavar="DIR")
    showing.set_defaults(call=_show)


def _make(given: argparse.Namespace) -> int:
    from lskd.recipes import parse_settings
    from lskd.trainer import run

    options = run.Options(device=given.device, runs=given.runs, table_dtype=given.table_dtype)
    folder = Path(given.out) if given.out else None
    action = run.build_table if given.action == "build" else run.verify_table
    folder, deviation = action(given.recipe, settings=parse_settings(given.set), folder=folder, options=options)
    print(f"{short(folder)}: whole; differs from the live teacher by {deviation:.1e} of its logits' deviation")
    return 0


def _show(given: argparse.Namespace) -> int:
    from lskd.trainer import table

    print(*table.show(Path(given.folder)), sep="\n")
    return 0
