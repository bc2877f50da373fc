"""What Sphinx and its extensions copy into a book and no page of it asks for goes; a reader misses nothing offline."""

from __future__ import annotations

import re

from book.pages import Pages
from lskd.files import read_json, write_json

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


# An icon in the theme's script: name, width, height, other names, character, outline.
_ICON = re.compile(r'(?:"([\w-]+)"|(\w+)):\[\d+,\d+,\[([^]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^]]*\])\],?')


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
        files = [path for path in (*pages.html.rglob("*.html"), *static.rglob("*.js")) if path != icons]
        shown = {name for path in files for name in re.findall(r"\bfa-([\w-]+)", path.read_text(encoding="utf-8"))}

        def kept(icon: re.Match[str]) -> str:
            return icon[0] if shown & {icon[1] or icon[2], *re.findall(r'"([\w-]+)"', icon[3])} else ""

        icons.write_text(_ICON.sub(kept, icons.read_text(encoding="utf-8")), encoding="utf-8")
    for path in pages.html.glob("_sources/**/*.ipynb"):
        content = read_json(path)
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        write_json(path, content)
    for folder in sorted(static.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
