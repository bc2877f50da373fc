"""What recipes say of an experiment, for readers: its protocol, each method's settings, doubts and sources."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from figures import theme
from figures.publish import Published, publish
from figures.table import Table
from lskd.errors import LskdError
from lskd.recipes import Recipe, doubts, list_recipes, load_recipe
from paper import published
from paper.cells import Cell, of_recipe
from paper.members import label
from paper.tables import Entry
from paper.text import markdown_table, protocol, settings_text

METHODS = ("kd", "ctkd", "dkd", "mlkd")


def recipes_in(folder: str) -> list[Recipe]:
    """The recipes of a folder of ``recipes/``, those of networks alone last."""
    names = sorted((n for n in list_recipes() if n.startswith(f"{folder}/")), key=lambda n: ("/alone/" in n, n))
    return [load_recipe(name, for_training=False) for name in names]


def protocol_table(recipes: Iterable[Recipe]) -> Table:
    """A row a setting, a column for all recipes that have the same ones; networks and objectives are not settings."""
    columns: dict[tuple[tuple[str, str], ...], list[Recipe]] = {}
    for recipe in recipes:
        columns.setdefault(tuple(protocol(recipe).items()), []).append(recipe)
    keys = list(dict.fromkeys(key for settings in columns for key, _ in settings))
    rows = [[key, *(dict(settings).get(key, "–") for settings in columns)] for key in keys]
    return Table(["setting", *(_heading(group) for group in columns.values())], rows)


def _heading(group: list[Recipe]) -> str:
    parts: dict[str, list[str]] = {}
    for recipe in group:
        networks = _plain(recipe.student)
        if recipe.dataset == "imagenet" and recipe.teacher:
            networks = f"{_plain(recipe.teacher.network)} → {networks}"
        methods = [m["method"] for m in recipe.members.values() if m["method"] in METHODS]
        parts.setdefault(networks, []).extend(label("", method=method) for method in methods)
    if any(recipe.dataset != "imagenet" for recipe in group):
        return ", ".join(parts)
    return "; ".join(f"{networks}: {', '.join(dict.fromkeys(methods))}" for networks, methods in parts.items())


def _plain(network: str) -> str:
    return network.removeprefix("imagenet/").removesuffix("-distilled")


def members_table(cells: Iterable[Cell]) -> Table:
    """A row a cell: its settings, those that no source gives apart, and how many doubts there are."""
    rows = []
    for cell in cells:
        sourced, assumed = (
            settings_text({k: v for k, v in cell.settings.items() if (k in cell.assumed) == wanted})
            for wanted in (False, True)
        )
        rows.append([cell.name.replace("->", "→"), sourced, assumed, str(len(cell.doubts))])
    return Table(["cell", "settings with a source", "assumed", "doubts"], rows)


def doubts_text(cells: Iterable[Cell]) -> str:
    """Every doubt once as a Markdown list, with the cells that it concerns, most cells first."""
    concerned: dict[str, list[Cell]] = {}
    known = list(cells)
    for cell in known:
        for doubt in cell.doubts:
            name, _, text = doubt.partition(": ")
            concerned.setdefault(text if name in doubts() else " ".join(doubt.split()), []).append(cell)
    return "\n".join(
        f"- {text} *{'all cells' if len(found) == len(known) else _where(found)}*"
        for text, found in sorted(concerned.items(), key=lambda item: -len(item[1]))
    )


def doubts_in(section: str) -> str:
    """What is doubtful in a section of the protocol, Markdown.

    Raises:
        LskdError: there is no doubt about that section.
    """
    found = [doubt.text for doubt in doubts().values() if section in doubt.sections]
    if not found:
        known = ", ".join(sorted({number for doubt in doubts().values() for number in doubt.sections}))
        raise LskdError(f"nothing is doubtful in protocol section {section!r}; there are doubts in {known}")
    return "\n".join(f"- {text}" for text in found)


def doubts_frame() -> pd.DataFrame:
    """Every doubt: name, sections of the protocol, text."""
    rows = [(name, " ".join(doubt.sections), doubt.text) for name, doubt in doubts().items()]
    return pd.DataFrame(rows, columns=["name", "sections", "text"])


def _where(cells: list[Cell]) -> str:
    """ "ResNet18: kd, kd ls; MobileNetV1: kd" of cells that differ in student and member."""
    members: dict[str, list[str]] = {}
    for cell in cells:
        members.setdefault(_plain(cell.student), []).append(cell.member.replace("_", " "))
    return "; ".join(f"{student}: {', '.join(names)}" for student, names in members.items())


def sources(recipes: Iterable[Recipe]) -> list[str]:
    """Where settings and values come from, each once."""
    found = [source for recipe in recipes for cell in of_recipe(recipe) for source in cell.sources]
    return list(dict.fromkeys(found))


def obstacles(cells: Iterable[Cell]) -> str:
    """Why what is installed cannot train some of the cells, HTML-free; empty when it can train all."""
    return "; ".join(dict.fromkeys(reason for cell in cells for reason in cell.obstacles))


def markdown(table: Table) -> str:
    """A table of words, aligned left."""
    return markdown_table(table.headings, table.rows)


# --- the picture -----------------------------------------------------------------------------------------------------


def dots(entries: list[Entry], name: str, *, folder: Path | str, about: str) -> Published:
    """Published values, released logs and ours of each student and method on one line.

    Args:
        entries: cells with a teacher or without; those of one student and method share a line.
        about: what the cells are, for the caption and for who cannot see the picture.
    """
    frame = _points(entries)
    lines = list(dict.fromkeys(_line(entry, entries) for entry in entries))
    kinds = list(dict.fromkeys(frame["kind"]))

    def draw(fig: Figure) -> None:
        ax = fig.subplots()
        for kind in kinds:
            part = frame[frame["kind"] == kind]
            marker, size, edge, face = MARKS[kind]
            places = [lines.index(line) for line in part["line"]]
            ax.plot(part["value"], places, marker, ms=size, mec=edge, mew=1.3, mfc=face, label=kind)
        ax.set_yticks(range(len(lines)), lines)
        ax.set_ylim(len(lines) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        ax.set_xlabel("test accuracy, percent")
        fig.legend(loc="outside upper left", ncols=len(kinds), columnspacing=1.2, handletextpad=0.2)

    spans = [
        f"{kind} {p['value'].min():.2f} to {p['value'].max():.2f}" for kind, p in frame.groupby("kind", sort=False)
    ]
    ours = sum(bool(entry.ours) for entry in entries)
    return publish(
        draw,
        name,
        height=0.9 + 0.3 * len(lines),
        folder=folder,
        alt=f"{about}: test accuracies in percent, {len(lines)} lines. {'; '.join(spans)}.",
        caption=f"<b>{about}.</b> Published: best epochs, one value a cell, no spread given; a log is n = 1 run. "
        f"{ours or 'None'} of the {len(entries)} cells {'were' if ours != 1 else 'was'} run here.",
        inputs=[published.NUMBERS],
        data=frame,
    )


BLUE = theme.look("kd_ls").color
MARKS = {  # (marker, size, edge, face); what is drawn last is seen
    "alone": ("x", 6, theme.MUTED, "none"),
    "locality guidance": ("^", 6, theme.MUTED, "none"),
    "without LS": ("o", 6, BLUE, "none"),
    "with LS": ("o", 6, BLUE, BLUE),
    "log, best": ("|", 10, theme.MUTED, theme.MUTED),
    "log, last": ("|", 6, theme.MUTED, theme.MUTED),
    "ours, best": ("D", 5, theme.MUTED, theme.MUTED),
}


def _line(entry: Entry, entries: list[Entry]) -> str:
    """The student; and the method, unless each student has only one that can be standardised."""
    name = _plain(entry.cell.student)
    several = len({e.cell.method for e in entries} - {"plain", "locality"}) > 1
    return f"{name}, {label('', method=entry.cell.method)}" if several else name


def _points(entries: list[Entry]) -> pd.DataFrame:
    rows = []
    for entry in entries:
        cell, line = entry.cell, _line(entry, entries)
        kind = {"plain": "alone", "locality": "locality guidance"}.get(cell.method)
        kind = kind or ("with LS" if cell.standardize else "without LS")
        rows.append((line, kind, entry.published))
        rows += [(line, "log, best", value) for value in entry.log_best]
        rows += [(line, "log, last", value) for value in entry.log_last]
        if entry.ours:
            rows.append((line, "ours, best", entry.ours["best"]["mean"]))
    rows.sort(key=lambda row: [*MARKS].index(row[1]))  # stable: lines keep their order
    return pd.DataFrame(rows, columns=["line", "kind", "value"])
