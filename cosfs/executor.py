"""Bounded concurrency: worker pools and the byte budget that all buffers of the mount share.

Threading: everything here may be used from any thread. Pools start no thread before their first task, so
they can be made before the process daemonises and used after (a fork keeps no threads).
"""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Callable, Iterable, Iterator, List, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Reclaimer = Callable[[int], int]
"""Asked to give back at least n bytes; returns how many it gave back."""


class ByteBudget:
    """A limit on the bytes that buffers hold; whoever asks for more waits.

    A request larger than the limit is granted when nothing else is held, so there is always progress.
    Caches register a reclaimer: it is called, without any lock of the budget, before a caller is made to
    wait. Invariant: ``used_bytes <= max(limit_bytes, largest single reservation)``.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.peak_bytes = 0
        """The most that was ever held at once."""
        self._used = 0
        self._changed = threading.Condition()
        self._reclaimers: List[Reclaimer] = []

    @property
    def used_bytes(self) -> int:
        with self._changed:
            return self._used

    def add_reclaimer(self, reclaimer: Reclaimer) -> None:
        self._reclaimers.append(reclaimer)

    def try_acquire(self, count: int) -> bool:
        """Take ``count`` bytes if that needs no waiting and no reclaiming."""
        with self._changed:
            return self._take_locked(count)

    def acquire_idle(self, count: int) -> bool:
        """Take ``count`` bytes if that needs no waiting, at the most that caches give up what they hold."""
        if self.try_acquire(count):
            return True
        return any([reclaim(count) for reclaim in self._reclaimers]) and self.try_acquire(count)

    def acquire(self, count: int) -> None:
        """Take ``count`` bytes; blocks until others have given enough back."""
        while not self.try_acquire(count):
            if any([reclaim(count) for reclaim in self._reclaimers]):
                continue
            with self._changed:
                # An idle cache block may become reclaimable without a release, hence the time limit.
                if not self._take_locked(count):
                    self._changed.wait(timeout=0.1)
                    continue
                return

    def release(self, count: int) -> None:
        with self._changed:
            self._used -= count
            assert self._used >= 0, "released more than was taken"
            self._changed.notify_all()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        self.acquire(count)
        try:
            yield
        finally:
            self.release(count)

    def _take_locked(self, count: int) -> bool:
        if self._used and self._used + count > self.limit_bytes:
            return False
        self._used += count
        self.peak_bytes = max(self.peak_bytes, self._used)
        return True


class WorkerPool:
    """A named pool of at most ``workers`` threads whose queue holds at most ``queue`` waiting tasks.

    ``submit`` blocks when the queue is full (back-pressure), so a task must never submit to its own pool.
    """

    def __init__(self, name: str, workers: int, *, queue: int = 0) -> None:
        self._executor: Executor = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._slots = threading.BoundedSemaphore(workers + queue)

    def submit(self, task: Callable[..., R], *args: Any) -> Future[R]:
        self._slots.acquire()
        try:
            future = self._executor.submit(task, *args)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(lambda _: self._slots.release())
        return future

    def map_all(self, task: Callable[[T], R], items: Iterable[T]) -> List[R]:
        """Run ``task`` on all items at once; every task ends before the first error is raised."""
        futures = [self.submit(task, item) for item in items]
        return wait_all(futures)

    def close(self) -> None:
        """Wait for what was submitted, then end the threads."""
        self._executor.shutdown(wait=True)


def wait_all(futures: Iterable[Future[R]]) -> List[R]:
    """Results in order. Waits for every future before the first error is raised."""
    results: List[R] = []
    first_error = None
    for future in list(futures):
        error = future.exception()
        if error is None:
            results.append(future.result())
        elif first_error is None:
            first_error = error
    if first_error is not None:
        raise first_error
    return results
