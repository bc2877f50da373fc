"""``lskd recipe``, ``results``, ``evidence``, ``plan``, ``run``, ``archive``: published, run, to run."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.errors import LskdError
from lskd.files import say_sizes


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this package to the ``lskd`` command."""
    for command in (_recipe, _results, _evidence, _plan, _archive):
        command(commands)


def _recipe(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recipe = commands.add_parser("recipe", help="the published experiments: settings, values, sources, doubts")
    choices = recipe.add_subparsers(title="actions", metavar="ACTION", required=True)
    recipes = choices.add_parser("list", help="every member of every recipe")
    recipes.set_defaults(name=None)
    show = choices.add_parser("show", help="one member, such as 'resnet32x4 -> resnet8x4, dkd, ls', or one recipe")
    show.add_argument(
        "name", nargs="+", help="whatever stands between its words; or RECIPE/MEMBER, RECIPE, a .toml file"
    )
    for choice in (recipes, show):
        choice.add_argument("--json", action="store_true", help="one object a member, with all that is known")
        choice.set_defaults(call=_recipe_say)


def _recipe_say(given: argparse.Namespace) -> None:
    import dataclasses
    import json

    from paper import cells

    rows = cells.select(" ".join(given.name)) if given.name else list(cells.cells())
    if given.json:
        found = [dataclasses.asdict(cell) for cell in rows]
        print(json.dumps(found[0] if len(found) == 1 else found, indent=1))
    else:
        print(cells.cell_text(rows[0]) if len(rows) == 1 else cells.table(rows))


def _results(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    store = commands.add_parser("results", help="the store of run records: add, list, show, compare")
    deeds = store.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = deeds.add_parser("add", help="put records of finished runs into the store; nothing is overwritten")
    add.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder or record.json")
    add.add_argument("--evidence", action="store_true", help="compact evidence too, beside the record (takes a while)")
    add.set_defaults(call=_results_add)
    stored = deeds.add_parser("list", help="experiments with their number of seeds")
    stored.set_defaults(call=_results_list)
    one = deeds.add_parser("show", help="every seed, mean, sd and interval of an experiment's members")
    one.add_argument("name", help="a recipe's name, networks ('wrn_16_2 -> resnet8'), or a digest")
    one.set_defaults(call=_results_show)
    pair = deeds.add_parser("compare", help="SECOND minus FIRST, seed by seed")
    pair.add_argument("first", help="EXPERIMENT/MEMBER, such as digit-pairs/kd")
    pair.add_argument("second", help="EXPERIMENT/MEMBER, such as digit-pairs/kd_ls")
    pair.set_defaults(call=_results_compare)
    for deed in (add, stored, one, pair):
        deed.add_argument("--store", default="results", metavar="DIR")
    for deed, more in ((stored, ()), (one, ("csv", "latex", "markdown")), (pair, ())):
        deed.add_argument("--format", choices=("text", "json", *more), default="text")


def _results_add(given: argparse.Namespace) -> None:
    from paper import store

    for source in given.runs:
        path, new = store.add(source, given.store)
        print(f"{path}: {'added' if new else 'was there already'}")
        if given.evidence:
            from paper import compact_evidence

            folder = Path(source).parent if Path(source).is_file() else Path(source)
            say_sizes(compact_evidence.compact_run(folder, path.with_suffix("")))


def _results_list(given: argparse.Namespace) -> None:
    from paper import listings

    print(listings.listing(given.store, as_json=given.format == "json"))


def _results_show(given: argparse.Namespace) -> None:
    from paper import listings

    print(listings.shown(given.name, given.store, style=given.format))


def _results_compare(given: argparse.Namespace) -> None:
    from paper import listings

    print(listings.compared(given.first, given.second, given.store, as_json=given.format == "json"))


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


def _evidence_collect(given: argparse.Namespace) -> None:
    from lskd import evidence
    from lskd.checked import parse_settings
    from lskd.trainer.run import select_device
    from paper import compact_evidence

    source = {key: getattr(given, key) for key in ("network", "checkpoint", "dataset", "recipe")}
    device = str(select_device(given.device))
    pack = compact_evidence.collect_checkpoint(**source, data=parse_settings(given.data), device=device)
    if not given.full:
        pack = compact_evidence.compact(pack)
    evidence.save(pack, Path(given.out))
    print(f"test accuracy {pack.meta['test_accuracy']:.2f} % of {len(pack.label)} images")
    say_sizes([Path(given.out)])


def _evidence_compact(given: argparse.Namespace) -> None:
    from paper import compact_evidence

    say_sizes(compact_evidence.compact_run(given.run, given.out))


def _plan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    plan = commands.add_parser("plan", help="what is to be run, in its order: what it shares, costs, how far it is")
    run = commands.add_parser("run", help="run what is left of a plan, here or on a cluster; `make cifar100`")
    for either in (plan, run):
        either.add_argument("--plan", default="paper", metavar="NAME", help="of workflow/tables: paper, cifar100, ...")
        either.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="change it: tables=[1], seeds=1, pairs=..."
        )
        either.add_argument("--precision", help="--set precision=...: bf16 on GPUs, and processors with units for it")
        either.add_argument("--device", help="--set device=...: auto takes a GPU when there is one")
    plan.add_argument("--json", action="store_true", help="every job with all that is known")
    plan.set_defaults(call=_plan_show)
    run.add_argument("--minutes", type=float, help="stop then (status 3); the same command goes on from there")
    run.add_argument("--nice", type=int, default=0, metavar="N", help="leave the processor to others, up to 19")
    run.add_argument("--profile", help="many at once, by Snakemake: local, slurm, kubernetes, or a folder of one's own")
    run.add_argument("--gpus", type=int, metavar="N", help="with --profile: jobs that hold a GPU at once")
    run.add_argument("-n", "--dry-run", action="store_true", help="only list what is left")
    run.add_argument("--job", metavar="NAME", help="this job and no other, in this process")
    run.add_argument("more", nargs="*", metavar="-- WORD", help="with --profile: further words for Snakemake")
    run.set_defaults(call=_run)


def _changes(given: argparse.Namespace) -> list[str]:
    own = {"precision": given.precision, "device": given.device}
    return [*given.set, *(f"{key}={value}" for key, value in own.items() if value)]


def _plan_show(given: argparse.Namespace) -> None:
    import json

    from lskd.checked import parse_settings
    from paper import benchmarks, job_listing, jobs, plan, run_jobs

    wanted = plan.load(given.plan, parse_settings(_changes(given)), root=Path.cwd())
    listed = jobs.make(wanted)
    told = wanted, listed, benchmarks.training_rate(Path.cwd()), run_jobs.runs_of(wanted, listed)
    print(json.dumps(job_listing.as_data(*told), indent=1) if given.json else job_listing.listing(*told))


def _run(given: argparse.Namespace) -> int:
    import os

    from lskd.checked import parse_settings
    from paper import plan, run_jobs

    changes, root = _changes(given), Path.cwd()
    os.nice(given.nice)
    if given.profile:
        if given.minutes or given.job:
            raise LskdError("--minutes and --job are for jobs here; a cluster's time limit is --set minutes=N")
        options = {"slots": given.gpus, "extra": given.more, "dry_run": given.dry_run}
        return run_jobs.start(root, given.plan, changes, profile=given.profile, **options)
    if given.gpus or given.more:
        raise LskdError(
            f"{' '.join(given.more) or f'--gpus {given.gpus}'}: goes with --profile; give one, or leave it out"
        )
    wanted = plan.load(given.plan, parse_settings(changes), root=root)
    if given.job:
        print(run_jobs.carry_out(wanted, given.job))
        return 0
    return run_jobs.run_here(wanted, changes, minutes=given.minutes, dry_run=given.dry_run)


def _archive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    archive = commands.add_parser("archive", help="runs that travel: one file each, finished or not, checked")
    ways = archive.add_subparsers(title="actions", metavar="ACTION", required=True)
    out = ways.add_parser("export", help="a run's record and compact evidence, or its newest checkpoint, as one file")
    out.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder")
    out.add_argument("--out", required=True, metavar="DIR")
    out.add_argument("--limit", type=float, default=16, metavar="MB", help="refuse larger ones (default: 16)")
    out.set_defaults(call=_archive_export)
    into = ways.add_parser("import", help="finished ones into the store, others to where `lskd train` goes on")
    into.add_argument("archives", nargs="+", metavar="FILE")
    into.add_argument("--store", default="results", metavar="DIR")
    into.add_argument("--runs", default="build/runs", metavar="DIR")
    into.set_defaults(call=_archive_import)


def _archive_export(given: argparse.Namespace) -> None:
    from paper import archive

    say_sizes([archive.export(run, given.out, limit=given.limit * 1e6) for run in given.runs])


def _archive_import(given: argparse.Namespace) -> None:
    from paper import archive

    for path in given.archives:
        place, told = archive.import_run(path, store=given.store, runs=given.runs)
        print(f"{place}: {told}")
