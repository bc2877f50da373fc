"""Exercises on a page and in a notebook: Markdown with a form that a small script brings to life."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt

from book.exercises.model import KINDS, Answer, Posed, load

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "typographer": True}).enable("smartquotes")
_BUTTON = '<button type="button" hidden>Check</button>'
_posed: dict[str, Posed] = {}  # what this kernel has shown


@dataclass(frozen=True)
class Sheet:
    """Exercises that show themselves, in a notebook and on the page made of it."""

    exercises: tuple[Posed, ...]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        names = ", ".join(posed.identity for posed in self.exercises)
        text = "\n\n".join(to_markdown(posed) for posed in self.exercises)
        return {"text/markdown": text, "text/plain": f"Exercises: {names}"}


def pose(chapter: str, answers: Mapping[str, Answer | None]) -> Sheet:
    """The exercises of a chapter with their answers; :func:`check` then knows them.

    An answer is None, or has numbers that are not finite, where a run lacks what it needs: that exercise is left out.

    Raises:
        ValueError: an exercise without an answer, an answer without an exercise, or two that do not fit.
    """
    known = load(chapter).exercises
    odd = set(answers) ^ {exercise.name for exercise in known}
    if odd:
        raise ValueError(f"exercises of {chapter}: {', '.join(sorted(odd))} has no answer, or is no exercise")
    answered = ((exercise, answers[exercise.name]) for exercise in known)
    kept = [(exercise, answer) for exercise, answer in answered if answer is not None and answer.finite]
    found = tuple(Posed(chapter, number, *pair) for number, pair in enumerate(kept, start=1))
    _posed.update({posed.identity: posed for posed in found})
    return Sheet(found)


def check(identity: str, found: Any) -> str:
    """Judge an answer in a kernel that has shown the exercise.

    Args:
        identity: chapter and name, such as "toy-loud".
        found: an option's key, a number, or a function where code is asked for.

    Raises:
        ValueError: an exercise that was not shown, or an answer that cannot be judged.
    """
    if identity not in _posed:
        shown = ", ".join(_posed) or "none; run the cell that shows it"
        raise ValueError(f"exercise {identity!r} is not known here; known: {shown}")
    good, said = _posed[identity].judge(found)
    return ("Right. " if good else "Not yet. ") + re.sub(r"[*`]", "", said)


def to_markdown(posed: Posed) -> str:
    """Question, form and folded solution: MyST Markdown between blocks of HTML.

    Without scripts the options are a list and the solution unfolds; the form's fields are hidden.
    """
    e, name = posed.exercise, f"exercise-{posed.identity}"
    start = _folded("A first step", posed.fill(e.start), "lskd-start") if e.start else ""
    return (
        f'<section class="lskd-exercise" id="{name}" aria-labelledby="{name}-title">\n'
        f'<h3 class="lskd-exercise-title" id="{name}-title"><span>Exercise {posed.number}</span> '
        f"{inline(e.title)}</h3>\n"
        f'<p class="lskd-exercise-kind lskd-{e.kind}">{KINDS[e.kind]}</p>\n\n'
        f"{posed.fill(e.question)}\n\n{_form(posed, name)}{start}"
        f"{_folded('Solution', _solution(posed), 'lskd-solution')}</section>\n"
    )


def _solution(posed: Posed) -> str:
    """Words, then code and what it printed."""
    words, code = posed.fill(posed.exercise.solution), posed.fill(posed.exercise.code)
    if not code:
        return words
    printed = posed.run()
    return f"{words}\n\n```python\n{code}\n```" + (f"\n\n```text\n{printed}\n```" if printed else "")


def _folded(title: str, text: str, kind: str) -> str:
    return f'<details class="{kind}">\n<summary>{title}</summary>\n\n{text}\n\n</details>\n\n'


def _form(posed: Posed, name: str) -> str:
    """Fields, a button and a place for the verdict. No form element: nothing may ever be sent, nor a page left."""
    e, a = posed.exercise, posed.answer
    content: dict[str, Any] = {"right": inline(posed.fill(e.right)), "answer": a.right}
    if e.options:
        content["wrong"] = {key: inline(posed.fill(text)) for key, text in e.wrong.items() if key != a.right}
        boxes = "".join(
            f'<label><input type="radio" name="{name}" value="{html.escape(key)}"> '
            f"<span>{inline(posed.fill(text))}</span></label>\n"
            for key, text in e.options.items()
        )
        asked = "Your prediction" if e.kind == "predict" else "Your answer"
        fields = f"<fieldset>\n<legend>{asked}</legend>\n{boxes}</fieldset>\n{_BUTTON}\n"
    else:
        content |= {"tolerance": a.tolerance, "whole": a.whole, "hint": inline(posed.fill(e.hint))}
        content["mistakes"] = [[x, inline(said)] for x, said in posed.mistakes]
        allowed = "a whole number" if a.whole else f"± {a.tolerance:g} will do"
        fields = (
            f'<div class="lskd-entry"><label for="{name}-entry">{inline(posed.fill(e.label))}</label>\n'
            f'<input type="text" inputmode="decimal" id="{name}-entry" autocomplete="off" spellcheck="false" '
            f'aria-describedby="{name}-tolerance">\n{_BUTTON}\n'
            f'<span id="{name}-tolerance">{allowed}</span></div>\n'
        )
    stored = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    return (
        f'<div class="lskd-answer" role="group" aria-label="Answer to exercise {posed.number}" '
        f'data-exercise="{posed.identity}">\n{fields}'
        '<div class="lskd-verdict" role="status"></div>\n'
        f'<p class="lskd-kernel">In a notebook: {_call(posed)}</p>\n'
        f'<script type="application/json">{stored}</script>\n</div>\n\n'
    )


def _call(posed: Posed) -> str:
    """How to ask a kernel, HTML."""
    first, *others = [f'"{key}"' for key in posed.exercise.options] or ["your number"]
    call = f'<code>exercises.check("{posed.identity}", {first})</code>'
    return ", or ".join([call, *(f"<code>{key}</code>" for key in others)])


def inline(text: str) -> str:
    """HTML of a short text: *emphasis*, `code`, typographic quotes, lines joined."""
    return str(_MARKDOWN.renderInline(" ".join(text.split())))
