"""Source closure: what a module reaches, on throw-away packages."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from figures.fingerprint import PACKAGES, ROOT, closure, digest, notebook_modules
from lskd.errors import LskdError

FILES = {
    "pkg/__init__.py": "",
    "pkg/a.py": "import numpy\nfrom pkg.sub import b\n",
    "pkg/alone.py": "import os\n",
    "pkg/late.py": "def f():\n    from . import alone\n    return alone\n",
    "pkg/lazy.py": "if TYPE_CHECKING:\n    from pkg import alone\nelse:\n    import pkg.cycle_one\n",
    "pkg/cycle_one.py": "from pkg import cycle_two\n",
    "pkg/cycle_two.py": "from pkg.cycle_one import something\n",
    "pkg/plain.py": "import pkg.sub.deep.c as c\n",
    "pkg/sub/__init__.py": "from .helper import h\n",
    "pkg/sub/b.py": "from ..alone import x\n",
    "pkg/sub/helper.py": "h = 1\n",
    "pkg/sub/deep/__init__.py": "",
    "pkg/sub/deep/c.py": "from ...late import f\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("pkg", "__init__"),
        ("pkg.alone", "__init__ alone"),
        ("pkg.a", "__init__ a alone sub/__init__ sub/b sub/helper"),
        ("pkg.late", "__init__ alone late"),
        ("pkg.lazy", "__init__ cycle_one cycle_two lazy"),
        ("pkg.plain", "__init__ alone late plain sub/__init__ sub/deep/__init__ sub/deep/c sub/helper"),
        ("pkg.alone pkg.cycle_one", "__init__ alone cycle_one cycle_two"),
    ],
)
def test_closure(root: Path, modules: str, expected: str) -> None:
    assert closure(*modules.split(), root=root) == tuple(root / "pkg" / f"{name}.py" for name in expected.split())


def test_training_does_not_depend_on_pages() -> None:
    paths = closure("lskd.trainer.run")
    reached = {path.name for path in paths}
    assert "own_code.py" in reached
    assert {path.parent.name for path in paths} == {"lskd", "data", "models", "trainer"}  # no figures
    assert not reached & {"cli.py", "fingerprint.py", "run_jobs.py", "build.py"}


def test_unknown_module_and_broken_file_are_named(root: Path) -> None:
    with pytest.raises(LskdError, match=r"pkg\.nothing: no such source file"):
        closure("pkg.nothing", root=root)
    (root / "pkg" / "alone.py").write_text("x = (\n")
    with pytest.raises(LskdError, match=r"alone\.py: line 1 is not valid Python"):
        closure("pkg.a", root=root)


def test_digest_follows_content_and_name_only(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = digest(closure("pkg.a", root=root), root)
    root = root.rename(tmp_path_factory.mktemp("else where") / "moved")
    paths, alone, copy = closure("pkg.a", root=root), root / "pkg" / "alone.py", root / "pkg" / "copy.py"
    assert digest(reversed(paths), root) == before
    alone.touch()
    assert digest(paths, root) == before
    alone.write_text("import os  # changed\n")
    assert digest(paths, root) != before
    copy.write_bytes(alone.read_bytes())
    assert digest([copy], root) != digest([alone], root)


def notebook(path: Path, *cells: str) -> Path:
    code = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["import pkg.alone"]}, *code]}))
    return path


def test_notebook_modules_and_the_cell_that_is_wrong(root: Path) -> None:
    path = notebook(
        root / "n.ipynb",
        "%matplotlib inline\nimport numpy as np\nfrom pkg import alone",
        "%%bash\nnot python at all (",
        "if True:\n    !ls\nfrom pkg.sub import b, deep\n",
    )
    assert notebook_modules(path, root) == ["pkg", "pkg.alone", "pkg.sub", "pkg.sub.b", "pkg.sub.deep"]
    with pytest.raises(LskdError, match=r"cell 3: line 1 is not valid Python"):
        notebook_modules(notebook(path, "x = 1", "x = ("), root)
    path.write_text("{}")
    with pytest.raises(LskdError, match="not a notebook"):
        notebook_modules(path, root)


def test_the_package_itself_is_read_quickly_and_not_imported() -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    modules = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    start = time.process_time()  # whatever else the machine does
    assert len(closure(*modules)) == len(modules)
    assert time.process_time() - start < 3
    code = "import sys, figures.fingerprint; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
