"""``lskd notebook``, ``workflow``, ``book``, ``verify``, ``doctor``: making the book and checking it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lskd.errors import LskdError, hint
from lskd.files import short


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this package to the ``lskd`` command."""
    for command in (_notebook, _workflow, _book, _verify, _doctor):
        command(commands)


def _notebook(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    notebook = commands.add_parser("notebook", help="list or execute the parameterised notebooks")
    actions = notebook.add_subparsers(title="actions", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="execute one, strictly: wrong parameters are errors before it starts")
    run.add_argument("name", help="a name in notebooks/ or a path")
    run.add_argument("-p", nargs="+", action="append", default=[], metavar="KEY=VALUE", help="paths: from the project")
    run.add_argument("-o", "--output", metavar="FILE", help="default: build/notebooks/NAME.ipynb")
    run.set_defaults(call=_notebook_run)
    listing = actions.add_parser("list", help="names, with parameters, types and defaults")
    listing.set_defaults(call=_notebook_list)


def _notebook_run(given: argparse.Namespace) -> int:
    from book import notebook as notebooks

    pairs = []
    for words in given.p:  # KEY VALUE is an older form, which papermill has too
        found = [words] if len(words) == 2 and "=" not in words[0] else [word.split("=", 1) for word in words]
        pairs += found
        if any(len(pair) < 2 for pair in found):
            raise LskdError(f"{given.name}: -p {' '.join(words)}: expected KEY=VALUE, for example epochs=2")
    keys = [key for key, _ in pairs]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise LskdError(f"{given.name}: parameter {', '.join(sorted(twice))} is given more than once")
    result = notebooks.run(given.name, dict(pairs), given.output)
    print(f"{short(result.notebook)} in {result.seconds:.0f} s", *result.outputs, sep="\n  ")
    return 0


def _notebook_list(given: argparse.Namespace) -> int:
    from book import notebook as notebooks

    for name, path in sorted(notebooks.by_name().items()):
        print(name)
        for p in notebooks.declared(path):
            print(f"  {p.name}: {p.type} = {p.default!r}" + (f"  # {p.comment}" if p.comment else ""))
    return 0


def _workflow(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    workflow = commands.add_parser(
        "workflow", help="make the book and all it needs, or one target; `make book` is this"
    )
    workflow.add_argument("targets", nargs="*", metavar="TARGET", help="teacher, students, a notebook's name, book")
    workflow.add_argument("--preset", default="default", help="a name in workflow/*.yaml: default, tiny")
    workflow.add_argument("--cores", default="all")
    workflow.add_argument("-n", "--dry-run", action="store_true", help="only say what would be made, and why")
    workflow.set_defaults(call=_workflow_run)


def _workflow_run(given: argparse.Namespace) -> int:
    from paper import plan, snakemake

    preset = plan.preset(given.preset, root=Path.cwd())
    for part in (preset.teacher, preset.students):
        if part.settings or part.members or not Path("recipes", f"{part.recipe}.toml").is_file():
            from lskd.recipes import load_recipe  # PyTorch, seconds

            load_recipe(part.recipe, settings=part.settings, members=part.members or None)
    for name, values in preset.notebooks.items():
        from book import build, notebook, notebook_parameters

        drawn = [page for page in build.pages(Path("book/chapters")) if not page.startswith("train_")]
        if name not in drawn:
            raise LskdError(f"preset {given.preset}: no drawing notebook {name!r}{hint(name, drawn)}")
        for key in {"output", "teacher", "students", "recipe"} & values.keys():
            told = "expected none: the workflow gives it, so that it knows what to make again; leave it out"
            raise LskdError(f"preset {given.preset}: {name}.ipynb: {key} is {values[key]!r}; {told}")
        declared = notebook.declared(Path("notebooks", f"{name}.ipynb"))
        notebook_parameters.bind(declared, values, f"preset {given.preset}: {name}.ipynb")
    return snakemake.start(Path.cwd(), given.preset, given.targets, cores=given.cores, dry_run=given.dry_run)


def _book(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    book = commands.add_parser("book", help="assemble and build the book from executed notebooks")
    steps = book.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = steps.add_parser("build", help="every warning is an error")
    build.add_argument("--book", default="book/chapters", metavar="DIR", help="chapters and _toc.yml")
    build.add_argument("--notebooks", default="build/default/notebooks", metavar="DIR", help="executed notebooks")
    build.add_argument("--figures", default="build/default/figures", metavar="DIR", help="files that pages show")
    build.add_argument("--facts", default="build/default/facts.json", metavar="FILE", help="values by name")
    build.add_argument("--config", default="_config.yml", metavar="FILE")
    build.add_argument("-o", "--output", default="build/book", metavar="DIR")
    build.set_defaults(call=_book_build)
    pdf = steps.add_parser("pdf", help="print the built book")
    pdf.add_argument("--sources", default="build/book", metavar="DIR", help="where `book build` has built it")
    pdf.add_argument("-o", "--output", default="build/lskd.pdf", metavar="FILE")
    pdf.set_defaults(call=_book_pdf)
    facts = steps.add_parser("facts", help="the values that chapters show, from records and evidence")
    facts.add_argument("--teacher", default="build/default/teacher", metavar="DIR")
    facts.add_argument("--students", default="build/default/students", metavar="DIR")
    facts.add_argument("-o", "--output", default="build/default/facts.json", metavar="FILE")
    facts.set_defaults(call=_book_facts)
    colab = steps.add_parser("colab", help="copies of the notebooks that run in a fresh checkout, for Colab")
    colab.add_argument("output", metavar="DIR")
    colab.set_defaults(call=_book_colab)
    readme = steps.add_parser("readme", help="write the README's measured parts and their picture again")
    readme.set_defaults(call=_book_readme)


def _book_build(given: argparse.Namespace) -> int:
    from book import build as book

    places = {name: getattr(given, name) for name in ("book", "notebooks", "figures", "facts", "config", "output")}
    index = book.build(**places)
    print(f"the book opens at {short(index)}")
    return 0


def _book_pdf(given: argparse.Namespace) -> int:
    from book import pdf

    print(short(pdf.build(sources=given.sources, output=given.output)))
    return 0


def _book_facts(given: argparse.Namespace) -> int:
    from book import facts
    from lskd import evidence
    from lskd.files import read_json, write_json
    from paper import toy

    folders = Path(given.teacher), Path(given.students)
    teacher, students = (read_json(folder / "record.json") for folder in folders)
    packs = {}
    for folder, record in zip(folders, (teacher, students), strict=True):
        for name, member in record["members"].items():
            if member.get("evidence"):
                packs["teacher" if record is teacher else name] = evidence.load(folder / member["evidence"]["file"])
    found = toy.toy_facts() | facts.published_facts() | facts.experiment_facts(teacher, students, packs)
    write_json(given.output, found)
    return 0


def _book_colab(given: argparse.Namespace) -> int:
    from book import open_elsewhere

    print(*open_elsewhere.write_copies(Path(given.output)), sep="\n")
    return 0


def _book_readme(given: argparse.Namespace) -> int:
    from book import readme

    readme.write()
    return 0


def _verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser("verify", help="check the store's digests; draw committed tables and figures again")
    check.add_argument("--store", default="results", metavar="DIR")
    check.set_defaults(call=_verify_run)


def _verify_run(given: argparse.Namespace) -> int:
    from book.verify import verify

    report = verify(given.store)
    for line in report.notes:
        print(f"note: {line}")
    for line in report.problems:
        print(f"problem: {line}")
    print(f"checked {'; '.join(report.checked)}; problems: {len(report.problems) or 'none'}")
    return 1 if report.problems else 0


def _doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser("doctor", help="what this machine has and what is missing")
    doctor.add_argument(
        "--install-browser", action="store_true", help="print the browser of page tests, or install one"
    )
    doctor.set_defaults(call=_doctor_run)


def _doctor_run(given: argparse.Namespace) -> int:
    from book import doctor

    if given.install_browser:
        found = doctor.install_browser()
        print(found or "no browser found (LSKD_BROWSER=path names one)", file=sys.stdout if found else sys.stderr)
        return 0
    lines = list(doctor.report())
    print(*lines, sep="\n")
    return 1 if any(line.startswith("!") for line in lines) else 0
