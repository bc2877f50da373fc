"""Runs that travel: one file each, whole by itself, checked before anything is kept.

An archive is a zip file with ``manifest.json``, which has the SHA-256 of every other file in it. Of a finished run it
holds what the store keeps, the record and compact evidence; of an unfinished one ``run.json`` and the newest whole
checkpoint, from which it goes on elsewhere with the same bits. Equal runs give equal archives, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lskd import evidence
from lskd.errors import LskdError
from lskd.files import atomic_path, atomic_write, claim, locked, read_json
from lskd.records import SCHEMA, Record, Run, check, identity
from lskd.trainer.checkpoint import MANIFEST as CHECKPOINT
from lskd.trainer.checkpoint import STATE
from paper.store import add

FORMAT, VERSION = "lskd-run", 2
LIMIT = 16_000_000  # bytes of an archive
MANIFEST, RECORD, RUN, SESSIONS = "manifest.json", "record.json", "run.json", "sessions.jsonl"
CHECKPOINT_ENTRY = "checkpoint.json"


# --- out -------------------------------------------------------------------------------------------------------------


def export(run: Path | str, out: Path | str, *, limit: float = LIMIT) -> Path:
    """Write the archive of a run into the folder ``out``; returns its path.

    The run may be going on: what is written there is whole at any moment.

    Raises:
        LskdError: no run there, one without a checkpoint, or an archive of more than ``limit`` bytes.
    """
    run = Path(run)
    if (run / RECORD).is_file():
        from paper.compact_evidence import compact_run

        files = (run / RECORD, *compact_run(run, run / "compact"))
        contents = {path.name: path.read_bytes() for path in files}
        about, end = json.loads(contents[RECORD]), ""
    elif (run / RUN).is_file():
        about = read_json(run / RUN)
        step, contents = _newest(run, about["identity"])
        contents |= {RUN: (run / RUN).read_bytes(), SESSIONS: (run / SESSIONS).read_bytes()}
        end = f"-step{step}"
    else:
        raise LskdError(f"{run}: no run there; `lskd train` makes folders with {RUN}")
    path = Path(out) / f"{_folder(about).replace('/', '.')}{end}.zip"
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = {"format": FORMAT, "version": VERSION, "identity": about["identity"], "files": digests}
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in ((MANIFEST, json.dumps(manifest, indent=1).encode()), *sorted(contents.items())):
                info = zipfile.ZipInfo(name)  # of 1980, whatever the day
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(info, content)
        if (size := temporary.stat().st_size) > limit:
            raise LskdError(
                f"{run}: its archive has {size / 1e6:.1f} MB, and {limit / 1e6:g} MB are allowed; allow more "
                "(--limit MB), and cut it with `split` where files must be smaller"
            )
    return path


def _newest(run: Path, of: str) -> tuple[str, dict[str, bytes]]:
    """Step and files of the newest whole checkpoint."""
    for path in sorted(run.glob("checkpoints/step-*"), reverse=True):
        try:
            manifest, state = (path / CHECKPOINT).read_bytes(), (path / STATE).read_bytes()
        except FileNotFoundError:  # a training that goes on has removed it
            continue
        if _is_of(json.loads(manifest), of, state):
            return path.name.removeprefix("step-"), {CHECKPOINT_ENTRY: manifest, STATE: state}
    raise LskdError(f"{run}: no whole checkpoint there yet; the first comes a minute after the start of a training")


def _is_of(manifest: Mapping[str, Any], of: str, state: bytes) -> bool:
    return manifest["identity"] == of and manifest["sha256"] == hashlib.sha256(state).hexdigest()


def _folder(about: Mapping[str, Any]) -> str:
    """Where :func:`lskd.trainer.run.train_cached` has the run, below the folder of runs."""
    return f"{about['config']['name']}-seed{about['seed']}-{about['identity'][:12]}"


# --- in --------------------------------------------------------------------------------------------------------------


def bring(path: Path | str, *, store: Path | str = "results", runs: Path | str = "build/runs") -> tuple[Path, str]:
    """Take an archive in: a finished run into the store, evidence beside its record; another into ``runs``.

    Everything is checked first; an archive that is refused leaves no trace. The same archive twice changes nothing.

    Returns:
        The record or the run's folder, and what happened, in words.

    Raises:
        LskdError: names the archive and what is wrong with it: damaged, of something else, a run that is not what its
            identity says, evidence of other weights, a result that contradicts one in the store.
    """
    path = Path(path)
    contents = _read(path)
    name = RECORD if RECORD in contents else RUN
    try:
        about = json.loads(contents.pop(name))
        check(about, f"{path}, {name}", Record if name == RECORD else Run)
    except ValueError:
        raise LskdError(f"{path}: its {name} is of no run; nothing was imported") from None
    found, told = identity(about), about.get("identity", "")
    if found != told or not re.fullmatch(r"(?!.*\.\.)[\w+-][\w./+-]*", about["config"]["name"]):
        raise LskdError(
            f"{path}: its {name} says it is run {told[:12]}, but configuration, seed, data, teacher and trainer "
            f"give {found[:12]}; it was changed, nothing was imported"
        )
    return _store(path, about, contents, store) if name == RECORD else _go_on(path, about, contents, Path(runs))


def _read(path: Path) -> dict[str, bytes]:
    """The files of an archive, each as its manifest says."""
    if not path.is_file():
        raise LskdError(f"{path}: no such archive")
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {entry: archive.read(entry) for entry in archive.namelist()}
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise LskdError(f"{path}: damaged, or no archive ({error}); copy it again") from None
    try:
        manifest = json.loads(contents.pop(MANIFEST))
        kind, digests = (manifest["format"], manifest["version"]), dict(manifest["files"])
    except (KeyError, ValueError, TypeError):
        raise LskdError(f"{path}: not an archive of a run; `lskd archive export` makes those") from None
    if kind != (FORMAT, VERSION):
        raise LskdError(f"{path}: is {kind[0]} {kind[1]}; this version reads {FORMAT} {VERSION}")
    for name in sorted({*digests, *contents}):
        if name not in digests or hashlib.sha256(contents.get(name, b"")).hexdigest() != digests[name]:
            raise LskdError(f"{path}: {name} is not what its manifest says (damaged); copy the archive again")
    if RECORD not in contents and not {RUN, SESSIONS, CHECKPOINT_ENTRY, STATE} <= set(contents):
        raise LskdError(f"{path}: not an archive of a run; it has neither a record nor a checkpoint")
    return contents


def _store(path: Path, record: dict[str, Any], contents: Mapping[str, bytes], store: Path | str) -> tuple[Path, str]:
    if record.get("schema") != SCHEMA:
        raise LskdError(f"{path}: its record has schema {record.get('schema')!r}; this version reads schema {SCHEMA}")
    members = {m["evidence"]["file"]: (name, m) for name, m in record["members"].items() if m.get("evidence")}
    with tempfile.TemporaryDirectory() as folder:
        for file, content in contents.items():
            if file not in members or Path(file).name != file:
                raise LskdError(f"{path}: holds {file}, of which its record knows nothing; nothing was imported")
            atomic_write(Path(folder) / file, content)
            _check_evidence(path, Path(folder) / file, *members[file], record)
        atomic_write(Path(folder) / RECORD, json.dumps(record, ensure_ascii=False))
        stored, new = add(folder, store)
    for file, content in contents.items():
        place = stored.with_suffix("") / file
        if not place.is_file() or place.read_bytes() != content:
            atomic_write(place, content)
    return stored, f"{'added' if new else 'was there already'}, with evidence of {len(contents)} networks"


def _check_evidence(path: Path, file: Path, name: str, member: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Evidence is of the weights and the data of the record."""
    try:
        meta = evidence.load(file).meta
    except ValueError as error:
        raise LskdError(f"{path}: {str(error).partition(': ')[2] or error} ({file.name})") from None
    found, expected = str(meta.get("weights_digest")), member["weights"]["digest"]
    if found != expected:
        raise LskdError(
            f"{path}: {file.name} belongs to weights {found[:12]}, the record's {name} has {expected[:12]}; nothing "
            "was imported"
        )
    if meta.get("dataset_digest") != record["dataset"]["digest"]:
        raise LskdError(f"{path}: {file.name} was measured on other data than the record's; nothing was imported")


def _go_on(path: Path, about: dict[str, Any], contents: Mapping[str, bytes], runs: Path) -> tuple[Path, str]:
    """Put a checkpoint where a training finds it, unless that is further or finished already."""
    try:
        manifest = json.loads(contents[CHECKPOINT_ENTRY])
        sound, step = _is_of(manifest, about["identity"], contents[STATE]), int(manifest["step"])
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise LskdError(f"{path}: its checkpoint is not of its run; nothing was imported")
    folder = runs / _folder(about)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        here = [int(p.name.removeprefix("step-")) for p in folder.glob("checkpoints/step-*")]
        if (folder / RECORD).is_file() or max(here, default=-1) >= step:
            return folder, f"is as far already; nothing was changed (the archive has step {step})"
        claim(folder / RUN, about)
        if not (folder / SESSIONS).is_file():
            atomic_write(folder / SESSIONS, contents[SESSIONS])
        final = folder / "checkpoints" / f"step-{step:08d}"
        aside = final.with_name(f".{final.name}.import")  # as a save that was cut off, which the next save removes
        atomic_write(aside / STATE, contents[STATE])
        atomic_write(aside / CHECKPOINT, contents[CHECKPOINT_ENTRY])
        aside.replace(final)
    return folder, f"goes on after step {step}, with `lskd train` or `lskd run` as before"
