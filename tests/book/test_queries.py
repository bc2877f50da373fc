"""What people type into the search, and the page that has to come first; judged by the book's own scorer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.book, pytest.mark.browser]

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
