"""The published teachers of CIFAR-100: found by network in a folder of weights, or brought to this machine.

The archive is mdistiller's ``cifar_teachers.tar``, which has RepDistiller's networks after their last epoch, as
``cifar_teachers/<network>_vanilla/ckpt_epoch_240.pth`` (protocol section 4.2). Plain files that are called by their
network, such as ``cifar100_resnet56.pth``, serve too.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from lskd.data.download import data_root, fetch
from lskd.errors import LskdError
from lskd.files import atomic_path, locked, told_by, visible
from lskd.models import create_model, list_models, load_checkpoint
from lskd.recipes import Recipe

ARCHIVE = "cifar_teachers.tar"
ADDRESS = "https://github.com/megvii-research/mdistiller/releases/download/checkpoints"
TEACHERS = "cifar100-teachers"  # as `lskd data get` calls them
UNPACKED, LAST = "cifar_teachers", "ckpt_epoch_240.pth"
ENDINGS = (".pth", ".pt", ".th", ".safetensors", ".ckpt", ".tar", ".bin")


def published_teacher(
    recipe: Recipe, folder: Path | str | None = None, say: Callable[[str], None] = lambda text: None
) -> tuple[Path, str] | None:
    """The folder of published teachers, by default ``LSKD_TEACHERS``, and the file of a recipe's teacher in it.

    None where no folder is named, where the recipe asks for another teacher than ``cifar100/alone/<network>`` as that
    recipe trains it, and where the folder has others but not this one, which is said: the archive has none for Table 5.

    Raises:
        LskdError: the folder has no weights at all, or several files of this network.
    """
    source, folder = recipe.teacher, folder or told_by("LSKD_TEACHERS")
    if not folder or source is None or source.settings or recipe.dataset != "cifar100":
        return None
    if source.recipe != f"cifar100/alone/{source.network}":
        return None
    root, network = Path(folder).expanduser(), source.network
    if not root.is_dir():
        found_instead = (
            "a file; name its folder, or --set teacher.checkpoint=FILE" if root.exists() else "no such folder"
        )
        raise LskdError(f"{root}: {found_instead}; --teachers and LSKD_TEACHERS name a folder of published weights")
    have = [p for p in visible(root, "**/*") if p.suffix in ENDINGS and p.is_file()]
    whole_word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(network)}(?![A-Za-z0-9])")
    named = [path for path in have if whole_word.search(path.relative_to(root).as_posix())]
    archived = [path for path in named if path.name == LAST and path.parent.name == f"{network}_vanilla"]
    found = archived or [path for path in named if "cifar100" in path.name] or named
    if len(found) == 1:
        return root, found[0].relative_to(root).as_posix()
    listed = ", ".join(path.relative_to(root).as_posix() for path in (found or have)[:8])
    wanted = f"{network}_vanilla/{LAST} of {ARCHIVE}, or a file called cifar100_{network}.pth"
    if found or not have:
        what = f"{len(found)} files of {network} ({listed})" if found else "no files of weights"
        raise LskdError(f"{root}: {what}; expected one, {wanted}")
    say(f"{root}: no weights of {network} ({wanted}), so it is trained; there are {listed}")
    return None


def find_weights(name: str, folder: Path | str | None = None) -> Path | None:
    """A file of that name anywhere in the folder of teachers, by default ``LSKD_TEACHERS``; None without one."""
    folder = folder or told_by("LSKD_TEACHERS")
    return next(iter(visible(Path(folder).expanduser(), f"**/{name}")), None) if folder else None


def get_teachers(out: Path | str | None = None, mirror: str | None = None) -> dict[str, Path]:
    """Download the archive, unpack its teachers and check that each is its network's; goes on where a call stopped.

    Args:
        out: the folder, by default that of data sets, :func:`lskd.data.download.data_root`.
        mirror: address of the archive, or of a folder with it (``LSKD_MIRROR`` does the same).

    Returns:
        The weights by network.

    Raises:
        LskdError: no network (says what to fetch and where to put it), or no such archive.
    """
    root = Path(out).expanduser() if out is not None else data_root()
    url = mirror or told_by("LSKD_MIRROR") or ADDRESS
    url = url if url.endswith(".tar") else f"{url.rstrip('/')}/{ARCHIVE}"
    advice = (
        f"try a mirror (lskd data get cifar100-teachers --mirror URL), or put {ARCHIVE} from elsewhere into {root} and "
        "call again, or unpack it anywhere and name that folder: lskd train --teachers DIR"
    )
    root.mkdir(parents=True, exist_ok=True)
    with locked(root, doing="downloading"):
        if (root / ARCHIVE).exists() or not (root / UNPACKED).is_dir():
            archive = fetch(url, root / ARCHIVE, md5=None, advice=advice)
            with tempfile.TemporaryDirectory(prefix=".", dir=root) as place:  # half an archive would count as one
                unpacked = Path(place) / UNPACKED
                try:
                    _unpack(archive, unpacked)
                except (tarfile.TarError, OSError) as error:
                    reason = str(error).partition("\n")[0]
                    raise LskdError(f"{archive}: cannot be unpacked ({reason}); delete it and {advice}") from None
                if unpacked.is_dir():
                    shutil.copytree(unpacked, root / UNPACKED, dirs_exist_ok=True)
            archive.unlink()
    named = {path.parent.name.removesuffix("_vanilla"): path for path in (root / UNPACKED).glob(f"*_vanilla/{LAST}")}
    found = {network: named[network] for network in sorted(named.keys() & set(list_models()))}
    if not found:
        raise LskdError(f"{root / UNPACKED}: holds no <network>_vanilla/{LAST}; delete it and {advice}")
    for network, path in found.items():
        load_checkpoint(create_model(network, 100), path)
    return found


def _unpack(archive: Path, folder: Path) -> None:
    """Files in folders called ``<network>_vanilla``, whatever lies above them."""
    with tarfile.open(archive) as tar:
        for member in tar:
            *_, own, name = ("", "", *Path(member.name).parts)
            content = tar.extractfile(member) if own.endswith("_vanilla") else None
            if content is not None:
                with atomic_path(folder / own / name) as path, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
