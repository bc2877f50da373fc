"""``lskd evidence``: what figures are drawn from, of a checkpoint or made small."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.commands.shared import say_sizes

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    collect.set_defaults(call=_collect)
    smaller = measures.add_parser("compact", help="a run's packs without features, with a view of them instead")
    smaller.add_argument("run", metavar="RUN", help="a finished run's folder")
    smaller.add_argument("--out", required=True, metavar="DIR")
    smaller.set_defaults(call=_compact)
    for measure in (collect, smaller):
        measure.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE")
        measure.add_argument("--view-seed", type=int, default=0, metavar="SEED", help="of t-SNE")


def _collect(given: argparse.Namespace) -> int:
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
    say_sizes([Path(given.out)])
    return 0


def _compact(given: argparse.Namespace) -> int:
    from lskd import compaction

    say_sizes(compaction.compact_run(given.run, given.out, perplexity=given.perplexity, seed=given.view_seed))
    return 0
