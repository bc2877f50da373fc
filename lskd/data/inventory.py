"""What counts as data: which files, which classes, which labels; what was left out, and why, in a line a part."""

from __future__ import annotations

import operator
import os
import reprlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lskd.errors import LskdError, hint

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
LEFTOVERS = ("__MACOSX", "@eaDir", "lost+found", "System Volume Information", "$RECYCLE.BIN")  # hidden elsewhere
Labels = Tensor | np.ndarray | Sequence[int]
SHOWN = 4  # classes and files that a line names


@dataclass
class ImageFiles:
    """The images of one part, by class, then by name.

    Attributes:
        place: the part's folder.
        paths, labels, sizes: of every image its file, the number of its class, its bytes.
        keys: device and number of each file to its class, whatever paths lead there.
        left_out: reason to paths.
    """

    place: Path
    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    keys: dict[tuple[int, int], str] = field(default_factory=dict)
    left_out: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def classes(self) -> list[str]:
        """Names of the folders in the part's folder, in order."""
        if not self.place.is_dir():
            there = ", ".join(sorted(p.name for p in self.place.parent.glob("*/"))[:SHOWN])
            raise FileNotFoundError(
                f"{self.place}: no such folder; expected one folder a class in it (data.path, data.train and data.test "
                f"say where); {self.place.parent} holds {there or 'none'}"
            )
        entries = list(self._entries(self.place))
        for entry in entries:
            if entry.is_file():
                self._leave_out("beside the classes", entry.path)
        return [entry.name for entry in entries if entry.is_dir()]

    def read(self, name: str, number: int) -> int:
        """Add the images of a class; how many there are."""
        before, place = len(self.paths), self.place.resolve()
        for entry in self._images(self.place / name, {_key(folder) for folder in (place, *place.parents)}):
            if not (size := entry.stat().st_size):
                raise LskdError(f"{entry.path}: the file is empty; bring it again or remove it")
            if (known := self.keys.setdefault(_key(entry), name)) != name:
                raise LskdError(f"{entry.path}: leads to an image of class {known!r}; an image has one label")
            self.paths.append(entry.path)
            self.labels.append(number)
            self.sizes.append(size)
        return len(self.paths) - before

    def omissions(self) -> str:
        """ "; left out: 1 hidden (ant/.x)", or nothing."""
        listed = [
            f"{len(paths):,} {why} ({', '.join(paths[:SHOWN])}{', ...' if len(paths) > SHOWN else ''})"
            for why, paths in self.left_out.items()
        ]
        return f"; left out: {', '.join(listed)}" if listed else ""

    def _images(self, folder: Path | str, known: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
        """The images in a folder and in those below it that are not ``known`` yet."""
        known.add(_key(Path(folder)))
        for entry in self._entries(folder):
            ending = Path(entry.name).suffix.lower()
            if entry.is_file():
                if ending in ENDINGS:
                    yield entry
                else:
                    self._leave_out(f"ending in {ending}" if ending else "without an ending", entry.path)
            elif _key(entry) in known:
                self._leave_out("leading back to a folder that is read anyway", entry.path)
            else:
                yield from self._images(entry.path, known)

    def _entries(self, folder: Path | str) -> Iterator[os.DirEntry[str]]:
        """Files and folders in a folder, by name."""
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith(".") or entry.name in LEFTOVERS:
                self._leave_out("hidden", entry.path)
            elif entry.is_symlink() and not Path(entry.path).exists():
                self._leave_out("leading nowhere", entry.path)
            else:
                yield entry

    def _leave_out(self, reason: str, path: str) -> None:
        self.left_out[reason].append(os.path.relpath(path, self.place))


def _key(place: Path | os.DirEntry[str]) -> tuple[int, int]:
    found = place.stat()
    return found.st_dev, found.st_ino


def find_images(root: Path, train: str, test: str) -> tuple[tuple[str, ...], ImageFiles, ImageFiles, tuple[str, str]]:
    """``ROOT/TRAIN/CLASS/**/*.png`` and ``ROOT/TEST/CLASS/**/*.png``, whatever ending an image has.

    Links are followed. Left out and counted are hidden names and what other systems leave behind, at every level;
    other endings, links that lead nowhere or back, files beside the classes.

    Returns:
        Names of the classes, in order; the files of both parts; a line about each.

    Raises:
        FileNotFoundError: the folder of a part is not there.
        LskdError: fewer than two classes, one without training images, a folder in two classes, an empty file.
    """
    parts = ImageFiles(root / train), ImageFiles(root / test)
    names, tested = (part.classes() for part in parts)
    if len(names) < 2:
        raise LskdError(
            f"{root / train}: {len(names)} folders in it{parts[0].omissions()}; expected one a class, at least two"
        )
    for name in tested:
        if name not in names:
            raise LskdError(f"{root / test / name}: no class of this name in {root / train}{hint(name, names)}")
    for number, name in enumerate(names):
        if not parts[0].read(name, number):
            raise LskdError(
                f"{root / train / name}: no images in it{parts[0].omissions()}; expected files ending in "
                f"{', '.join(ENDINGS)}, or no such folder"
            )
        if name in tested:
            parts[1].read(name, number)
    if not parts[1].paths:
        raise LskdError(f"{root / test}: no images in it{parts[1].omissions()}")
    lines = [summary(str(part.place), part.labels, names) + part.omissions() for part in parts]
    if both := len(parts[0].keys.keys() & parts[1].keys.keys()):
        lines[1] += f"; {both:,} of them are files of {train} too"
    if all(map(str.isdecimal, names)) and names != sorted(names, key=int):
        lines[0] += f"; classes are in the order of words, {', '.join(names[:SHOWN])}, ...: 01 would come before 10"
    return tuple(names), *parts, (lines[0], lines[1])


def summary(place: str, labels: Labels, class_names: Sequence[str], whole: int | None = None) -> str:
    """How many images a part has, of ``whole``, how many a class, and which classes have none."""
    counts = np.bincount(np.asarray(labels), minlength=len(class_names))
    have = counts[counts > 0]
    each = f"{have.min():,}" if have.min() == have.max() else f"{have.min():,} to {have.max():,}"
    none = [repr(name) for name, count in zip(class_names, counts, strict=True) if not count]
    more = f" and {len(none) - SHOWN} more" if len(none) > SHOWN else ""
    return (
        f"{place}: {len(labels):,}{f' of {whole:,}' if whole else ''} images, {each} of each of {len(have)} classes"
        f"{'; none of ' if none else ''}{', '.join(none[:SHOWN])}{more}"
    )


def class_number(label: Any) -> int:
    """A label as an int.

    Raises:
        ValueError: it is none, in a few words: a vector, a float, text, a negative number.
    """
    try:
        value: Any = label.item() if isinstance(label, Tensor | np.ndarray | np.generic) else label
        number = int(operator.index(value))
    except (TypeError, ValueError, RuntimeError):
        number = -1
    if number < 0:
        raise ValueError(
            f"its label is {reprlib.repr(label)} ({type(label).__name__}); expected a class number, an int from 0 (of "
            "a one-hot vector its argmax)"
        )
    return number


def check_labels(name: str, train: Tensor, test: Tensor, class_names: Sequence[str] | None) -> Sequence[str]:
    """Names of the classes: those that are given, or else the numbers, which then have no gap.

    Raises:
        LskdError: a label beyond the names, numbers that do not begin at 0 or leave some out, a test label that no
            training image has, a single class.
    """
    trained, tested = (set(labels.tolist()) for labels in (train, test))
    count = len(class_names) if class_names is not None else 1 + max(trained | tested)
    if beyond := sorted(k for k in trained | tested if k >= count):
        raise LskdError(f"{name}: label {beyond[0]}, but {count} classes; expected 0 to {count - 1}")
    if unseen := sorted(tested - trained):
        raise LskdError(f"{name}: {len(unseen)} labels of test images, {unseen[0]} first, that no training image has")
    gap = next((k for k in range(count) if k not in trained), None)
    if class_names is None and gap is not None:
        raise LskdError(
            f"{name}: labels from {min(trained)} to {count - 1}, but none is {gap}; number the classes from 0 "
            "without a gap, or give class_names"
        )
    if len(trained) < 2:
        raise LskdError(f"{name}: all training images are of one class; expected two or more")
    return class_names if class_names is not None else [str(k) for k in range(count)]
