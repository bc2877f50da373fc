"""Published numbers of the paper and its field: tables, READMEs, training logs, issue threads, each with its source.

``published.csv`` beside this file has one number a row and says where it was printed. ``published_logs.json`` and
``published_curves.csv.gz`` are the 62 training runs whose logs the authors released (sunshangquan/
logit-standardization-KD at f6e5aa5, folder ``logs``): a summary of each run, and every epoch of the 57 on CIFAR-100.
Nothing here was measured by this project.
"""

from __future__ import annotations

import csv
import functools
import gzip
from pathlib import Path
from typing import Any, Literal

import msgspec

from lskd.files import read_json

NUMBERS = Path(__file__).with_name("published.csv")
LOGS = Path(__file__).with_name("published_logs.json")
CURVES = Path(__file__).with_name("published_curves.csv.gz")


class Number(msgspec.Struct, frozen=True):
    """One published accuracy.

    Attributes:
        dataset, teacher, student, method: in the words of this project's recipes; "" where there is none. A network
            trained alone is a student. Methods that the project does not train keep their name in lower case.
        standardize: logit standardisation.
        metric: ``top1_test`` (as printed in a table), ``top1_test_best_epoch``, ``top1_test_last_epoch``,
            ``top1_test_mean_last10_epochs`` (from a log), ``top1_val``, ``top5_val`` (ImageNet).
        value: percent.
        source: where it is printed.
        temperature, kd_weight, beta: what the source, or a log's name, says of them; None where nothing.
        variant: the paper's words where a method has several ("KD, logits over std").
        note: what to know about it.
    """

    dataset: Literal["cifar100", "cifar100_224", "imagenet"]
    student: str
    method: str
    standardize: bool
    metric: Literal["top1_test", "top1_val", "top5_val", "top1_test_best_epoch", "top1_test_last_epoch",
                    "top1_test_mean_last10_epochs"]  # fmt: skip
    value: float
    source: str
    teacher: str = ""
    temperature: float | None = None
    kd_weight: float | None = None
    beta: float | None = None
    variant: str = ""
    note: str = ""


@functools.cache
def numbers() -> tuple[Number, ...]:
    """All published numbers, in the file's order; a row that cannot be read is a ``msgspec.ValidationError``."""
    rows = csv.DictReader(NUMBERS.read_text(encoding="utf-8").splitlines())
    given = [{key: text for key, text in row.items() if text} for row in rows]
    return msgspec.convert(given, tuple[Number, ...], strict=False)


def find(*, source: str = "", **fields: Any) -> list[Number]:
    """Published numbers with these values of their fields; ``source`` is a part of the source's text."""
    return [n for n in numbers() if source in n.source and all(getattr(n, k) == v for k, v in fields.items())]


@functools.cache
def logs() -> dict[str, Any]:
    """The released logs: ``logs`` has one summary a run, ``aggregate`` one a method, ``source`` the repository."""
    return read_json(LOGS)


def curves() -> list[dict[str, str]]:
    """Every epoch of the 57 CIFAR-100 runs, values as text.

    Keys: method, teacher, student, temperature, kd_weight, beta, run, epoch, lr (rounded, as logged), train_acc,
    train_loss, test_acc, test_acc_top5, test_loss, ctkd_temperature.
    """
    return list(csv.DictReader(gzip.decompress(CURVES.read_bytes()).decode("utf-8").splitlines()))
