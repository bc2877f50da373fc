"""Networks that were never trained, and a page for each live figure, made when a test asks for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from live_pages import Show, opened, put, write_page
from reading import complaints
from synthetic import record, write_run

from figures import networks as inputs
from figures.live import networks as live_networks
from figures.live import objective, softmax, zscore
from figures.live.figure import Live
from figures.networks import Networks
from paper.embedding import Embedding


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def networks(run: tuple[Path, Path]) -> Networks:
    return inputs.load(*run)


@pytest.fixture(scope="session")
def dataset(networks: Networks) -> Any:
    """Test image number i is of the grey i, 8 by 8."""
    grey = torch.arange(networks.n, dtype=torch.uint8)[:, None, None, None]
    return SimpleNamespace(test_images=grey.expand(-1, 3, 8, 8).clone())


@pytest.fixture(scope="session")
def places(networks: Networks) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(networks.n, 2)).astype(np.float32)


@pytest.fixture(scope="session")
def records() -> list[tuple[str, dict[str, Any]]]:
    first = record({"alone": (70.0, 72.0), "kd": (80.0, 81.0), "kd_ls": (82.0, 82.5)}, epochs=5)
    second = record({"alone": (71.0, 72.0), "ctkd_ls": (83.0, 83.5)}, epochs=3, seed=1)
    values = np.random.default_rng(3).uniform(0, 100, size=5)
    for epoch, value in zip(first["members"]["kd"]["epochs"], values, strict=True):
        epoch["test_accuracy"] = float(value)
    for content in (first, second):
        for member in content["members"].values():
            for epoch in member["epochs"]:
                epoch["train_loss"] = 10 / epoch["epoch"] ** 2
                epoch["terms"] = {"ce": 0.1, "kd": epoch["train_loss"] - 0.1}
    return [("first", first), ("second", second)]


@pytest.fixture(scope="session")
def path_of(
    networks: Networks, dataset: Any, places: np.ndarray, records: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The page of a live figure by its name."""
    site = tmp_path_factory.mktemp("site")
    stills = site / "stills"
    make: dict[str, Callable[[], Live]] = {
        "toy": lambda: softmax.toy(stills),
        "distillation": lambda: softmax.distillation(networks, stills, dataset),
        "factor": lambda: softmax.factor(networks, stills),
        "spread": lambda: softmax.spread(networks, stills),
        "objective": lambda: objective.objective(networks, stills, dataset),
        "entropy": lambda: zscore.entropy(stills),
        "invariance": lambda: zscore.invariance(networks, stills),
        "bound": lambda: zscore.bound(stills),
        "two_classes": lambda: zscore.two_classes(stills),
        "precision": lambda: zscore.precision(networks, stills),
        "epsilon": lambda: zscore.epsilon(networks, stills),
        "sample": lambda: live_networks.sample(networks, None),
        "features": lambda: live_networks.features(networks, {"kd": Embedding(places, 0, 0, 0)}, dataset),
        "gap": lambda: live_networks.gap(networks),
        "curves": lambda: live_networks.curves(records),
    }

    def path(name: str) -> Path:
        page = site / f"{name}.html"
        return page if page.is_file() else write_page(site, make[name]())

    return path


BEGIN = """root => {
    document.documentElement.dataset.theme = "light";
    const controls = root.querySelectorAll("[data-control], [data-group]");
    for (const e of controls) {
        if (e.type === "checkbox") e.checked = e.defaultChecked;
        else if (e.options) e.selectedIndex = Math.max(0, [...e.options].findIndex(o => o.defaultSelected));
        else e.value = e.defaultValue;
    }
    for (const fold of root.querySelectorAll("details")) fold.open = false;
    controls[0].dispatchEvent(new Event("input", { bubbles: true }));
}"""


@pytest.fixture(scope="session")
def tabs(chromium: Any, path_of: Callable[[str], Path]) -> Iterator[Callable[[str], tuple[Any, list[str]]]]:
    """Opens a live figure once; it, and what its page complains of."""
    with chromium.new_context(viewport={"width": 1280, "height": 1000}) as context:
        context.set_default_timeout(60_000)

        @functools.cache
        def tab(name: str) -> tuple[Any, list[str]]:
            page = context.new_page()
            wrong = complaints(page)
            return opened(page, path_of(name)), wrong

        yield tab


@pytest.fixture
def show(tabs: Callable[[str], tuple[Any, list[str]]]) -> Iterator[Show]:
    """A live figure as it begins, with some controls set; its page has stayed open since the test before."""
    heard: list[list[str]] = []

    def shown(name: str, **controls: float | str | bool) -> Any:
        figure, wrong = tabs(name)
        heard.append(wrong)
        figure.page.bring_to_front()
        figure.evaluate(BEGIN)
        put(figure, **controls)
        return figure

    yield shown
    assert not any(heard)
