"""``lskd recipe``: the published experiments, listed and described."""

from __future__ import annotations

import argparse

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recipe = commands.add_parser("recipe", help="the published experiments: settings, values, sources, doubts")
    choices = recipe.add_subparsers(title="actions", metavar="ACTION", required=True)
    recipes = choices.add_parser("list", help="every member of every recipe")
    recipes.add_argument("--json", action="store_true", help="one object a member, with all that is known")
    recipes.set_defaults(call=_list)
    show = choices.add_parser("show", help="one member, such as 'resnet32x4 -> resnet8x4, dkd, ls', or one recipe")
    show.add_argument("name", nargs="+", help="in any spelling that is clear; or RECIPE/MEMBER, RECIPE, a .toml file")
    show.add_argument("--json", action="store_true")
    show.set_defaults(call=_show)


def _list(given: argparse.Namespace) -> int:
    import json

    from lskd import catalogue

    rows = catalogue.cells()
    print(json.dumps([c.json() for c in rows], indent=1) if given.json else catalogue.table(rows))
    return 0


def _show(given: argparse.Namespace) -> int:
    import json

    from lskd import catalogue

    rows = catalogue.select(" ".join(given.name))
    if given.json:
        print(json.dumps(rows[0].json() if len(rows) == 1 else [c.json() for c in rows], indent=1))
    else:
        print(catalogue.describe(rows[0]) if len(rows) == 1 else catalogue.table(rows))
    return 0
