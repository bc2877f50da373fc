"""Glossary and changelog: terms that are used exist, in order; versions go down; what is promised is there."""

from __future__ import annotations

import re
import tomllib

from lskd import __version__
from lskd.sources import ROOT

GLOSSARY = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^(?! |```|#)(\S.*)$", GLOSSARY.partition("{glossary}\n")[2], flags=re.MULTILINE)


def test_terms_are_in_alphabetical_order_and_once() -> None:
    assert len(TERMS) >= 20
    assert sorted(TERMS, key=str.lower) == TERMS
    assert len(set(map(str.lower, TERMS))) == len(TERMS)


def test_every_term_that_a_chapter_links_is_in_the_glossary() -> None:
    linked = {}
    for chapter in (ROOT / "book").glob("*.md"):
        for text, target in re.findall(r"\{term\}`([^`<]+?)(?:\s*<([^>]+)>)?`", chapter.read_text(encoding="utf-8")):
            linked.setdefault(target or text, set()).add(chapter.stem)
    assert {term for term in linked if term.lower() not in map(str.lower, TERMS)} == set()
    assert len({chapter for chapters in linked.values() for chapter in chapters} - {"glossary"}) >= 3


def test_the_changelog_keeps_its_form() -> None:
    assert CHANGELOG.startswith("# Changelog\n")
    releases = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, flags=re.MULTILINE)
    assert len(releases) == len(re.findall(r"^## ", CHANGELOG, flags=re.MULTILINE))
    assert releases[0] == ("Unreleased", "")
    assert all(date for _, date in releases[1:])
    versions = [tuple(map(int, name.split("."))) for name, _ in releases[1:]]
    assert versions == sorted(versions, reverse=True)
    assert releases[1][0] == __version__
    kinds = re.findall(r"^### (.+)$", CHANGELOG, flags=re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__


def test_the_changelog_names_what_exists() -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)`", CHANGELOG):
        assert re.search(rf"^{target}:", make, flags=re.MULTILINE), target
    for path in re.findall(r"`([\w/]+(?:/|\.\w+))`", CHANGELOG):
        if "/" in path:
            assert (ROOT / path).exists(), path


def test_what_is_worse_is_listed_with_reasons() -> None:
    text = (ROOT / "docs" / "GAPS.md").read_text(encoding="utf-8")
    for name in ("Distill", "QuantEcon"):
        assert re.search(rf"^## Than .*{name}", text, flags=re.MULTILINE)
    assert len(re.findall(r"^- ", text, flags=re.MULTILINE)) >= 15


def test_the_book_includes_it() -> None:
    assert "{include} ../../CHANGELOG.md" in (ROOT / "book" / "changelog.md").read_text(encoding="utf-8")
