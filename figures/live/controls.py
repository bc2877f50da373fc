"""Controls of live figures: labelled form fields that work with a pointer, a finger, a keyboard and a screen reader."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from figures.theme import dark

RANGE = '<span>{text}</span> {field}<output for="{identity}"></output>'


@dataclass(frozen=True)
class Control(ABC):
    """A labelled form field. ``lskd-live.js`` finds it by ``data-control`` and reads its value.

    Attributes:
        name: of the value in the script.
        label: what a reader sees and a screen reader says.
        when: ``"CONTROL=VALUE"`` or ``"CONTROL!=VALUE"``: shown only while another control has this value, or another
            one (a checkbox: true or false).
        wide: takes a row of its own.
        more: lies in a fold below the others.
    """

    name: str
    label: str
    when: str = field(default="", kw_only=True)
    wide: bool = field(default=False, kw_only=True)
    more: bool = field(default=False, kw_only=True)

    inside = "{text} {field}"  # of the label

    def to_html(self, prefix: str) -> str:
        """The field inside its label; ``prefix`` makes identities unique on a page."""
        identity = f"{prefix}-{self.name}"
        shown = f' data-when="{html.escape(self.when)}"' if self.when else ""
        shown += " data-wide" if self.wide else ""
        shown += " hidden" if isinstance(self, Choice) and len(self.options) == 1 else ""
        found = self._field(f'id="{identity}" data-control="{self.name}"')
        inside = self.inside.format(text=html.escape(self.label), field=found, identity=identity)
        return f'<label for="{identity}"{shown}>{inside}</label>'

    @abstractmethod
    def _field(self, attributes: str) -> str:
        """The element that carries ``attributes``."""


@dataclass(frozen=True)
class Slider(Control):
    """A range input. ``log`` says that the value is a power of ten of what the slider shows."""

    low: float
    high: float
    step: float
    value: float
    digits: int = 1
    log: bool = False

    inside = RANGE

    def _field(self, attributes: str) -> str:
        return (
            f'<input type="range" {attributes} data-digits="{self.digits}" min="{self.low:g}" max="{self.high:g}" '
            f'step="{self.step:g}" value="{self.value:g}"{" data-log" * self.log}>'
        )


@dataclass(frozen=True)
class Steps(Control):
    """A range input that stops at given values alone, such as those that were published; starts at ``value``."""

    values: Sequence[float]
    value: float

    inside = RANGE

    def _field(self, attributes: str) -> str:
        stops = " ".join(f"{value:g}" for value in self.values)
        return (
            f'<input type="range" {attributes} data-stops="{stops}" min="0" max="{len(self.values) - 1}" step="1" '
            f'value="{self.values.index(self.value)}">'
        )


@dataclass(frozen=True)
class Check(Control):
    """A checkbox."""

    value: bool = False

    inside = "{field} <span>{text}</span>"

    def _field(self, attributes: str) -> str:
        return f'<input type="checkbox" {attributes}{" checked" * self.value}>'


@dataclass(frozen=True)
class Choice(Control):
    """A drop-down list of values, or (value, text); ``numbers`` makes values numbers, ``chosen`` is the first."""

    options: Sequence[str | tuple[str, str]]
    numbers: bool = False
    chosen: str = ""

    def _field(self, attributes: str) -> str:
        pairs = [(option, option) if isinstance(option, str) else option for option in self.options]
        options = "".join(
            f'<option value="{html.escape(v)}"{" selected" * (v == self.chosen)}>{html.escape(t)}</option>'
            for v, t in pairs
        )
        return f"<select {attributes}{' data-number' * self.numbers}>{options}</select>"


@dataclass(frozen=True)
class Entry(Control):
    """A line of text, such as numbers that a reader brings."""

    value: str

    def _field(self, attributes: str) -> str:
        value = html.escape(self.value)
        return f'<input type="text" {attributes} value="{value}" spellcheck="false" autocomplete="off">'


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
