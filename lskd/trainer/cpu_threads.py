"""Several threads that take turns at jobs, each unit of work on one thread: members side by side on a CPU.

PyTorch can split one convolution between threads, or several threads can each do a convolution of their own. A
student of CIFAR's size is too small for the first: the threads wait for each other at every layer. And who splits
nothing rounds in one order only, so bits do not depend on how many processors there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import torch


class MemberThreads:
    """As many lanes as the machine has threads for; each computes with ``threads`` of them.

    Inside the ``with`` block PyTorch splits an operation between ``threads`` threads, in the lanes and outside. What
    PyTorch was told before (``OMP_NUM_THREADS``, ``torch.set_num_threads``) is the number of threads there are.

    Args:
        threads: of one lane; decides bits.
        most: no more lanes than this; decides speed only.
    """

    def __init__(self, threads: int = 1, *, most: int | None = None) -> None:
        self.threads = threads
        lanes = torch.get_num_threads() // threads
        self.count = max(1, lanes if most is None else min(lanes, most))
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> MemberThreads:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        if self.count > 1:
            self._pool = ThreadPoolExecutor(self.count, "lane", torch.set_num_threads, (self.threads,))
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        torch.set_num_threads(self._before)

    def run(self, jobs: Iterable[Iterator[None]]) -> None:
        """Drive all jobs to their ends. A job's ``next`` is one unit of work.

        Units of one job run in order, those of different jobs in turns and side by side. What is local to a thread
        (``torch.no_grad`` above all) must be entered and left within a unit. The first exception comes out here,
        when the units that had begun are done.
        """
        if self._pool is None:
            waiting = list(jobs)
            while waiting:
                waiting = [job for job in waiting if next(job, _END) is not _END]
            return
        pending: dict[Future[object], Iterator[None]] = {self._pool.submit(next, job, _END): job for job in jobs}
        try:
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    job = pending.pop(future)
                    if future.result() is not _END:
                        pending[self._pool.submit(next, job, _END)] = job
        finally:
            for future in pending:
                future.cancel()
            wait(pending)


_END = object()
