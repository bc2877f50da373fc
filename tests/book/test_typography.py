"""Spaces that may not break, on built pages."""

from __future__ import annotations

import pytest

from book.pages import parsed, written
from book.pages.typography import bind


def bound(page: str) -> str:
    tree = parsed(page)
    bind(tree)
    return written(tree)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<td>88.60 %</td>", "<td>88.60~%</td>"),
        ("<p>± 1.2 points (n = 5 seeds), T 4 → 2</p>", "<p>±~1.2 points (n~=~5 seeds), T 4~→~2</p>"),
        ("<td>00 → 11</td>", "<td>00~→~11</td>"),
        ("<p>Can n = many? 5 of 6, then = 5, vgg13 → vgg8</p>", "<p>Can n~= many? 5 of 6, then = 5, vgg13~→ vgg8</p>"),
    ],
)
def test_numbers_stay_with_what_they_count(page: str, expected: str) -> None:
    assert bound(page).replace("\u00a0", "~") == expected
    assert bound(bound(page)) == bound(page)


@pytest.mark.parametrize(
    "page",
    [
        '<img alt="90 % of n = 5">',
        "<script>x = 9 % 4; s = 'n = 5'</script>",
        "<pre><span>7 % 3</span>\nn = 5</pre>",
        "<p><code>n = 5</code></p>",
        "<style>a { left: 5 %}</style>",
        r'<span class="math">\(K = 5 %, n = 5\)</span> <div>\[n = 5\]</div>',
        "<svg><text>90 %</text></svg>",
    ],
)
def test_code_formulas_and_attributes_stay_as_they_are(page: str) -> None:
    assert bound(page) == page
