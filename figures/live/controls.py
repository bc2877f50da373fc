"""Controls of live figures: labelled form fields that work with a pointer, a finger, a keyboard and a screen reader."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from figures.theme import dark

RANGE = '<span>{text}</span> {field}<output for="{identity}"></output>'


@dataclass(frozen=True)
class Control:
    """A labelled form field. ``lskd-live.js`` finds it by ``data-control`` and reads its value.

    Attributes:
        name: of the value in the script.
        label: what a reader sees and a screen reader says.
        tag, rest: the field's HTML, before and after what finds it.
        inside: of the label.
        when: ``"CONTROL=VALUE"`` or ``"CONTROL!=VALUE"``: shown only while another control has this value, or another
            one (a checkbox: true or false).
        wide: takes a row of its own.
        hidden: leaves nothing to choose.
    """

    name: str
    label: str
    tag: str
    rest: str
    inside: str = "{text} {field}"
    when: str = ""
    wide: bool = False
    hidden: bool = False

    def to_html(self, prefix: str) -> str:
        """The field inside its label; ``prefix`` makes identities unique on a page."""
        identity = f"{prefix}-{self.name}"
        shown = f' data-when="{html.escape(self.when)}"' if self.when else ""
        shown += " data-wide" * self.wide + " hidden" * self.hidden
        field = f'<{self.tag} id="{identity}" data-control="{self.name}"{self.rest}'
        inside = self.inside.format(text=html.escape(self.label), field=field, identity=identity)
        return f'<label for="{identity}"{shown}>{inside}</label>'


def slider(
    name: str,
    label: str,
    low: float,
    high: float,
    step: float,
    value: float,
    *,
    digits: int = 1,
    log: bool = False,
    **place: Any,
) -> Control:
    """A range input. ``log`` says that the value is a power of ten of what the slider shows."""
    rest = f' data-digits="{digits}" min="{low:g}" max="{high:g}" step="{step:g}" value="{value:g}"'
    return Control(name, label, 'input type="range"', f"{rest}{' data-log' * log}>", RANGE, **place)


def steps(name: str, label: str, values: Sequence[float], value: float, **place: Any) -> Control:
    """A range input that stops at given values alone, such as those that were published; starts at ``value``."""
    rest = f' data-stops="{" ".join(f"{v:g}" for v in values)}" min="0" max="{len(values) - 1}" step="1"'
    return Control(name, label, 'input type="range"', f'{rest} value="{values.index(value)}">', RANGE, **place)


def check(name: str, label: str, value: bool = False, **place: Any) -> Control:
    """A checkbox."""
    return Control(
        name, label, 'input type="checkbox"', " checked" * value + ">", "{field} <span>{text}</span>", **place
    )


def choice(
    name: str, label: str, options: Mapping[str, str], *, numbers: bool = False, chosen: str = "", **place: Any
) -> Control:
    """A drop-down list, text by value; ``numbers`` makes values numbers, ``chosen`` is the first."""
    lines = (
        f'<option value="{html.escape(value)}"{" selected" * (value == chosen)}>{html.escape(text)}</option>'
        for value, text in options.items()
    )
    rest = f"{' data-number' * numbers}>{''.join(lines)}</select>"
    return Control(name, label, "select", rest, hidden=len(options) == 1, **place)


def entry(name: str, label: str, value: str, **place: Any) -> Control:
    """A line of text, such as numbers that a reader brings."""
    rest = f' value="{html.escape(value)}" spellcheck="false" autocomplete="off">'
    return Control(name, label, 'input type="text"', rest, **place)


@dataclass(frozen=True)
class Several:
    """Checkboxes under one name: (value, text, colour) each, those in ``chosen`` ticked."""

    name: str
    label: str
    options: Sequence[tuple[str, str, str]]
    chosen: Sequence[str]

    def to_html(self, prefix: str) -> str:
        """A group of labelled boxes, each with its colour."""
        boxes = []
        for number, (value, text, color) in enumerate(self.options):
            identity = f"{prefix}-{self.name}-{number}"
            boxes.append(
                f'<label for="{identity}"><input type="checkbox" id="{identity}" data-group="{self.name}" '
                f'value="{html.escape(value)}"{" checked" * (value in self.chosen)}> {key(color, text)}</label>'
            )
        label = html.escape(self.label)
        return f'<div class="lskd-several" role="group" aria-label="{label}">{"".join(boxes)}</div>'


def key(color: str, text: str) -> str:
    """A patch of colour and what it stands for, HTML."""
    return f'<span class="lskd-key" style="--light:{color};--dark:{dark(color)}">{html.escape(text)}</span>'
