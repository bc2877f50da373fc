"""Tables and pictures of what is published: settings with their sources, doubts, transformers, all gains."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from synthetic import run, store

from figures import recipe_tables, theme
from figures.paper_tables import table
from lskd.objectives import KD, METHODS
from lskd.recipes import load_recipe
from paper import published, tables
from paper.cells import Cell, of_recipe
from paper.text import recipe_text


def cells(folder: str) -> list[Cell]:
    return [cell for recipe in recipe_tables.recipes_in(folder) for cell in of_recipe(recipe)]


def column(folder: str, heading: str) -> dict[str, str]:
    shown = recipe_tables.protocol_table(recipe_tables.recipes_in(folder))
    (place,) = [i for i, text in enumerate(shown.headings) if heading in text]
    return {row[0]: row[place] for row in shown.rows}


def test_protocols_typed_from_the_specification() -> None:
    # protocol sections 4.3 and 1.4
    kd = column("imagenet", "ResNet50 → MobileNetV1: KD, DKD, MLKD")
    assert (kd["epochs"], kd["batch"], kd["learning rate"], kd["weight decay"]) == ("100", "512", "0.2", "0.0001")
    assert kd["schedule"] == "times 0.1 after 30, 60, 90"
    assert column("imagenet", "ResNet34 → ResNet18: MLKD")["learning rate"] == "0.1"
    ctkd = column("imagenet", "ResNet34 → ResNet18: CTKD; ResNet50 → MobileNetV1: CTKD")
    assert (ctkd["epochs"], ctkd["batch"], ctkd["learning rate"]) == ("120", "256", "0.1")
    # protocol section 4.4
    vit = column("vit", "DeiT-Tiny")
    assert (vit["optimiser"], vit["epochs"], vit["batch"], vit["weight decay"]) == ("AdamW", "300", "128", "0.05")
    assert (vit["warm-up epochs"], vit["schedule"], vit["drop path, last block"]) == ("20", "cosine", "0.1")
    assert vit["teacher sees images of size"] == "32"
    teacher = column("vit", "pycls-ResNet-56")
    assert (teacher["optimiser"], teacher["learning rate"], teacher["Nesterov momentum"]) == ("SGD", "0.1", "yes")
    # recipes of one protocol share a column
    headings = recipe_tables.protocol_table(recipe_tables.recipes_in("vit")).headings
    assert any(all(name in text for name in ("DeiT-Tiny", "PVT-Tiny", "PiT-Tiny", "T2T-ViT-7")) for text in headings)


def test_assumed_settings_are_apart_from_those_with_a_source() -> None:
    rows = {row[0]: row[1:] for row in recipe_tables.members_table(cells("imagenet")).rows}
    sourced, assumed, doubts = rows["ResNet34 → ResNet18, kd, ls"]
    assert sourced == "T 2"
    assert assumed == "weight 9, CE weight 1"
    assert int(doubts) == len(next(c for c in cells("imagenet") if c.name == "ResNet34 -> ResNet18, kd, ls").doubts)
    assert rows["ResNet34 → ResNet18, kd"][1] == "–"


@pytest.mark.parametrize(
    ("folder", "words", "end"),
    [("imagenet", "71.69", "*ResNet18: kd ls*"), ("vit", "accuracy of the teacher", "*all cells*")],
)
def test_every_doubt_is_told_once_with_its_cells(folder: str, words: str, end: str) -> None:
    known = cells(folder)
    lines = recipe_tables.doubts_text(known).splitlines()
    told = {" ".join(d.partition(": ")[2].split()) for cell in known for d in cell.doubts}
    assert len(lines) == len(set(lines)) == len(told)
    assert all(any(text in line for line in lines) for text in told)
    assert all(line.endswith("*") for line in lines)
    assert [line.endswith(end) for line in lines if words in line] == [True]


def test_transformers_have_their_published_values_and_logs(tmp_path: Path) -> None:
    entries = {e.cell.name: e for e in tables.entries_of(cells("vit"), tmp_path)}
    assert len(entries) == 12  # the teacher's accuracy is not published
    deit = entries["pycls-ResNet-56 -> DeiT-Tiny-distilled, kd, ls"]
    assert (deit.published, deit.log_best, deit.log_last, deit.ours) == (78.55, (78.73,), (78.46,), None)
    assert entries["pycls-ResNet-56 -> T2T-ViT-7, kd, ls"].log_best == (78.10,)
    assert entries["PiT-Tiny, alone"].published == 73.58
    assert entries["PiT-Tiny, alone"].log_best == ()
    shown = table("Vision transformers", list(entries.values()))
    assert shown.caption.startswith("<b>Vision transformers.</b>")
    assert "0 of 12 cells" in shown.caption


def test_a_run_of_a_transformer_fills_its_cell_and_no_other(tmp_path: Path) -> None:
    whole = run({"kd_ls": (77.0, 77.5)}, recipe="vit/PiT-Tiny")
    small = run({"kd_ls": (10.0, 11.0)}, recipe="vit/PVT-Tiny")
    small["dataset"]["train_size"] = 500
    found = tables.entries_of(cells("vit"), store(tmp_path, whole, small))
    assert {e.cell.name: e.ours["best"]["mean"] for e in found if e.ours} == {
        "pycls-ResNet-56 -> PiT-Tiny, kd, ls": 77.5
    }


def test_the_picture_has_all_that_is_known(tmp_path: Path) -> None:
    entries = tables.entries_of(cells("vit"), tmp_path)
    figure = recipe_tables.dots(entries, "vit", folder=tmp_path, about="Transformers")
    rows = list(csv.DictReader((tmp_path / "vit.csv").read_text(encoding="utf-8").splitlines()))
    kinds = [row["kind"] for row in rows]
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "alone": 4, "locality guidance": 4, "with LS": 4, "log, best": 4, "log, last": 4,
    }  # fmt: skip
    assert "None of the 12 cells were run here" in figure.caption
    assert "with LS 78.43 to 78.76" in figure.alt
    (tmp_path / "none").mkdir()
    table_3 = tables.entries(3, tmp_path / "none")
    recipe_tables.dots(table_3, "imagenet", folder=tmp_path, about="Table 3")
    rows = list(csv.DictReader((tmp_path / "imagenet.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["line"] for row in rows}) == 8
    assert sum(row["kind"] in ("with LS", "without LS") for row in rows) == 16


def test_two_readers_are_further_apart_than_neighbouring_rows(tmp_path: Path) -> None:
    issues = published.find(dataset="imagenet", source="GitHub issue")
    assert len(issues) == 2
    low, high = sorted(n.value for n in issues)
    printed = [e for e in tables.entries(3, tmp_path) if e.cell.student == "imagenet/ResNet18"]
    (ours,) = [e.published for e in printed if e.cell.member == "kd_ls"]
    assert low < ours < high
    assert all(abs(b.published - a.published) < high - low for a, b in itertools.pairwise(printed))


def test_a_teacher_is_several_times_the_difference_between_ways_of_teaching(tmp_path: Path) -> None:
    entries = tables.entries_of(cells("vit"), tmp_path)
    for student in ("DeiT-Tiny", "PVT-Tiny", "PiT-Tiny", "T2T-ViT-7"):
        value = {e.cell.member: e.published for e in entries if e.cell.student.removesuffix("-distilled") == student}
        gap = abs(value["kd_ls"] - value["locality"])
        assert min(value["kd_ls"], value["locality"]) - value["alone"] > 4 * gap


def test_a_new_method_has_its_title_and_a_look_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chi(KD):
        title = "ChiKD"

    monkeypatch.setitem(METHODS, "chi", Chi)
    monkeypatch.setitem(METHODS, "psi", type("Psi", (KD,), {"title": "Psi"}))
    recipe = load_recipe("digit-pairs", members=["kd"], settings={"members.kd.method": "chi"})
    assert "| `kd` | ChiKD |" in recipe_text(recipe)
    looks = [theme.look(name, {"method": name, "standardize": False}) for name in ("chi", "psi", *theme._HUES)]
    assert len({(look.color, look.marker) for look in looks}) == len(looks)
