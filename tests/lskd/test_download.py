"""Data for a user: brought to this machine from a server, whatever happens on the way."""

from __future__ import annotations

import hashlib
import http.server
import io
import itertools
import pickle
import re
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_runs import flip

from lskd.data import cifar100 as reading
from lskd.data import load_dataset
from lskd.data.cifar100 import get as get_cifar100
from lskd.data.download import fetch
from lskd.errors import LskdError
from lskd.torchvision import import_torchvision

NAME = "cifar-100-python.tar.gz"
NAMES = sorted(" ".join(reading.SUPERCLASSES.values()).split())
TRAIN, TEST = 300, 200


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def parts() -> dict[str, bytes]:
    """The archive's three files, small."""
    rng, out = np.random.default_rng(0), {}
    for split, size in (("train", TRAIN), ("test", TEST)):
        labels = rng.permutation(np.arange(size) % 100)
        pixels = rng.integers(0, 256, size=(size, 3 * 32 * 32), dtype=np.uint8)
        out[split] = pickle.dumps({"data": pixels, "fine_labels": labels.tolist(), "coarse_labels": [0] * size})
    return {**out, "meta": pickle.dumps({"fine_label_names": NAMES})}


@pytest.fixture
def archive(parts: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The archive, which the program takes for the official one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in parts.items():
            member = tarfile.TarInfo(f"{reading.EXTRACTED}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(reading, "MD5", {name: md5(content) for name, content in parts.items()})
    monkeypatch.setattr(reading, "ARCHIVE_MD5", md5(stream.getvalue()))
    return stream.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; each answer but the last breaks off after so many bytes as ``breaks`` says."""

    content = b""
    ranges = True
    breaks: list[int]
    asked: list[str | None]
    daemon_threads = True


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if not self.path.endswith(NAME):
            self.send_error(404)
            return
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges else 0
        if start and start >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        body = server.content[start:]
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(archive: bytes) -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.content, made.breaks, made.asked = archive, [], []
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_one_command_downloads_and_both_layouts_are_the_same_data(
    server: Server, parts: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]
) -> None:
    """The one file is written from the archive's arrays, and has test images in the order of classes."""
    root = tmp_path / "a b"
    monkeypatch.setenv("LSKD_DATA", f'"{root}"\r')  # as .env files leave it
    for _ in range(2):
        said = told("data", "get", "cifar100", "--mirror", address(server))
        assert f"CIFAR-100 is in {root / reading.EXTRACTED}" in said
    assert server.asked == [None]  # the second call found a copy
    assert sorted(p.name for p in root.iterdir()) == [".lock", reading.EXTRACTED]
    first, arrays = load_dataset("cifar100"), {}
    for split in ("train", "test"):
        raw = pickle.loads(parts[split])
        labels = np.array(raw["fine_labels"])
        order = sorted(range(len(labels)), key=lambda i: labels[i]) if split == "test" else range(len(labels))
        pixels = raw["data"].reshape(-1, 3, 32, 32)
        arrays[f"{split}_images"] = np.stack([np.moveaxis(pixels[i], 0, -1) for i in order])
        arrays[f"{split}_labels"] = labels[list(order)]
    np.savez(root / "cifar100.npz", class_names=np.array(NAMES), **arrays)
    (root / reading.EXTRACTED / "train").unlink()  # it is the one file that is read now
    assert load_dataset("cifar100").digest == first.digest


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_breaks_off_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    third = len(server.content) // 3
    server.ranges, server.breaks = ranges, [third, third]
    get_cifar100(tmp_path, mirror=address(server))
    assert server.asked == [None, f"bytes={third}-", f"bytes={2 * third if ranges else third}-"]


@pytest.mark.parametrize("kept", ["a part", "the whole", "another file"])
def test_a_killed_download_is_taken_up_again_or_costs_one_more_transfer(
    server: Server, tmp_path: Path, kept: str
) -> None:
    there = {"a part": server.content[:1000], "the whole": server.content, "another file": b"x" * 1000}[kept]
    (tmp_path / f"{NAME}.part").write_bytes(there)
    fetch(f"{address(server)}/{NAME}", tmp_path / NAME, md5=md5(server.content))
    assert server.asked == [f"bytes={len(there)}-", *([None] if kept == "another file" else [])]
    assert (tmp_path / NAME).read_bytes() == server.content


def test_what_the_server_refuses_or_has_not_is_said_and_nothing_is_left_of_it(server: Server, tmp_path: Path) -> None:
    with pytest.raises(LskdError, match="the server says 404 Not Found; try a mirror"):
        get_cifar100(tmp_path, mirror=f"{address(server)}/elsewhere.tar.gz")
    expected = md5(server.content)
    server.content = b"<html>please log in</html>"
    with pytest.raises(LskdError, match=f"{NAME}: what arrived has md5 .* of 26 bytes, expected {expected}"):
        get_cifar100(tmp_path, mirror=address(server))
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_a_transfer_that_brings_nothing_more_ends_with_what_there_is(server: Server, tmp_path: Path) -> None:
    server.breaks = [500, *[0] * 20]
    with pytest.raises(LskdError, match=r"keeps breaking off \(closed by .*\), 500 bytes are in .*; the same command"):
        get_cifar100(tmp_path, mirror=address(server))
    server.breaks.clear()
    assert get_cifar100(tmp_path, mirror=address(server)).is_dir()


def test_offline_says_what_to_do(
    archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]
) -> None:
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LSKD_MIRROR", f"http://127.0.0.1:{closed.getsockname()[1]}/{NAME}")
        monkeypatch.setenv("LSKD_DATA", str(tmp_path))
        for call in (["data", "get", "cifar100"], ["train", "--recipe", "cifar100/alone/resnet20"]):
            said = told(*call, status=2)
            assert re.search(r"cannot be reached \(.*refused\); try a mirror .*--mirror URL.* or put .*LSKD_DATA", said)
    (tmp_path / NAME).write_bytes(archive[:-1])  # a file in the way is named
    said = told("data", "get", "cifar100", status=2)
    assert f"the {NAME} in {tmp_path} is another file or damaged (md5" in said
    (tmp_path / NAME).write_bytes(archive)  # as the advice says
    with pytest.raises(FileNotFoundError, match=f"`lskd data get cifar100`, which extracts the {NAME} that is there"):
        load_dataset("cifar100")
    told("data", "get", "cifar100")


def test_what_cannot_be_downloaded_is_named(tmp_path: Path, told: Callable[..., str]) -> None:
    said = told("data", "get", "imagenet", status=2)
    assert "no data set 'imagenet' can be downloaded; there are cifar100, cifar100_224" in said
    (tmp_path / NAME).mkdir()
    (tmp_path / "file").write_text("")
    for folder, message in ((tmp_path, "a folder, where a file"), (tmp_path / "file" / "x", "no folder can be made")):
        with pytest.raises(LskdError, match=message):
            get_cifar100(folder)


def test_of_several_processes_one_downloads_and_the_others_wait(server: Server, tmp_path: Path) -> None:
    """A second process is a second open lock: threads are as good as processes here."""
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(get_cifar100, tmp_path, address(server)) for _ in range(3)]
        assert {call.result() for call in calls} == {tmp_path / reading.EXTRACTED}
    assert server.asked == [None]


def test_reading_never_downloads_and_names_damage(
    server: Server, parts: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSKD_MIRROR", address(server))
    monkeypatch.setenv("LSKD_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"`lskd data get cifar100`, or set LSKD_DATA to .* cifar100\.npz"):
        load_dataset("cifar100")
    assert server.asked == []
    get_cifar100()
    damaged = tmp_path / reading.EXTRACTED / "test"
    reads = (lambda: load_dataset("cifar100"), get_cifar100)
    for damage, read in itertools.product((flip, lambda file: file.write_bytes(b"")), reads):
        damage(damaged)
        with pytest.raises(ValueError, match=r"cifar-100-python/test: md5 is .* \(file damaged, or another one\)"):
            read()
        damaged.write_bytes(parts["test"])
    (tmp_path / "cifar100.npz").write_bytes(b"half a file")
    for read in reads:
        with pytest.raises(ValueError, match=r"cifar100\.npz: cannot be read"):
            read()


def test_checksums_are_those_of_torchvision() -> None:
    import_torchvision()
    from torchvision.datasets import CIFAR100

    official = dict([*CIFAR100.train_list, *CIFAR100.test_list, (CIFAR100.meta["filename"], CIFAR100.meta["md5"])])
    assert official == reading.MD5
    assert (CIFAR100.base_folder, CIFAR100.filename) == (reading.EXTRACTED, reading.ARCHIVE)
    assert (CIFAR100.url, CIFAR100.tgz_md5) == (f"{reading.ADDRESS}/{reading.ARCHIVE}", reading.ARCHIVE_MD5)
