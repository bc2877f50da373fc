"""Exercises at the end of chapters, with solutions, that say whether what a reader found is right.

A chapter has two files here: ``NAME.toml`` with its questions, hints and solutions in words, and ``NAME.py`` with
the answers, computed by the package or from a run's evidence when the book is made. No answer is typed. On a page a
reader chooses or types and is told at once, without a server (``book/_static/lskd-exercises.js``); in a notebook
the kernel tells: ``exercises.check("toy-loud", "sure")``.

The package sphinx-exercise is not used: it switches the numbering of figures on, which counts the light and the dark
variant of a picture as two, and a solution of it cannot judge.
"""

from __future__ import annotations

from book.exercises.model import Answer, Exercise, Posed, chapters, load
from book.exercises.page import Sheet, check, pose

__all__ = ["Answer", "Exercise", "Posed", "Sheet", "chapters", "check", "load", "pose"]
