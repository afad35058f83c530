"""Reads one object version for all handles that have it open.

Defined here and only here: which ranges are fetched, and when a reader waits. The filesystem makes one
:class:`ObjectReader` per open object version and closes it with the last handle.

Threading: everything may be used from any thread. A reader waits for memory only while it has nothing pinned, and
fetches that began need no more memory, so whatever the readers hold is given back in the end: no deadlock. For the
same reason the pool must not run tasks that wait for the budget.
"""

from __future__ import annotations

import logging
import time
from typing import Callable, List, NamedTuple, Optional, Union

from cosfs.errors import BadHandle
from cosfs.executor import WorkerPool
from cosfs.reading.buffers import NO_BUFFER, lend, new_buffer
from cosfs.reading.fill import BackgroundFill
from cosfs.reading.ranges import Range, RangeStore, RangeTable
from cosfs.reading.source import BLOCK_BYTES, Corrupted, ObjectSource
from cosfs.reading.window import Window
from cosfs.units import KIB, MIB

log = logging.getLogger(__name__)

_RANGE_BYTES = (10 * MIB, 5 * MIB, 2 * MIB, MIB)
"""At 90 MB/s the largest keeps a connection at work for 110 ms after waiting for 20; 1 GiB takes some 115 requests."""

_RANGES_IN_WINDOW = 4
"""While a window grows its ranges are smaller, so that it comes over several connections from early on: 64 MiB are
there after 360 ms instead of 530 (measured, 20 ms and 90 MB/s each). It takes some 16 requests more, which nothing is
gained by when other objects are fetched at the same time."""

_RANGES_IN_BUDGET = 8
"""With a smaller budget ranges are smaller, so that so many have room."""

_INLINE_BYTES = 256 * KIB
"""Ranges up to this size are fetched by the thread that needs them: they end before another could be woken for long.
Windows that ask for less than this behind what is read are those of random reads."""

_POOR_BYTES = 128 * KIB
"""What a sequential reader asks for when there is no memory for more."""

_COPIED_BYTES = 16 * KIB
"""Reads up to this size get a copy, so that what is left of their range can be given up at once."""

_GIVEN_UP_BYTES = MIB
"""A fetch that nobody wants any more is broken off if so much is missing: a new connection costs less."""


class _Wanted(NamedTuple):
    """The bytes ``[start, stop)``, because a window up to ``asked`` was asked for; ``small``: for one read at random.

    ``cell_bytes``: ranges end at multiples of it.
    """

    start: int
    stop: int
    asked: int
    small: bool
    cell_bytes: int


class _Begun(NamedTuple):
    """Of windows up to ``stop`` nothing from ``start`` on has to be begun, as long as no range has left the table."""

    start: int
    stop: int
    removals: int


class ObjectReader:
    """The bytes of one object version, fetched by ranges on demand and ahead, in parallel.

    Ranges have at most ``range_bytes``, and end at multiples of 1 MiB if the window is large. A reader gets its bytes
    as they arrive, before the range is complete. A range that several readers need is fetched once; if that fails,
    all who wait for its missing bytes get the error and the next read tries again.

    If the version turns out to be corrupted, everything that was fetched of it is thrown away and every further read
    here fails: who has it open may have got wrong bytes. ``on_corrupted`` is called then from any thread, before
    anybody is told and once more after that, for who opened the file meanwhile.
    """

    def __init__(self, source: ObjectSource, store: RangeStore, pool: WorkerPool, *,
                 fill_pool: Optional[WorkerPool] = None, range_bytes: Optional[int] = None,
                 on_corrupted: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._store = store
        self._pool = pool
        self._table = RangeTable(store)
        self._range_bytes = range_bytes or _range_bytes(store.budget.limit_bytes)
        self._cells = (self._range_bytes, *(size for size in _RANGE_BYTES if size < self._range_bytes))
        self._align_bytes = min(BLOCK_BYTES, self._range_bytes)
        self._begun = _Begun(0, 0, 0)
        self._on_corrupted = on_corrupted
        self._spoiled = False
        self._corrupted: Optional[Corrupted] = None
        self._clock = clock
        self._fill = None if fill_pool is None else BackgroundFill(
            fill_pool, self._table, source, self._range_bytes, self._fetch, clock)

    @property
    def key(self) -> str:
        return self._source.key

    @property
    def etag(self) -> str:
        return self._source.etag

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    @property
    def corrupted(self) -> bool:
        return self._corrupted is not None

    def read(self, offset: int, size: int, window: Optional[Window] = None) -> Union[bytes, memoryview]:
        """The bytes ``[offset, offset + size)``, fewer only at the end of the object; blocks for these bytes alone.

        ``window``: what should be there or under way, as ``AccessWindow.observe(offset, size)`` says. It is begun as
        far as there are memory and workers now. A view that is returned is to be copied and let go at once: it keeps
        the memory of its range.

        Raises: PreconditionFailed (the object is not ``etag`` any more), ObjectNotFound, other CosExceptions,
        Corrupted, BadHandle (closed).
        """
        stop = min(offset + size, self.size_bytes)
        window = window or Window(offset, stop)
        ready = self._read_ready(offset, stop, window)
        if ready is not None:
            self._store.rate.hits.add()
            return ready
        wanted = self._wanted(offset, stop, window)
        chunks: List[Union[bytes, memoryview]] = []
        while offset < stop:
            chunk = self._read_range(offset, stop, wanted)
            offset += len(chunk)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Give the memory back; fetches under way give theirs back as they end."""
        with self._store.lock:
            self._store.close_locked(self._table)

    def _wanted(self, offset: int, stop: int, window: Window) -> _Wanted:
        """What a window asks for that is to hold ``[offset, stop)``.

        A large one ends with a block, and begins with one if there is a cache on disk: the kernel's reads come in any
        order. A small one is whole blocks if they are on disk, or worth it: the first reads of a sequence look like
        large random ones.
        """
        start, end = min(window.start, offset), max(window.stop, stop)
        small = end - stop < _INLINE_BYTES
        align = self._align_bytes
        on_disk = offset < stop and self._source.has_block(offset)
        if not small:
            end = max(end // align * align, -(-stop // align) * align) if end < self.size_bytes else end
        elif on_disk or (self._source.cached and (end - start >= _POOR_BYTES or self._filled)):
            start = start // align * align
            end = -(-end // align) * align
        if on_disk or (self._source.cached and not small):
            start = start // align * align
        return _Wanted(start, min(end, self.size_bytes), window.stop, small, self._cell_bytes(end - start))

    def _cell_bytes(self, window_bytes: int) -> int:
        alone = self._store.fetching == self._table.fetching
        if window_bytes < _RANGES_IN_WINDOW * MIB or not alone:
            return self._range_bytes
        return next((size for size in self._cells if size * _RANGES_IN_WINDOW <= window_bytes), self._cells[-1])

    @property
    def _filled(self) -> bool:
        return self._fill is not None and self._fill.done

    def _read_ready(self, offset: int, stop: int, window: Window) -> Optional[memoryview]:
        """The bytes, where they are there and nothing has to be begun: most reads of a sequence are of that kind."""
        store = self._store
        with store.lock:
            if window.stop > self._begun.stop or self._table.removals != self._begun.removals:
                return None
            self._check_locked()
            item = self._table.find_locked(offset)
            if item is None or item.start < self._begun.start or item.filled < stop - item.start:
                return None
            store.pin_locked(item)
            view = lend(item.buffer, offset - item.start, stop - item.start)
            store.unpin_locked(item, stop)
            return view

    def _read_range(self, offset: int, stop: int, wanted: _Wanted) -> Union[bytes, memoryview]:
        """The bytes from ``offset`` on that lie in one range, at most up to ``stop``."""
        store = self._store
        missed_s = 0.0
        with store.lock:
            self._check_locked()
            item = self._table.find_locked(offset)
            begun: List[Range] = []
            if item is None:
                item = self._demand_locked(offset, stop, wanted)
                begun.append(item)
            store.pin_locked(item)
            if item.held_bytes:
                begun += self._ahead_locked(item, wanted)
            read_until = min(stop, item.stop)
            gate = item.gate_locked(read_until - item.start)
        (self._store.rate.hits if gate is None else self._store.rate.misses).add()
        try:
            if begun:
                if begun == [item] and wanted.small:
                    missed_s = self._begin_small(item)
                else:
                    self._begin(begun, inline=False)
            if gate is not None:
                gate.acquire()
            if item.error is not None and item.filled < read_until - item.start:
                raise item.error
            self._check_corrupted()
            view = lend(item.buffer, offset - item.start, read_until - item.start)
            return bytes(view) if read_until - offset <= _COPIED_BYTES else view
        except BaseException:
            read_until = item.start
            raise
        finally:
            with store.lock:
                store.unpin_locked(item, item.stop if wanted.small else read_until)
            if missed_s and self._fill is not None:
                self._fill.note_miss(missed_s)

    def _check_locked(self) -> None:
        self._check_corrupted()
        if self._table.closed:
            raise BadHandle(f"{self.key}: read after close")

    def _check_corrupted(self) -> None:
        if self._corrupted is not None:
            raise Corrupted(str(self._corrupted))

    def _demand_locked(self, offset: int, stop: int, wanted: _Wanted) -> Range:
        """Put a new range for the byte at ``offset`` in the table: a large one if there is memory for it now."""
        item = self._new_locked(offset, wanted)
        limit = self._store.budget.limit_bytes
        if not self._store.take_locked(item) and not (wanted.small and item.size_bytes <= limit):
            start, end = offset // _POOR_BYTES * _POOR_BYTES, -(-stop // _POOR_BYTES) * _POOR_BYTES
            poor = (start, end) if end - start <= limit // _RANGES_IN_BUDGET else (offset, stop)
            item = self._new_locked(offset, _Wanted(*poor, end, small=True, cell_bytes=self._range_bytes))
        self._store.begin_locked(item)
        return item

    def _ahead_locked(self, item: Range, wanted: _Wanted) -> List[Range]:
        """Put new ranges for what is missing behind one of them in the table, as far as there is room now."""
        begun: List[Range] = []
        position = item.stop
        while position < wanted.stop:
            following = self._table.find_locked(position)
            if following is None:
                if self._store.fetching >= self._store.max_ahead:
                    return begun
                following = self._new_locked(position, wanted)
                if not self._store.take_locked(following):
                    return begun
                self._store.begin_locked(following)
                begun.append(following)
            position = following.stop
        if not wanted.small:
            self._begun = _Begun(item.start, wanted.asked, self._table.removals)
        return begun

    def _new_locked(self, position: int, wanted: _Wanted) -> Range:
        """A new range around ``position``: what is missing of ``wanted``, in one cell."""
        cell = position // wanted.cell_bytes * wanted.cell_bytes
        start = max(wanted.start, cell)
        stop = min(wanted.stop, cell + wanted.cell_bytes, self.size_bytes)
        if stop - start >= BLOCK_BYTES:
            self._store.clear_small_locked(self._table, start, stop)
        return self._table.gap_locked(position, start, stop)

    def _begin_small(self, item: Range) -> float:
        """Start the fetch of a range that is all that a reader needs; returns the seconds that a small one took."""
        if self._source.has_block(item.start):
            self._begin([item], inline=True)
        elif item.size_bytes > _INLINE_BYTES:
            self._begin([item], inline=False)
        else:
            begun = self._clock()
            self._begin([item], inline=True)
            return self._clock() - begun
        return 0.0

    def _begin(self, items: List[Range], *, inline: bool) -> None:
        """Start the fetches of ranges that were put in the table. Every way out of here ends them sooner or later.

        Only the first may have no memory yet, and is alone then: nobody may wait for memory while holding some.
        """
        waiting = list(items)
        try:
            for item in items:
                if not item.held_bytes:
                    self._store.budget.acquire(item.size_bytes)
                    item.held_bytes = item.size_bytes
                if inline:
                    self._fetch(item)
                else:
                    self._pool.submit(self._fetch, item)
                waiting.remove(item)
        except BaseException as exc:
            for item in waiting:
                self._end(item, exc)
            raise

    def _fetch(self, item: Range) -> None:
        def progress(count: int) -> None:
            with self._store.lock:
                if item.table.closed and not item.pins and item.size_bytes - count >= _GIVEN_UP_BYTES:
                    raise BadHandle(f"{self.key}: closed")
                item.note_locked(count)

        try:
            if item.buffer is NO_BUFFER:
                item.buffer = new_buffer(item.size_bytes)
            self._source.fetch(item.start, memoryview(item.buffer), progress, background=item.background)
        except Corrupted as exc:
            self._spoil(exc)
            self._end(item, exc)
        except BaseException as exc:  # noqa: BLE001 - handed to all readers that wait for the range
            self._end(item, exc)
        else:
            self._end(item, None)

    def _end(self, item: Range, error: Optional[BaseException]) -> None:
        with self._store.lock:
            self._store.end_locked(item, error)

    def _spoil(self, reason: Corrupted) -> None:
        """Throw the version away, and tell its readers when that is done."""
        with self._store.lock:
            if self._spoiled:
                return
            self._spoiled = True
        log.error("%s; its readers get EIO, and what was fetched of it is thrown away", reason)
        self._on_corrupted()
        self._source.discard()
        with self._store.lock:
            self._corrupted = reason
            self._store.close_locked(self._table)
        self._on_corrupted()


def _range_bytes(budget_bytes: int) -> int:
    """The largest of some sizes that divide one another, as windows end at multiples of the largest."""
    share = budget_bytes // _RANGES_IN_BUDGET
    return next((size for size in _RANGE_BYTES if size <= share), _RANGE_BYTES[-1])
