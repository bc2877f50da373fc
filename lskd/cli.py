"""The ``lskd`` command. Standard library until a command needs more, so that it runs beside PyTorch alone.

Errors that the caller can put right are one sentence and exit status 2; ``--traceback`` shows where they arose.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib.metadata
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import Any, NoReturn

from lskd import __version__
from lskd.errors import LskdError, hint
from lskd.files import short

MISSING = (
    "Tables, figures and the book have commands of their own (plan, results, notebook, workflow, ...): "
    "get a checkout of the project and call pip install -e '.[book]' in it."
)
OURS = ("lskd", "paper", "figures", "book")
SMALLER = (
    "take smaller batches (--set batch_size=32), fewer members at once (--members A,B), fewer or smaller images "
    "(--set data.size=...), or a larger machine"
)
NO_LOCKS = "; this disk lacks what is needed, as network disks and notebooks' drives do: choose a folder elsewhere"
NO_FOLDER = "; a folder is expected there, and a file, or a link that leads nowhere, has the name: choose another"
WAYS = {  # what to do about an error of the system
    errno.ENOSYS: NO_LOCKS,
    errno.ENOLCK: NO_LOCKS,
    errno.EOPNOTSUPP: NO_LOCKS,
    errno.ENOSPC: "; make room or choose another disk, and give the command again: what is written stays",
    errno.ENOTDIR: NO_FOLDER,
    errno.EEXIST: NO_FOLDER,
    errno.EISDIR: "; a file is expected there, and a folder has the name: choose another",
    errno.ENAMETOOLONG: "; choose a shorter name",
    errno.EACCES: "; choose a place where you may read and write",
    errno.EROFS: "; choose a place where you may write",
    **dict.fromkeys([getattr(errno, "EDQUOT", 0)], "; make room, or choose a place with a larger quota"),
}
# Freed memory is kept, in large pages: on a CPU training takes a seventh less time (docs/LOG.md), with the same bits.
MEMORY = "hugetlb=1", "mmap_threshold=33554432", "trim_threshold=4294967296", "top_pad=268435456"
PLUGINS = "lskd.commands"  # entry points: functions that are given the table of commands and add theirs
Plugin = Callable[[Any], None]


def main(arguments: Sequence[str] | None = None, more: Iterable[Plugin] = ()) -> int:
    """Run a command; returns the exit status: 0 done, 1 problems found, 2 an error, 130 interrupted,
    141 nobody reads what it prints.

    ``more`` adds commands beside those of installed packages.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this, as `>&-` does
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a ± that a terminal lacks is no reason to stop
    parser = _parser(more)
    home, words = os.environ.get("HOME", "~"), sys.argv[1:] if arguments is None else arguments
    # Shells leave --out=~/runs as it is.
    given = parser.parse_args([re.sub(r"^(--[\w-]+=)?~/", lambda m: f"{m[1] or ''}{home}/", word) for word in words])
    if not hasattr(given, "call"):
        parser.print_help()
        return 0
    if empty := [name for name, value in vars(given).items() if value == ""]:  # of a variable that is not set
        parser.error(f"{empty[0].replace('_', '-')} is empty; give a value, or leave it out")
    if arguments is None:
        keep_memory()
    for name in ("SIGTERM", "SIGHUP"):  # Windows has the first
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:  # `nohup lskd ...` has it ignored
            signal.signal(number, _terminated)
    if workflow := os.environ.get("LSKD_WORKFLOW_PID"):
        threading.Thread(target=_stop_with, args=(int(workflow),), daemon=True).start()
    try:
        status: int = given.call(given) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `lskd recipe list | head`; nothing more can be said there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as of every program that a closed pipe ends: a training did not finish
    except KeyboardInterrupt:
        print("\nlskd: interrupted; the same command goes on from where it was", file=sys.stderr)
        return 130
    except Exception as error:
        said = _sentence(error)
        if given.traceback or said is None:
            raise
        message = f"lskd: error: {said}"
        print(message, file=sys.stderr)
        if told := os.environ.get("LSKD_ERRORS"):  # of a workflow, which repeats it after all that is said in between
            with Path(told).open("a", encoding="utf-8") as stream:
                stream.write(f"{message}\n")
        return 2


def keep_memory() -> None:
    """Start this program again with :data:`MEMORY`, which glibc reads at a program's start alone, and its children too.

    Whoever sets GLIBC_TUNABLES is left alone; other C libraries do not look at it.
    """
    if sys.platform == "linux" and sys.executable and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{setting}" for setting in MEMORY)
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _sentence(error: Exception) -> str | None:
    """What went wrong outside this program, and what to do; None for a fault of the program itself."""
    if isinstance(error, LskdError | SyntaxError):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        first = str(error).partition(". ")[0] or "no size given"
        return f"not enough memory ({first}); {SMALLER}"
    line, package = _origin(error)
    said = " ".join(str(error).split())
    if line:
        return f"{line}: {type(error).__name__}: {said}"
    if isinstance(error, OSError) and error.errno:
        names = " and ".join(os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, str | bytes))
        return f"{names or 'a file'}: {error.strerror}{WAYS.get(error.errno, '')}"
    if isinstance(error, UnicodeError):
        return f"a file or name is not UTF-8 ({error}); save it as UTF-8, or rename it"
    if isinstance(error, ModuleNotFoundError) and error.name:
        if error.name.partition(".")[0] in OURS:
            return None
        if error.name in sys.stdlib_module_names:
            return f"this needs {error.name}, which Python has on Linux and macOS; on Windows use WSL"
        return f"this needs {error.name}, which is not installed; in a checkout: pip install -e '.[book]'"
    if package == "pathlib" and isinstance(error, RuntimeError):
        return "where the home folder is cannot be found out here; set HOME, or write a path in full instead of with ~"
    if type(error).__name__ in ("RuntimeError", "AcceleratorError") or (
        package and isinstance(error, ValueError | OSError | ImportError)
    ):
        return f"{package or 'PyTorch'}: {said} (`lskd --traceback ...` shows where it arose)"
    return str(error) if isinstance(error, ValueError | OSError | ImportError) else None


def _origin(error: Exception) -> tuple[str, str]:
    """The line of one's own code in which an error arose, or else the package whose words it has; both empty: ours."""
    import sysconfig

    libraries = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    package = ""
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        name = (frame.f_globals.get("__package__") or frame.f_globals.get("__name__", "")).partition(".")[0]
        if name in OURS:
            break
        if not frame.f_code.co_filename.startswith(("<", *libraries)):
            return f"{short(Path(frame.f_code.co_filename))}, line {line}", ""
        package = package or name
    return "", package


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Where commands are missing, say with an unknown one how to get them."""
        super().error(f"{message}. {self.epilog}" if self.epilog and "invalid choice" in message else message)


def _parser(more: Iterable[Plugin]) -> argparse.ArgumentParser:
    parser = _Parser(prog="lskd", description="Logit standardization in knowledge distillation.")
    parser.add_argument("--version", action="version", version=f"lskd {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=argparse.ArgumentParser)
    offered: list[Plugin] = [_train, _table, _data, *more]
    for plugin in sorted(importlib.metadata.entry_points(group=PLUGINS)):
        try:
            offered.append(plugin.load())
        except ModuleNotFoundError as error:
            if error.name != plugin.module.partition(".")[0]:
                raise
            parser.epilog = MISSING
    for add in dict.fromkeys(offered):  # `python -m paper` offers its own where they are installed, too
        add(commands)
    return parser


# --- lskd train ------------------------------------------------------------------------------------------------------


def _train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from lskd.trainer.options import add_arguments

    train = commands.add_parser("train", help="train a recipe's networks; goes on where an earlier call stopped")
    what = train.add_mutually_exclusive_group(required=True)
    what.add_argument("--recipe", metavar="NAME", help="a name in recipes/, RECIPE/MEMBER, or a .toml file")
    what.add_argument("--teacher", metavar="NETWORK", help="train this network alone, as the paper's teachers were")
    train.add_argument("--dataset", metavar="NAME", help="with --teacher; default: cifar100")
    train.add_argument("--out", metavar="DIR", help="the run's folder (default: below --runs, named by its content)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe: epochs=2")
    train.add_argument("--members", metavar="A,B", help="train only these members of the recipe")
    add_arguments(train)
    train.set_defaults(call=_train_run)


def _train_run(given: argparse.Namespace) -> int:
    from lskd.checked import parse_settings
    from lskd.data import download_if_missing
    from lskd.recipes import alone_recipe, load_recipe, recipe_and_members
    from lskd.trainer import distributed, run
    from lskd.trainer.options import from_arguments

    members = [name.strip() for name in given.members.split(",")] if given.members else None
    settings = parse_settings(given.set)
    if given.teacher:
        recipe, own = alone_recipe(given.teacher, given.dataset)
        settings = own | settings
    elif given.dataset:
        raise LskdError("--dataset goes with --teacher; a recipe names its own, --set dataset=NAME changes it")
    else:
        recipe, members = recipe_and_members(given.recipe, members)
    download_if_missing(load_recipe(recipe, settings=settings, members=members).dataset)
    options = {"seed": given.seed, "settings": settings, "members": members, **from_arguments(given)}
    if given.out:
        folder, record = Path(given.out), run.train(recipe, given.out, **options)
    else:
        folder, record = run.train_cached(recipe, **options)
    failed = any("failure" in member for member in record["members"].values())
    if not distributed.is_rank_zero():  # of several processes one speaks
        return int(failed)
    for name, member in record["members"].items():
        last, failure = member["last"], member.get("failure")
        if last:
            five = f", top five {last['test_top5']:.2f} %," if "test_top5" in last else ""
            print(f"{name:12} test accuracy {last['test_accuracy']:.2f} %{five} after epoch {last['epoch']}")
        if failure:
            print(f"{name:12} stopped in epoch {failure['epoch']}, batch {failure['batch']}: {failure['reason']}")
    print(f"in {folder}")
    return int(failed)


# --- lskd table ------------------------------------------------------------------------------------------------------


def _table(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from lskd.trainer.options import add_arguments

    table = commands.add_parser("table", help="a teacher's logits for every weak view, computed once")
    tasks = table.add_subparsers(title="actions", metavar="ACTION", required=True)
    for word, text in (
        ("build", "compute what is missing of it; goes on where an earlier call stopped"),
        ("verify", "check every block's sha256, and a sample against the live teacher"),
    ):
        task = tasks.add_parser(word, help=text)
        task.add_argument("--recipe", required=True, metavar="NAME", help="whose teacher and data")
        task.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
        task.add_argument("--out", metavar="DIR", help="default: below --runs, named by its content")
        add_arguments(task, "device", "runs", "table_dtype", "precision")
        task.set_defaults(call=_table_make, action=word)
    showing = tasks.add_parser("show", help="what a table holds and how much of it is there")
    showing.add_argument("folder", metavar="DIR")
    showing.set_defaults(call=_table_show)


def _table_make(given: argparse.Namespace) -> int:
    from lskd.checked import parse_settings
    from lskd.trainer import run
    from lskd.trainer.options import from_arguments

    folder, deviation = run.build_table(
        given.recipe,
        settings=parse_settings(given.set),
        folder=Path(given.out) if given.out else None,
        options=run.Options(**from_arguments(given)),
        make=given.action == "build",
    )
    print(f"{short(folder)}: whole; differs from the live teacher by {deviation:.1e} of its logits' deviation")
    return 0


def _table_show(given: argparse.Namespace) -> int:
    from lskd.trainer import logit_table as table

    print(*table.show(Path(given.folder)), sep="\n")
    return 0


# --- lskd data -------------------------------------------------------------------------------------------------------


def _data(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    data = commands.add_parser("data", help="bring a data set, or published teachers, to this machine")
    errands = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    get = errands.add_parser("get", help="download, check and extract; goes on where an earlier call stopped")
    get.add_argument("name", metavar="NAME", help="of the data set: cifar100; or cifar100-teachers")
    get.add_argument("--mirror", metavar="URL", help="of the archive or its folder (or LSKD_MIRROR)")
    get.add_argument("--out", metavar="DIR", help="default: LSKD_DATA, or ~/.cache/lskd")
    get.set_defaults(call=_data_get)


def _data_get(given: argparse.Namespace) -> int:
    from lskd.data import DATASETS
    from lskd.data.download import data_root
    from lskd.trainer.published_teachers import TEACHERS, get_teachers

    downloads = {name: source.get for name, source in DATASETS.items() if source.get is not None}
    if given.name == TEACHERS:
        teachers = get_teachers(given.out, given.mirror)
        folder = next(iter(teachers.values())).parent.parent
        print(f"{len(teachers)} teachers are in {folder}: {', '.join(teachers)}")
        short_way, whole_way = quote(str(folder)), quote(str(folder.resolve()))
        print(f"to use them: lskd train --teachers {short_way}, or export LSKD_TEACHERS={whole_way}")
        return 0
    if given.name not in downloads:
        raise LskdError(f"no data set {given.name!r} can be downloaded{hint(given.name, [*downloads, TEACHERS])}")
    found = downloads[given.name](given.out, given.mirror)
    print(f"{DATASETS[given.name].title} is in {found}")
    if found.parent.resolve() != data_root().resolve():
        print(f"to use it: export LSKD_DATA={found.parent.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
