"""``lskd results``: the store of run records."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.commands.shared import say_sizes

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    results = commands.add_parser("results", help="the store of run records: add, list, show, compare, verify")
    deeds = results.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = deeds.add_parser("add", help="put records of finished runs into the store; nothing is overwritten")
    add.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder or record.json")
    add.add_argument("--evidence", action="store_true", help="compact evidence too, beside the record (takes a while)")
    add.set_defaults(call=_add)
    stored = deeds.add_parser("list", help="experiments with their number of seeds")
    stored.set_defaults(call=_list)
    one = deeds.add_parser("show", help="mean, spread and interval of an experiment's members")
    one.add_argument("name", help="a recipe's name, networks ('wrn_16_2 -> resnet8'), or a digest")
    one.set_defaults(call=_show)
    pair = deeds.add_parser("compare", help="SECOND minus FIRST, seed by seed")
    pair.add_argument("first", help="EXPERIMENT/MEMBER, such as digit-pairs/kd")
    pair.add_argument("second", help="EXPERIMENT/MEMBER, such as digit-pairs/kd_ls")
    pair.set_defaults(call=_compare)
    check = deeds.add_parser("verify", help="check digests; draw committed tables and figures again and compare")
    check.set_defaults(call=_verify)
    for deed in (add, stored, one, pair, check):
        deed.add_argument("--store", default="results", metavar="DIR")
    for deed in (stored, one, pair):
        deed.add_argument("--json", action="store_true")


def _add(given: argparse.Namespace) -> int:
    from lskd import results

    for source in given.runs:
        path, new = results.add(source, given.store)
        print(f"{path}: {'added' if new else 'was there already'}")
        if given.evidence:
            from lskd import compaction

            folder = Path(source).parent if Path(source).is_file() else Path(source)
            say_sizes(compaction.compact_run(folder, path.with_suffix("")))
    return 0


def _list(given: argparse.Namespace) -> int:
    from lskd import results_text

    print(results_text.listing(given.store, as_json=given.json))
    return 0


def _show(given: argparse.Namespace) -> int:
    from lskd import results_text

    print(results_text.shown(given.name, given.store, as_json=given.json))
    return 0


def _compare(given: argparse.Namespace) -> int:
    from lskd import results_text

    print(results_text.compared(given.first, given.second, given.store, as_json=given.json))
    return 0


def _verify(given: argparse.Namespace) -> int:
    from lskd.verify import verify

    report = verify(given.store)
    for line in report.notes:
        print(f"note: {line}")
    for line in report.problems:
        print(f"problem: {line}")
    print(f"checked {'; '.join(report.checked)}; problems: {len(report.problems) or 'none'}")
    return 1 if report.problems else 0
