"""The protocol's page: whatever cites a section of it finds that section there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from figures import recipe_tables
from figures.fingerprint import PACKAGES, ROOT
from lskd.errors import LskdError
from lskd.recipes import doubts

CITED = re.compile(r"\b[Pp]rotocol (?:sections? )?(\d+(?:\.\d+)?(?:(?:, | and | or )\d+(?:\.\d+)?)*)")


@pytest.fixture(scope="module")
def sections() -> set[str]:
    notebook = json.loads((ROOT / "notebooks" / "protocol.ipynb").read_text(encoding="utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    return {found.replace("-", ".") for found in re.findall(r"^\(protocol-([\d-]+)\)=$", text, flags=re.MULTILINE)}


def test_every_section_that_is_cited_is_there(sections: set[str]) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    files = [name for name in listed if name.partition("/")[0] in (*PACKAGES, "recipes", "notebooks", "workflow")]
    cited = {
        (name, number)
        for name in files
        if name.endswith((".py", ".toml", ".ipynb", ".md", ".yaml")) and (ROOT / name).is_file()
        for found in CITED.findall(re.sub(r"\s+", " ", (ROOT / name).read_text(encoding="utf-8")))
        for number in re.findall(r"\d+(?:\.\d+)?", found)
    }
    assert len(cited) > 50
    assert sorted((name, number) for name, number in cited if number not in sections) == []


def test_every_doubt_stands_in_a_section(sections: set[str], tmp_path: Path) -> None:
    uncited = [name for name, text in doubts().items() if not set(recipe_tables.cited(text)) & sections]
    assert uncited == []
    source = (ROOT / "notebooks" / "protocol.ipynb").read_text(encoding="utf-8")
    shown = set(re.findall(r"doubts_in\(\\\"([\d.]+)\\\"\)", source))
    assert shown == {number for text in doubts().values() for number in recipe_tables.cited(text)}
    table = pd.read_csv(recipe_tables.write_doubts(tmp_path), dtype=str).set_index("name")
    assert table.sections["ctkd-temperature-range"] == "1.4 5.3"
    assert not table.text.str.contains("protocol section").any()
    lines = recipe_tables.doubts_in("5.3").split("\n")
    assert len(lines) == 3
    assert all(line.startswith("- ") and line.endswith(".") for line in lines)
    with pytest.raises(LskdError, match=r"nothing is doubtful in protocol section '5\.9'; there are doubts in 1\.3"):
        recipe_tables.doubts_in("5.9")
