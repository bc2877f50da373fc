"""The protocol's page: whatever cites a section of it finds that section there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from book.pages import Pages, protocol_links, written
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


def linked(html: Path, body: str) -> str:
    """The text of a page beside the protocol's."""
    (html / "notebooks").mkdir()
    sections = "".join(f'<h3 id="protocol-{number}">x</h3>' for number in ("1-4", "5-3", "10-2"))
    (html / "notebooks" / "protocol.html").write_text(sections)
    (html / "api.html").write_text(body, encoding="utf-8")
    pages = Pages(html, [])
    for _ in range(2):  # twice is once
        protocol_links.link_protocol(pages)
    return written(pages.trees["api"])


def test_words_become_links(tmp_path: Path) -> None:
    before = "<p>As (protocol 1.4) &amp; (protocol sections 10.2 and 5.3.2) say; <code>protocol 9.9</code>.</p>"
    after = before
    for anchor, number in (("1-4", "1.4"), ("10-2", "10.2"), ("5-3", "5.3.2")):
        link = f'<a class="reference internal" href="notebooks/protocol.html#protocol-{anchor}">{number}</a>'
        after = after.replace(number, link)
    assert linked(tmp_path, before) == after


def test_a_section_that_is_not_there_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(LskdError, match=r"api: the protocol has no section 4.7; see notebooks/protocol.ipynb"):
        linked(tmp_path, "<p>protocol section 4.7</p>")
