"""The table of a teacher's logits: whole, of this teacher and these images, or refused."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from small_runs import CPU, MLKD, flip, killed, run, words
from torch import nn

from lskd.data import Dataset, load_dataset
from lskd.data.views import Views, normalize
from lskd.errors import LskdError
from lskd.models import create_model
from lskd.models.base import Resized
from lskd.trainer import logit_table as tables
from lskd.trainer.logit_table import build, choose, damaged_blocks, header_of, open_table

DATA = {"train_size": 130, "test_size": 100}
SETTINGS = MLKD | {"data": DATA}
ROWS = 40 * 9  # of a block: four blocks, the last of ten images


def make_teacher(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("resnet8").to(memory_format=torch.channels_last).eval()


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return make_teacher()


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("digit_pairs", **DATA)


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_ROWS", ROWS)
        yield


def made(folder: Path, teacher: nn.Module, dataset: Dataset, dtype: str = "float32") -> dict[str, Any]:
    header = header_of(teacher, "resnet8", dataset, dtype=dtype)
    build(folder, header, teacher, dataset, device=CPU, progress=False)
    return header


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, teacher: nn.Module, dataset: Dataset) -> Path:
    folder = tmp_path_factory.mktemp("table")
    made(folder, teacher, dataset)
    return folder


@pytest.mark.parametrize(("room", "moved"), [(2, False), (3, True)])
def test_a_gpu_without_room_for_a_table_leaves_it_on_the_host(
    room: int, moved: bool, whole: Path, teacher: nn.Module, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in: no table is copied, only asked for."""
    header, asked = header_of(teacher, "resnet8", dataset, dtype="float32"), []
    free = room * (whole / "logits.bin").stat().st_size
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    monkeypatch.setattr(torch.Tensor, "to", lambda rows, device: asked.append(device) or rows)
    table = tables.LogitTable(whole, header, torch.device("cuda"))
    assert bool(asked) is moved
    assert table.on_device is False  # nothing was moved in truth


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
def test_every_entry_is_what_the_teacher_says_of_that_view(
    dtype: str, tolerance: float, whole: Path, teacher: nn.Module, dataset: Dataset, tmp_path: Path
) -> None:
    folder = whole if dtype == "float32" else tmp_path
    header = made(folder, teacher, dataset, dtype)
    assert (folder / "logits.bin").stat().st_size == 130 * 9 * 100 * (4 if dtype == "float32" else 2)
    table = open_table(folder, header, teacher, dataset, device=CPU)
    assert table.checked < tolerance
    views = Views(dataset.train_images, pad=1, flip=False)
    index = torch.randperm(130, generator=torch.Generator().manual_seed(1))
    for view in range(9):
        chosen = torch.full((130,), view)
        with torch.no_grad():
            live = teacher(normalize(views(index, chosen), dataset))
        found = table(index, chosen)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, live, rtol=0, atol=tolerance * float(live.std()))


def dying(when: str, out: Path) -> None:
    """Build a table until the process kills itself, when its second block is there and not yet listed."""
    append, calls = tables.append_line, itertools.count(1)

    def list_half(path: Path, line: Any) -> None:
        if next(calls) == 2:
            if when == "in the line":
                path.write_bytes(path.read_bytes() + b'{"block": 1, "sha')
            os.kill(os.getpid(), signal.SIGKILL)
        append(path, line)

    tables.append_line, tables.BLOCK_ROWS = list_half, ROWS
    made(out, make_teacher(), load_dataset("digit_pairs", **DATA))


def test_an_interrupted_build_goes_on_and_a_damaged_block_is_made_again_with_the_same_bytes(
    whole: Path, teacher: nn.Module, dataset: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "table"
    done = []
    for when in ("before the line", "in the line"):
        killed(dying, when, out)
        header = header_of(teacher, "resnet8", dataset)
        done.append(damaged_blocks(out, header))
        with pytest.raises(LskdError, match=r"differ from their sha256: .*; `lskd table build` makes them again"):
            open_table(out, header, teacher, dataset, device=CPU)
    assert done == [[1, 2, 3], [2, 3]]
    forwards = []
    handle = teacher.register_forward_pre_hook(lambda _, inputs: forwards.append(len(inputs[0])))
    made(out, teacher, dataset)
    handle.remove()
    assert sum(forwards) == (40 + 10) * 9  # what was there is not computed again
    assert (out / "logits.bin").read_bytes() == (whole / "logits.bin").read_bytes()
    flip(out / "logits.bin")
    with pytest.raises(LskdError, match="of 4 blocks these are missing or differ from their sha256: 1;"):
        open_table(out, header, teacher, dataset, device=CPU)
    made(out, teacher, dataset)
    open_table(out, header, teacher, dataset, device=CPU)
    assert (out / "logits.bin").read_bytes() == (whole / "logits.bin").read_bytes()


def test_another_teacher_data_or_transform_is_refused_with_the_difference(
    whole: Path, teacher: nn.Module, dataset: Dataset
) -> None:
    other = make_teacher(1)
    mean = (0.5, 0.5, 0.5)
    changed = [
        (other, dataset, "float32", r"teacher: '\w{64}' there, '\w{64}' now"),
        (teacher, load_dataset("digit_pairs", **DATA, data_seed=1), "float32", r"data: '\w{64}' there, '\w{64}' now"),
        (teacher, load_dataset("digit_pairs", **DATA, pad=2), "float32", r"transform\.pad: 1 there, 2 now"),
        (teacher, dataclasses.replace(dataset, mean=mean), "float32", r"transform\.mean: .* there, \[0\.5"),
        (teacher, dataset, "float16", r"dtype: 'float32' there, 'float16' now"),
    ]
    for network, data, dtype, message in changed:
        header = header_of(network, "resnet8", data, dtype=dtype)
        with pytest.raises(LskdError, match=f"another table of logits(.|\n)*{message}"):
            open_table(whole, header, network, data, device=CPU)
        with pytest.raises(LskdError, match=f"another table of logits(.|\n)*{message}"):
            build(whole, header, network, data, device=CPU, progress=False)
    # Whole by its digests, and yet not what the teacher computes: the header lies.
    with pytest.raises(LskdError, match=r"differ from the live teacher's by .* expected at most"):
        open_table(whole, header_of(teacher, "resnet8", dataset), other, dataset, device=CPU)
    resized = {header_of(Resized(teacher, side), "resnet8", dataset)["input_size"] for side in (16, 32)}
    assert resized == {16, 32}
    assert not {"tf32", "input_size"} & header_of(teacher, "resnet8", dataset).keys()  # and so is its folder's name


def test_a_disk_that_is_too_small_and_logits_that_half_precision_cannot_hold_are_refused(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = make_teacher()
    torch.nn.init.constant_(loud.fc.bias, 1e5)
    with pytest.raises(LskdError, match="not finite as float16"):
        made(tmp_path / "loud", loud, dataset, "float16")
    monkeypatch.setattr(tables.shutil, "disk_usage", lambda path: Mock(free=1000))
    with pytest.raises(LskdError, match=r"needs 0\.00 GB and 0\.00 GB are free; make room"):
        made(tmp_path / "full", loud, dataset)
    assert not (tmp_path / "full" / "logits.bin").exists()


def test_auto_counts_forwards_and_says_so() -> None:
    assert choose("auto", epochs=240, train_size=50_000, views=162)[0] == "table"
    kind, reason = choose("auto", epochs=100, train_size=50_000, views=162)
    assert kind == "live"
    assert "5,000,000 teacher forwards (100 epochs), a table 8,100,000 (162 views)" in reason
    assert choose("auto", epochs=162, train_size=10, views=162)[0] == "live"
    assert [choose(kind, epochs=1, train_size=1, views=9)[0] for kind in ("live", "table")] == ["live", "table"]


def test_a_run_from_a_table_is_close_to_live_reproducible_and_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    both: dict[str, Any] = {"settings": SETTINGS, "members": ["kd", "mlkd"]}
    live = run(tmp_path / "live", runs, **both, teacher_logits="auto", progress=True)
    said = capfd.readouterr()[1]
    assert "teacher logits: live, the cheaper of two: live needs 260 teacher forwards (2 epochs)" in said
    assert live["teacher_logits"] == {"source": "live", "dtype": "float32"}
    assert live["table"] is None
    assert not (runs / "tables").exists()
    first = run(tmp_path / "first", runs, **both, teacher_logits="table", progress=True)
    said = capfd.readouterr()[1]
    assert "teacher logits: table, as asked for; live needs 260" in said
    assert "teacher's logits: 100%" in said
    assert first["teacher_logits"] == {"source": "table", "dtype": "float32"}
    assert "a table 1,170 (9 views) once" in first["teacher_logits_reason"]
    assert (runs / "tables" / first["table"]["folder"] / "logits.bin").stat().st_size == 130 * 9 * 100 * 4
    assert first["table"]["deviation"] < 1e-5
    assert "--teacher-logits table" in first["command"]
    alone = both | {"members": ["kd"]}
    second = run(tmp_path / "second", runs, **alone, teacher_logits="table")  # from the table that is there
    assert (tmp_path / "first/kd.safetensors").read_bytes() == (tmp_path / "second/kd.safetensors").read_bytes()
    assert len(list((runs / "tables").iterdir())) == 1
    assert second["members"]["kd"]["epochs"] == first["members"]["kd"]["epochs"]
    for member in ("kd", "mlkd"):
        for a, b in zip(first["members"][member]["epochs"], live["members"][member]["epochs"], strict=True):
            assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3)
    with pytest.raises(LskdError, match=r"teacher_logits\.source: 'live' there, 'table' now"):
        run(tmp_path / "live", runs, **both, teacher_logits="table")
    record = run(tmp_path / "without", tmp_path / "none", settings=SETTINGS, members=["alone"], teacher_logits="table")
    assert record["teacher_logits"] is None
    assert not (tmp_path / "none" / "tables").exists()


def test_with_a_table_the_teacher_is_asked_for_strong_views_only(
    whole: Path, teacher: nn.Module, dataset: Dataset
) -> None:
    from lskd.recipes import load_recipe
    from lskd.trainer.cohort import Cohort

    table = open_table(whole, header_of(teacher, "resnet8", dataset), teacher, dataset, device=CPU)
    for members, images in ((["kd", "ctkd_ls"], 0), (["kd", "mlkd"], 2 * 130)):
        recipe = load_recipe("digit-pairs", settings=SETTINGS, members=members)
        seen: list[int] = []
        handle = teacher.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(len(inputs[0])))
        Cohort(recipe, dataset, seed=0, teacher=teacher, device=CPU, table=table).run()
        handle.remove()
        assert sum(seen) == images


def test_the_commands(tmp_path: Path, told: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--recipe", "digit-pairs", "--runs", "runs", "--device", "cpu", "--out", "table", *words(SETTINGS)]
    said = told("table", "verify", *given, status=2)
    assert "no table of logits there; make it with `lskd table build`" in said
    assert "table: whole; differs from the live teacher by" in told("table", "build", *given)
    told("table", "verify", *given)
    shown = told("table", "show", "table")
    assert "table: resnet8 on digit_pairs, 0.5 MB" in shown
    assert "4 of 4 whole" in shown
    flip(Path("table/logits.bin"))
    told("table", "verify", *given, status=2)
    assert "3 of 4 whole" in told("table", "show", "table")
