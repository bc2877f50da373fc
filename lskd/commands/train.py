"""``lskd train``: a recipe's networks, or one network as the paper's teachers were trained."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.errors import LskdError

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
        "--precision",
        default="auto",
        choices=("auto", "float32", "tf32", "bf16"),
        help="bf16: GPUs, and processors with AMX",
    )
    train.add_argument("--no-fused", action="store_true", help="several kernels an optimiser step, on a GPU")
    train.add_argument("--no-graph", action="store_true", help="launch kernel by kernel, on a GPU, not a CUDA graph")
    train.add_argument("--no-streams", action="store_true", help="one member after the other, on a GPU")
    train.add_argument("--sync-batchnorm", action="store_true", help="under torchrun: statistics of the whole batch")
    train.add_argument("--log", choices=("jsonl", "tensorboard"), help="write each epoch as it ends")
    train.set_defaults(call=_run)


def _run(given: argparse.Namespace) -> int:
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
            five = f", top five {last['test_top5']:.2f} %," if "test_top5" in last else ""
            print(f"{name:12} test accuracy {last['test_accuracy']:.2f} %{five} after epoch {last['epoch']}")
        if failure:
            failed = True
            print(f"{name:12} stopped in epoch {failure['epoch']}, batch {failure['batch']}: {failure['reason']}")
    print(f"in {folder}")
    return int(failed)
