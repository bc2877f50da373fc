"""Checkpoints of a run: whole or absent, never half; damaged and foreign ones are named and skipped.

A checkpoint is a folder ``step-00001234`` with ``state.safetensors`` (all tensors) and ``manifest.json``
(everything else, and the sha256 of the state). It is written beside its final name, synced, then renamed.
"""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lskd.errors import LskdError
from lskd.files import atomic_path, read_json, sha256_file, sync_folder, write_json
from lskd.models.weight_files import plain_tensors

STATE, MANIFEST = "state.safetensors", "manifest.json"
KEPT = 2  # checkpoints; the newest may be damaged


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and plain JSON values, after ``step`` optimiser steps."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, *, identity: str) -> Path:
    """Write a checkpoint and remove all but the newest :data:`KEPT`.

    A whole checkpoint of the same step and run is left as it is, so that there is no moment without one.

    Raises:
        LskdError: the disk is full or cannot be written; earlier checkpoints are still there.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".{final.name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*"):  # by a kill in the middle of a save; this process holds the folder
            shutil.rmtree(left, ignore_errors=True)
        if final.exists():
            try:
                _read(final, identity)
                return final
            except (OSError, ValueError, KeyError, LskdError):
                shutil.rmtree(final)
        aside.mkdir()
        with atomic_path(aside / STATE) as path:
            save_file(plain_tensors(checkpoint.tensors), path)
        manifest = {"identity": identity, "step": checkpoint.step, "sha256": sha256_file(aside / STATE)}
        write_json(aside / MANIFEST, {**manifest, "values": checkpoint.values})
        aside.rename(final)
        sync_folder(folder)
    except (OSError, SafetensorError) as error:
        kept = _found(folder)
        size = sum(t.nbytes for t in checkpoint.tensors.values()) / 1e6
        raise LskdError(
            f"checkpoint {final} could not be written: {error}. It takes {size:.1f} MB; free some space and start the "
            f"same command again, it goes on from {kept[-1].name if kept else 'the beginning'}"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # of a save that failed
    for old in [path for path in _found(folder) if path <= final][:-KEPT]:  # later ones could not be read
        shutil.rmtree(old, ignore_errors=True)
    return final


def epochs_to_keep(asked: str | None, epochs: int) -> set[int]:
    """The epochs of "60,120"; LskdError for what is none of 1 to ``epochs``."""
    words = [word.strip() for word in (asked or "").split(",") if word.strip()]
    wrong = [word for word in words if not word.isdecimal() or not 1 <= int(word) <= epochs]
    if wrong:
        raise LskdError(f"--keep-epochs {asked}: {wrong[0]!r} is no epoch from 1 to {epochs}; give numbers, 60,120")
    return {int(word) for word in words}


def load_newest(folder: Path, *, identity: str) -> Checkpoint | None:
    """The newest whole checkpoint of this run, or None; warns of every newer one that had to be skipped."""
    for path in reversed(_found(folder)):
        try:
            return _read(path, identity)
        except (OSError, ValueError, KeyError, LskdError) as error:
            warnings.warn(
                f"checkpoint {path} is skipped: {error}; an earlier one is used if there is one", stacklevel=2
            )
    return None


def _read(path: Path, identity: str) -> Checkpoint:
    manifest = read_json(path / MANIFEST)
    if manifest["identity"] != identity:
        raise ValueError("it belongs to another run")
    if sha256_file(path / STATE) != manifest["sha256"]:
        raise ValueError(f"sha256 of {STATE} differs from its manifest (file damaged)")
    return Checkpoint(manifest["step"], load_file(path / STATE), manifest["values"])


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []
