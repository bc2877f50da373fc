"""A short formula in the characters of a line of text, as a reader would copy it: ``\\sqrt{K-1}`` is ``√(K−1)``.

For the sentences that a search shows. Whatever cannot be written in a line becomes nothing rather than its source.
"""

from __future__ import annotations

import re

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
ACCENTS = {
    "hat": "\u0302",
    "widehat": "\u0302",
    "bar": "\u0304",
    "overline": "\u0304",
    "tilde": "\u0303",
    "vec": "\u20d7",
}
RAISED = dict(zip("0123456789+-−()nijT⊤*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾ⁿⁱʲᵀᵀ*", strict=True))
LOWERED = dict(zip("0123456789+-−()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))


def plain_formula(source: str) -> str:
    """LaTeX's inline mathematics, with or without its ``\\(`` and ``\\)``, as characters.

    Returns:
        The formula, or an empty string when it holds a command that this module does not know.
    """
    source = re.sub(r"^\s*(\\\(|\$)|(\\\)|\$)\s*$", "", source)
    try:
        text, rest = _read(re.findall(r"\\[A-Za-z]+|\\.|\s+|[^\\\s]", source), "")
    except _Unknown:
        return ""
    return "" if rest else " ".join(text.replace("-", "−").split())


class _Unknown(Exception):
    """What a line of text cannot say."""


def _read(tokens: list[str], end: str) -> tuple[str, list[str]]:
    """Characters up to the token ``end``, which is taken, and the tokens after it."""
    text = ""
    while tokens:
        token, *tokens = tokens
        if token == end:
            return text, tokens
        if token in ("^", "_"):
            part, tokens = _argument(tokens)
            table = RAISED if token == "^" else LOWERED
            small = "".join(table.get(letter, "") for letter in part)
            text += small if len(small) == len(part) else token + _grouped(part)
        elif token == "{":
            part, tokens = _read(tokens, "}")
            text += part
        elif token in ("}", "&"):
            raise _Unknown(token)
        elif token.startswith("\\"):
            apart = token[1:] in FUNCTIONS and text[-1:].isalnum()
            part, tokens = _command(token[1:], tokens)
            text += f" {part}" if apart else part
        else:
            text += token
    if end:
        raise _Unknown(end)
    return text, tokens


def _command(name: str, tokens: list[str]) -> tuple[str, list[str]]:
    if name in FUNCTIONS:
        return f"{name} ", tokens
    if name in SIGNS:
        return SIGNS[name], tokens
    if name not in (*FONTS, *ACCENTS, "sqrt", "frac", "tfrac", "dfrac"):
        raise _Unknown(name)
    first, tokens = _argument(tokens)
    if name in FONTS:
        return first, tokens
    if name in ACCENTS:
        return (first + ACCENTS[name] if len(first) == 1 else first), tokens
    if name == "sqrt":
        return f"√{first}" if len(first) == 1 else f"√({first})", tokens
    second, tokens = _argument(tokens)
    return f"{_grouped(first)}/{_grouped(second)}", tokens


def _argument(tokens: list[str]) -> tuple[str, list[str]]:
    """What a command takes: the next group, command or character."""
    tokens = [*tokens]
    while tokens and tokens[0].isspace():
        tokens.pop(0)
    if not tokens:
        raise _Unknown("")
    token, *tokens = tokens
    if token == "{":
        return _read(tokens, "}")
    if token.startswith("\\"):
        return _command(token[1:], tokens)
    return token, tokens


def _grouped(part: str) -> str:
    return part if len(part) <= 1 or part.isalnum() else f"({part})"
