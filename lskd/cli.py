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
from typing import TYPE_CHECKING

from lskd import __version__
from lskd.errors import LskdError

if TYPE_CHECKING:
    from lskd.campaign import Campaign

__all__ = ["main"]


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

    train = commands.add_parser("train", help="train a recipe's networks; goes on where an earlier call stopped")
    what = train.add_mutually_exclusive_group(required=True)
    what.add_argument("--recipe", metavar="NAME", help="a name in recipes/, a cell's name, or a .toml file")
    what.add_argument("--teacher", metavar="NETWORK", help="train this network alone, as the paper's teachers were")
    train.add_argument("--dataset", metavar="NAME", help="with --teacher; default: cifar100")
    train.add_argument("--out", metavar="DIR", help="the run's folder (default: below --runs, named by its content)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe: epochs=2")
    train.add_argument("--members", metavar="A,B", help="train only these members of the recipe")
    train.add_argument("--device", default="auto", help="auto (a GPU when there is one), cpu, cuda or cuda:N")
    train.add_argument("--runs", default="build/runs", metavar="DIR", help="where finished runs and teachers are kept")
    train.add_argument(
        "--teacher-logits", default="live", choices=("auto", "live", "table"), help="auto: what needs fewer forwards"
    )
    train.add_argument("--table-dtype", default="float32", choices=("float32", "float16"))
    train.add_argument(
        "--precision", default="auto", choices=("auto", "float32", "tf32", "bf16"), help="of a GPU; a CPU has float32"
    )
    train.add_argument("--no-fused", action="store_true", help="several kernels an optimiser step, on a GPU")
    train.add_argument("--no-graph", action="store_true", help="launch kernel by kernel, on a GPU, not a CUDA graph")
    train.add_argument("--no-streams", action="store_true", help="one member after the other, on a GPU")
    train.add_argument("--sync-batchnorm", action="store_true", help="under torchrun: statistics of the whole batch")
    train.add_argument("--log", choices=("jsonl", "tensorboard"), help="write each epoch as it ends")
    train.set_defaults(call=_train)

    table = commands.add_parser("table", help="a teacher's logits for every weak view, computed once")
    tasks = table.add_subparsers(title="actions", metavar="ACTION", required=True)
    for word, text in (
        ("build", "compute what is missing of it; goes on where an earlier call stopped"),
        ("verify", "check every block's sha256, and a sample against the live teacher"),
    ):
        task = tasks.add_parser(word, help=text)
        task.add_argument("--recipe", required=True, metavar="NAME", help="whose teacher and data")
        task.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
        task.add_argument("--table-dtype", default="float32", choices=("float32", "float16"))
        task.add_argument("--out", metavar="DIR", help="default: below --runs, named by its content")
        task.add_argument("--runs", default="build/runs", metavar="DIR")
        task.add_argument("--device", default="auto")
        task.set_defaults(call=_table, action=word)
    showing = tasks.add_parser("show", help="what a table holds and how much of it is there")
    showing.add_argument("folder", metavar="DIR")
    showing.set_defaults(call=_table_show)

    recipe = commands.add_parser("recipe", help="the published experiments: settings, values, sources, doubts")
    choices = recipe.add_subparsers(title="actions", metavar="ACTION", required=True)
    recipes = choices.add_parser("list", help="every member of every recipe")
    recipes.add_argument("--json", action="store_true", help="one object a member, with all that is known")
    recipes.set_defaults(call=_recipe_list)
    show = choices.add_parser("show", help="one member, such as 'resnet32x4 -> resnet8x4, dkd, ls', or one recipe")
    show.add_argument("name", nargs="+", help="in any spelling that is clear; or RECIPE/MEMBER, RECIPE, a .toml file")
    show.add_argument("--json", action="store_true")
    show.set_defaults(call=_recipe_show)

    results = commands.add_parser("results", help="the store of run records: add, list, show, compare, verify")
    deeds = results.add_subparsers(title="actions", metavar="ACTION", required=True)
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
    check = deeds.add_parser("verify", help="check digests; draw committed tables and figures again and compare")
    check.set_defaults(call=_results_verify)
    for deed in (add, stored, one, pair, check):
        deed.add_argument("--store", default="results", metavar="DIR")
    for deed in (stored, one, pair):
        deed.add_argument("--json", action="store_true")

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

    data = commands.add_parser("data", help="bring a data set to this machine")
    errands = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    get = errands.add_parser("get", help="download, check and extract; goes on where an earlier call stopped")
    get.add_argument("name", choices=("cifar100",))
    get.add_argument("--mirror", metavar="URL", help="of the archive or its folder (or LSKD_MIRROR)")
    get.add_argument("--out", metavar="DIR", help="default: LSKD_DATA, or the cache folder")
    get.set_defaults(call=_data_get)

    notebook = commands.add_parser("notebook", help="list or execute the parameterised notebooks")
    actions = notebook.add_subparsers(title="actions", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="execute one, strictly: wrong parameters are errors before it starts")
    run.add_argument("name", help="a name in notebooks/ or a path")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="a parameter")
    run.add_argument("-o", "--output", metavar="FILE", help="default: build/notebooks/NAME.ipynb")
    run.set_defaults(call=_notebook_run)
    listing = actions.add_parser("list", help="names, with parameters, types and defaults")
    listing.set_defaults(call=_notebook_list)

    book = commands.add_parser("book", help="assemble and build the book from executed notebooks")
    steps = book.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = steps.add_parser("build", help="every warning is an error")
    build.add_argument("--book", default="book", metavar="DIR", help="chapters and _toc.yml")
    build.add_argument("--notebooks", default="build/default/notebooks", metavar="DIR", help="executed notebooks")
    build.add_argument("--figures", default="build/default/figures", metavar="DIR", help="files that pages show")
    build.add_argument("--facts", default="build/default/facts.json", metavar="FILE", help="values by name")
    build.add_argument("--config", default="_config.yml", metavar="FILE")
    build.add_argument("-o", "--output", default="build/book", metavar="DIR")
    build.set_defaults(call=_book_build)
    pdf = steps.add_parser("pdf", help="print the built book")
    pdf.add_argument("--sources", default="build/book", metavar="DIR", help="what `book build` assembled")
    pdf.add_argument("--facts", default="build/default/facts.json", metavar="FILE", help="values by name")
    pdf.add_argument("--config", default="_config.yml", metavar="FILE")
    pdf.add_argument("-o", "--output", default="build/lskd.pdf", metavar="FILE")
    pdf.set_defaults(call=_book_pdf)
    facts = steps.add_parser("facts", help="the values that chapters show, from records and evidence")
    facts.add_argument("--teacher", default="build/default/teacher", metavar="DIR")
    facts.add_argument("--students", default="build/default/students", metavar="DIR")
    facts.add_argument("-o", "--output", default="build/default/facts.json", metavar="FILE")
    facts.set_defaults(call=_book_facts)

    workflow = commands.add_parser(
        "workflow", help="make the book and all it needs, or one target; `make book` is this"
    )
    workflow.add_argument("targets", nargs="*", metavar="TARGET", help="teacher, students, a notebook's name, book")
    workflow.add_argument("--preset", default="default", help="a name in workflow/*.yaml: default, tiny")
    workflow.add_argument("--cores", default="all")
    workflow.add_argument("-n", "--dry-run", action="store_true", help="only say what would be made, and why")
    workflow.set_defaults(call=_workflow)

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

    doctor = commands.add_parser("doctor", help="what this machine has and what is missing")
    doctor.add_argument("--browser", action="store_true", help="print the browser that page tests use, or fail")
    doctor.set_defaults(call=_doctor)
    return parser


def _train(given: argparse.Namespace) -> int:
    from lskd import catalogue
    from lskd.data import obtain
    from lskd.recipes import load_recipe, parse_settings
    from lskd.trainer import distributed, run

    members = [name.strip() for name in given.members.split(",")] if given.members else None
    settings = parse_settings(given.set)
    if given.teacher:
        recipe, own = catalogue.teacher(given.teacher, given.dataset)
        settings = own | settings
    elif given.dataset:
        raise LskdError("--dataset goes with --teacher; a recipe names its own, --set dataset=NAME changes it")
    else:
        recipe, members = catalogue.target(given.recipe, members)
    obtain.ensure(load_recipe(recipe, settings=settings, members=members).dataset)
    options = {"seed": given.seed, "settings": settings, "members": members, "device": given.device, "runs": given.runs}
    options |= {"teacher_logits": given.teacher_logits, "table_dtype": given.table_dtype, "log": given.log}
    options |= {"precision": given.precision, "fused": not given.no_fused}
    options |= {"graph": not given.no_graph, "streams": not given.no_streams, "sync_batchnorm": given.sync_batchnorm}
    if given.out:
        folder, record = Path(given.out), run.train(recipe, given.out, **options)
    else:
        folder, record = run.train_cached(recipe, **options)
    if not distributed.only():  # of several processes one speaks
        return int(any("failure" in member for member in record["members"].values()))
    failed = False
    for name, member in record["members"].items():
        last, failure = member["last"], member.get("failure")
        if last:
            print(f"{name:12} test accuracy {last['test_accuracy']:.2f} % after epoch {last['epoch']}")
        if failure:
            failed = True
            print(f"{name:12} stopped in epoch {failure['epoch']}, batch {failure['batch']}: {failure['reason']}")
    print(f"in {folder}")
    return int(failed)


def _table(given: argparse.Namespace) -> int:
    from lskd.recipes import parse_settings
    from lskd.trainer import run

    options = run.Options(device=given.device, runs=given.runs, table_dtype=given.table_dtype)
    folder = Path(given.out) if given.out else None
    action = run.build_table if given.action == "build" else run.verify_table
    folder, deviation = action(given.recipe, settings=parse_settings(given.set), folder=folder, options=options)
    print(f"{_short(folder)}: whole; differs from the live teacher by {deviation:.1e} of its logits' deviation")
    return 0


def _table_show(given: argparse.Namespace) -> int:
    from lskd.trainer import table

    print(*table.show(Path(given.folder)), sep="\n")
    return 0


def _recipe_list(given: argparse.Namespace) -> int:
    import json

    from lskd import catalogue

    rows = catalogue.cells()
    print(json.dumps([c.json() for c in rows], indent=1) if given.json else catalogue.table(rows))
    return 0


def _recipe_show(given: argparse.Namespace) -> int:
    import json

    from lskd import catalogue

    rows = catalogue.select(" ".join(given.name))
    if given.json:
        print(json.dumps(rows[0].json() if len(rows) == 1 else [c.json() for c in rows], indent=1))
    else:
        print(catalogue.describe(rows[0]) if len(rows) == 1 else catalogue.table(rows))
    return 0


def _results_add(given: argparse.Namespace) -> int:
    from lskd import results

    for source in given.runs:
        path, new = results.add(source, given.store)
        print(f"{path}: {'added' if new else 'was there already'}")
        if given.evidence:
            from lskd import compaction

            folder = Path(source).parent if Path(source).is_file() else Path(source)
            _say_packs(compaction.compact_run(folder, path.with_suffix("")))
    return 0


def _campaign(given: argparse.Namespace) -> Campaign:
    from lskd import campaign
    from lskd.recipes import parse_settings

    teachers = {network: str(file) for network, file in parse_settings(given.teacher).items()}
    options = {"device": given.device, "teachers": teachers, "data": parse_settings(given.data)}
    return campaign.Campaign(given.preset, given.out, **options)


def _campaign_run(given: argparse.Namespace) -> int:
    found = _campaign(given).run(only=given.only, minutes=given.minutes)
    print(f"done now: {', '.join(found.done) or 'nothing'}")
    for task, reason in found.failed.items():
        print(f"failed: {task}: {reason}")
    if found.next:
        print(f"{'time is over; ' if found.time_over else ''}next: {found.next}; the same command goes on there")
    return 1 if found.failed else 3 if found.next else 0


def _campaign_list(given: argparse.Namespace) -> int:
    print(*_campaign(given).listing(), sep="\n")
    return 0


def _campaign_export(given: argparse.Namespace) -> int:
    import shutil

    from lskd import archive

    going = _campaign(given)
    paths = archive.export(going.runs(), given.folder, weights=given.weights, full=given.full)
    if going.benchmark is not None:
        paths.append(Path(shutil.copy(going.benchmark, given.folder)))
    _say_packs(paths)
    return 0


def _campaign_import(given: argparse.Namespace) -> int:
    from lskd import archive

    for path in given.archives:
        found = archive.bring(path, store=given.store, weights=given.weights)
        print(f"{path}: {found.record} {'added' if found.new else 'was there already'}, {len(found.files)} files")
        for name in found.waiting:
            print(f"  {name}: other parts of it are in other archives")
    return 0


def _data_get(given: argparse.Namespace) -> int:
    from lskd.data import obtain
    from lskd.data.cifar100 import data_root

    found = obtain.get_cifar100(given.out, mirror=given.mirror)
    print(f"CIFAR-100 is in {found}")
    if found.parent.resolve() != data_root().resolve():
        print(f"to use it: export LSKD_DATA={found.parent.resolve()}")
    return 0


def _evidence_collect(given: argparse.Namespace) -> int:
    from lskd import compaction, evidence
    from lskd.recipes import parse_settings
    from lskd.trainer.run import select_device

    source = {key: getattr(given, key) for key in ("network", "checkpoint", "dataset", "recipe")}
    device = str(select_device(given.device))
    pack = compaction.collect_checkpoint(**source, data=parse_settings(given.data), device=device)
    if not given.full:
        pack = compaction.compact(pack, perplexity=given.perplexity, seed=given.view_seed)
    evidence.save(pack, Path(given.out))
    print(f"test accuracy {pack.meta['test_accuracy']:.2f} % of {len(pack.label)} images")
    _say_packs([Path(given.out)])
    return 0


def _evidence_compact(given: argparse.Namespace) -> int:
    from lskd import compaction

    _say_packs(compaction.compact_run(given.run, given.out, perplexity=given.perplexity, seed=given.view_seed))
    return 0


def _say_packs(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def _results_list(given: argparse.Namespace) -> int:
    from lskd import results_text

    print(results_text.listing(given.store, as_json=given.json))
    return 0


def _results_show(given: argparse.Namespace) -> int:
    from lskd import results_text

    print(results_text.shown(given.name, given.store, as_json=given.json))
    return 0


def _results_compare(given: argparse.Namespace) -> int:
    from lskd import results_text

    print(results_text.compared(given.first, given.second, given.store, as_json=given.json))
    return 0


def _results_verify(given: argparse.Namespace) -> int:
    from lskd.verify import verify

    report = verify(given.store)
    for line in report.notes:
        print(f"note: {line}")
    for line in report.problems:
        print(f"problem: {line}")
    print(f"checked {'; '.join(report.checked)}: {len(report.problems) or 'no'} problem(s)")
    return 1 if report.problems else 0


def _notebook_run(given: argparse.Namespace) -> int:
    from lskd import notebooks

    twice = {key for key, _ in given.p if [k for k, _ in given.p].count(key) > 1}
    if twice:
        raise LskdError(f"{given.name}: parameter {', '.join(sorted(twice))} is given more than once")
    result = notebooks.run(given.name, dict(given.p), given.output)
    print(f"{_short(result.notebook)} in {result.seconds:.0f} s", *result.outputs, sep="\n  ")
    return 0


def _notebook_list(given: argparse.Namespace) -> int:
    from lskd import notebooks
    from lskd.sources import ROOT

    here = Path.cwd() / "notebooks"
    for path in sorted((here if here.is_dir() else ROOT / "notebooks").glob("*.ipynb")):
        print(path.stem)
        for p in notebooks.declared(path):
            print(f"  {p.name}: {p.type} = {p.default!r}" + (f"  # {p.comment}" if p.comment else ""))
    return 0


def _book_build(given: argparse.Namespace) -> int:
    from lskd import book

    places = {name: getattr(given, name) for name in ("book", "notebooks", "figures", "facts", "config", "output")}
    index = book.build(**places)
    print(f"the book opens at {_short(index)}")
    return 0


def _book_pdf(given: argparse.Namespace) -> int:
    from lskd import pdf

    print(_short(pdf.build(sources=given.sources, facts=given.facts, config=given.config, output=given.output)))
    return 0


def _book_facts(given: argparse.Namespace) -> int:
    from lskd import evidence, facts
    from lskd.files import read_json, write_json

    folders = Path(given.teacher), Path(given.students)
    teacher, students = (read_json(folder / "record.json") for folder in folders)
    packs = {}
    for folder, record in zip(folders, (teacher, students), strict=True):
        for name, member in record["members"].items():
            if member.get("evidence"):
                packs["teacher" if record is teacher else name] = evidence.load(folder / member["evidence"]["file"])
    found = facts.toy_facts() | facts.published_facts() | facts.experiment_facts(teacher, students, packs)
    write_json(given.output, found)
    return 0


def _workflow(given: argparse.Namespace) -> int:
    from lskd import workflow

    return workflow.start(Path.cwd(), given.preset, given.targets, cores=given.cores, dry_run=given.dry_run)


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


def _doctor(given: argparse.Namespace) -> int:
    from lskd import doctor

    if given.browser:
        found = doctor.browser()
        print(found or "no browser found", file=sys.stdout if found else sys.stderr)
        return 0 if found else 1
    lines = list(doctor.report())
    print(*lines, sep="\n")
    return 1 if any(line.startswith("!") for line in lines) else 0


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
