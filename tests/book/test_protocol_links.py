"""The protocol's page: whatever cites a section of it finds that section there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from book.pages import Pages, protocol_links
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


def linked(html: Path) -> None:
    built = Pages(html, [])
    protocol_links.link_protocol(built)
    built.write()


def write(html: Path, body: str) -> Path:
    (html / "notebooks").mkdir(exist_ok=True)
    (html / "notebooks" / "protocol.html").write_text('<h3 id="protocol-1-4">1.4</h3><h3 id="protocol-5-3">5.3</h3>')
    page = html / "api.html"
    page.write_text(body, encoding="utf-8")
    return page


def test_words_become_links(tmp_path: Path) -> None:
    page = write(
        tmp_path, "<p>As (protocol 1.4) and (protocol sections 1.4 and 5.3.2) say; <code>protocol 9.9</code>.</p>"
    )
    linked(tmp_path)
    one, three = (
        f'<a class="reference internal" href="notebooks/protocol.html#protocol-{a}">{n}</a>'
        for a, n in (("1-4", "1.4"), ("5-3", "5.3.2"))
    )
    expected = f"<p>As (protocol {one}) and (protocol sections {one} and {three}) say; <code>protocol 9.9</code>.</p>"
    assert page.read_text(encoding="utf-8") == expected
    linked(tmp_path)
    assert page.read_text(encoding="utf-8") == expected


def test_a_section_that_is_not_there_fails_the_build(tmp_path: Path) -> None:
    write(tmp_path, "<p>protocol section 4.7</p>")
    with pytest.raises(LskdError, match=r"api: the protocol has no section 4.7; see notebooks/protocol.ipynb"):
        linked(tmp_path)


def test_sections_may_have_two_digits(tmp_path: Path) -> None:
    pages = Pages(tmp_path, [])
    pages.texts = {
        protocol_links.PAGE: '<h2 id="protocol-1">a</h2><h2 id="protocol-10-2">b</h2>',
        "a": "<p>protocol section 10.2</p>",
    }
    protocol_links.link_protocol(pages)
    assert '#protocol-10-2">10.2</a>' in pages.texts["a"]
