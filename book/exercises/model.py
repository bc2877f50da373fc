"""What an exercise is: words from a TOML file, an answer from Python, and how a reader's answer is judged."""

from __future__ import annotations

import contextlib
import io
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lskd.checked import arguments
from lskd.files import visible

KINDS = {"predict": "Predict, then look", "paper": "Pencil and paper", "code": "In code"}
_FOLDER = Path(__file__).parent
_VALUE = re.compile(r"@\{(\w+)(?::([^}]+))?\}")


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A question in MyST Markdown; ``@{name}`` in any of its texts is a value that an :class:`Answer` brings.

    ``@{name:.2f}`` is a number in this format, with a true minus; ``@{answer}`` is the right one, and those that known
    mistakes lead to have the mistakes' names.
    """

    name: str  # unique in its chapter
    title: str
    kind: Literal["predict", "paper", "code"]
    question: str
    solution: str
    code: str = ""  # Python, part of the solution; run when the exercise is posed, and what it prints is shown
    start: str = ""  # a first step, folded on its own
    options: Mapping[str, str] = field(default_factory=dict)  # to choose from, by key; none where a number is asked
    label: str = ""  # what the number is, such as "Loss of student 2"
    right: str = ""  # what is said to a right answer
    wrong: Mapping[str, str] = field(default_factory=dict)  # to a wrong one, by option or by mistake
    hint: str = ""  # to any other wrong number


@dataclass(frozen=True)
class Chapter:
    """A chapter's exercises: ``name`` of its files here, the ``page`` that shows them, and that page's title."""

    name: str
    page: str
    title: str
    exercises: tuple[Exercise, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What Python computed for an exercise."""

    right: str | float  # the key of an option, or a number
    tolerance: float = 0.0  # how far a number may be off
    whole: bool = False  # the number is a count, and readers are told so instead of the tolerance
    near: Mapping[str, float] = field(default_factory=dict)  # where known mistakes lead, by their names in ``wrong``
    shown: Mapping[str, str | float] = field(default_factory=dict)  # values for its texts
    scope: Mapping[str, Any] = field(default_factory=dict)  # names that its ``code`` finds, as in the notebook
    judge: Callable[[Any], str] | None = None  # says what is wrong with a function that a reader wrote, "" if nothing

    @property
    def finite(self) -> bool:
        """Whether there are only numbers that can be compared."""
        values = (self.right, *self.near.values(), *self.shown.values())
        return all(math.isfinite(value) for value in values if isinstance(value, float))


@dataclass(frozen=True)
class Posed:
    """An exercise with its answer, at a place: ``number`` in ``chapter``.

    Raises:
        ValueError: words and answer do not fit: an option or a mistake without words, or words without a value.
    """

    chapter: str
    number: int
    exercise: Exercise
    answer: Answer

    def __post_init__(self) -> None:
        e, a, place = self.exercise, self.answer, f"exercise {self.identity}"
        if e.options and a.right not in e.options:
            raise ValueError(f"{place}: the answer is {a.right!r}; its options are {', '.join(e.options)}")
        if bool(e.label) != isinstance(a.right, float):
            raise ValueError(f"{place}: a number needs a label and a float as its answer; found {a.right!r}")
        if e.label and not 0 < a.tolerance < math.inf:
            raise ValueError(f"{place}: the tolerance is {a.tolerance!r}; it has to be positive")
        unspoken = set(a.near) - set(e.wrong) | (set(e.options) - set(e.wrong) - {a.right})
        if unspoken:
            raise ValueError(f"{place}: nothing is said to {', '.join(sorted(unspoken))}; add it to 'wrong'")
        for text in (e.question, e.solution, e.code, e.start, e.right, e.hint, *e.options.values(), *e.wrong.values()):
            self.fill(text)

    @property
    def identity(self) -> str:
        return f"{self.chapter}-{self.exercise.name}"

    def fill(self, text: str) -> str:
        """The text with its values."""
        values = {"answer": self.answer.right, **self.answer.near, **self.answer.shown}

        def value(found: re.Match[str]) -> str:
            if found[1] not in values:
                known = ", ".join(values)
                raise ValueError(f"exercise {self.identity}: its text has @{{{found[1]}}}; values: {known}")
            shown = values[found[1]]
            return shown if isinstance(shown, str) else format(shown, found[2] or "").replace("-", "−")

        return _VALUE.sub(value, text)

    def run(self) -> str:
        """What the solution's code prints, when it is run now."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = compile(self.fill(self.exercise.code), f"<solution {self.identity}>", "exec")
            exec(code, dict(self.answer.scope))
        return printed.getvalue().strip()

    @property
    def mistakes(self) -> list[tuple[float, str]]:
        """Numbers of known mistakes that are told apart from the right one, with what is said to them."""
        right, tolerance = self.answer.right, self.answer.tolerance
        assert isinstance(right, float)
        near = self.answer.near.items()
        return [(x, self.fill(self.exercise.wrong[name])) for name, x in near if abs(x - right) > 2 * tolerance]

    def judge(self, found: Any) -> tuple[bool, str]:
        """Whether an answer holds, and what to say to it. The same rules are in ``lskd-exercises.js``.

        It is an option's key, a number, or a function where code is asked for.

        Raises:
            ValueError: an unknown option, no number.
        """
        e, a = self.exercise, self.answer
        if callable(found):
            if a.judge is None:
                raise ValueError(f"{self.identity} asks for no function; give it a number or an option")
            said = a.judge(found)
            return not said, said or self.fill(e.right)
        if e.options:
            if found not in e.options:
                raise ValueError(f"{self.identity}: {found!r} is no option; choose {', '.join(map(repr, e.options))}")
            good = found == a.right
            return good, self.fill(e.right if good else e.wrong[found])
        assert isinstance(a.right, float)
        try:
            x = float(found)
        except (TypeError, ValueError):
            raise ValueError(f"{self.identity}: {found!r} is no number; give it one such as 0.5 or 1/3") from None
        broken = a.whole and not x.is_integer()
        if abs(x - a.right) <= a.tolerance * (1 + 1e-9) and not broken:
            return True, self.fill(e.right)
        for mistake, said in self.mistakes:
            if abs(x - mistake) <= a.tolerance:
                return False, said
        if broken:
            raise ValueError(f"{found} is no whole number, and a count is one")
        return False, self.fill(e.hint)


def one_digit(x: float) -> float:
    """A tolerance that depends on a run, so that it can be said in one digit."""
    return float(f"{x:.1g}")


def load(name: str) -> Chapter:
    """The exercises of a chapter, in words.

    Raises:
        ValueError: unknown or missing keys, a name twice.
        LskdError: a value of another type, an unknown kind.
    """
    path = _FOLDER / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there are no exercises named {name!r}; known: {', '.join(chapters())}") from None
    found: list[Exercise] = []
    for table in content["exercise"]:
        words = {k: v.strip() if isinstance(v, str) else v for k, v in table.items()}
        exercise = Exercise(**arguments(Exercise, words, f"{path.name}: exercise {table.get('name')!r}", "key"))
        if exercise.name in {e.name for e in found}:
            raise ValueError(f"{path.name}: {exercise.name} is there twice")
        found.append(exercise)
    return Chapter(name, content["page"], content["title"], tuple(found))


def chapters() -> list[str]:
    """Names of all chapters that have exercises."""
    return [path.stem for path in visible(_FOLDER, "*.toml")]
