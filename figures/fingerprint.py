"""Which source files a piece of work depends on, found by reading, without importing anything.

A result is stale when code that made it has changed, and only then. The answer here is the set of the project's
own files that a module reaches through its import statements, and a digest of their content. Imports count
wherever they stand, also inside functions, but not where a type checker alone reads them; the ``__init__`` of every
package on the way counts, because importing a submodule runs it. Modules that are imported by a computed name do not
count.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterable
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from lskd.errors import LskdError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lskd", "paper", "figures", "book")  # the project's own


def closure(*modules: str, root: Path = ROOT, known: dict[str, Any] | None = None) -> tuple[Path, ...]:
    """Source files statically reachable from ``modules``, sorted.

    Args:
        modules: dotted names such as ``"lskd.trainer"``.
        root: the folder that holds the packages.
        known: what earlier calls have found there, so that many of them read a file once; begun as ``{}``.

    Raises:
        LskdError: a module that does not exist under ``root``, or a file that is not valid Python.
    """
    for name in modules:
        if _file(name, root) is None:
            raise LskdError(f"module {name}: no such source file under {root}")
    own = {path.stem for path in root.iterdir()}
    known = {} if known is None else known
    waiting, seen = set(modules), set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name not in known and (path := known.setdefault(name, _file(name, root))):
            package = name.rpartition(".")[0]
            inside = name if path.stem == "__init__" else package
            names = {package, *_imported(path.read_text(encoding="utf-8"), str(path), inside)}
            known[name] = path, {name for name in names if name.partition(".")[0] in own}
        if known[name]:
            waiting |= known[name][1] - seen
    return tuple(sorted(known[name][0] for name in seen if known[name]))


def digest(paths: Iterable[str | os.PathLike[str]], root: Path = ROOT) -> str:
    """SHA-256 over the names (relative to ``root``) and contents of files, whatever their order and dates."""
    total, root = hashlib.sha256(), root.resolve()
    for path in sorted({Path(p).resolve() for p in paths}):
        name = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        total.update(name.as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def notebook_cells(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The cells of a notebook as they are in its JSON; LskdError where it is none."""
    try:
        cells: list[dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        raise LskdError(f"{path}: not a notebook (expected JSON with a list of cells)") from None
    return cells


def notebook_modules(path: str | os.PathLike[str], root: Path = ROOT) -> list[str]:
    """The project's modules that the code cells of a notebook import, sorted.

    Raises:
        LskdError: not a notebook, or a cell that is not valid Python.
    """
    found: set[str] = set()
    for number, cell in enumerate(notebook_cells(path), start=1):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.lstrip().startswith("%%"):
            plain = re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.MULTILINE)  # IPython's magic and commands
            found.update(_imported(plain, f"{path}, cell {number}", ""))
    return sorted(name for name in found if _file(name, root))


def _file(name: str, root: Path) -> Path | None:
    stem = root.joinpath(*name.split("."))
    return next((path for path in (stem / "__init__.py", Path(f"{stem}.py")) if name and path.is_file()), None)


def _inside(node: ast.AST) -> Iterable[ast.AST]:
    """The statements in a statement, without those that a type checker alone reads."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return node.orelse
    kinds = (ast.stmt, ast.ExceptHandler, ast.match_case)
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, kinds)]


def _imported(source: str, where: str, package: str) -> tuple[str, ...]:
    """Absolute names that a file of ``package`` imports: modules, and what may be modules."""
    try:
        waiting: list[ast.AST] = [ast.parse(source)]
    except SyntaxError as error:
        raise LskdError(f"{where}: line {error.lineno} is not valid Python ({error.msg})") from None
    found: list[str] = []
    while waiting:
        waiting += _inside(node := waiting.pop())
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(found)
