"""``lskd notebook``: list or execute the parameterised notebooks."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.commands.shared import short
from lskd.errors import LskdError

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    notebook = commands.add_parser("notebook", help="list or execute the parameterised notebooks")
    actions = notebook.add_subparsers(title="actions", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="execute one, strictly: wrong parameters are errors before it starts")
    run.add_argument("name", help="a name in notebooks/ or a path")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="a parameter")
    run.add_argument("-o", "--output", metavar="FILE", help="default: build/notebooks/NAME.ipynb")
    run.set_defaults(call=_run)
    listing = actions.add_parser("list", help="names, with parameters, types and defaults")
    listing.set_defaults(call=_list)


def _run(given: argparse.Namespace) -> int:
    from lskd import notebooks

    twice = {key for key, _ in given.p if [k for k, _ in given.p].count(key) > 1}
    if twice:
        raise LskdError(f"{given.name}: parameter {', '.join(sorted(twice))} is given more than once")
    result = notebooks.run(given.name, dict(given.p), given.output)
    print(f"{short(result.notebook)} in {result.seconds:.0f} s", *result.outputs, sep="\n  ")
    return 0


def _list(given: argparse.Namespace) -> int:
    from lskd import notebooks
    from lskd.sources import ROOT

    here = Path.cwd() / "notebooks"
    for path in sorted((here if here.is_dir() else ROOT / "notebooks").glob("*.ipynb")):
        print(path.stem)
        for p in notebooks.declared(path):
            print(f"  {p.name}: {p.type} = {p.default!r}" + (f"  # {p.comment}" if p.comment else ""))
    return 0
