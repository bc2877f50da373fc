"""Moving the controls of a live figure as a person does, and reading what it says."""

from __future__ import annotations

from typing import Any


def move(figure: Any, control: str, value: float | str | bool) -> None:
    """Set a control as a person does: the element's value, and the event that follows."""
    found = figure.locator(f"[data-control='{control}']")
    found.evaluate("e => e.closest('details')?.setAttribute('open', '')")
    if isinstance(value, bool):
        found.set_checked(value)
    elif isinstance(value, str):
        found.select_option(value)
    else:
        found.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value)


def said(figure: Any, name: str) -> str:
    return str(figure.locator(f"[data-say='{name}']").inner_text()).replace("−", "-")
