"""The search over the built book: what people ask leads to the page that answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from test_search import words

from book import build as books
from figures.fingerprint import ROOT
from lskd.files import read_json

LATEX = r"\\\(|\\\[|\\(frac|sum|mathrm|mathcal|sqrt)\b"


@pytest.mark.book
def test_the_book_s_words_lead_to_its_pages(book: Path) -> None:
    """Every page is there, every anchor exists, and what is no text is not there: no code cell is searched."""
    content = words(book)
    assert [page[0] for page in content["pages"]] == [
        f"{name}.html" for name in books.chapters(ROOT / "book" / "chapters")
    ]
    for address, title, part, entries in content["pages"]:
        page = (book / address).read_text(encoding="utf-8")
        assert title
        assert part or address == "intro.html"
        missing = [anchor for anchor, *_ in entries if anchor and f'id="{anchor}"' not in page]
        assert missing == [], address
        for _, heading, _, text in entries:
            junk = re.search(rf"{LATEX}|Show code cell|base64|root_id", heading + text)
            assert not junk, f"{address}, {heading}: {junk and junk[0]}"
    kinds = {kind for page in content["pages"] for _, _, kind, _ in page[3]}
    assert kinds == {"section", "figure", "term", "object", "reference"}
    texts = {page[0]: "\n".join(entry[3] for entry in page[3]) for page in content["pages"]}
    lines = [
        (name, " ".join(line.split()))
        for name in ("zscore", "tsne", "logit_gap")
        for cell in read_json(ROOT / "notebooks" / f"{name}.ipynb")["cells"]
        if cell["cell_type"] == "code"
        for line in "".join(cell["source"]).splitlines()
        if len(line) > 30
    ]
    assert len(lines) > 5
    assert [line for name, line in lines if line in texts[f"notebooks/{name}.html"]] == []


# By the page that answers, or the two that do equally well.
QUERIES = {
    "notebooks/does_it_help": "does it help",
    "notebooks/temperature": "temperature",
    "notebooks/zscore": "what is z-score; two classes; related work",
    "notebooks/losses glossary": "mlkd; ctkd; what is dkd; multi-level distillation",
    "experiment": "confidence interval",
    "notebooks/surface": "best temperature and weight; effective weight",
    "notebooks/logit_statistics": "logit range; variance of logits",
    "notebooks/cifar100": "cifar 100; results on cifar",
    "notebooks/audit": "paper mistakes; errors in the paper; paper vs code differences",
    "notebooks/paper_tables reproduce": "table 4; reproduce table 2; resnet56 resnet20",
    "reproduce run": "install; download teacher checkpoint",
    "use notebooks/questions": "pytorch lightning; huggingface trainer; segmentation; language model; gpt",
    "notebooks/questions": "NaN loss fp16; how many seeds do I need; number of seeds; multiple teachers; "
    "pretrained teacher",
    "notebooks/questions use": "calibration; label smoothing; accuracy drops with ls",
    "run": "own network; how to use with my own dataset; cite; bibtex; license; colab; jupyter; records",
    "cluster": "slurm; kubernetes; docker",
    "notebooks/networks": "parameters of networks",
    "notebooks/tsne": "t-sne",
    "notebooks/imagenet": "imagenet results",
    "notebooks/vit": "deit",
    "notebooks/exercises": "exercises",
    "notebooks/benchmarks": "speed",
    "api": "kd_loss",
    "notebooks/toy": "beginner introduction",
}


@pytest.mark.book
@pytest.mark.browser
def test_the_first_hit_is_on_the_page_that_answers(chromium: Any, book: Path) -> None:
    page = chromium.new_page()
    page.goto((book / "search.html").as_uri() + "?q=temperature")
    page.wait_for_selector("#search-results li a[href^='notebooks/temperature.html']", timeout=60_000)
    first = "q => lskdSearch.find(q).found[0]?.section.page.path.replace('.html', '')"
    asked = [(query, pages.split()) for pages, queries in QUERIES.items() for query in queries.split("; ")]
    wrong = {query: found for query, pages in asked if (found := page.evaluate(first, query)) not in pages}
    page.close()
    assert len(asked) >= 50
    assert wrong == {}
