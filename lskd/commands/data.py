"""``lskd data``: bring a data set to this machine."""

from __future__ import annotations

import argparse

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    data = commands.add_parser("data", help="bring a data set to this machine")
    errands = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    get = errands.add_parser("get", help="download, check and extract; goes on where an earlier call stopped")
    get.add_argument("name", choices=("cifar100",))
    get.add_argument("--mirror", metavar="URL", help="of the archive or its folder (or LSKD_MIRROR)")
    get.add_argument("--out", metavar="DIR", help="default: LSKD_DATA, or the cache folder")
    get.set_defaults(call=_get)


def _get(given: argparse.Namespace) -> int:
    from lskd.data import obtain
    from lskd.data.cifar100 import data_root

    found = obtain.get_cifar100(given.out, mirror=given.mirror)
    print(f"CIFAR-100 is in {found}")
    if found.parent.resolve() != data_root().resolve():
        print(f"to use it: export LSKD_DATA={found.parent.resolve()}")
    return 0
