"""The ``lskd`` command. Standard library until a command needs more, so that it runs beside PyTorch alone.

Errors that the caller can put right are one sentence and exit status 2; ``--traceback`` shows where they arose.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from lskd import __version__
from lskd.commands import (
    book,
    campaign,
    data,
    doctor,
    evidence,
    notebook,
    recipe,
    results,
    table,
    tables,
    train,
    workflow,
)
from lskd.errors import LskdError

__all__ = ["main"]

COMMANDS = train, table, recipe, results, evidence, campaign, data, notebook, book, workflow, tables, doctor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 problems found, 2 an error, 130 interrupted."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not hasattr(given, "call"):
        parser.print_help()
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup lskd ...` has it ignored
            signal.signal(number, _terminated)
    if workflow := os.environ.get("LSKD_WORKFLOW_PID"):
        threading.Thread(target=_stop_with, args=(int(workflow),), daemon=True).start()
    try:
        return given.call(given) or 0
    except BrokenPipeError:  # `lskd recipe list | head`; nothing more can be said there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nlskd: interrupted; the same command goes on from where it was", file=sys.stderr)
        return 130
    except (LskdError, ValueError, FileNotFoundError) as error:
        if given.traceback:
            raise
        message = f"lskd: error: {error}"
        print(message, file=sys.stderr)
        if told := os.environ.get("LSKD_ERRORS"):  # of a workflow, which repeats it after all that is said in between
            with Path(told).open("a", encoding="utf-8") as stream:
                stream.write(f"{message}\n")
        return 2


def _terminated(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that temporary files go and a notebook's kernel is stopped."""
    raise SystemExit(128 + number)


def _stop_with(workflow: int) -> None:
    """Interrupt this process when the workflow that started it has been killed, so that no second one meets it."""
    while True:
        time.sleep(1)
        try:
            os.kill(workflow, 0)
            ended = Path(f"/proc/{workflow}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except ProcessLookupError:
            ended = True
        except OSError:  # no /proc here
            ended = False
        if ended:
            os.kill(os.getpid(), signal.SIGINT)
            return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lskd", description="Logit standardization in knowledge distillation.")
    parser.add_argument("--version", action="version", version=f"lskd {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
