"""``lskd campaign``: the paper's CIFAR-100 tables measured on a GPU, and results carried home."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.commands.shared import say_sizes

TYPE_CHECKING = False  # mypy takes it for true; importing typing takes a tenth of the time of --help
if TYPE_CHECKING:
    from lskd.campaign import Campaign

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    campaign = commands.add_parser("campaign", help="measure the paper's CIFAR-100 tables on a GPU, and carry results")
    stages = campaign.add_subparsers(title="actions", metavar="ACTION", required=True)
    going = stages.add_parser(
        "run", help="do what is not done yet; status 0: all is done, 1: something failed, 3: time was over"
    )
    going.add_argument("--only", metavar="NAME", help="a piece or one task of it, as `lskd campaign list` names them")
    going.add_argument("--minutes", type=float, help="stop then; the next call goes on from the last checkpoint")
    going.set_defaults(call=_run)
    names = stages.add_parser("list", help="every task in order: done, begun or waiting")
    names.set_defaults(call=_list)
    exporting = stages.add_parser("export", help="finished runs as archives of at most 16 MB, with SHA256SUMS")
    exporting.add_argument("folder", metavar="DIR")
    exporting.add_argument("--weights", action="store_true", help="the final weights too")
    exporting.add_argument("--full", action="store_true", help="evidence with features: quick, compact on import")
    exporting.set_defaults(call=_export)
    for stage in (going, names, exporting):
        stage.add_argument("--preset", default="full", help="full, or tiny: a rehearsal with generated data")
        stage.add_argument("--out", metavar="DIR", help="default: build/campaign, or build/campaign-PRESET")
        stage.add_argument("--device", default="auto")
        stage.add_argument(
            "--teacher", action="append", default=[], metavar="NETWORK=FILE", help="a checkpoint, not trained here"
        )
        stage.add_argument("--data", action="append", default=[], metavar="KEY=VALUE", help="for those: mean, std")
    importing = stages.add_parser("import", help="take archives in: checked, into the store, evidence beside records")
    importing.add_argument("archives", nargs="+", metavar="FILE")
    importing.add_argument("--store", default="results", metavar="DIR")
    importing.add_argument("--weights", default="build/weights", metavar="DIR", help="where weights go")
    importing.set_defaults(call=_import)


def _of(given: argparse.Namespace) -> Campaign:
    from lskd import campaign
    from lskd.recipes import parse_settings

    teachers = {network: str(file) for network, file in parse_settings(given.teacher).items()}
    options = {"device": given.device, "teachers": teachers, "data": parse_settings(given.data)}
    return campaign.Campaign(given.preset, given.out, **options)


def _run(given: argparse.Namespace) -> int:
    found = _of(given).run(only=given.only, minutes=given.minutes)
    print(f"done now: {', '.join(found.done) or 'nothing'}")
    for task, reason in found.failed.items():
        print(f"failed: {task}: {reason}")
    if found.next:
        print(f"{'time is over; ' if found.time_over else ''}next: {found.next}; the same command goes on there")
    return 1 if found.failed else 3 if found.next else 0


def _list(given: argparse.Namespace) -> int:
    print(*_of(given).listing(), sep="\n")
    return 0


def _export(given: argparse.Namespace) -> int:
    import shutil

    from lskd import archive

    going = _of(given)
    paths = archive.export(going.runs(), given.folder, weights=given.weights, full=given.full)
    if going.benchmark is not None:
        paths.append(Path(shutil.copy(going.benchmark, given.folder)))
    say_sizes(paths)
    return 0


def _import(given: argparse.Namespace) -> int:
    from lskd import archive

    for path in given.archives:
        found = archive.bring(path, store=given.store, weights=given.weights)
        print(f"{path}: {found.record} {'added' if found.new else 'was there already'}, {len(found.files)} files")
        for name in found.waiting:
            print(f"  {name}: other parts of it are in other archives")
    return 0
