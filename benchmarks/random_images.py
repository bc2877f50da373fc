"""What benchmarks share: images of random numbers, networks that nobody trained. No Pillow is needed.

No speed depends on what an image shows, or on what a network says of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lskd.data.cifar100 import MEAN, STD
from lskd.data.dataset import Dataset
from lskd.models import create_model
from lskd.trainer.logit_table import LogitTable, header_of


def data(images: int, classes: int = 100) -> Dataset:
    """So many images ``[images, 3, 32, 32]`` with random labels; the first 512 are the test set, too."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(classes, (images,), generator=generator)
    names = tuple(f"class {i}" for i in range(classes))
    group = torch.zeros(classes, dtype=torch.int64)
    return Dataset("random", pixels, labels, pixels[:512], labels[:512], names, group, ("all",), MEAN, STD, 4, True)


def six_members(**dkd: Any) -> dict[str, dict[str, Any]]:
    """KD, DKD and CTKD, plain and with LS."""
    kd: dict[str, Any] = {"temperature": 2.0, "kd_weight": 9.0}
    return {
        f"{method}{'_ls' * ls}": {"method": method, **settings, "standardize": ls}
        for method, settings in (("kd", kd), ("dkd", kd | dkd), ("ctkd", {"kd_weight": 9.0}))
        for ls in (False, True)
    }


def network(name: str, device: torch.device) -> nn.Module:
    """Of 100 classes, to be asked alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = create_model(name, 100)
    return model.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


@contextmanager
def made_up_table(teacher: nn.Module, name: str, dataset: Dataset, device: torch.device) -> Iterator[LogitTable]:
    """A float16 table of numbers that nobody said: reading costs the same, building it costs nothing."""
    header = header_of(teacher, name, dataset, dtype="float16")
    with tempfile.TemporaryDirectory() as folder:
        rows, path = header["images"] * header["views"], Path(folder) / "logits.bin"
        block = torch.randn(4096, 100).half().numpy().tobytes()
        with path.open("wb") as stream:
            for start in range(0, rows, 4096):
                stream.write(block[: 200 * min(4096, rows - start)])
        yield LogitTable(Path(folder), header, device)
