"""Figures from networks that were never trained, and the first one of the book; which sources a figure depends on."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from figures import (
    accuracies,
    data_samples,
    idea,
    learning_curves,
    logit_gap,
    logit_range,
    network_cost,
    scales,
    theme,
    tsne,
)
from figures import networks as inputs
from figures.fingerprint import PACKAGES, ROOT, closure, digest, notebook_modules
from figures.live import softmax
from figures.publish import Published, publish
from figures.published_logs import PAIRS
from figures.table import write_csv
from figures.theme import FONT, NARROW, WIDTH, figure, is_narrow, narrow, own_font
from lskd.data import load_dataset
from lskd.errors import LskdError
from lskd.files import read_json, sha256_file
from lskd.losses import kd_loss
from paper import embedding
from paper.text import csv_table
from paper.toy import TOY

Draw = Callable[[inputs.Networks, Path], Published]
DRAWINGS: dict[str, Draw] = {
    "bars": lambda networks, folder: logit_range.bars(networks, folder=folder),
    "spread": lambda networks, folder: logit_range.spread(networks, folder=folder),
    "mean_and_deviation": lambda networks, folder: logit_range.mean_and_deviation(networks, folder=folder),
    "heatmaps": lambda networks, folder: logit_gap.heatmaps(networks, folder=folder),
    "curves": lambda networks, folder: learning_curves.figure(
        networks.record, folder=folder, source=networks.files["kd"].parent / "record.json"
    ),
    "dots": lambda networks, folder: accuracies.dots([networks.record], folder=folder, files=networks.paths()),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_figures_bring_looks_data_origin_in_equal_bytes(networks: inputs.Networks, tmp_path: Path, name: str) -> None:
    if name == "heatmaps":  # a panel a network takes its time
        networks = replace(networks, packs={k: networks.packs[k] for k in ("teacher", "kd", "kd_ls")})
    drawn, again = (DRAWINGS[name](networks, tmp_path / place) for place in ("a", "b"))
    assert [p.read_bytes() for p in drawn.paths[:2]] == [p.read_bytes() for p in again.paths[:2]]
    wide, data, sidecar, slim = drawn.paths
    for picture in (wide, slim):
        content = picture.read_text()
        assert content.count("<svg") == 1
        colors = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", content.partition("<style>")[0]))
        assert theme.INK in colors
        assert not re.search(r'<path id="m[^>]*stroke: #', content)  # where no rule reaches it
        for color in colors - set(scales.GROUPS):  # each has a rule for dark pages
            assert f': {color}"]{{' in content
            assert theme.dark(color) in content
    assert len(data.read_text().splitlines()) > 2
    about = read_json(sidecar)
    assert about["files"] == {path.name: sha256_file(path) for path in (wide, slim, data)}
    assert wide.read_bytes() != slim.read_bytes()
    assert about["inputs"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", item["sha256"]) for item in about["inputs"])
    assert "synthetic" in about["caption"]
    assert len(about["alt"]) > 40
    assert "<" not in about["alt"]
    if name == "spread":
        for member, pack in networks.packs.items():
            assert f"{pack.logit_std.mean():.2f} for {networks.look(member).label}" in about["alt"]
    html = drawn.to_html()
    assert f'id="figure-{drawn.name}"' in html
    assert html.count("<img ") == 2
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+", "", html)


@pytest.mark.parametrize(
    ("alt", "message"),
    [(" ", "alt text and caption are both needed"), ("a", "#123456 is no colour of")],
)
def test_a_figure_without_words_or_with_a_colour_without_twin_is_refused(
    tmp_path: Path, alt: str, message: str
) -> None:
    def draw(fig: Any) -> None:
        fig.subplots().plot([0, 1], color="#123456")

    with pytest.raises(ValueError, match=message):
        publish(draw, "x", folder=tmp_path, alt=alt, caption="c", data=pd.DataFrame())


@pytest.mark.browser
def test_one_file_is_light_or_dark_as_the_page_asks(page: Any, tmp_path: Path) -> None:
    """Lines and cells of a scale alike, as a file and as a notebook embeds it."""

    def draw(fig: Any) -> None:
        left, right = fig.subplots(1, 2)
        left.bar([0], [1], width=1, color=theme.INK)
        right.imshow([[0.5]], cmap=scales.HEAT, vmin=0, vmax=1, interpolation="none", aspect="auto")
        for ax in (left, right):
            ax.axis("off")

    data = pd.DataFrame({"x": [1]})
    drawn = publish(draw, "both", height=1.0, folder=tmp_path, alt="a", caption="c", data=data)
    (tmp_path / "page.html").write_text(
        f'<body data-jp-theme-light="false"><img src="both.svg"><img src="both.svg#dark">{drawn.to_html()}</body>'
    )
    page.goto((tmp_path / "page.html").as_uri())
    middle = to_hex(scales.HEAT(0.5))
    wanted = {0: (theme.INK, middle), 1: (theme.dark(theme.INK), theme.dark(middle))}
    shown = page.locator("img:visible")
    assert shown.count() == 3  # of a notebook's two the dark one, here
    for number in range(3):
        picture = Image.open(io.BytesIO(shown.nth(number).screenshot())).convert("RGB")
        for color, share in zip(wanted[min(number, 1)], (0.25, 0.75), strict=True):
            found = picture.getpixel((int(share * picture.width), picture.height // 2))
            assert found == pytest.approx([255 * c for c in to_rgb(color)], abs=3)


def test_what_is_written_on_a_cell_is_legible_on_both_kinds_of_pages() -> None:
    def light(color: str) -> float:
        return float(np.dot([0.2126, 0.7152, 0.0722], [c**2.2 for c in to_rgb(color)])) + 0.05

    for scale in (scales.HEAT, scales.DIVERGING):
        for ground in map(to_hex, scale(np.linspace(0, 1, 25))):
            ink = theme.written_on(ground)
            for a, b in ((ink, ground), (theme.dark(ink), theme.dark(ground))):
                contrast = light(a) / light(b)
                assert max(contrast, 1 / contrast) > 4.1


def test_networks_of_another_teacher_are_refused_and_failures_left_out(run: tuple[Path, Path], tmp_path: Path) -> None:
    students = tmp_path / "students"
    shutil.copytree(run[1], students)
    record = read_json(students / "record.json")
    record["members"]["dkd"]["evidence"] = None
    (students / "record.json").write_text(json.dumps(record))
    assert "dkd" not in inputs.load(run[0], students).packs
    stopped = {**record, "members": {"kd": {**record["members"]["kd"], "epochs": [], "last": None}}}
    with pytest.raises(LskdError, match="every member stopped in its first epoch"):
        learning_curves.figure(stopped, folder=tmp_path, source=students / "record.json")
    record["teacher"]["digest"] = "weights of another"
    (students / "record.json").write_text(json.dumps(record))
    with pytest.raises(LskdError, match="were taught by a network with weights weights of"):
        inputs.load(run[0], students)
    with pytest.raises(LskdError, match="a teacher's folder holds exactly one network"):
        inputs.load(students, students)


def test_embeddings_are_repeatable_and_counted_in_the_original_space(networks: inputs.Networks, tmp_path: Path) -> None:
    packs = {k: networks.packs[k] for k in ("teacher", "kd")}
    first = embedding.embed_all(packs, perplexity=10, jobs=1)
    again = embedding.embed(packs["kd"], perplexity=10)
    np.testing.assert_array_equal(first["kd"].points, again.points)
    assert 0 <= first["kd"].neighbors <= 100
    drawn = tsne.panels(
        networks, {k: first.get(k, again) for k in networks.packs}, folder=tmp_path, perplexity=10, seed=0
    )
    assert drawn.paths[0].is_file()
    with pytest.raises(ValueError, match="below the 120 images"):
        embedding.embed(packs["kd"], perplexity=200)
    features = np.array([[0.0], [0.1], [0.25], [5.0], [5.1], [5.25]])  # neighbours by hand
    assert embedding.neighbor_accuracy(features, np.array([0, 0, 0, 1, 1, 1]), k=2) == 100
    assert embedding.neighbor_accuracy(features, np.array([0, 0, 1, 1, 1, 0]), k=1) == pytest.approx(100 * 4 / 6)


def test_data_and_networks_are_drawn_from_code(tmp_path: Path) -> None:
    dataset = load_dataset("digit_pairs", train_size=200, test_size=100)
    assert data_samples.classes(dataset, folder=tmp_path).paths[0].is_file()
    assert len(pd.read_csv(data_samples.views(dataset, folder=tmp_path).paths[1])) == 9
    assert dataset.digest in data_samples.facts(dataset)
    data = softmax.toy(tmp_path).files[1]
    assert len(data.read_text().splitlines()) == 1 + 3 * 4  # three networks, four classes


def test_networks_stand_with_what_they_cost_and_what_is_published_of_them(tmp_path: Path) -> None:
    table = network_cost.networks()
    texts = dict(network_cost.by_data(table))
    assert "| `resnet8x4` | 1,233,540 | 177.1 | 256 | 72.50 |" in texts["CIFAR-100"]
    assert texts["CIFAR-100"].startswith("32 × 32 pixels, 100 classes.\n\n")
    assert "| `resnet14` | 181,108 | 26.7 | 64 | – |" in texts["CIFAR-100"]  # no table has it
    assert "Their names begin with `imagenet/`." in texts["ImageNet"]
    assert "| `ResNet18` | 11,689,512 | 1,814.1 | 512 | 69.75 |" in texts["ImageNet"]
    assert sum(text.count("\n| `") for text in texts.values()) == len(table)
    drawn = network_cost.costs(table, tmp_path)
    data = pd.read_csv(drawn.paths[1]).set_index("name")
    assert data.accuracy["resnet32x4"] == 79.42
    assert data.multiply_adds["resnet20"] == table.set_index("name").multiply_adds["resnet20"]
    assert "wrn_28_4" not in data.index  # of Table 5, and in no list of networks
    assert len(PAIRS) == 14  # seven a table
    assert ("resnet56", "resnet20") in PAIRS
    assert "students of 14 pairs; every student costs less than its teacher" in drawn.alt
    teacher = table.assign(
        multiply_adds=[1 if n == "vgg13" else m for n, m in zip(table.name, table.multiply_adds, strict=True)]
    )
    assert "in 12 of them the student costs less" in network_cost.costs(teacher, tmp_path).alt


def test_letters_are_matplotlib_s_own_whatever_the_machine_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = font_manager.fontManager
    other = shutil.copy(font_manager.findfont(FONT), tmp_path / "DejaVuSans.ttf")
    foreign = [font_manager.FontEntry(fname=str(other), name=FONT, style="normal", weight=400)]
    monkeypatch.setattr(known, "ttflist", [*foreign, *(font for font in known.ttflist if font.name != FONT)])
    known._findfont_cached.cache_clear()
    assert font_manager.findfont(FONT) == str(other)
    own_font()
    for weight in ("normal", "bold"):
        found = font_manager.findfont(font_manager.FontProperties(family=FONT, weight=weight))
        assert Path(found).parent == Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def test_panels_stand_below_one_another_where_the_column_is_narrow() -> None:
    wide = figure(2.0)
    wide.subplots(2, 4)
    assert wide.get_size_inches().tolist() == [WIDTH, 2.0]
    with narrow():
        fig = figure(2.0)
        panels = fig.subplots(2, 4, sharey=True)
        single = figure(2.0).subplots()
        three = figure(2.0).subplots(1, 3, width_ratios=[3, 2, 1])
        fig.legend(handles=single.plot([0], [[1, 2, 3]], label=["a", "b", "c"]), ncols=5)
    assert not is_narrow()
    assert panels.shape == (2, 4)
    assert three.shape == (3,)
    assert single.figure.get_size_inches()[0] == NARROW
    assert fig.get_size_inches().tolist() == [NARROW, 4.0]
    spots = [[(ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start) for ax in row] for row in panels]
    assert spots == [[(0, 0), (0, 1), (2, 0), (2, 1)], [(1, 0), (1, 1), (3, 0), (3, 1)]]  # above stays above
    assert [ax.get_subplotspec().rowspan.start for ax in three] == [0, 1, 2]
    assert fig.legends[0]._ncols == 2


@pytest.mark.parametrize(("standardized", "preferred"), [(False, "s1"), (True, "s2")])
def test_the_loss_prefers_the_wrong_student_until_rows_are_standardised(standardized: bool, preferred: str) -> None:
    import torch

    fig = figure(3, 6)
    ax = fig.subplots()
    idea.panel(ax, standardized=standardized)
    shown = {text.get_position()[1]: text.get_text() for text in ax.texts if text.get_text().startswith("loss")}
    row = {name: torch.tensor([values], dtype=torch.float64) for name, values in TOY.items()}
    for name in ("s1", "s2"):
        value = kd_loss(row[name], row["teacher"], temperature=1.0, standardize=standardized).item()
        expected = f"loss {abs(value):.2f}" + ("\npreferred" if name == preferred else "")
        assert shown[idea.HEIGHTS[name]] == expected
    said = [text.get_text() for text in ax.texts if text.get_text().startswith("“")]
    assert said == ["“bird”", "“dog”"]


def test_a_right_student_lies_below_the_teacher_once_rows_are_standardised(tmp_path: Path) -> None:
    data = pd.read_csv(idea.picture(tmp_path).paths[1])
    wide = data.pivot(index=["values", "class"], columns="network", values="value")
    z = wide.loc["Z-score"]
    np.testing.assert_allclose(z["student 2"], z["teacher"], atol=1e-5)
    assert abs(z["student 1"] - z["teacher"]).max() > 0.1
    np.testing.assert_allclose(wide.loc["logit"]["student 2"] * 10, wide.loc["logit"]["teacher"])


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
    found = [closure(*names.split(), root=root, known=known) for known in [{}] for names in ("pkg.a pkg.lazy", modules)]
    assert found[1] == tuple(root / "pkg" / f"{name}.py" for name in expected.split())


def test_training_does_not_depend_on_pages() -> None:
    paths = closure("lskd.trainer.run")
    reached = {path.name for path in paths}
    assert "own_code.py" in reached
    assert {path.parent.name for path in paths} == {"lskd", "data", "models", "trainer"}  # no figures
    assert "cli.py" not in reached


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


def test_every_csv_ends_its_lines_in_one_way(tmp_path: Path) -> None:
    table = write_csv(pd.DataFrame([["a, b", "1"], ["c", "2"]], columns=["x", "y"]), tmp_path / "a.csv")
    assert (
        table.read_bytes() == b'x,y\n"a, b",1\nc,2\n' == csv_table([("x", "y"), ("a, b", 1), ("c", 2)]).encode() + b"\n"
    )
    files = [
        path
        for room in (*PACKAGES, "notebooks")
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".ipynb")
    ]
    writers = [path.name for path in files if re.search(r"csv\.writer|\.to_csv", path.read_text(encoding="utf-8"))]
    assert sorted(writers) == [
        "publish.py",
        "table.py",
        "text.py",
    ]  # none beside these, which this and other tests read
    assert b"\r" not in idea.picture(tmp_path).paths[1].read_bytes()
