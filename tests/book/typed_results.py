"""What looks like a result in a text, and which texts of this project a reader of the book gets to see.

A result is what a run, a measurement or a count gave: it changes when somebody runs again, so it may stand on a page
only by substitution or as the output of a cell. A setting, a formula and the number of a table do not change. Which
is which cannot be told from a numeral alone; it is told from what stands around it, and what is left over is decided
by hand in a list that has a reason for each entry (``tests/book/test_chapters.py``).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from figures.fingerprint import PACKAGES, ROOT

NUMBER = r"(?<![\w.,{#\ufffd])(?<!\w-)\d+(?:,\d{3})*(?:\.\d+)?"  # not in a name, not of a format such as {0.00}
WORD = (
    r"(?:half|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty|fifty|sixty|ninety)"
)
UNIT = r"(?:%|per ?cent\b|points?\b|pp\b|times\b|seconds?\b|minutes?\b|hours?\b|days?\b|[kKMG]i?B\b|ms\b)"
COUNTED = r"(?:runs?|images|seeds|logs|samples|networks|students|epochs together)\b"
RESULT = re.compile(
    rf"{NUMBER}\s*{UNIT}"  # 71.4 %, 12 minutes
    rf"|(?<![\w.,{{#\ufffd])(?<!\w-)\d[\d,]*\.\d+(?!\.?\w)"  # 0.53, whatever it is
    rf"|(?!1\s){NUMBER}\s+(?:[\w-]+\s+)?{COUNTED}"  # 57 released runs
    rf"|±\s*\d[\d.]*(?![\d.]*\s*%)|\bn\s*=\s*(?!1\b)\d[\d,]*(?!\w)"  # n = 1 says what was done, not what came out
    rf"|\b{WORD}(?:\s+(?:an?|of a|hundred|thousand))?\s+(?:per ?cent|points?|seconds|minutes|hours|thirds?|quarters?)\b"
    r"|\b(?:of|by|about|than|within|nearly|over) a (?:point|per ?cent)\b",
    flags=re.IGNORECASE,
)
INTERVAL = re.compile(r"\s*(?:t-)?intervals?\b|\s*(?:CI|confidence)\b")  # after "95 %": the level is chosen
SETTING = re.compile(
    r"(?:temperatures?|weights?|\bT|τ|tau|rate|momentum|decay|epsilon|ε|deviation|perplexity|version|Python|such as)"
    r"\s*(?:of|=|at|to)?\s*$",
    flags=re.IGNORECASE,
)
STYLE = re.compile(r"[a-z-]+:\s*[^;{}\n]+[;}]|<svg|<path")  # style sheets and drawings that Python code writes


def looks_like(text: str) -> list[str]:
    """Whatever looks like a result in a text of words, in order; a decimal number after a setting's name does not."""
    found = []
    for match in RESULT.finditer(text):
        setting = SETTING.search(text[max(0, match.start() - 30) : match.start()])
        level = match[0] == "95 %" and INTERVAL.match(text[match.end() :])
        if not level and not (setting and re.fullmatch(r"[\d.]+", match[0])):
            found.append(" ".join(match[0].split()))
    return found


def words_of_markdown(text: str) -> str:
    """The text without code, formulas, substitutions, comments and front matter; the words in directives stay."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    kept: list[str] = []
    fences: list[tuple[str, bool]] = []  # those that are open, and whether their content is code
    for line in text.split("\n"):
        mark = re.match(r"\s*(`{3,})(.*)", line)
        if mark and fences and mark[1] == fences[-1][0] and not mark[2].strip():
            fences.pop()
        elif mark and not (fences and fences[-1][1]):
            fences.append((mark[1], not re.match(r"\{(?!math|code|eval|bib|literal)", mark[2].strip())))
        elif not (fences and fences[-1][1]) and not re.match(r"\s*:[\w-]+:", line):  # an option of a directive
            kept.append(line)
    text = "\n".join(kept)
    text = re.sub(r"^#+ \d(?:\.\d)*\.? |\bsections? \d\.\d", " ", text, flags=re.MULTILINE)  # of the protocol
    text = re.sub(r"<!--.*?-->|\$\$.*?\$\$|\{\{.*?\}\}|`[^`]*`|\$[^$\n]*\$|https?://\S+", " ", text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", text)


def sentences_of_code(source: str) -> Iterator[str]:
    """Texts that a program holds to show them, values in them as U+FFFD; no docstrings, no style sheets."""
    tree = ast.parse(source)
    taken: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            taken.add(id(body[0].value))
    for node in ast.walk(tree):
        text = None
        if isinstance(node, ast.JoinedStr):
            taken |= {id(part) for part in node.values}
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\ufffd" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in taken:
            text = node.value
        if text and len(re.findall(r"\b[a-z]{2,}\b", text)) >= 3 and not STYLE.search(text):
            yield words_of_markdown(text)


def texts() -> Iterator[tuple[str, str]]:
    """(place, words) of chapters, of the notebooks' words and of their code's, and of the package's code and texts."""
    for chapter in sorted((ROOT / "book" / "chapters").glob("*.md")):
        yield f"book/chapters/{chapter.name}", words_of_markdown(chapter.read_text(encoding="utf-8"))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                yield f"notebooks/{notebook.name}", words_of_markdown(source)
            else:
                lines = [line for line in source.split("\n") if not line.lstrip().startswith(("%", "!"))]
                for sentence in sentences_of_code("\n".join(lines)):
                    yield f"notebooks/{notebook.name}", sentence
    packages = [ROOT / name for name in PACKAGES]
    for module in sorted(path for package in packages for path in package.rglob("*.py")):
        for sentence in sentences_of_code(module.read_text(encoding="utf-8")):
            yield module.relative_to(ROOT).as_posix(), sentence
    for table in sorted(path for package in packages for path in package.rglob("*.toml")):
        words = re.sub(r"^code = '''.*?'''", "", table.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        yield table.relative_to(ROOT).as_posix(), words_of_markdown(words)


def found() -> list[tuple[str, str]]:
    """(place, what looks like a result) in all of them."""
    return [(place, text) for place, words in texts() for text in looks_like(words)]
