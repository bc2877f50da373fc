"""What the project says: no typed result, terms in order, commands that run, paths that exist."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from book import readme
from book.build import chapters
from figures import recipe_tables, temperature_and_weight
from figures.fingerprint import PACKAGES, ROOT
from lskd import cli
from lskd.errors import LskdError
from lskd.files import read_json, write_json
from lskd.losses import kd_loss
from lskd.recipes import doubts
from lskd.records import identity
from paper import published, questions, store

GLOSSARY = (ROOT / "book" / "chapters" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^(?! |```|#)(\S.*)$", GLOSSARY.partition("{glossary}\n")[2], flags=re.MULTILINE)


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


NOT_RESULTS = {  # a place: {what looks like a result there: why it may be written}
    "book/chapters/intro.md": {"five minutes": "how long a page takes to read"},
    "notebooks/toy.ipynb": {"five minutes": "how long a page takes to read"},
    "notebooks/audit.ipynb": {"half a percent": "a formula: the root of 100/99"},
    "notebooks/logit_statistics.ipynb": {
        "64 images": "the paper's batch, a setting",
        "0.995": "a formula: the root of 99/100, printed in the paper's legends",
    },
    "notebooks/losses.ipynb": {"0.9": "a setting of the literature's KD"},
    "notebooks/protocol.ipynb": {
        "2403.01427": "the paper's number at arXiv",
        "64 images": "the paper's batch, a setting",
    },
    "book/exercises/toy.toml": {"five minutes": "a page's title"},
    "paper/benchmarks.py": {"1 %": "what a share is called that would be rounded to zero"},
    "figures/paper_values.py": {"n = 10,000": "the test images of CIFAR-100, a published value with its source"},
    "figures/published_logs.py": {"± 2": "the half width of a band, chosen"},
    "lskd/rows.py": {"±0.7071": "a formula: one over the root of two"},
}


def test_no_result_is_typed_into_a_page() -> None:
    """Whatever looks like a result comes from a record, a measurement or a count, or has a reason in the list above."""
    found = [(place, text) for place, words in texts() for text in looks_like(words)]
    assert [(place, text) for place, text in found if text not in NOT_RESULTS.get(place, {})] == []
    unused = [(place, text) for place, texts in NOT_RESULTS.items() for text in texts if (place, text) not in found]
    assert unused == [], "these are written no more; take them off the list"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("KD reaches 71.4 % here, 2 points more, in 12 minutes.", ["71.4 %", "2 points", "12 minutes"]),
        ("A loss of 0.532 after 57 released runs and 1,200 images.", ["0.532", "57 released runs", "1,200 images"]),
        ("It is half a point higher, two thirds of it size.", ["half a point", "two thirds"]),
        ("Differences of a point; 88.1 ± 0.4 (n = 5); 3 times.", ["of a point", "88.1", "± 0.4", "n = 5", "3 times"]),
        ("Temperature 4 and weight 0.9, at T = 2.5, a rate of 0.05: settings.", []),
        ("A 95 % t-interval; Table 4, Fig. 3, epoch 150, resnet8x4 and WRN-40-2 with n = 1 seed.", []),
        ("A share of 95 % of it is size.", ["95 %"]),
        ("of CIFAR-100 logs, at lskd 0.1.0.dev1", []),
    ],
)
def test_what_looks_like_a_result(text: str, expected: list[str]) -> None:
    assert looks_like(text) == expected


def test_terms_are_in_alphabetical_order_and_once() -> None:
    assert len(TERMS) >= 20
    assert sorted(TERMS, key=str.lower) == TERMS
    assert len(set(map(str.lower, TERMS))) == len(TERMS)


PAGES = chapters(ROOT / "book" / "chapters")[1:]
LISTS = {"api", "glossary", "bibliography", "changelog"}  # looked up, not read


def page_text(page: str) -> str:
    if not page.startswith("notebooks/"):
        return (ROOT / "book" / "chapters" / f"{page}.md").read_text(encoding="utf-8")
    name = "train_cohort" if page.startswith("notebooks/train_") else page.removeprefix("notebooks/")
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("page", [page for page in PAGES if page not in LISTS])
def test_a_page_begins_with_what_one_will_know_at_its_end(page: str) -> None:
    assert re.match(r"# .+\n\n\*At the end of this page you (know|have) ", page_text(page))


def test_the_answer_is_the_first_chapter_and_there_are_few() -> None:
    toc = yaml.safe_load((ROOT / "book" / "chapters" / "_toc.yml").read_text(encoding="utf-8"))
    numbered = [page["file"] for part in toc["parts"] if part.get("numbered") for page in part["chapters"]]
    assert numbered[0] == "notebooks/does_it_help"
    assert len(numbered) <= 14
    front = (ROOT / "book" / "chapters" / "intro.md").read_text(encoding="utf-8")
    route = front.partition("## An hour with this book")[2].partition("##")[0]
    assert set(re.findall(r"\{doc\}`([\w/]+)`", route)) <= set(numbered)


def test_every_command_that_a_page_prints_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed as the command line parses it; words in capitals stand for something of the reader's. What reads committed
    records alone is run."""
    monkeypatch.chdir(ROOT)
    printed = [
        (page, line)
        for page in ("../../README", *PAGES)
        for kind, block in re.findall(r"^```(.*)\n((?s:.*?))^```", page_text(page), re.MULTILINE)
        if kind in ("", "shell", "bash", "{code-block} bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("lskd ")
    ]
    assert len(printed) > 60
    wrong = []
    for page, line in printed:
        words = shlex.split(line, comments=True)[1:]
        try:
            with contextlib.redirect_stderr(io.StringIO()) as said:
                cli._parser(()).parse_args(words)
                if words[:2] in (["results", "show"], ["results", "compare"]) and cli.main(words):
                    raise SystemExit
        except SystemExit:
            wrong.append((page, line, said.getvalue().splitlines()[-1]))
    assert wrong == []


def test_snakemake_takes_the_commands_that_are_printed() -> None:
    """Its `--resources` and `--config` take every word that follows, so that a target has to come before them."""
    from snakemake.cli import parse_args

    lines = [line for line in page_text("cluster").splitlines() if line.startswith("snakemake ")]
    assert lines
    for line in lines:
        words = shlex.split(line)[1:]
        profile = words.index("--profile") if "--profile" in words else None
        words = words if profile is None else words[:profile] + words[profile + 2 :]
        _, given = parse_args(words)
        assert list(given.targets) == ["tables"], line


def test_ls_is_less_delicate_upwards_and_more_downwards() -> None:
    """What the chapter on losses says of the weight, from the committed sweep and the paper's Table 4."""
    (sweep,) = store.aggregate(ROOT / "results" / "digit_pairs" / "wrn_16_2-resnet8-surface").values()
    at = temperature_and_weight.cells(sweep).set_index(["temperature", "weight"])
    down = at.xs(9.0, level="weight") - at.xs(1.0, level="weight")
    assert (down["with"] > down["without"] + 1).all()
    table = published.find(source="paper Table 4")
    up = {ls: [n.value for n in table if n.standardize == ls and (n.kd_weight or 0) >= 9] for ls in (False, True)}
    assert {len(found) for found in up.values()} == {8}
    assert max(up[True]) - min(up[True]) < 0.5 < 10 < max(up[False]) - min(up[False])


CITED = re.compile(r"\b[Pp]rotocol (?:sections? )?(\d+(?:\.\d+)?(?:(?:, | and | or )\d+(?:\.\d+)?)*)")


@pytest.fixture(scope="module")
def sections() -> set[str]:
    notebook = json.loads((ROOT / "notebooks" / "protocol.ipynb").read_text(encoding="utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    return {found.replace("-", ".") for found in re.findall(r"^\(protocol-([\d-]+)\)=$", text, flags=re.MULTILINE)}


def test_every_section_that_is_cited_is_there(sections: set[str]) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = (*PACKAGES, "recipes", "notebooks", "workflow")
    files = [name for name in listed.splitlines() if name.partition("/")[0] in folders]
    cited = {
        (name, number)
        for name in files
        if name.endswith((".py", ".toml", ".ipynb", ".md", ".yaml")) and (ROOT / name).is_file()
        for found in CITED.findall(re.sub(r"\s+", " ", (ROOT / name).read_text(encoding="utf-8")))
        for number in re.findall(r"\d+(?:\.\d+)?", found)
    }
    assert len(cited) > 50
    assert sorted((name, number) for name, number in cited if number not in sections) == []


def test_every_doubt_stands_in_a_section(sections: set[str]) -> None:
    cited = {number for doubt in doubts().values() for number in doubt.sections}
    assert all(doubt.sections for doubt in doubts().values())
    assert cited <= sections
    source = (ROOT / "notebooks" / "protocol.ipynb").read_text(encoding="utf-8")
    shown = set(re.findall(r"doubts_in\(\\\"([\d.]+)\\\"\)", source))
    assert shown == cited
    table = recipe_tables.doubts_frame().set_index("name")
    assert table.sections["ctkd-temperature-range"] == "1.4 5.3"
    assert not table.text.str.contains("protocol section").any()
    lines = recipe_tables.doubts_in("5.3").split("\n")
    assert len(lines) == 3
    assert all(line.startswith("- ") and line.endswith(".") for line in lines)
    with pytest.raises(LskdError, match=r"nothing is doubtful in protocol section '5\.9'; there are doubts in 1\.3"):
        recipe_tables.doubts_in("5.9")


README, CONTRIBUTING, CHANGELOG = (
    (ROOT / f"{name}.md").read_text(encoding="utf-8") for name in ("README", "CONTRIBUTING", "CHANGELOG")
)


def test_runs_at_other_settings_beside_the_committed_ones_change_nothing(tmp_path: Path) -> None:
    """What `lskd results add` takes of a playground or of a shorter training lies in the same folder."""
    for name in ("results", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    folders = (tmp_path / f"{readme.RECORDS}{end}" for end in ("-surface", ""))
    sweep, usual = (read_json(next(folder.glob("seed-0*.json"))) for folder in folders)
    for number, (record, changes) in enumerate(((sweep, {}), (usual, {"epochs": 2}), (usual, {"learning_rate": 0.2}))):
        added = {**record, "config": record["config"] | changes}
        (tmp_path / f"run-{number}").mkdir()
        write_json(tmp_path / f"run-{number}" / "record.json", added | {"identity": identity(added)})
        path, new = store.add(tmp_path / f"run-{number}", tmp_path / "results")
        assert new
        assert path.parent == tmp_path / readme.RECORDS
    assert readme.blocks(tmp_path) == readme.blocks(ROOT)
    assert questions.seed_precision(tmp_path / readme.RECORDS) == questions.seed_precision(ROOT / readme.RECORDS)


def test_the_readme_has_markers_and_seeds_enough_for_an_interval() -> None:
    parts = readme.blocks(ROOT)  # `lskd verify` holds the README to them, after new records: lskd book readme
    assert set(parts) == {"results", "cifar100", "cost"}
    assert "±" in parts["results"]
    assert len(list((ROOT / readme.RECORDS).glob("*.json"))) >= 3
    with pytest.raises(LskdError, match="expected one pair of markers <!-- results -->"):
        readme.fill("# Nothing here", {"results": "x"})


def test_the_ten_lines_work() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    loss, student, teacher = (names[k] for k in ("distillation", "student_logits", "teacher_logits"))
    torch.testing.assert_close(loss, kd_loss(student, teacher, temperature=2.0, standardize=True))
    assert student.grad is not None
    assert bool(student.grad.abs().sum() > 0)
