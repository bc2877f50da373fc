"""Which source files a piece of work depends on, found by reading, without importing anything.

A result is stale when code that made it has changed, and only then. The answer here is the set of the project's
own files that a module reaches through its import statements, and a digest of their content. Imports count
wherever they stand, also inside functions; the ``__init__`` of every package on the way counts, because
importing a submodule runs it. An import whose name is computed may mean any module of its package, unless its file
says which: ``__dynamic_imports__ = ("package.module",)``, empty for modules of other people.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lskd.errors import LskdError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lskd", "paper", "figures", "book")  # what is followed

# What a file says its computed imports can reach, or None; its import statements and calls that import.
Statements = tuple[tuple[str, ...] | None, tuple[ast.Import | ast.ImportFrom | ast.Call, ...]]


def closure(*modules: str, root: Path = ROOT) -> tuple[Path, ...]:
    """Source files statically reachable from ``modules``, sorted.

    Args:
        modules: dotted names such as ``"lskd.trainer"``. Their own packages and :data:`PACKAGES` are followed.
        root: the folder that holds the packages.

    Raises:
        LskdError: a module that does not exist under ``root``, or a file that is not valid Python.
    """
    packages = {*PACKAGES, *(name.partition(".")[0] for name in modules)}
    waiting: list[str] = []
    for name in modules:
        if _file(name, root) is None:
            raise LskdError(f"module {name}: no such source file under {root}")
        waiting += _lineage(name)
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = _file(name, root)
        if name in found or path is None:
            continue
        found[name] = path
        statements = _parse(path.read_text(encoding="utf-8"), str(path))
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for target in _imports(statements, package, root):
            if target.partition(".")[0] in packages:
                waiting += _lineage(target)
    return tuple(sorted(set(found.values())))


def digest(paths: Iterable[str | os.PathLike[str]], root: Path = ROOT) -> str:
    """SHA-256 over the names (relative to ``root``) and contents of files, whatever their order and dates."""
    total = hashlib.sha256()
    for path in sorted({Path(p).resolve() for p in paths}):
        name = path.relative_to(root.resolve()) if path.is_relative_to(root.resolve()) else Path(path.name)
        total.update(name.as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def notebook_modules(path: str | os.PathLike[str], root: Path = ROOT, packages: Iterable[str] = PACKAGES) -> list[str]:
    """Modules of ``packages`` that the code cells of a notebook import, sorted.

    Raises:
        LskdError: not a notebook, a cell that is not valid Python, or an import that does not exist.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        raise LskdError(f"{path}: not a notebook (expected JSON with a list of cells)") from None
    found: set[str] = set()
    for number, cell in enumerate(cells, start=1):
        if cell.get("cell_type") != "code":
            continue
        statements = _parse(_without_magics("".join(cell["source"])), f"{path}, cell {number}")
        for name in _imports(statements, "", root):
            if name.partition(".")[0] in packages:
                if _file(name, root) is None:
                    raise LskdError(f"{path}, cell {number}: imports {name}, which does not exist")
                found.add(name)
    return sorted(found)


def _file(name: str, root: Path) -> Path | None:
    stem = root.joinpath(*name.split("."))
    for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
        if path.is_file():
            return path
    return None


def _lineage(name: str) -> list[str]:
    """A module's name and those of the packages that hold it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _imports(statements: Statements, package: str, root: Path) -> set[str]:
    """Absolute names of the modules that a file of ``package`` imports by its ``statements``."""
    told, nodes = statements
    found: set[str] = set(told or ())
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            found.add(base)
            if any(alias.name == "*" for alias in node.names):
                found |= _submodules(base, root)  # __all__ may name submodules
            found |= {sub for alias in node.names if _file(sub := f"{base}.{alias.name}", root)}
        else:
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                name = argument.value
                found.add(f"{package}.{name.lstrip('.')}" if name.startswith(".") else name)
            elif told is None:
                found |= _submodules(package, root)  # chosen at run time: any sibling may be meant
    return {name for name in found if name}


@functools.lru_cache(maxsize=4096)
def _statements(source: str) -> Statements:
    """What ``source`` imports by; kept, because many questions are asked about the same few files."""
    tree = ast.parse(source)
    nodes = [node for node in _run(tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]
    return _told(tree), tuple(node for node in nodes if not isinstance(node, ast.Call) or _is_import_call(node))


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs: all but the statements that a type checker alone reads."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        checked = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        waiting += node.orelse if checked and isinstance(node, ast.If) else ast.iter_child_nodes(node)


def _told(tree: ast.AST) -> tuple[str, ...] | None:
    """What a file says its computed imports can reach, or None."""
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__dynamic_imports__" for t in node.targets):
            return tuple(ast.literal_eval(node.value))
    return None


def _base(node: ast.ImportFrom, package: str) -> str:
    """The module in ``from <module> import``, made absolute."""
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    return ".".join([*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])])


def _submodules(package: str, root: Path) -> set[str]:
    folder = root.joinpath(*package.split("."))
    if not package or not (folder / "__init__.py").is_file():
        return set()
    names = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__init__.py")}
    return {f"{package}.{name}" for name in names - {"__init__"}}


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("import_module", "__import__")


def _without_magics(source: str) -> str:
    """Cell text with IPython's ``%magic`` and ``!command`` lines made into ``pass``, so that it parses."""
    if source.lstrip().startswith("%%"):
        return ""
    lines = source.split("\n")
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + "pass" if line.lstrip().startswith(("%", "!")) else line
        for line in lines
    )


def _parse(source: str, where: str) -> Statements:
    try:
        return _statements(source)
    except SyntaxError as error:
        raise LskdError(f"{where}: line {error.lineno} is not valid Python ({error.msg})") from None
