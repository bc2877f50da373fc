"""What the tests of reading share: a page that is up, and a small one that is made for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def go(page: Any, book: Path, name: str, *, live: bool = False) -> Any:
    """A page of the book, once it is up; with its live figures if asked for."""
    page.goto((book / f"{name}.html").as_uri())
    if live:
        page.wait_for_function("[...document.querySelectorAll('.lskd-live')].every(f => f.matches('.lskd-on'))")
    return page


def small(folder: Path, body: str, **others: str) -> Path:
    for name, text in {"page": body, **others}.items():
        html = f"<html><body><article>{text}</article></body></html>"
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return folder
