"""Memory is counted before it is filled: a process that the system kills says nothing."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lskd.errors import LskdError

# Of a container: its limit, what it uses, and the file with the caches among that, which it gives back when asked.
CONTAINERS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def require_memory(what: str, size: int, advice: str) -> None:
    """Refuse what does not fit into the memory that is free; where that cannot be known, do nothing.

    Args:
        what: needs it, such as "24 images of 32 x 32". size: in bytes. advice: what to do instead.

    Raises:
        LskdError: says how much is needed, how much is free, and ``advice``.
    """
    free = free_memory()
    if free is not None and size > free:
        raise LskdError(f"{what} need {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; {advice}")


def free_memory() -> int | None:
    """Bytes that this process may still take: the machine's, its container's and its own limit; None: unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        found.append(int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) << 10)
    for files in CONTAINERS:
        with contextlib.suppress(OSError, ValueError):  # the limit is "max" where there is none
            limit, used, parts = (Path("/sys/fs/cgroup", name).read_text() for name in files)
            counts = dict(line.split() for line in parts.splitlines())
            caches = sum(int(counts.get(kind, 0)) for kind in ("inactive_file", "active_file"))
            found.append(int(limit) - int(used) + caches)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        own = resource.getrlimit(resource.RLIMIT_AS)[0]
        if own != resource.RLIM_INFINITY:
            found.append(own - int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found)) if found else None
