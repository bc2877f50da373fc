"""Time and peak memory of `make book` in a fresh clone: first call (environment included) and second call.

    python benchmarks/make_book.py [--keep DIR]

Memory is the sum of proportional set sizes of all processes that the call started, read four times a second.
Linux only, because only there memory that processes share is counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
MACHINE = (
    "import json, torch; from lskd import records; "
    "print(json.dumps([records.describe_device(torch.device('cpu')), records.versions(), records.commit()]))"
)


def tree_memory(root: psutil.Process) -> int:
    """Bytes in use by a process and all that descend from it; notebooks' kernels have sessions of their own."""
    total = 0
    with suppress(psutil.Error):  # it has ended
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


def measure(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command in a session of its own; seconds and peak bytes."""
    peak, ended = 0, threading.Event()

    def watch(root: psutil.Process) -> None:
        nonlocal peak
        while not ended.wait(0.25):
            peak = max(peak, tree_memory(root))

    start = time.perf_counter()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "LSKD_CACHE")}
    with subprocess.Popen(command, cwd=folder, start_new_session=True, env=environment) as child:
        watcher = threading.Thread(target=watch, args=(psutil.Process(child.pid),))
        watcher.start()
        status = child.wait()
        seconds = time.perf_counter() - start
        ended.set()
        watcher.join()
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return {"seconds": round(seconds, 1), "peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="clone to here, and leave it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lskd book ") as temporary:
        clone = given.keep or Path(temporary) / "clone"
        subprocess.run(["git", "clone", "--quiet", os.fspath(ROOT), os.fspath(clone)], check=True)
        packages = measure(["make", ".venv/.book"], clone)
        first, second = (measure(["make", "book"], clone) for _ in range(2))
        told = subprocess.run(
            [".venv/bin/python", "-c", MACHINE], cwd=clone, capture_output=True, text=True, check=True
        )
        machine, versions, commit = json.loads(told.stdout)
    result = {
        "packages": packages,
        "first": first,
        "second": second,
        "machine": {
            "processor": machine["name"],
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        },
        "versions": {key: versions[key] for key in ("python", "torch")},
        "commit": commit["commit"],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    (ROOT / "benchmarks" / "results" / "make_book.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
