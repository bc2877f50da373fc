"""``lskd book``: assemble, build and print the book; the values that its chapters show."""

from __future__ import annotations

import argparse
from pathlib import Path

from lskd.commands.shared import short

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    book = commands.add_parser("book", help="assemble and build the book from executed notebooks")
    steps = book.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = steps.add_parser("build", help="every warning is an error")
    build.add_argument("--book", default="book", metavar="DIR", help="chapters and _toc.yml")
    build.add_argument("--notebooks", default="build/default/notebooks", metavar="DIR", help="executed notebooks")
    build.add_argument("--figures", default="build/default/figures", metavar="DIR", help="files that pages show")
    build.add_argument("--facts", default="build/default/facts.json", metavar="FILE", help="values by name")
    build.add_argument("--config", default="_config.yml", metavar="FILE")
    build.add_argument("-o", "--output", default="build/book", metavar="DIR")
    build.set_defaults(call=_build)
    pdf = steps.add_parser("pdf", help="print the built book")
    pdf.add_argument("--sources", default="build/book", metavar="DIR", help="what `book build` assembled")
    pdf.add_argument("--facts", default="build/default/facts.json", metavar="FILE", help="values by name")
    pdf.add_argument("--config", default="_config.yml", metavar="FILE")
    pdf.add_argument("-o", "--output", default="build/lskd.pdf", metavar="FILE")
    pdf.set_defaults(call=_pdf)
    facts = steps.add_parser("facts", help="the values that chapters show, from records and evidence")
    facts.add_argument("--teacher", default="build/default/teacher", metavar="DIR")
    facts.add_argument("--students", default="build/default/students", metavar="DIR")
    facts.add_argument("-o", "--output", default="build/default/facts.json", metavar="FILE")
    facts.set_defaults(call=_facts)


def _build(given: argparse.Namespace) -> int:
    from lskd import book

    places = {name: getattr(given, name) for name in ("book", "notebooks", "figures", "facts", "config", "output")}
    index = book.build(**places)
    print(f"the book opens at {short(index)}")
    return 0


def _pdf(given: argparse.Namespace) -> int:
    from lskd.book import pdf

    print(short(pdf.build(sources=given.sources, facts=given.facts, config=given.config, output=given.output)))
    return 0


def _facts(given: argparse.Namespace) -> int:
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
