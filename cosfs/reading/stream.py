"""Reads one object version for all handles that have it open.

Defined here and only here: which ranges are fetched, and when a reader waits. The filesystem makes one
:class:`ObjectReader` per open object version and closes it with the last handle.

Threading: everything may be used from any thread. A reader waits for memory only while it has nothing pinned, and
fetches that began need no more memory, so whatever the readers hold is given back in the end: no deadlock. For the
same reason the pool must not run tasks that wait for the budget.
"""

from __future__ import annotations

from typing import List, Optional

from cosfs.cos.interface import ObjectClient
from cosfs.errors import BadHandle
from cosfs.executor import WorkerPool
from cosfs.reading.ranges import Range, RangeStore, RangeTable
from cosfs.reading.window import Window
from cosfs.units import KIB, MIB

_INLINE_BYTES = 256 * KIB
"""Ranges up to this size are fetched by the thread that needs them: they end before another could be woken for long."""


class ObjectReader:
    """The bytes of one object version, fetched by ranges on demand and ahead, in parallel.

    Ranges end at multiples of ``range_bytes``. A reader gets its bytes as they arrive, before the range is complete. A
    range that several readers need is fetched once; if that fails, all who wait for its missing bytes get the error
    and the next read tries again.
    """

    def __init__(self, client: ObjectClient, store: RangeStore, pool: WorkerPool, key: str, etag: str,
                 size_bytes: int, *, range_bytes: int = 4 * MIB) -> None:
        self._client = client
        self._store = store
        self._pool = pool
        self.key = key
        self.etag = etag
        self.size_bytes = size_bytes
        self._range_bytes = range_bytes
        self._table = RangeTable(store)

    def read(self, offset: int, size: int, window: Optional[Window] = None) -> bytes:
        """The bytes ``[offset, offset + size)``, fewer only at the end of the object; blocks for these bytes alone.

        ``window``: what should be there or under way, as ``AccessWindow.observe(offset, size)`` says. It is begun as
        far as there are memory and workers now.

        Raises: PreconditionFailed (the object is not ``etag`` any more), ObjectNotFound, other CosExceptions,
        BadHandle (closed).
        """
        stop = min(offset + size, self.size_bytes)
        window = window or Window(offset, stop)
        window = Window(min(window.start, offset), min(max(window.stop, stop), self.size_bytes))
        chunks: List[bytes] = []
        while offset < stop:
            chunk = self._read_range(offset, stop, window)
            offset += len(chunk)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Give the memory back; fetches under way give theirs back as they end."""
        with self._store.lock:
            self._store.close_locked(self._table)

    def _read_range(self, offset: int, stop: int, window: Window) -> bytes:
        """The bytes from ``offset`` on that lie in one range, at most up to ``stop``."""
        store = self._store
        with store.lock:
            if self._table.closed:
                raise BadHandle(f"{self.key}: read after close")
            item = self._table.find_locked(offset)
            begun: List[Range] = []
            if item is None:
                item = self._demand_locked(offset, stop, window)
                begun.append(item)
            store.pin_locked(item)
            if item.held_bytes:
                begun += self._ahead_locked(item.stop, window.stop)
        read_until = item.start
        try:
            self._begin(begun, inline=begun == [item] and item.size_bytes <= _INLINE_BYTES)
            read_until = min(stop, item.stop)
            with store.lock:
                while item.filled < read_until - item.start:
                    if item.error is not None:
                        raise item.error
                    item.arrived.wait()
            return bytes(memoryview(item.buffer)[offset - item.start:read_until - item.start])
        finally:
            with store.lock:
                store.unpin_locked(item, read_until)

    def _demand_locked(self, offset: int, stop: int, window: Window) -> Range:
        """Put a new range for the byte at ``offset`` in the table: a large one if there is memory for it now."""
        item = self._new_locked(offset, window)
        if not self._store.take_locked(item):
            item = self._new_locked(offset, Window(offset, stop))
        self._add_locked(item)
        return item

    def _ahead_locked(self, position: int, stop: int) -> List[Range]:
        """Put new ranges for what is missing of ``[position, stop)`` in the table, as far as there is room now."""
        begun: List[Range] = []
        while position < stop:
            item = self._table.find_locked(position)
            if item is None:
                if self._store.fetching >= self._store.max_ahead:
                    break
                item = self._new_locked(position, Window(position, stop))
                if not self._store.take_locked(item):
                    break
                self._add_locked(item)
                begun.append(item)
            position = item.stop
        return begun

    def _new_locked(self, position: int, window: Window) -> Range:
        cell = position // self._range_bytes * self._range_bytes
        return self._table.gap_locked(position, max(window.start, cell), min(window.stop, cell + self._range_bytes))

    def _add_locked(self, item: Range) -> None:
        self._table.add_locked(item)
        self._store.fetching += 1

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
                item.buffer = bytearray(item.size_bytes)
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
                item.filled = count
                item.arrived.notify_all()

        try:
            self._client.get_object(self.key, memoryview(item.buffer), start=item.start, if_match=self.etag or None,
                                    on_progress=progress)
        except BaseException as exc:  # noqa: BLE001 - handed to all readers that wait for the range
            self._end(item, exc)
        else:
            self._end(item, None)

    def _end(self, item: Range, error: Optional[BaseException]) -> None:
        with self._store.lock:
            self._store.end_locked(item, error)
