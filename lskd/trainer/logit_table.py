"""The teacher's logits for every weak view of every training image, computed once and read ever after.

A teacher in eval mode sees an image's view the same way in every epoch, and there are only so many views (162
for CIFAR, 9 for digit pairs), so a table replaces its forward passes for every objective, temperature, weight,
seed and student. CIFAR-100 takes 3.2 GB in float32, half of that in float16.

A table is a folder::

    header.json    whose logits of which images under which transform; another teacher, data or transform is refused
    logits.bin     [images, views, classes], memory-mapped when read
    blocks.jsonl   sha256 of each finished block of images; what is not listed is computed when the build goes on

Exactness: the numbers are the teacher's, but libraries choose how to sum by the size of a batch, and a table is
made in other batches than it is used in. Measured with torch 2.13 on an x86 CPU (ResNets, a wide ResNet, VGG,
ShuffleNet): batches of 16 to 512 gave the same bits, one image alone differed by 1e-6 of the logits' standard
deviation; other devices and versions promise nothing. So a float32 table may equal live logits to the bit and is
not relied on to: each kind reproduces itself, the record names the kind and the deviation found
(:meth:`LogitTable.deviation`). Float16 deviates by about 2e-3 and moves losses of short runs in the fourth digit.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lskd.data.dataset import Dataset
from lskd.data.draws import seed_for
from lskd.data.views import Views, normalize, view_count
from lskd.errors import LskdError
from lskd.files import append_line, claim, locked, read_json, read_lines
from lskd.models import state_digest
from lskd.models.base import Resized
from lskd.trainer.log import progress_bar

DTYPES = {"float32": torch.float32, "float16": torch.float16}
KIND = "table of logits"  # as errors call it
BLOCK_ROWS = 4096  # views of a block, about: what a kill costs
FORWARD_ROWS = 512
SAMPLE = 256
# Largest deviation from the live teacher, in standard deviations of its logits.
TOLERANCE = {"float32": 1e-3, "float16": 1e-2}
TOLERANCE_GPU = 1e-2  # of either: tf32 keeps three digits


def choose(asked: str, *, epochs: int, train_size: int, views: int) -> tuple[str, str]:
    """ "auto", "live" or "table" to what is used and why; auto takes what needs fewer teacher forwards."""
    live, table = epochs * train_size, views * train_size
    counts = f"live needs {live:,} teacher forwards ({epochs} epochs), a table {table:,} ({views} views) once"
    if asked == "auto":
        return ("table" if table < live else "live"), f"the cheaper of two: {counts}"
    return asked, f"as asked for; {counts}"


def header_of(teacher: nn.Module, network: str, dataset: Dataset, *, dtype: str = "float32") -> dict[str, Any]:
    """The header of the table that this teacher and these images make; on a GPU also of how it multiplies."""
    gpu = any(weights.is_cuda for weights in teacher.parameters())
    views = view_count(pad=dataset.pad, flip=dataset.flip)
    return {
        "schema": 1,
        "network": network,
        "teacher": state_digest(teacher.state_dict()),
        "dataset": dataset.name,
        "data": dataset.digest,
        "transform": {"pad": dataset.pad, "flip": dataset.flip, "mean": list(dataset.mean), "std": list(dataset.std)},
        "images": len(dataset.train_images),
        "views": views,
        "classes": dataset.classes,
        "dtype": dtype,
        "block_images": max(1, BLOCK_ROWS // views),
        **({"tf32": torch.backends.cudnn.allow_tf32} if gpu else {}),
        **({"input_size": teacher.size} if isinstance(teacher, Resized) else {}),
    }


def table_folder(runs: Path, header: dict[str, Any]) -> Path:
    """Where a table lies below the folder of runs, by its content."""
    key = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    return runs / "tables" / f"{header['network'].replace('/', '-')}-{header['dataset']}-{key[:12]}".replace(":", "-")


class LogitTable:
    """An open table: ``table(index, view)`` are the logits of views of images, float32 ``[n, classes]``.

    The file stays on the disk and is mapped; on a GPU with room for it, it is copied there. ``checked`` is the
    deviation that was found when it was opened.
    """

    checked: float = float("nan")

    def __init__(self, folder: Path, header: dict[str, Any], device: torch.device) -> None:
        self.folder, self.header, self.device = folder, header, device
        self.views = header["views"]
        shape = header["images"] * self.views, header["classes"]
        path = str(folder / "logits.bin")
        self._rows = torch.from_file(path, shared=False, size=shape[0] * shape[1], dtype=DTYPES[header["dtype"]])
        self._rows = self._rows.view(shape)
        if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] > 2 * self._rows.nbytes:
            self._rows = self._rows.to(device)

    @property
    def on_device(self) -> bool:
        """Whether the table lies where the networks do; a GPU without room for it reads it from the host."""
        return self._rows.device.type == self.device.type

    def __call__(self, index: Tensor, view: Tensor) -> Tensor:
        rows = (index * self.views + view).to(self._rows.device)
        return self._rows[rows].to(self.device, torch.float32)

    @torch.no_grad()
    def deviation(self, teacher: nn.Module, dataset: Dataset) -> float:
        """Largest difference from the live teacher over sampled views, in standard deviations of its logits."""
        generator = torch.Generator().manual_seed(seed_for(0, "table sample"))
        index = torch.randint(self.header["images"], (SAMPLE,), generator=generator)
        view = torch.randint(self.views, (SAMPLE,), generator=generator)
        images = Views(dataset.train_images[index], pad=dataset.pad, flip=dataset.flip)(torch.arange(SAMPLE), view)
        live = teacher(normalize(images.to(self.device), dataset)).float()
        return float((self(index.to(self.device), view.to(self.device)) - live).abs().max() / live.std())


def build(
    folder: Path, header: dict[str, Any], teacher: nn.Module, dataset: Dataset, *, device: torch.device, progress: bool
) -> None:
    """Compute what is missing of a table; blocks that are there and whole are kept, damaged ones made again.

    Raises:
        LskdError: the folder holds another table (shows the difference); the disk is full; the teacher gives logits
            that the table's dtype cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, blocks = folder / "logits.bin", _blocks(header)
    total = blocks[-1][0].stop
    with locked(folder, wait=True):  # cohorts of one teacher start together; all need the same table
        claim(folder / "header.json", header, kind=KIND)
        _allocate(path, blocks[-1][1].stop)
        missing = damaged_blocks(folder, header)
        teacher = teacher.eval()
        views = Views(dataset.train_images.to(device), pad=dataset.pad, flip=dataset.flip)
        done = total - sum(len(blocks[number][0]) for number in missing)
        with path.open("r+b") as stream, progress_bar("teacher's logits", "view", total, done, show=progress) as bar:
            for number in missing:
                rows, place = blocks[number]
                logits = _forward(teacher, views, torch.tensor(rows), dataset, device).to(DTYPES[header["dtype"]])
                if not torch.isfinite(logits).all():
                    found = f"the teacher's logits are not finite as {header['dtype']}"
                    raise LskdError(f"{folder}: block {number}: {found}")
                content = logits.numpy().tobytes()
                line = {"block": number, "sha256": hashlib.sha256(content).hexdigest()}
                stream.seek(place.start)
                try:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                    append_line(folder / "blocks.jsonl", line)
                except OSError as error:
                    raise LskdError(
                        f"{folder}: block {number} could not be written ({error.strerror}); "
                        "free space and start the same command again, it goes on here"
                    ) from None
                bar.update(len(rows))


def open_table(
    folder: Path, header: dict[str, Any], teacher: nn.Module, dataset: Dataset, *, device: torch.device
) -> LogitTable:
    """Check a table against what it should be, every block against its digest and a sample against the teacher.

    Raises:
        LskdError: no table; another teacher, data or transform; not finished; damaged; the teacher says otherwise.
    """
    path = folder / "header.json"
    if not path.is_file():
        raise LskdError(f"{folder}: no table of logits there; make it with `lskd table build`")
    claim(path, header, kind=KIND)
    if bad := damaged_blocks(folder, header):
        raise LskdError(
            f"{folder}: of {len(_blocks(header))} blocks these are missing or differ from their sha256: "
            f"{', '.join(str(b) for b in bad[:5])}{' ...' * (len(bad) > 5)}; `lskd table build` makes them again"
        )
    table = LogitTable(folder, header, device)
    deviation = table.deviation(teacher, dataset)
    limit = TOLERANCE_GPU if device.type == "cuda" else TOLERANCE[header["dtype"]]
    if not deviation <= limit:
        raise LskdError(
            f"{folder}: logits differ from the live teacher's by {deviation:.2g} of their standard deviation, "
            f"expected at most {limit}; delete the folder and build the table again"
        )
    table.checked = deviation
    return table


def damaged_blocks(folder: Path, header: dict[str, Any]) -> list[int]:
    """Blocks that are not there, not listed, or differ from their digest."""
    lines = [line for line in read_lines(folder / "blocks.jsonl") if isinstance(line, dict)]
    listed = {line.get("block"): line.get("sha256") for line in lines}
    path, blocks, bad = folder / "logits.bin", _blocks(header), []
    if not path.is_file() or path.stat().st_size != blocks[-1][1].stop:
        return list(range(len(blocks)))
    with path.open("rb") as stream:
        for number, (_, place) in enumerate(blocks):
            stream.seek(place.start)
            content = stream.read(place.stop - place.start) if number in listed else b""
            if hashlib.sha256(content).hexdigest() != listed.get(number):
                bad.append(number)
    return bad


def show(folder: Path) -> Iterator[str]:
    """Lines for a person about a table."""
    header = read_json(folder / "header.json")
    bad, blocks = damaged_blocks(folder, header), _blocks(header)
    yield f"{folder}: {header['network']} on {header['dataset']}, {blocks[-1][1].stop / 1e6:,.1f} MB"
    for key, value in header.items():
        yield f"  {key:12} {value}"
    yield f"  {'blocks':12} {len(blocks) - len(bad)} of {len(blocks)} whole"


@torch.no_grad()
def _forward(teacher: nn.Module, views: Views, rows: Tensor, dataset: Dataset, device: torch.device) -> Tensor:
    """Logits of a block, on the CPU. Batches follow from the block, so a build that went on has the same bits."""
    parts = []
    for part in rows.split(FORWARD_ROWS):
        part = part.to(device)
        images = views(part // views.count, part % views.count)
        parts.append(teacher(normalize(images, dataset)).float().cpu())
    return torch.cat(parts)


def _allocate(path: Path, size: int) -> None:
    """Make the whole file, empty; a disk that is too small now says so at once."""
    if path.exists() and path.stat().st_size == size:
        return
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise LskdError(
            f"{path.parent}: the table needs {size / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            "make room, choose another folder or --table-dtype float16, or take teacher_logits live"
        )
    with path.open("ab") as stream:
        stream.truncate(size)


def _blocks(header: dict[str, Any]) -> list[tuple[range, slice]]:
    """Rows of every block (row = image · views + view), and the bytes of the file that they take."""
    rows, several = header["images"] * header["views"], header["block_images"] * header["views"]
    width = header["classes"] * DTYPES[header["dtype"]].itemsize
    parts = [range(first, min(first + several, rows)) for first in range(0, rows, several)]
    return [(part, slice(part.start * width, part.stop * width)) for part in parts]
