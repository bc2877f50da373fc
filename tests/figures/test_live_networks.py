"""Live figures of trained networks: logits, feature space, gaps and learning curves are those that were measured."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from live_pages import Show, drawn, draws, opened, put, said, tells, write_page
from PIL import Image
from synthetic import CLASSES

from figures.live import networks as live_networks
from figures.live.rows import of_all_kinds, thumbnail
from figures.networks import Networks
from lskd.evidence import Evidence
from lskd.losses import kd_loss, standardize
from paper.logits import gap_matrix

pytestmark = pytest.mark.browser

PLACE = """([x, y]) => {
    const view = [...Bokeh.index.roots][0];
    view.el.scrollIntoView({block: "center", behavior: "instant"});
    const box = view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)];
}"""
TOOLTIP = """() => {
    const all = root => [...root.querySelectorAll("*")].flatMap(e => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]);
    return all(document).filter(e => e.matches(".bk-Tooltip")).map(e => (e.shadowRoot ?? e).textContent).join(" ");
}"""


def point(page: Any, x: float, y: float, expected: str) -> tuple[float, float]:
    """Points at a place of a plot until what is expected stands there, where on the screen it is."""
    for _ in range(20):  # until the plot has settled in its ranges
        spot = page.evaluate(PLACE, [x, y])
        page.mouse.move(spot[0] - 30, spot[1] - 30)
        page.mouse.move(*spot, steps=4)
        page.wait_for_timeout(200)
        if expected in page.evaluate(TOOLTIP):
            break
    assert expected in page.evaluate(TOOLTIP)
    return spot[0], spot[1]


@pytest.mark.parametrize("member", ["kd", "dkd_ls", "alone"])
def test_any_image_shows_the_logits_of_the_evidence(show: Show, networks: Networks, member: str) -> None:
    figure = show("sample")
    student, i, temperature = networks.packs[member], 17, 3.0
    put(figure, image=i, network=member, temperature=temperature)
    ours, theirs = (torch.from_numpy(p.logits[[i]]).double() for p in (student, networks.teacher))
    shown = {
        "logits": ours,
        "z": standardize(ours),
        "p": torch.softmax(ours / temperature, -1),
        "pz": torch.softmax(standardize(ours) / temperature, -1),
    }
    for mode, expected in shown.items():
        put(figure, show=mode)
        draws(figure, "student", expected[0])
    plain, standardized = (kd_loss(ours, theirs, temperature=temperature, standardize=on) for on in (False, True))
    tells(figure, plain=plain, standardized=standardized, spread_student=ours.std(correction=0))
    tells(figure, truth=str(student.class_names[student.label[student.logits_index[i]]]))
    tells(figure, student=str(student.class_names[int(ours.argmax())]))


def test_thumbnails_are_the_images_of_the_logits(networks: Networks, dataset: Any) -> None:
    index = networks.teacher.logits_index[of_all_kinds(networks)]
    sprites, place = thumbnail(dataset, index, "x")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprites.partition(",")[2]))))
    assert sheet.shape == (len(index) * 8, 8, 3)
    np.testing.assert_allclose(sheet.reshape(len(index), 8, 8, 3).mean(axis=(1, 2, 3)), index, atol=2)
    assert "width:32px;height:32px" in place
    assert "var(--lskd-sprite-x)" in place
    assert thumbnail(None, index, "x") == ("", "")


def test_the_feature_space_is_filtered_and_names_what_is_pointed_at(show: Show, networks: Networks) -> None:
    figure, pack = show("features"), networks.packs["kd"]
    inside, right = pack.superclass[pack.label] == 3, pack.prediction == pack.label
    put(figure, group="3")
    tells(figure, shown=f"{inside.sum():,}", right=f"{(inside & right).sum():,}")
    put(figure, wrong=True)
    shown = np.flatnonzero(inside & ~right)
    tells(figure, shown=f"{len(shown):,}")
    names = [pack.class_names[k[shown[0]]] for k in (pack.label, pack.prediction)]
    point(figure.page, *(drawn(figure, "points", c)[0] for c in "xy"), f"{names[0]}, predicted {names[1]}")


def test_images_are_reached_by_keys_too(show: Show, networks: Networks, places: np.ndarray) -> None:
    figure, n = show("features"), networks.n
    figure.locator("[data-control='image']").focus()
    for key, image in (("ArrowRight", 1), ("ArrowRight", 2), ("End", n - 1)):
        figure.page.keyboard.press(key)
        teacher, kd = networks.teacher, networks.packs["kd"]
        assert said(figure, "label") == str(teacher.class_names[teacher.label[image]])
        assert said(figure, "prediction") == str(teacher.class_names[kd.prediction[image]])
        assert [drawn(figure, "here", c)[0] for c in "xy"] == pytest.approx(places[image], abs=6e-3)
        sheet = figure.locator("[data-picture]").evaluate(
            "e => e.style.backgroundPosition.match(/-?\\d+/g).map(Number)"
        )
        assert sheet == [-(image % 50) * 32, -(image // 50) * 32]


def test_what_is_under_the_pointer_is_dark_on_dark_pages(show: Show) -> None:
    figure = show("features")
    figure.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    point(figure.page, *(drawn(figure, "points", c)[0] for c in "xy"), "predicted")
    ground, ink = figure.page.locator(".bk-Tooltip").evaluate(
        "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
    )
    light = [sum(map(int, color[4:-1].split(","))) for color in (ground, ink)]
    assert light[0] < 200 < 500 < light[1]


@pytest.mark.parametrize(("first", "second", "kind"), [("kd", "teacher", "raw"), ("ctkd_ls", "kd", "z")])
def test_the_gap_cell_by_cell(show: Show, networks: Networks, first: str, second: str, kind: str) -> None:
    figure, names = show("gap"), networks.teacher.class_names
    start = gap_matrix(networks.teacher, networks.packs["kd_ls"], standardized=False)
    at = np.unravel_index(start.argmax(), start.shape)
    assert [said(figure, "truth"), said(figure, "logit")] == [names[at[0]], names[at[1]]]
    put(figure, first=first, second=second, kind=kind)
    a, b = networks.packs[first], networks.packs[second]
    expected = gap_matrix(b, a, standardized=kind == "z")
    order = np.argsort(a.superclass, kind="stable")
    shown = drawn(figure, "cells", "value").reshape(CLASSES, CLASSES)
    np.testing.assert_allclose(shown, expected[np.ix_(order, order)], atol=2e-3)
    put(figure, truth="13", logit="6")
    field = {"raw": "class_mean_logits", "z": "class_mean_z"}[kind]
    tells(figure, mean=expected.mean(), max=expected.max(), gap=expected[13, 6])
    tells(figure, a=getattr(a, field)[13, 6], b=getattr(b, field)[13, 6])
    high = "() => Bokeh.documents.map(d => d.get_model_by_name('cells-mapper')).find(m => m).high"
    most = max(gap_matrix(networks.teacher, e, standardized=kind == "z").max() for e in networks.students.values())
    assert figure.page.evaluate(high) == pytest.approx(most)
    put(figure, same=False)
    assert figure.page.evaluate(high) == pytest.approx(expected.max(), abs=2e-3)


def test_a_class_without_test_images_is_left_empty(page: Any, networks: Networks, tmp_path: Path) -> None:
    def without(pack: Evidence) -> Evidence:
        means = {name: getattr(pack, name).copy() for name in ("class_mean_logits", "class_mean_z")}
        for values in means.values():
            values[13] = np.nan
        return replace(pack, label=np.where(pack.label == 13, 12, pack.label), **means)

    few = replace(networks, packs={name: without(pack) for name, pack in networks.packs.items()})
    figure = opened(page, write_page(tmp_path, live_networks.gap(few)))
    expected = gap_matrix(few.teacher, few.packs["kd_ls"], standardized=False)
    order = np.argsort(few.teacher.superclass, kind="stable")
    shown = drawn(figure, "cells", "value").reshape(CLASSES, CLASSES)
    assert np.isnan(shown[order == 13]).all()
    np.testing.assert_allclose(shown, expected[np.ix_(order, order)], atol=2e-3)
    tells(figure, mean=np.nanmean(expected), max=np.nanmax(expected))
    before = said(figure, "truth")
    for row in (order.tolist().index(13), 0):  # nothing is chosen where nothing was measured
        page.mouse.click(*page.evaluate(PLACE, [3, CLASSES - 1 - row]))
        page.wait_for_timeout(300)
        assert said(figure, "truth") == (before if row else few.teacher.class_names[order[0]])


def test_a_cell_is_named_where_it_is_pointed_at_and_chosen_where_it_is_touched(show: Show, networks: Networks) -> None:
    figure, row, column = show("gap"), 4, 11
    names = networks.teacher.class_names[np.argsort(networks.teacher.superclass, kind="stable")]
    expected = f"true class {names[row]}, logit of {names[column]}"
    figure.page.mouse.click(*point(figure.page, column, CLASSES - 1 - row, expected))
    tells(figure, truth=str(names[row]), logit=str(names[column]))


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_of_groups_leave_room_for_the_map(page: Any, networks: Networks, tmp_path: Path, width: int) -> None:
    names = np.array([f"large man-made outdoor things {i}" for i in range(len(networks.teacher.superclass_names))])
    packs = {name: replace(pack, superclass_names=names) for name, pack in networks.packs.items()}
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, write_page(tmp_path, live_networks.gap(replace(networks, packs=packs))))
    page.wait_for_function("[...Bokeh.index.roots][0].frame?.bbox.width > 0")
    assert page.evaluate("[...Bokeh.index.roots][0].frame.bbox.width") > {390: 200, 1280: 350}[width]
    label = page.evaluate("Bokeh.documents[0].get_model_by_name('y').axis_label")
    assert label == ("true class, grouped by superclass" if width == 390 else "true class")


@pytest.mark.parametrize(("quantity", "window"), [("test_accuracy", 1), ("test_accuracy", 3), ("train_loss", 2)])
def test_learning_curves(show: Show, records: list[tuple[str, dict[str, Any]]], quantity: str, window: int) -> None:
    def smooth(number: int, name: str) -> list[float]:
        values = pd.Series([e[quantity] for e in records[number][1]["members"][name]["epochs"]])
        return values.rolling(window, min_periods=1).mean().tolist()

    figure = show("curves", quantity=quantity, smoothing=window)
    figure.get_by_label("student alone").set_checked(False)
    for number, chosen in ((0, ["kd", "kd_ls"]), (1, [])):
        put(figure, record=str(number))
        for name in ("alone", "kd", "kd_ls", "ctkd_ls"):
            draws(figure, f"curve-{name}", smooth(number, name) if name in chosen else [])
    tells(figure, missing="Not measured in this record: KD, KD + LS.")
    put(figure, record="0", start=4)
    draws(figure, "curve-kd", smooth(0, "kd")[3:])
    assert drawn(figure, "curve-kd", "x").tolist() == [4, 5]
    assert drawn(figure, "read", "x").tolist() == [5, 5]
    put(figure, epoch=1)  # before the first that is shown
    assert drawn(figure, "read", "x").tolist() == [4, 4]
    put(figure, start=1, record="1")
    figure.get_by_label("CTKD + LS").set_checked(True)
    put(figure, epoch=2)
    second, digits = smooth(1, "ctkd_ls")[1], 2 if quantity == "test_accuracy" else 3
    draws(figure, "read", [second])
    tells(figure, values=f"CTKD + LS {second:.{digits}f} (epoch 2)")
    put(figure, start=5)  # beyond this record's end: its last epoch
    tells(figure, values=f"CTKD + LS {smooth(1, 'ctkd_ls')[2]:.{digits}f} (epoch 3)")


def test_a_network_is_missed_beside_one_whose_name_begins_alike(
    page: Any, tmp_path: Path, records: list[tuple[str, dict[str, Any]]]
) -> None:
    first = records[0][1]
    bare = first | {"members": {"kd_ls": first["members"]["kd_ls"]}}
    figure = opened(page, write_page(tmp_path, live_networks.curves([("first", first), ("bare", bare)])))
    put(figure, record="1")
    tells(figure, missing="Not measured in this record: student alone, KD.")


def test_series_and_titles_hold_what_was_measured(records: list[tuple[str, dict[str, Any]]]) -> None:
    member = records[1][1]["members"]["ctkd_ls"]
    found = live_networks.series(member)
    assert found["temperature"] == [e.get("temperature") for e in member["epochs"]]
    assert set(found) == set(live_networks.titles([("x", {"members": {"ctkd_ls": member}})]))
    assert "temperature" not in live_networks.series(records[0][1]["members"]["kd"])
    assert found["term-kd"] == [e["terms"]["kd"] for e in member["epochs"]]
    assert live_networks.titles(records)["term-kd"] == ("distillation term", 3)
