"""A short formula in the characters of a line of text, as a reader would copy it: ``\\sqrt{K-1}`` is ``√(K−1)``.

For the sentences that a search shows. Whatever cannot be written in a line becomes nothing rather than its source.
"""

from __future__ import annotations

import re
from collections import deque

_WORDS = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau"
    " upsilon varphi chi psi omega",
    "left right big Big bigl bigr Bigl Bigr displaystyle textstyle limits nolimits",
    "log ln exp sin cos tanh min max arg det dim Pr lim sup inf softmax",
    "mathrm mathcal mathbf mathit mathsf mathbb operatorname text textbf textit boldsymbol bm",
)
LETTERS, LAYOUT, FUNCTIONS, FONTS = (words.split() for words in _WORDS)
GREEK = {name: chr(code) for code, name in enumerate(LETTERS, start=ord("α"))}
SIGNS = {
    **GREEK,
    **{name.capitalize(): letter.upper() for name, letter in GREEK.items() if not name.startswith("var")},
    **{"epsilon": "ε", "phi": "φ", "Phi": "Φ", "infty": "∞", "partial": "∂", "nabla": "∇", "ell": "ℓ", "top": "⊤"},
    **{"cdot": "·", "times": "×", "pm": "±", "mp": "∓", "div": "÷", "circ": "∘", "mid": "|", "|": "‖", "setminus": "∖"},
    **{"le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "neq": "≠", "ne": "≠", "approx": "≈", "sim": "∼", "equiv": "≡"},
    **{"ll": "≪", "gg": "≫", "propto": "∝", "in": "∈", "notin": "∉", "subset": "⊂", "cup": "∪", "cap": "∩"},
    **{"to": "→", "rightarrow": "→", "mapsto": "↦", "Rightarrow": "⇒", "Leftrightarrow": "⇔", "colon": ":"},
    **{"sum": "∑", "prod": "∏", "int": "∫", "dots": "…", "ldots": "…", "cdots": "…", "prime": "′", "%": "%", "_": "_"},
    **{"{": "{", "}": "}"},
    **dict.fromkeys((",", ";", ":", " ", "!", "quad", "qquad"), " "),
    **dict.fromkeys(LAYOUT, ""),
}
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "vec": "\u20d7"}
ACCENTS |= {"widehat": ACCENTS["hat"], "overline": ACCENTS["bar"]}
RAISED = dict(zip("0123456789+-−()nijT⊤*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾ⁿⁱʲᵀᵀ*", strict=True))
LOWERED = dict(zip("0123456789+-−()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))


def plain_formula(source: str) -> str:
    """LaTeX's inline mathematics, with or without its ``\\(`` and ``\\)``, as characters.

    Returns:
        The formula, or an empty string when it holds a command that this module does not know.
    """
    source = re.sub(r"^\s*(\\\(|\$)|(\\\)|\$)\s*$", "", source)
    try:
        text = _read(deque(re.findall(r"\\[A-Za-z]+|\\.|\s+|[^\\\s]", source)), "")
    except (ValueError, IndexError):  # of a token, or at the end of all
        return ""
    return " ".join(text.replace("-", "−").split())


def _read(tokens: deque[str], end: str) -> str:
    """Characters up to the token ``end``; all tokens up to it, and itself, are taken."""
    text = ""
    while tokens or end:
        token = tokens.popleft()
        if token == end:
            break
        if token in ("^", "_"):
            part, table = _argument(tokens), RAISED if token == "^" else LOWERED
            small = "".join(table.get(letter, "") for letter in part)
            text += small if len(small) == len(part) else token + _grouped(part)
        elif token == "{":
            text += _read(tokens, "}")
        elif token in ("}", "&"):
            raise ValueError(token)
        elif token.startswith("\\"):
            text += " " * (token[1:] in FUNCTIONS and text[-1:].isalnum()) + _command(token[1:], tokens)
        else:
            text += token
    return text


def _command(name: str, tokens: deque[str]) -> str:
    if name in FUNCTIONS:
        return f"{name} "
    if name in SIGNS:
        return SIGNS[name]
    if name not in (*FONTS, *ACCENTS, "sqrt", "frac", "tfrac", "dfrac"):
        raise ValueError(name)
    first = _argument(tokens)
    if name in FONTS:
        return first
    if name in ACCENTS:
        return first + ACCENTS[name] if len(first) == 1 else first
    if name == "sqrt":
        return f"√{first}" if len(first) == 1 else f"√({first})"
    return f"{_grouped(first)}/{_grouped(_argument(tokens))}"


def _argument(tokens: deque[str]) -> str:
    """What a command takes: the next group, command or character."""
    token = tokens.popleft()
    while token.isspace():
        token = tokens.popleft()
    if token == "{":
        return _read(tokens, "}")
    return _command(token[1:], tokens) if token.startswith("\\") else token


def _grouped(part: str) -> str:
    return part if len(part) <= 1 or part.isalnum() else f"({part})"
