"""What Sphinx and its extensions copy into a book and no page of it asks for goes; a reader misses nothing offline."""

from __future__ import annotations

import json
import re

from book.pages import Pages

# MathJax brings every input, output and language in pieces and again in bundles; the pages load one bundle, and from
# disk it loads fonts, rarer commands and, for who listens, speech in English.
_MATH = (
    "tex-chtml.js",
    "output/chtml/fonts/",
    "input/tex/extensions/",
    "a11y/",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "sre/mathmaps/nemeth.json",
)
_UNUSED = ("**/*.map", "*webpack-macros.html", "locales/**/*", "**/webfonts/*.ttf")  # browsers take the .woff2


def _families(script: str, pages: Pages) -> str:
    """The script of icons without the families of which no page has one; another build of it is left as it is."""
    first, *others = re.split(r'(?<=}\(\)),(?=function\(\){"use strict";)', script)
    start = first.find('!function(){"use strict";') + 1
    if not start:
        return script
    shown = set(re.findall(r"\bfa-(?:brands|regular)\b", "".join(pages.texts.values())))
    ends = tuple(f'"{family}",p)}})}}()' for family in {"fa-brands", "fa-regular"} - shown)
    return first[:start] + ",".join(part for part in (first[start:], *others) if not part.endswith(ends))


def remove_unused(pages: Pages) -> None:
    """Delete them, and what cells put out from the notebooks to take along: the page shows it, running makes it."""
    static, math = pages.html / "_static", pages.html / "_static" / "mathjax"
    for path in (path for pattern in _UNUSED for path in static.glob(pattern) if path.is_file()):
        path.unlink()
    for path in math.rglob("*"):
        if path.is_file() and not path.relative_to(math).as_posix().startswith(_MATH):
            path.unlink()
    icons = static / "scripts" / "fontawesome.js"
    if icons.is_file():
        icons.write_text(_families(icons.read_text(encoding="utf-8"), pages), encoding="utf-8")
    for path in pages.html.glob("_sources/**/*.ipynb"):
        content = json.loads(path.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for folder in sorted(static.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
