"""Strict, atomic execution of a parameterised notebook.

Papermill executes, but its word is not taken for the result: unknown parameters and text for a number are errors
before a kernel starts, the executed notebook appears under its name only when it is whole, and success is read
from the report that the notebook's last cell writes, because a killed kernel leaves a notebook that looks done.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

from book import notebook_parameters as typed
from figures.fingerprint import ROOT, notebook_cells
from lskd.errors import LskdError, hint
from lskd.files import atomic_write, read_json, short, visible, write_json

REPORT = "LSKD_NOTEBOOK_REPORT"
KERNEL = "lskd-running-interpreter"


@dataclass(frozen=True)
class Result:
    """An executed notebook, the outputs that it reported (relative to the project), wall seconds."""

    notebook: Path
    outputs: list[str]
    seconds: float


def at_root(scope: dict[str, Any]) -> None:
    """First line of every notebook: work in the project's folder, and check the parameters that were given.

    JupyterLab, VS Code and Binder start a notebook in its own folder, ``notebooks/``; :func:`run` does not, and checks
    parameters before it starts a kernel. Plain papermill does neither.

    Args:
        scope: the notebook's ``globals()``; parameters in it become what their declared types say.

    Raises:
        LskdError: a parameter of another type, or one that papermill was given and the notebook does not have.
    """
    kinds = scope.get("__annotations__", {})
    written = {name: k if isinstance(k, str) else inspect.formatannotation(k) for name, k in kinds.items()}
    parameters = [typed.Parameter(name, kind, None) for name, kind in written.items()]
    given = [cell for cell in scope.get("In", ()) if cell.startswith("# Parameters\n")]  # the cell of papermill
    names = re.findall(r"^(\w+) = ", "".join(given), flags=re.MULTILINE)
    scope.update(typed.bind(parameters, {name: scope[name] for name in [*written, *names]}, "notebook"))
    here = Path.cwd()
    if here.name == "notebooks" and (here.parent / "pyproject.toml").is_file():
        os.chdir(here.parent)


def report(outputs: Iterable[str | os.PathLike[str]] = (), **facts: Any) -> str:
    """Last line of every notebook: declare its output files and what it found.

    Under :func:`run` this writes the record by which success is judged; by hand it only checks.

    Returns:
        One line for the reader of the notebook.

    Raises:
        FileNotFoundError: an output does not exist.
    """
    paths = [os.fspath(path) for path in outputs]
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise FileNotFoundError(f"declared output does not exist: {', '.join(missing)} (in {Path.cwd()})")
    if target := os.environ.get(REPORT):
        write_json(target, paths)
    parts = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items()]
    return "; ".join([*parts, f"wrote {', '.join(paths)}" if paths else "no output files"])


def find(name: str | os.PathLike[str]) -> Path:
    """The file of a notebook given by path or by its name in ``notebooks/``.

    Raises:
        LskdError: there is no such notebook; names the nearest.
    """
    text = os.fspath(name)
    if text.endswith(".ipynb"):
        if Path(text).is_file():
            return Path(text).resolve()
        raise LskdError(f"notebook {text}: no such file")
    known = by_name()
    if text not in known:
        raise LskdError(f"unknown notebook {text!r}{hint(text, sorted(known))}")
    return known[text]


def by_name() -> dict[str, Path]:
    """The notebooks of the project and of ``notebooks/`` here, which come first."""
    folders = (ROOT / "notebooks", Path.cwd() / "notebooks")
    return {path.stem: path.resolve() for folder in folders for path in visible(folder, "*.ipynb")}


def declared(path: Path) -> list[typed.Parameter]:
    """The parameters of a notebook; see :func:`book.notebook_parameters.read` for what is an error."""
    return typed.read(notebook_cells(path), path.name)


def run(
    notebook: str | os.PathLike[str],
    parameters: Mapping[str, object] | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Result:
    """Execute a notebook with the running interpreter, in the project's folder: the one above ``notebooks/``.

    Args:
        notebook: a name in ``notebooks/`` or a path.
        parameters: values by name; text is converted to the declared type.
        output: where the executed notebook goes; ``build/notebooks/NAME.ipynb`` of the project when None.

    Raises:
        LskdError: wrong parameters, a failing cell, a kernel that died, or a notebook that ended without its report.
            An earlier ``output`` is then untouched, and what was executed lies beside it as ``NAME.failed.ipynb``.
    """
    source = find(notebook)
    root = source.parent.parent if source.parent.name == "notebooks" else source.parent
    values = typed.bind(declared(source), parameters or {}, source.name)
    final = Path(output).absolute() if output else root / "build" / "notebooks" / source.name
    if final.is_dir():
        raise LskdError(f"{final}: a folder; give the name of the executed notebook's file")
    final.parent.mkdir(parents=True, exist_ok=True)  # or else fail now
    failed = final.with_suffix(".failed.ipynb")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lskd-notebook-", ignore_cleanup_errors=True) as folder:
        private = Path(folder)
        executed, record = private / "executed.ipynb", private / "report.json"
        try:
            with mock.patch.dict(os.environ, _environment(private, root, record)):
                _execute(source, executed, values, root)
            if not record.is_file():
                told = "ended without its report; its last cell must call book.notebook.report(...)"
                raise LskdError(f"{source.name}: {told}")
            outputs = read_json(record)
        except LskdError as error:
            if executed.exists():
                atomic_write(failed, executed.read_bytes())
                raise LskdError(f"{error}\nWhat was executed is in {short(failed)}") from None
            raise
        content = clean(json.loads(executed.read_text(encoding="utf-8")), source, final, root)
    write_json(final, content)
    failed.unlink(missing_ok=True)
    return Result(final, outputs, time.monotonic() - start)


def clean(content: dict[str, Any], source: Path, final: Path, root: Path) -> dict[str, Any]:
    """An executed notebook without what is of this machine and moment, so that equal runs give equal files.

    Timings and absolute paths go, progress bars (lines redrawn by a carriage return) go, and pieces of one
    stream become one output.
    """
    metadata = content["metadata"]
    found = metadata.pop("papermill", {})
    metadata["papermill"] = {
        "input_path": _relative(source, root),
        "output_path": _relative(final, root),
        "parameters": found.get("parameters", {}),
    }
    for cell in content["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"] = "injected-parameters"  # papermill draws a new one every time
        if cell["cell_type"] == "code":
            cell["outputs"] = _merged(cell["outputs"], f"{root}{os.sep}")
    return content


def _merged(outputs: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] != "stream":
            merged.append(output)
            continue
        text = "".join(output["text"])
        if merged and merged[-1].get("name") == output["name"]:
            merged[-1]["text"] += text
        else:
            merged.append({**output, "text": text})
    for output in merged:
        if output["output_type"] == "stream":
            rows = output["text"].replace("\r\n", "\n").split("\n")
            output["text"] = "\n".join(row for row in rows if "\r" not in row).replace(prefix, "")
    return [output for output in merged if output["output_type"] != "stream" or output["text"].strip()]


class Echo:
    """A notebook's output on a terminal: whole lines at once, progress bars at a bearable rate.

    A line that is redrawn (carriage return) is shown five times a second on a terminal, and as a line of its own
    every ten seconds in a log.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.line = ""
        self.last = float("-inf")  # when a redrawn line was shown

    def write(self, text: str) -> int:
        *whole, self.line = re.split(r"(?<=\n)|(?<=\r)(?!\n)", self.line + text)
        for line in whole:
            self._show(line)
        return len(text)

    def flush(self) -> None:
        """Part of the stream's interface; lines are flushed as they are shown."""

    def close(self) -> None:
        """Show what has no end of line yet."""
        self.write("\n")

    def _show(self, line: str) -> None:
        redrawn, now = line.endswith("\r"), time.monotonic()
        if not line.strip() or (redrawn and now - self.last < (0.2 if self.live else 10)):
            return
        if redrawn:
            self.last = now
        start, end = ("\r\x1b[K", "" if redrawn else "\n") if self.live else ("", "\n")
        self.stream.write(start + line.rstrip("\r\n") + end)
        self.stream.flush()


def _execute(source: Path, executed: Path, values: dict[str, Any], root: Path, attempts: int = 3) -> None:
    """Let papermill execute ``source`` into ``executed``, its output on standard error; failures become an LskdError.

    A kernel that died before its first cell is started again.
    """
    # jsonschema would take a second to build a grammar of addresses, for a check that no notebook asks for.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import nbformat
    from papermill.exceptions import PapermillException, PapermillExecutionError
    from papermill.execute import execute_notebook
    from traitlets.config import Config

    name = source.name
    streams, killed = (Echo(sys.stderr), Echo(sys.stderr)), _killed_for_memory()
    try:
        execute_notebook(
            nbformat.read(source, as_version=4),
            os.fspath(executed).replace("{", "{{").replace("}", "}}"),  # papermill formats the path
            parameters=values,
            kernel_name=KERNEL,
            language="python",
            progress_bar=False,
            cwd=root,
            stdout_file=streams[0],
            stderr_file=streams[1],
            autosave_cell_every=0,
            record_timing=False,
            # Other users of the machine cannot read along.
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        )
    except PapermillExecutionError as error:
        where = f"{name}: cell [{error.exec_count}] failed: {error.ename}: {error.evalue}"
        trace = "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", line) for line in error.traceback)
        shown = trace or error.source
        raise LskdError("\n".join([where, *(f"  {line}" for line in shown.splitlines()[-40:])])) from None
    except (PapermillException, RuntimeError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "kernel died" in text.lower():
            if attempts > 1 and not _last_started(executed):  # another kernel took its ports
                return _execute(source, executed, values, root, attempts - 1)
            short_of = _killed_for_memory() > killed
            text += "; the system ended a process meanwhile because memory ran out" if short_of else ""
        raise LskdError(f"{name}: execution stopped{_last_started(executed)}: {text}") from None
    finally:
        for stream in streams:
            stream.close()


def _killed_for_memory() -> int:
    """How many processes this system has ended for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^oom_kill (\d+)", Path("/proc/vmstat").read_text(), flags=re.MULTILINE):
            return int(found[1])
    return 0


def _last_started(executed: Path) -> str:
    """In which cell execution was, from the partly executed notebook, in words."""
    if not executed.is_file():
        return ""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    started = [c for c in cells if c["cell_type"] == "code" and c["metadata"].get("papermill", {}).get("start_time")]
    return f" in the cell that begins `{''.join(started[-1]['source']).splitlines()[0]}`" if started else ""


def _environment(private: Path, root: Path, record: Path) -> dict[str, str]:
    """Of the kernel: this interpreter, these sources, nothing read from or written to the home."""
    data, config, runtime, ipython = (os.fspath(private / name) for name in ("data", "config", "runtime", "ipython"))
    spec = {
        # It is interrupted before it is told to end, which it would log as an error.
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"],
        "display_name": "Python 3",
        "language": "python",
        "metadata": {"supported_encryption": ["curve"]},
    }
    write_json(Path(data) / "kernels" / KERNEL / "kernel.json", spec)
    return {
        REPORT: os.fspath(record),
        **{"JUPYTER_PATH": data, "JUPYTER_DATA_DIR": data, "JUPYTER_CONFIG_DIR": config},
        **{"JUPYTER_RUNTIME_DIR": runtime, "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": ipython},
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or os.fspath(root / "build" / ".cache" / "matplotlib"),
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED") or "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [os.fspath(ROOT), os.environ.get("PYTHONPATH")])),
    }


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
