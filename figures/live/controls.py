"""Controls of live figures: labelled form fields that work with a pointer, a finger, a keyboard and a screen reader."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from figures.theme import dark


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

    def to_html(self, prefix: str) -> str:
        """The field inside its label; ``prefix`` makes identities unique on a page."""
        identity = f"{prefix}-{self.name}"
        shown = f' data-when="{html.escape(self.when)}"' if self.when else ""
        shown += " data-wide" if self.wide else ""
        shown += " hidden" if isinstance(self, Choice) and len(self.options) == 1 else ""
        found = self._field(f'id="{identity}" data-control="{self.name}"')
        return f'<label for="{identity}"{shown}>{self._order(html.escape(self.label), found, identity)}</label>'

    @abstractmethod
    def _field(self, attributes: str) -> str:
        """The element that carries ``attributes``."""

    def _order(self, text: str, found: str, identity: str) -> str:
        return f"{text} {found}"


@dataclass(frozen=True)
class Slider(Control):
    """A range input. ``log`` says that the value is a power of ten of what the slider shows."""

    low: float
    high: float
    step: float
    value: float
    digits: int = 1
    log: bool = False

    def _field(self, attributes: str) -> str:
        log = " data-log" if self.log else ""
        return (
            f'<input type="range" {attributes} data-digits="{self.digits}" min="{self.low:g}" max="{self.high:g}" '
            f'step="{self.step:g}" value="{self.value:g}"{log}>'
        )

    def _order(self, text: str, found: str, identity: str) -> str:
        return f'<span>{text}</span> {found}<output for="{identity}"></output>'


@dataclass(frozen=True)
class Steps(Control):
    """A range input that stops at given values alone, such as those that were published.

    Raises:
        ValueError: it is to start at a value where it does not stop.
    """

    values: Sequence[float]
    value: float

    def __post_init__(self) -> None:
        if self.value not in self.values:
            raise ValueError(
                f"slider {self.name}: starts at {self.value:g}, which is none of its {len(self.values)} stops"
            )

    def _field(self, attributes: str) -> str:
        stops = " ".join(f"{value:g}" for value in self.values)
        return (
            f'<input type="range" {attributes} data-stops="{stops}" min="0" max="{len(self.values) - 1}" step="1" '
            f'value="{list(self.values).index(self.value)}">'
        )

    def _order(self, text: str, found: str, identity: str) -> str:
        return f'<span>{text}</span> {found}<output for="{identity}"></output>'


@dataclass(frozen=True)
class Check(Control):
    """A checkbox."""

    value: bool = False

    def _field(self, attributes: str) -> str:
        return f'<input type="checkbox" {attributes}{" checked" if self.value else ""}>'

    def _order(self, text: str, found: str, identity: str) -> str:
        return f"{found} <span>{text}</span>"


@dataclass(frozen=True)
class Choice(Control):
    """A drop-down list of (value, text) pairs; ``numbers`` makes values numbers, ``chosen`` is the first by default."""

    options: Sequence[tuple[str, str]]
    numbers: bool = False
    chosen: str = ""

    def _field(self, attributes: str) -> str:
        options = "".join(
            f'<option value="{html.escape(v)}"{" selected" if v == self.chosen else ""}>{html.escape(t)}</option>'
            for v, t in self.options
        )
        return f"<select {attributes}{' data-number' if self.numbers else ''}>{options}</select>"


@dataclass(frozen=True)
class Entry(Control):
    """A line of text, such as numbers that a reader brings."""

    value: str

    def _field(self, attributes: str) -> str:
        return (
            f'<input type="text" {attributes} value="{html.escape(self.value)}" spellcheck="false" autocomplete="off">'
        )


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
            ticked = " checked" if value in self.chosen else ""
            boxes.append(
                f'<label for="{identity}"><input type="checkbox" id="{identity}" data-group="{self.name}" '
                f'value="{html.escape(value)}"{ticked}> {key(color, text)}</label>'
            )
        label = html.escape(self.label)
        return f'<div class="lskd-several" role="group" aria-label="{label}">{"".join(boxes)}</div>'


def key(color: str, text: str) -> str:
    """A patch of colour and what it stands for, HTML."""
    return f'<span class="lskd-key" style="--light:{color};--dark:{dark(color)}">{html.escape(text)}</span>'
