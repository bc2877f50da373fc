"""Draw the four packages and who imports whom, from the code: ``python docs/rooms.py`` writes docs/rooms.svg."""

from __future__ import annotations

import ast
import html
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_name("rooms.svg")
ROOMS = {  # top floor first: nobody imports upward
    "book": "shows: chapters, exercises, search, pages",
    "figures": "draws: one file a figure or table",
    "paper": "computes: what is published, run, left to run",
    "lskd": "trains: losses, networks, data, trainer; the wheel",
}
WIDTH, LINE, MARGIN = 860, 17, 14
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.name{font-weight:700;font-size:16px}.what{fill:#52606d}"
    "rect{fill:#f5f7fa;stroke:#9aa5b1}path{stroke:#52606d;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#e4e7eb}.what{fill:#9aa5b1}rect{fill:#1f2933;stroke:#616e7c}"
    "path{stroke:#9aa5b1}}"
)


def modules(room: str) -> list[str]:
    """Folders and files of a package, as a newcomer sees them."""
    found = [p for p in (ROOT / room).iterdir() if not p.name.startswith(("_", ".")) and p.name != "drawn"]
    folders = [f"{p.name}/" for p in found if p.is_dir() and any(p.rglob("*.py"))]
    return sorted(folders) + sorted(p.name for p in found if p.suffix == ".py")


def imports(room: str) -> set[str]:
    """Rooms that a room's code imports from, wherever the statement stands."""
    names = set()
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names & set(ROOMS) - {room}


def wrapped(words: list[str], most: int = 108) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > most:
            lines.append("")
        lines[-1] += f"{word} · "
    return [line.removesuffix(" · ") for line in lines]


def draw() -> str:
    """The picture, SVG."""
    parts, top, edges = [], MARGIN, {}
    for room, what in ROOMS.items():
        lines = wrapped(modules(room))
        height = 40 + LINE * len(lines)
        edges[room] = (top, top + height)
        parts.append(f'<rect x="{MARGIN}" y="{top}" width="{WIDTH - 110}" height="{height}" rx="8"/>')
        parts.append(f'<text class="name" x="{MARGIN + 12}" y="{top + 23}">{room}</text>')
        parts.append(f'<text class="what" x="{MARGIN + 90}" y="{top + 23}">{html.escape(what)}</text>')
        for row, line in enumerate(lines):
            parts.append(f'<text x="{MARGIN + 12}" y="{top + 44 + LINE * row}">{html.escape(line)}</text>')
        top += height + 26
    order, right = list(ROOMS), WIDTH - 110 + MARGIN
    for above, below in pairwise(order):
        if below in imports(above):
            x = WIDTH // 2
            parts.append(f'<path d="M{x} {edges[above][1]}V{edges[below][0] - 2}" marker-end="url(#tip)"/>')
    lane = 0
    for place, room in enumerate(order):
        for target in order[place + 2 :]:
            if target in imports(room):
                lane += 1
                start, end, out = edges[room][1] - 14, edges[target][0] + 6 * lane + 6, right + 18 * lane
                parts.append(f'<path d="M{right} {start}H{out}V{end}H{right + 3}" marker-end="url(#tip)"/>')
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    tip += '<path d="M0 0L7 4L0 8"/></marker>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - 10}" role="img">'
    title = "<title>The four packages and their modules; arrows are imports, and all of them go down</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style><defs>{tip}</defs>", *parts, "</svg>\n"])


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
