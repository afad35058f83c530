"""The fetched ranges of all files of a mount, held within the byte budget.

Defined here and only here: how long fetched bytes stay in memory. Used by ``stream`` and ``fill``, which decide what is
fetched; the mount makes one :class:`RangeStore`.

Threading: ``RangeStore.lock`` guards everything in here, tables and ranges of all files included; methods that need
it end in ``_locked``. Only the bytes of a range below its ``filled`` mark may be read without it, and only by who has
it pinned or a view of it. The lock is held for bookkeeping only, never over a request or a wait. Lock order: store,
then budget.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from typing import Dict, Iterator, List, Optional, Tuple

from cosfs.executor import ByteBudget
from cosfs.metrics import HitRate
from cosfs.reading.buffers import NO_BUFFER, Buffer, is_lent
from cosfs.units import KIB

SMALL_BYTES = 128 * KIB
"""A range up to this size is one read of the kernel, so it counts as read when it is touched."""

_SPENT_SHARE = 16
"""One of so many parts of the budget is for ranges that were read. The kernel has their bytes too, most of the time;
beyond that their memory serves the next ranges, which spares the system from clearing new pages."""


class Range:
    """The bytes ``[start, stop)`` of an object, fetched or about to be.

    ::

        FETCHING --all bytes--> READY (idle when nobody has it pinned, may be evicted then)
                 --error-----> FAILED (in no table; readers that need more than ``filled`` bytes raise ``error``)

    ``filled``: so many bytes from ``start`` on are valid. ``pins``: readers that use it, it stays while there are any.
    ``spent``: it was read to its end. ``held_bytes``: what it has of the budget. ``background``: nobody waits for it.
    """

    def __init__(self, table: RangeTable, start: int, stop: int, *, background: bool = False) -> None:
        self.table = table
        self.start = start
        self.stop = stop
        self.background = background
        self.buffer: Buffer = NO_BUFFER
        self.filled = 0
        self.held_bytes = 0
        self.pins = 0
        self.spent = False
        self.ended = False
        self.error: Optional[BaseException] = None
        self._waiting: List[Tuple[int, threading.Lock]] = []

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start

    def gate_locked(self, count: int) -> Optional[threading.Lock]:
        """What to acquire to wait until the first ``count`` bytes are there, or the fetch is over; None if that is so.

        A thread is woken up when its own bytes are there, and needs no other lock then.
        """
        if self.filled >= count or self.ended:
            return None
        gate = threading.Lock()
        gate.acquire()
        self._waiting.append((count, gate))
        return gate

    def note_locked(self, filled: int) -> None:
        """So many bytes are there."""
        self.filled = filled
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for count, gate in waiting:
                if count <= filled or self.ended:
                    gate.release()
                else:
                    self._waiting.append((count, gate))


class RangeTable:
    """The ranges of one object version, in order and without overlap."""

    def __init__(self, store: RangeStore) -> None:
        self.store = store
        self.closed = False
        self.fetching = 0
        """Fetches that are under way, but for those in the background."""
        self.removals = 0
        """How many ranges have left so far."""
        self._starts: List[int] = []
        self._ranges: List[Range] = []

    def find_locked(self, position: int) -> Optional[Range]:
        """The range that holds the byte at ``position``."""
        index = bisect_right(self._starts, position) - 1
        if index >= 0 and position < self._ranges[index].stop:
            return self._ranges[index]
        return None

    def gap_locked(self, position: int, start: int, stop: int, *, background: bool = False) -> Range:
        """A new range, not yet in the table: the gap around ``position``, cut to ``[start, stop)``."""
        index = bisect_right(self._starts, position)
        if index:
            start = max(start, self._ranges[index - 1].stop)
        if index < len(self._starts):
            stop = min(stop, self._starts[index])
        return Range(self, start, stop, background=background)

    def within_locked(self, start: int, stop: int) -> List[Range]:
        """The ranges that begin in ``[start, stop)``."""
        return self._ranges[bisect_left(self._starts, start):bisect_left(self._starts, stop)]

    def add_locked(self, item: Range) -> None:
        index = bisect_right(self._starts, item.start)
        self._starts.insert(index, item.start)
        self._ranges.insert(index, item)

    def remove_locked(self, item: Range) -> None:
        index = bisect_right(self._starts, item.start) - 1
        if index >= 0 and self._ranges[index] is item:
            del self._starts[index], self._ranges[index]
            self.removals += 1

    def all_locked(self) -> List[Range]:
        return list(self._ranges)


class _Idle:
    """Ranges that nobody uses, the longest unused first."""

    def __init__(self) -> None:
        self._items: Dict[Range, None] = {}
        self.held_bytes = 0

    def __iter__(self) -> Iterator[Range]:
        return iter(list(self._items))

    def add(self, item: Range) -> None:
        self._items[item] = None
        self.held_bytes += item.held_bytes

    def discard(self, item: Range) -> None:
        if item in self._items:
            del self._items[item]
            self.held_bytes -= item.held_bytes


class RangeStore:
    """The memory of all readers of a mount.

    Memory: ranges hold what they took of ``budget``, no byte more. Ranges that nobody uses stay as a cache and are
    given up, the longest unused first, when anyone needs the memory: those that were read for everybody, those that
    were fetched ahead and not read yet only for who would have to wait otherwise. Those of which a reader still has a
    view are the last to go, and lend their memory on to nobody: it is gone when the view is, which FUSE's threads have
    for as long as copying takes.

    ``max_ahead``: fetches under way above which none is started ahead; the workers of the pool, so that reads do not
    queue behind guesses. Fetches in the background have workers of their own, ``max_fillers``.
    """

    def __init__(self, budget: ByteBudget, *, max_ahead: int = 16, max_fillers: int = 8) -> None:
        self.lock = threading.Lock()
        self.budget = budget
        self.rate = HitRate()
        """Reads whose bytes were in memory, and those that waited for some."""
        self.max_ahead = max_ahead
        self.max_fillers = max_fillers
        self.fetching = 0
        self.fillers = 0
        self._fresh = _Idle()
        self._spent = _Idle()
        budget.add_reclaimer(self._reclaim)

    def take_locked(self, item: Range) -> bool:
        """Take the memory for a range if that needs no waiting."""
        count = item.size_bytes
        limit = self.budget.limit_bytes
        if count > limit:
            return False  # the budget would give it to whoever is alone
        if self._spent.held_bytes + count > limit // _SPENT_SHARE and self._inherit_locked(item):
            return True
        if not self.budget.try_acquire(count):
            if self._inherit_locked(item):
                return True
            self._evict_locked(self._spent, count)
            if not self.budget.try_acquire(count):
                return False
        item.held_bytes = count
        return True

    def _inherit_locked(self, item: Range) -> bool:
        """Let a range take over buffer and memory of one of its size that was read."""
        for old in self._spent:
            if old.held_bytes == item.size_bytes and not is_lent(old.buffer):
                item.buffer, old.buffer = old.buffer, NO_BUFFER
                self._spent.discard(old)
                item.held_bytes, old.held_bytes = old.held_bytes, 0
                self._drop_locked(old)
                return True
        return False

    def pin_locked(self, item: Range) -> None:
        item.pins += 1
        self._fresh.discard(item)
        self._spent.discard(item)

    def unpin_locked(self, item: Range, read_until: int) -> None:
        item.pins -= 1
        item.spent = item.spent or read_until >= item.stop or item.size_bytes <= SMALL_BYTES
        self._settle_locked(item)

    def begin_locked(self, item: Range) -> None:
        """Put a range that is going to be fetched into its table."""
        item.table.add_locked(item)
        self._count_fetch_locked(item, 1)

    def end_locked(self, item: Range, error: Optional[BaseException]) -> None:
        """Note that the fetch of a range is over. A range that failed is forgotten: a later read fetches again."""
        self._count_fetch_locked(item, -1)
        item.ended = True
        item.error = error
        if error is not None:
            item.table.remove_locked(item)
        item.note_locked(item.size_bytes if error is None else item.filled)
        self._settle_locked(item)

    def _count_fetch_locked(self, item: Range, count: int) -> None:
        if not item.background:
            self.fetching += count
            item.table.fetching += count

    def clear_small_locked(self, table: RangeTable, start: int, stop: int) -> None:
        """Give up small idle ranges, so that large ones need not be fetched around them."""
        for item in table.within_locked(start, stop):
            if item.ended and not item.pins and item.size_bytes <= SMALL_BYTES and not is_lent(item.buffer):
                self._drop_locked(item)

    def close_locked(self, table: RangeTable) -> None:
        """Give up the ranges of a table; those in use, or under way, as soon as they are not."""
        table.closed = True
        for item in table.all_locked():
            self._settle_locked(item)

    def _settle_locked(self, item: Range) -> None:
        """Put a range that nobody uses, if it is one, among the idle or away."""
        if item.pins or not item.ended:
            return
        if item.error is not None or item.table.closed:
            self._drop_locked(item)
        else:
            (self._spent if item.spent else self._fresh).add(item)

    def _drop_locked(self, item: Range) -> None:
        item.table.remove_locked(item)
        self._fresh.discard(item)
        self._spent.discard(item)
        item.buffer = NO_BUFFER
        if item.held_bytes:
            self.budget.release(item.held_bytes)
            item.held_bytes = 0

    def _evict_locked(self, idle: _Idle, count: int) -> int:
        freed = 0
        for lent in (False, True):
            for item in idle:
                if freed >= count:
                    return freed
                if lent or not is_lent(item.buffer):
                    freed += item.held_bytes
                    self._drop_locked(item)
        return freed

    def _reclaim(self, count: int) -> int:
        with self.lock:
            freed = self._evict_locked(self._spent, count)
            return freed + self._evict_locked(self._fresh, count - freed)
