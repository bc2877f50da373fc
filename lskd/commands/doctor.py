"""``lskd doctor``: what this machine has and what is missing."""

from __future__ import annotations

import argparse
import sys

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser("doctor", help="what this machine has and what is missing")
    doctor.add_argument("--browser", action="store_true", help="print the browser that page tests use, or fail")
    doctor.set_defaults(call=_run)


def _run(given: argparse.Namespace) -> int:
    from lskd import doctor

    if given.browser:
        found = doctor.browser()
        print(found or "no browser found", file=sys.stdout if found else sys.stderr)
        return 0 if found else 1
    lines = list(doctor.report())
    print(*lines, sep="\n")
    return 1 if any(line.startswith("!") for line in lines) else 0
