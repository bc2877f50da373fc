"""``lskd recipe``, ``results``, ``evidence``, ``campaign``, ``plan``, ``tables``: published, run, to run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lskd.errors import LskdError
from lskd.files import say_sizes

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this package to the ``lskd`` command."""
    for command in (_recipe, _results, _evidence, _campaign, _tables):
        command(commands)


# --- lskd recipe -----------------------------------------------------------------------------------------------------


def _recipe(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recipe = commands.add_parser("recipe", help="the published experiments: settings, values, sources, doubts")
    choices = recipe.add_subparsers(title="actions", metavar="ACTION", required=True)
    recipes = choices.add_parser("list", help="every member of every recipe")
    recipes.add_argument("--json", action="store_true", help="one object a member, with all that is known")
    recipes.set_defaults(call=_recipe_list)
    show = choices.add_parser("show", help="one member, such as 'resnet32x4 -> resnet8x4, dkd, ls', or one recipe")
    show.add_argument("name", nargs="+", help="in any spelling that is clear; or RECIPE/MEMBER, RECIPE, a .toml file")
    show.add_argument("--json", action="store_true")
    show.set_defaults(call=_recipe_show)


def _recipe_list(given: argparse.Namespace) -> int:
    import json

    from paper import cells

    rows = cells.cells()
    print(json.dumps([c.json() for c in rows], indent=1) if given.json else cells.table(rows))
    return 0


def _recipe_show(given: argparse.Namespace) -> int:
    import json

    from paper import cells

    rows = cells.select(" ".join(given.name))
    if given.json:
        print(json.dumps(rows[0].json() if len(rows) == 1 else [c.json() for c in rows], indent=1))
    else:
        print(cells.describe(rows[0]) if len(rows) == 1 else cells.table(rows))
    return 0


# --- lskd results ----------------------------------------------------------------------------------------------------


def _results(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    store = commands.add_parser("results", help="the store of run records: add, list, show, compare")
    deeds = store.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = deeds.add_parser("add", help="put records of finished runs into the store; nothing is overwritten")
    add.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder or record.json")
    add.add_argument("--evidence", action="store_true", help="compact evidence too, beside the record (takes a while)")
    add.set_defaults(call=_results_add)
    stored = deeds.add_parser("list", help="experiments with their number of seeds")
    stored.set_defaults(call=_results_list)
    one = deeds.add_parser("show", help="mean, spread and interval of an experiment's members")
    one.add_argument("name", help="a recipe's name, networks ('wrn_16_2 -> resnet8'), or a digest")
    one.set_defaults(call=_results_show)
    pair = deeds.add_parser("compare", help="SECOND minus FIRST, seed by seed")
    pair.add_argument("first", help="EXPERIMENT/MEMBER, such as digit-pairs/kd")
    pair.add_argument("second", help="EXPERIMENT/MEMBER, such as digit-pairs/kd_ls")
    pair.set_defaults(call=_results_compare)
    for deed in (add, stored, one, pair):
        deed.add_argument("--store", default="results", metavar="DIR")
    for deed in (stored, one, pair):
        deed.add_argument("--json", action="store_true")


def _results_add(given: argparse.Namespace) -> int:
    from paper import store

    for source in given.runs:
        path, new = store.add(source, given.store)
        print(f"{path}: {'added' if new else 'was there already'}")
        if given.evidence:
            from paper import compact_evidence

            folder = Path(source).parent if Path(source).is_file() else Path(source)
            say_sizes(compact_evidence.compact_run(folder, path.with_suffix("")))
    return 0


def _results_list(given: argparse.Namespace) -> int:
    from paper import listings

    print(listings.listing(given.store, as_json=given.json))
    return 0


def _results_show(given: argparse.Namespace) -> int:
    from paper import listings

    print(listings.shown(given.name, given.store, as_json=given.json))
    return 0


def _results_compare(given: argparse.Namespace) -> int:
    from paper import listings

    print(listings.compared(given.first, given.second, given.store, as_json=given.json))
    return 0


# --- lskd evidence ---------------------------------------------------------------------------------------------------


def _evidence(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    packs = commands.add_parser("evidence", help="what figures are drawn from: of a checkpoint, or made small")
    measures = packs.add_subparsers(title="actions", metavar="ACTION", required=True)
    collect = measures.add_parser("collect", help="measure a checkpoint, such as a published teacher, on test images")
    collect.add_argument("--network", metavar="NAME")
    collect.add_argument("--checkpoint", metavar="FILE", help=".safetensors, or a published .pth")
    collect.add_argument("--dataset", metavar="NAME")
    collect.add_argument("--data", action="append", default=[], metavar="KEY=VALUE", help="such as mean, std")
    collect.add_argument("--recipe", metavar="NAME", help="whose teacher and data count for what is not given")
    collect.add_argument("--full", action="store_true", help="with all features, as training writes it")
    collect.add_argument("--device", default="auto")
    collect.add_argument("--out", required=True, metavar="FILE")
    collect.set_defaults(call=_evidence_collect)
    smaller = measures.add_parser("compact", help="a run's packs without features, with a view of them instead")
    smaller.add_argument("run", metavar="RUN", help="a finished run's folder")
    smaller.add_argument("--out", required=True, metavar="DIR")
    smaller.set_defaults(call=_evidence_compact)
    for measure in (collect, smaller):
        measure.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE")
        measure.add_argument("--view-seed", type=int, default=0, metavar="SEED", help="of t-SNE")


def _evidence_collect(given: argparse.Namespace) -> int:
    from lskd import evidence
    from lskd.recipes import parse_settings
    from lskd.trainer.run import select_device
    from paper import compact_evidence

    source = {key: getattr(given, key) for key in ("network", "checkpoint", "dataset", "recipe")}
    device = str(select_device(given.device))
    pack = compact_evidence.collect_checkpoint(**source, data=parse_settings(given.data), device=device)
    if not given.full:
        pack = compact_evidence.compact(pack, perplexity=given.perplexity, seed=given.view_seed)
    evidence.save(pack, Path(given.out))
    print(f"test accuracy {pack.meta['test_accuracy']:.2f} % of {len(pack.label)} images")
    say_sizes([Path(given.out)])
    return 0


def _evidence_compact(given: argparse.Namespace) -> int:
    from paper import compact_evidence

    say_sizes(compact_evidence.compact_run(given.run, given.out, perplexity=given.perplexity, seed=given.view_seed))
    return 0


# --- lskd campaign ---------------------------------------------------------------------------------------------------


def _campaign(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    campaign = commands.add_parser("campaign", help="measure the paper's CIFAR-100 tables on a GPU, and carry results")
    stages = campaign.add_subparsers(title="actions", metavar="ACTION", required=True)
    going = stages.add_parser(
        "run", help="do what is not done yet; status 0: all is done, 1: something failed, 3: time was over"
    )
    going.add_argument("--only", metavar="NAME", help="a piece or one task of it, as `lskd campaign list` names them")
    going.add_argument("--minutes", type=float, help="stop then; the next call goes on from the last checkpoint")
    going.set_defaults(call=_campaign_run)
    names = stages.add_parser("list", help="every task in order: done, begun or waiting")
    names.set_defaults(call=_campaign_list)
    exporting = stages.add_parser("export", help="finished runs as archives of at most 16 MB, with SHA256SUMS")
    exporting.add_argument("folder", metavar="DIR")
    exporting.add_argument("--weights", action="store_true", help="the final weights too")
    exporting.add_argument("--full", action="store_true", help="evidence with features: quick, compact on import")
    exporting.set_defaults(call=_campaign_export)
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
    importing.set_defaults(call=_campaign_import)


def _campaign_of(given: argparse.Namespace) -> Any:
    from lskd.recipes import parse_settings
    from paper import campaign

    teachers = {network: str(file) for network, file in parse_settings(given.teacher).items()}
    options = {"device": given.device, "teachers": teachers, "data": parse_settings(given.data)}
    return campaign.Campaign(given.preset, given.out, **options)


def _campaign_run(given: argparse.Namespace) -> int:
    found = _campaign_of(given).run(only=given.only, minutes=given.minutes)
    print(f"done now: {', '.join(found.done) or 'nothing'}")
    for task, reason in found.failed.items():
        print(f"failed: {task}: {reason}")
    if found.next:
        print(f"{'time is over; ' if found.time_over else ''}next: {found.next}; the same command goes on there")
    return 1 if found.failed else 3 if found.next else 0


def _campaign_list(given: argparse.Namespace) -> int:
    print(*_campaign_of(given).listing(), sep="\n")
    return 0


def _campaign_export(given: argparse.Namespace) -> int:
    import shutil

    from paper import archive

    going = _campaign_of(given)
    paths = archive.export(going.runs(), given.folder, weights=given.weights, full=given.full)
    if going.benchmark is not None:
        paths.append(Path(shutil.copy(going.benchmark, given.folder)))
    say_sizes(paths)
    return 0


def _campaign_import(given: argparse.Namespace) -> int:
    from paper import archive

    for path in given.archives:
        found = archive.bring(path, store=given.store, weights=given.weights)
        print(f"{path}: {found.record} {'added' if found.new else 'was there already'}, {len(found.files)} files")
        for name in found.waiting:
            print(f"  {name}: other parts of it are in other archives")
    return 0


# --- lskd tables -----------------------------------------------------------------------------------------------------


def _tables(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    plan = commands.add_parser("plan", help="the jobs that fill the paper's tables, what they share and cost")
    run_jobs = commands.add_parser("tables", help="run them, here or on a cluster, and draw the tables; `make tables`")
    for either in (plan, run_jobs):
        either.add_argument("--plan", default="paper", metavar="NAME", help="of workflow/tables: paper, rehearsal")
        either.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="change it: tables=[1], seeds=1, pairs=..."
        )
    plan.add_argument("--json", action="store_true", help="every job with all that is known")
    plan.set_defaults(call=_tables_plan)
    run_jobs.add_argument("--profile", default="local", help="local, slurm, kubernetes, or a folder of one's own")
    run_jobs.add_argument(
        "--gpus", type=int, metavar="N", help="jobs that hold a GPU at once (default: as many as here)"
    )
    run_jobs.add_argument("-n", "--dry-run", action="store_true", help="only list the jobs")
    run_jobs.add_argument(
        "--job", metavar="NAME", help="carry out one job of the plan in --folder; the workflow's call"
    )
    run_jobs.add_argument("--folder", metavar="DIR", help="with --job: where plan.json lies")
    run_jobs.add_argument("--mark", metavar="FILE", type=Path, help="with --job: also write there that it is done")
    run_jobs.add_argument("more", nargs="*", metavar="-- WORD", help="further words for Snakemake")
    run_jobs.set_defaults(call=_tables_tables)


def _tables_plan(given: argparse.Namespace) -> int:
    from lskd.recipes import parse_settings
    from paper import run_jobs

    print(run_jobs.overview(Path.cwd(), {"plan": given.plan, **parse_settings(given.set)}, as_json=given.json))
    return 0


def _tables_tables(given: argparse.Namespace) -> int:
    from paper import run_jobs

    if (given.job is None) != (given.folder is None):
        raise LskdError("--job and --folder belong together: a job's name, and the folder of its plan.json")
    if given.job:
        print(run_jobs.carry_out(Path(given.folder), given.job, mark=given.mark))
        return 0
    from lskd.recipes import parse_settings

    config = {"plan": given.plan, **parse_settings(given.set)}
    options = {"profile": given.profile, "slots": given.gpus, "extra": given.more, "dry_run": given.dry_run}
    return run_jobs.start(Path.cwd(), config, **options)
