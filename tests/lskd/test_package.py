"""What an engineer installs: a wheel that works where there is PyTorch and nothing else."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import lskd
from figures.fingerprint import ROOT
from lskd import cli, records


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=own | variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        message = "building a wheel needs hatchling; install it: pip install '.[dev]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("lskd-*.whl")
    return path


def test_wheel_holds_the_package_its_types_and_its_recipes(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "lskd").rglob("*.py")}
    assert modules <= names
    assert "lskd/py.typed" in names
    recipes = {f"lskd/_recipes/{path.relative_to(ROOT / 'recipes')}" for path in (ROOT / "recipes").rglob("*.toml")}
    assert recipes <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"lskd"}
    required = {line.split()[1].split(">")[0] for line in text.splitlines() if re.match(r"Requires-Dist: [^;]*$", line)}
    assert required == {"torch", "numpy", "safetensors", "tqdm", "msgspec", "filelock"}


def test_losses_and_networks_work_with_torch_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")  # without the rest of the checkout
    code = """
import sys, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
absent = "numpy", "msgspec", "pandas", "matplotlib", "torchvision", "safetensors", "tqdm", "yaml", "scipy", "PIL"
sys.modules |= dict.fromkeys(absent)  # importing one is a ModuleNotFoundError
import torch
import lskd, lskd.losses, lskd.objectives
from lskd.models import create_model, list_models, load_checkpoint

torch.manual_seed(0)
x, y = torch.randn(2, 3, 32, 32), torch.tensor([3, 7])
teacher, student = create_model("resnet32x4").eval(), create_model("resnet8x4").train()
with torch.no_grad():
    v = teacher(x)
z = student(x)
settings = {"temperature": 2.0, "kd_weight": 9.0, "standardize": True}
for method, own in {"kd": settings, "dkd": settings, "mlkd": settings, "ctkd": {"kd_weight": 9.0}}.items():
    logits = lskd.objectives.Logits(z, y, v, z, v)
    objective = lskd.objectives.create_objective(method, **own)
    objective.start_epoch(1)
    loss = sum(objective(logits).values())
    assert torch.isfinite(loss)
    (gradient,) = torch.autograd.grad(loss, student.fc.weight, retain_graph=True)
    assert gradient.abs().sum() > 0
for name in list_models():
    if not name.startswith("imagenet/ResNet"):
        with torch.device("meta"):
            create_model(name)
torch.save({"model": student.state_dict()}, "published.pth")
fresh = create_model("resnet8x4")
load_checkpoint(fresh, "published.pth")
assert torch.equal(fresh.fc.weight, student.fc.weight)
print(lskd.__file__)
"""
    place = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "installed")).strip()
    assert place.startswith(str(tmp_path / "installed")), f"imported from {place}, not from the wheel"


def test_an_installed_package_has_no_commit_of_a_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a")
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "theirs")):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(records, "__file__", str(tmp_path / "lskd" / "records.py"))
    (tmp_path / "lskd").mkdir()
    assert records.commit()
    (tmp_path / "lskd" / "_recipes").mkdir()
    assert records.commit() is None


def test_a_command_that_is_not_installed_is_told_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = importlib.metadata.EntryPoint("paper", "no_paper.commands:add", cli.PLUGINS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [absent])
    for words, told in ((["plan"], True), (["train", "--recipe"], False)):
        with pytest.raises(SystemExit, match="2"):
            cli.main(words)
        assert (cli.MISSING in capsys.readouterr().err) is told


def test_import_lskd_loads_nothing_and_losses_and_networks_nothing_but_torch() -> None:
    """Module lists, not milliseconds: what an import costs is what it loads."""
    code = (
        "import sys, lskd; print('torch' in sys.modules); import torch; before = set(sys.modules); "
        "import lskd.losses, lskd.objectives, lskd.models; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(*sorted(new))"
    )
    assert run(sys.executable, "-c", code, cwd=ROOT).split() == ["False", "lskd"]


def test_what_lskd_offers_by_name_is_there() -> None:
    assert dir(lskd) == sorted(lskd.__all__)
    for name in lskd.__all__:
        assert getattr(lskd, name) is not None
    assert not hasattr(lskd, "no_such_name")


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_what_is_run_beside_the_packages_imports_what_is_declared(folder: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [*project["dependencies"], *(pin for extra in project["optional-dependencies"].values() for pin in extra)]
    declared = {re.split("[<=>]", pin)[0].lower() for pin in pins}
    installed = importlib.metadata.packages_distributions()
    files = list((ROOT / folder).glob("*.py"))
    own = {"lskd", "paper", "figures", "book", *(file.stem for file in files), *sys.stdlib_module_names}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in {name.partition(".")[0] for name in named} - own:
                brought = {name.lower() for name in installed.get(module, [])}
                assert brought & declared, f"{file.name} imports {module}, which pyproject.toml does not declare"
