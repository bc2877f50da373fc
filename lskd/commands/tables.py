"""``lskd plan`` and ``lskd tables``: the jobs that fill the paper's tables, listed and run."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.errors import LskdError

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    plan = commands.add_parser("plan", help="the jobs that fill the paper's tables, what they share and cost")
    tables = commands.add_parser("tables", help="run them, here or on a cluster, and draw the tables; `make tables`")
    for either in (plan, tables):
        either.add_argument("--plan", default="paper", metavar="NAME", help="of workflow/tables: paper, rehearsal")
        either.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="change it: tables=[1], seeds=1, pairs=..."
        )
    plan.add_argument("--json", action="store_true", help="every job with all that is known")
    plan.set_defaults(call=_plan)
    tables.add_argument("--profile", default="local", help="local, slurm, kubernetes, or a folder of one's own")
    tables.add_argument("--gpus", type=int, metavar="N", help="jobs that hold a GPU at once (default: as many as here)")
    tables.add_argument("-n", "--dry-run", action="store_true", help="only list the jobs")
    tables.add_argument("--job", metavar="NAME", help="carry out one job of the plan in --folder; the workflow's call")
    tables.add_argument("--folder", metavar="DIR", help="with --job: where plan.json lies")
    tables.add_argument("--mark", metavar="FILE", type=Path, help="with --job: also write there that it is done")
    tables.add_argument("more", nargs="*", metavar="-- WORD", help="further words for Snakemake")
    tables.set_defaults(call=_tables)


def _plan(given: argparse.Namespace) -> int:
    from lskd import tables
    from lskd.recipes import parse_settings

    print(tables.overview(Path.cwd(), {"plan": given.plan, **parse_settings(given.set)}, as_json=given.json))
    return 0


def _tables(given: argparse.Namespace) -> int:
    from lskd import tables

    if (given.job is None) != (given.folder is None):
        raise LskdError("--job and --folder belong together: a job's name, and the folder of its plan.json")
    if given.job:
        print(tables.carry_out(Path(given.folder), given.job, mark=given.mark))
        return 0
    from lskd.recipes import parse_settings

    config = {"plan": given.plan, **parse_settings(given.set)}
    options = {"profile": given.profile, "slots": given.gpus, "extra": given.more, "dry_run": given.dry_run}
    return tables.start(Path.cwd(), config, **options)
