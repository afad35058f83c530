"""Fetches the rest of an object in the background when random reads have shown that it is wanted.

Defined here and only here: when that pays, and when it ends. ``stream`` has one :class:`BackgroundFill` for each object
version that is read.

Each random read that misses costs a round trip. Once these have cost as much time as fetching all that is left would,
that is done: both together take at most twice the time of the better choice then, whatever comes (ski rental). On disk
it serves later mounts, too, so half of that cost is enough there. Whether it goes on is asked before each range, with
the rate that was measured meanwhile.

There must be room to keep it: on disk, or else in memory, for objects up to half of the budget. Fills have workers of
their own, and take only memory that is free or was read; so nobody who waits for bytes waits for a fill, except for
those that are under way.

Threading: any thread; the store's lock guards what changes.
"""

from __future__ import annotations

import logging
from typing import Callable, Optional

from cosfs.errors import CosfsError
from cosfs.executor import WorkerPool
from cosfs.reading.ranges import Range, RangeTable
from cosfs.reading.source import BLOCK_BYTES, ObjectSource

log = logging.getLogger(__name__)

_ASSUMED_RATE = 90e6
"""Bytes per second that one connection is taken to carry until one was measured: what COS gives at most."""

_PERSISTENCE = 4
"""A fill that was begun goes on until it is so many times dearer than what would have it begun."""

_WORTH_ON_DISK = 2
"""How much dearer a fill may be than the misses before it if later mounts find its bytes."""

_MEMORY_SHARE = 2
"""An object is filled into memory if it takes one of so many parts of the budget, at most."""


class FillPolicy:
    """Whether to fetch the rest, by cost. Pure.

    ``workers``: ranges that are fetched at once. ``worth``: how much dearer than the misses a fill may be.
    """

    def __init__(self, workers: int, worth: int = 1) -> None:
        self._workers = workers
        self._worth = worth
        self._rate = _ASSUMED_RATE
        self.missed_s = 0.0
        """What misses have cost since the last fill."""

    def note_miss(self, seconds: float) -> None:
        self.missed_s += seconds

    def note_range(self, count: int, seconds: float) -> None:
        """``count`` bytes took that long on one connection."""
        self._rate = (self._rate + count / max(seconds, 1e-6)) / 2

    def pays(self, rest_bytes: int, *, begun: bool = False) -> bool:
        """Whether to begin, or to go on: what was begun is worth more, and its rate, with all at work, is lower."""
        seconds = self.missed_s * self._worth * (_PERSISTENCE if begun else 1)
        return seconds * self._rate * self._workers >= rest_bytes


class BackgroundFill:
    """``fetch``: fetches a range that was put in the table, and ends it."""

    def __init__(self, pool: WorkerPool, table: RangeTable, source: ObjectSource, range_bytes: int,
                 fetch: Callable[[Range], None], clock: Callable[[], float]) -> None:
        self._pool = pool
        self._table = table
        self._store = table.store
        self._source = source
        self._range_bytes = range_bytes
        self._fetch = fetch
        self._clock = clock
        self._policy = FillPolicy(table.store.max_fillers, _WORTH_ON_DISK if source.cached else 1)
        self._position = 0
        self._running = 0
        self.done = False
        """Whether all of the object was fetched once."""

    def note_miss(self, seconds: float) -> None:
        """A random read had to wait that long for the service. Starts the fill when it is time."""
        with self._store.lock:
            self._policy.note_miss(seconds)
            idle = not self._running and not self._table.closed
            if not idle or not self._policy.pays(self._source.size_bytes - self._position):
                return
        if not self._has_room():
            return
        with self._store.lock:
            wanted = 0 if self._running else self._store.max_fillers - self._store.fillers
            self._running += wanted
            self._store.fillers += wanted
        for _ in range(wanted):
            self._pool.submit(self._run)

    def _has_room(self) -> bool:
        size = self._source.size_bytes
        return self._source.has_room(size) or size <= self._store.budget.limit_bytes // _MEMORY_SHARE

    def _run(self) -> None:
        try:
            while True:
                item = self._next()
                if item is None:
                    return
                begun = self._clock()
                self._fetch(item)
                if item.error is not None:
                    raise item.error
                with self._store.lock:
                    self._policy.note_range(item.size_bytes, self._clock() - begun)
        except CosfsError as exc:
            log.debug("%s is not fetched in the background any further: %s", self._source.key, exc)
        finally:
            with self._store.lock:
                self._running -= 1
                self._store.fillers -= 1

    def _next(self) -> Optional[Range]:
        """The next range to be fetched, with its memory; None when there is none, or it is time to stop."""
        uncached = self._uncached(self._position)
        with self._store.lock:
            self._position = max(self._position, uncached)
            size = self._source.size_bytes
            while self._position < size:
                if self._table.closed or not self._policy.pays(size - self._position, begun=True):
                    return None
                found = self._table.find_locked(self._position)
                if found is None:
                    return self._begin_locked()
                self._position = found.stop
            self.done = True
            self._position, self._policy.missed_s = 0, 0.0  # misses will tell if it has to be done again
            return None

    def _uncached(self, position: int) -> int:
        """The first position from this one on that is not on disk."""
        while position < self._source.size_bytes and self._source.has_block(position):
            position = (position // BLOCK_BYTES + 1) * BLOCK_BYTES
        return position

    def _begin_locked(self) -> Optional[Range]:
        cell = self._position // self._range_bytes * self._range_bytes
        stop = min(cell + self._range_bytes, self._source.size_bytes)
        self._store.clear_small_locked(self._table, self._position, stop)
        item = self._table.gap_locked(self._position, self._position, stop, background=True)
        item.spent = self._source.cached
        if not self._store.take_locked(item):
            return None
        self._store.begin_locked(item)
        self._position = item.stop
        return item
