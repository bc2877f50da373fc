"""The contributor's page: its picture is today's code, and all arrows go down."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest

from figures.fingerprint import ROOT


@pytest.fixture(scope="module")
def rooms() -> Any:
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "rooms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_drawn_from_the_code(rooms: Any) -> None:
    assert rooms.FILE.read_text(encoding="utf-8") == rooms.draw(), "python docs/rooms.py draws it again"


def test_nobody_imports_upward(rooms: Any) -> None:
    order = list(rooms.ROOMS)
    for place, room in enumerate(order):
        assert rooms.imports(room) <= set(order[place + 1 :]), room


def test_paths_on_the_page_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w./-]+/[\w.-]*(?:py|svg|toml)\b|(?<=`)[a-z]+/(?=`)", text)) - {
        "book/exercises/NAME.toml"
    }
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
