"""The contributor's page: its picture is today's code, and its paths exist."""

from __future__ import annotations

import re
import runpy

from figures.fingerprint import ROOT


def test_the_picture_is_drawn_from_the_code() -> None:
    rooms = runpy.run_path(str(ROOT / "docs" / "rooms.py"))
    assert rooms["FILE"].read_text(encoding="utf-8") == rooms["draw"](), "python docs/rooms.py draws it again"


def test_paths_on_the_page_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w./-]+/[\w.-]*(?:py|svg|toml)\b|(?<=`)[a-z]+/(?=`)", text)) - {
        "book/exercises/NAME.toml"
    }
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
