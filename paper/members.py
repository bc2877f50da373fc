"""Names of a recipe's members: what readers call them, their order, and which two differ by standardisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lskd.objectives import METHODS

SUFFIX = "_ls"  # a member and its standardised twin: "kd", "kd_ls"
LITERATURE = "_literature"  # without LS at the settings of the literature, where "kd" has those of "kd_ls"
LIKE = "_like_for_like"  # without LS at the settings of "kd_ls", where "kd" has those of the literature
EFFECTIVE = "_effective"  # without LS, the weight divided by both deviations of the logits: LS as a weight alone


def label(member: str, *, method: str = "", standardize: bool | None = None) -> str:
    """What readers call a member: ``"kd_ls"`` is "KD + LS". Other names keep their own: "KD + LS (kd_t4_ls)"."""
    if member == "teacher":
        return "teacher"
    stem, ls = member.removesuffix(SUFFIX), member.endswith(SUFFIX) if standardize is None else standardize
    if member == "alone" or (method or stem) == "plain":
        return METHODS["plain"].title
    kinds = {LIKE: "like for like", LITERATURE: "literature", EFFECTIVE: "effective weight"}
    family = method or next((stem.removesuffix(kind) for kind in kinds if stem.endswith(kind)), stem)
    name = (METHODS[family].title if family in METHODS else family.upper()) + (" + LS" if ls else "")
    for suffix, words in kinds.items():
        if stem == f"{family}{suffix}":
            return f"{name}, {words}"
    return name if stem in ("", method, *METHODS) else f"{name} ({member})"


def order(members: Iterable[str]) -> list[str]:
    """Teacher, student alone, then methods in the order of the paper's figures, each without LS before with LS."""
    ranks = ["teacher", "alone", *METHODS]

    def rank(member: str) -> tuple[int, str, bool]:
        stem = member.removesuffix(SUFFIX)
        near = next((i for i, r in enumerate(ranks) if stem == r or stem.startswith(f"{r}_")), len(ranks))
        return near, stem, member.endswith(SUFFIX)

    return sorted(members, key=rank)


def pairs(members: Iterable[str]) -> list[tuple[str, str]]:
    """Members that differ by standardisation: ``("kd", "kd_ls")``, in the order of :func:`order`.

    Where a recipe also has ``"kd_like_for_like"``, it is another partner of ``"kd_ls"``; ``"kd_literature"`` is one of
    a ``"kd_ls"`` that has no other, as it is in the paper's tables.
    """
    names = order(set(members))
    found = [(m, twin) for m in names if (twin := m.removesuffix(LIKE) + SUFFIX) in names]
    left = {*names} - {twin for _, twin in found}
    return found + [(m, twin) for m in names if (twin := m.removesuffix(LITERATURE) + SUFFIX) in left]


def members_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all members with a result, in order."""
    return order({name for record in records for name, m in record["members"].items() if m.get("last")})
