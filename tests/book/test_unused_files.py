"""What no page asks for is not in a built book; what a reader uses is."""

from __future__ import annotations

import json
from pathlib import Path

from book.pages import Chapter, Pages
from book.pages.unused_files import remove_unused

ICONS = {
    "sun": 'sun:[5,5,[9],"f1","M1"],',
    "search": '"find":[5,5,["search"],"f2",["M1","M2"]],',
    "0": '0:[5,5,[],"30","M3"]',
}
KEPT = (
    "_static/mathjax/tex-chtml.js", "_static/mathjax/output/chtml/fonts/woff-v2/a.woff",
    "_static/mathjax/sre/mathmaps/en.json", "_static/webfonts/solid.woff2", "_static/styles/theme.css",
)  # fmt: skip
GONE = (
    "_static/mathjax/tex-svg.js", "_static/mathjax/sre/mathmaps/de.json", "_static/webfonts/solid.ttf",
    "_static/styles/theme.css.map", "_static/locales/de/LC_MESSAGES/a.mo",
)  # fmt: skip


def test_only_what_pages_ask_for_stays(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "source": "1", "outputs": [{"output_type": "stream"}], "execution_count": 1},
        {"cell_type": "markdown", "source": "# Title"},
    ]
    icons, notebook = "_static/scripts/fontawesome.js", "_sources/notebooks/n.ipynb"
    contents = dict.fromkeys((*KEPT, *GONE), "x")
    contents |= {icons: f"d({{{''.join(ICONS.values())}}})", notebook: json.dumps({"cells": cells})}
    contents["index.html"] = '<i class="fa-solid fa-sun"></i><i class="fas fa-search"></i>'
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    remove_unused(Pages(tmp_path, [Chapter("index")]))
    assert all((tmp_path / name).is_file() for name in KEPT)
    assert not any((tmp_path / name).exists() for name in GONE)
    assert not (tmp_path / "_static" / "locales").exists()
    assert (tmp_path / icons).read_text() == f"d({{{ICONS['sun']}{ICONS['search']}}})"
    code, title = json.loads((tmp_path / notebook).read_text())["cells"]
    assert (code["outputs"], code["execution_count"], code["source"]) == ([], None, "1")
    assert title == cells[1]
