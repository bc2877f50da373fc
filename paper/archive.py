"""Runs that travel: one file each, whole by itself, checked before anything is kept.

An archive is a zip file, whose checksums find damage. Of a finished run it holds what the store keeps, the record and
compact evidence; of an unfinished one ``run.json`` and the newest whole checkpoint, from which it goes on elsewhere
with the same bits. Equal runs give equal archives, byte for byte.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lskd import evidence
from lskd.errors import LskdError
from lskd.files import atomic_path, claim, locked, read_json
from lskd.records import Run, check, identity, load_record
from lskd.trainer.checkpoint import MANIFEST, STATE, load_newest, save
from paper.store import add

LIMIT = 16_000_000  # bytes of an archive
RECORD, RUN, SESSIONS, CHECKPOINTS = "record.json", "run.json", "sessions.jsonl", "checkpoints"
ENTRY = "checkpoint.json"  # what is manifest.json in the folder of a checkpoint


def export(run: Path | str, out: Path | str, *, limit: float = LIMIT) -> Path:
    """Write the archive of a run into the folder ``out``; returns its path.

    The run may be going on: what is written there is whole at any moment.

    Raises:
        LskdError: no run there, one without a checkpoint, or an archive of more than ``limit`` bytes.
    """
    run = Path(run)
    if (run / RECORD).is_file():
        from paper.compact_evidence import compact_run

        about, end = load_record(run), ""
        files = {path.name: path for path in (run / RECORD, *compact_run(run, run / "compact"))}
    elif (run / RUN).is_file():
        about = read_json(run / RUN)
        newest = load_newest(run / CHECKPOINTS, identity=about["identity"])
        if newest is None:
            raise LskdError(f"{run}: no whole checkpoint there yet; the first comes a minute after the start")
        end, whole = f"-step{newest.step:08d}", run / CHECKPOINTS / f"step-{newest.step:08d}"
        files = {RUN: run / RUN, SESSIONS: run / SESSIONS, ENTRY: whole / MANIFEST, STATE: whole / STATE}
    else:
        raise LskdError(f"{run}: no run there; `lskd train` makes folders with {RUN}")
    path = Path(out) / f"{_folder(about).replace('/', '.')}{end}.zip"
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, file in sorted(files.items()):
                info = zipfile.ZipInfo(name)  # of 1980, whatever the day
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(info, file.read_bytes())
        if (size := temporary.stat().st_size) > limit:
            raise LskdError(
                f"{run}: its archive has {size / 1e6:.1f} MB, and {limit / 1e6:g} MB are allowed; allow more "
                "(--limit MB), and cut it with `split` where files must be smaller"
            )
    return path


def _folder(about: Mapping[str, Any]) -> str:
    """Where :func:`lskd.trainer.run.train_cached` has the run, below the folder of runs."""
    return f"{about['config']['name']}-seed{about['seed']}-{about['identity'][:12]}"


def import_run(path: Path | str, *, store: Path | str = "results", runs: Path | str = "build/runs") -> tuple[Path, str]:
    """Take an archive in: a finished run into the store, evidence beside its record; another into ``runs``.

    An archive that is refused leaves no trace. The same archive twice changes nothing.

    Returns:
        The record or the run's folder, and what happened, in words.

    Raises:
        LskdError: names the archive and what is wrong with it: damaged, of something else, a run that is not what its
            identity says, evidence of other weights, a result that contradicts one in the store.
    """
    with Path(path).open("rb") as stream, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / Path(path).name
        try:
            with zipfile.ZipFile(stream) as archive:
                archive.extractall(folder)
        except Exception as error:  # any way in which a damaged zip can fail to read
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise LskdError(f"{path}: damaged, or no archive ({error}); copy it again") from None
        try:
            if (folder / RECORD).is_file():
                return _store(folder, store)
            if all((folder / name).is_file() for name in (RUN, SESSIONS, ENTRY, STATE)):
                return _go_on(folder, Path(runs))
        except (LskdError, ValueError) as error:  # names the copy, which is gone then
            raise LskdError(str(error).replace(str(folder), str(path))) from error
    raise LskdError(f"{path}: not an archive of a run; `lskd archive export` makes those")


def _store(folder: Path, store: Path | str) -> tuple[Path, str]:
    """Put the record of a finished run into the store, and its evidence beside it."""
    packs, record = sorted(folder.glob("*.npz")), load_record(folder)
    for pack in packs:
        evidence.load_of(record, pack)
    stored, new = add(folder, store)
    for pack in packs:
        place = stored.with_suffix("") / pack.name
        if not place.is_file() or place.read_bytes() != pack.read_bytes():
            with atomic_path(place) as aside:
                shutil.copyfile(pack, aside)
    return stored, f"{'added' if new else 'was there already'}, with evidence of {len(packs)} networks"


def _go_on(folder: Path, runs: Path) -> tuple[Path, str]:
    """Put a checkpoint where a training finds it, unless that is further or finished already."""
    about = read_json(folder / RUN)
    check(about, folder / RUN, Run)
    place = runs / _folder(about)
    if about["identity"] != identity(about) or not place.resolve().is_relative_to(runs.resolve()):
        raise LskdError(f"{folder}: its {RUN} was changed after the run was begun; nothing was imported")
    brought = folder / CHECKPOINTS / "step-brought"
    brought.mkdir(parents=True)
    (folder / ENTRY).rename(brought / MANIFEST)
    (folder / STATE).rename(brought / STATE)
    newest = load_newest(folder / CHECKPOINTS, identity=about["identity"])
    if newest is None:
        raise LskdError(f"{folder}: no whole checkpoint of its run is in it; nothing was imported")
    place.mkdir(parents=True, exist_ok=True)
    with locked(place):
        here = load_newest(place / CHECKPOINTS, identity=about["identity"])
        if (place / RECORD).is_file() or (here and here.step >= newest.step):
            return place, f"is as far already; nothing was changed (the archive has step {newest.step})"
        claim(place / RUN, about)
        with atomic_path(place / SESSIONS) as aside:  # those that led to this checkpoint
            shutil.copyfile(folder / SESSIONS, aside)
        save(place / CHECKPOINTS, newest, identity=about["identity"])
    return place, f"goes on after step {newest.step}, with `lskd train` or `lskd run` as before"
