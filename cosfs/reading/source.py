"""Where the bytes of one object version come from: the cache on disk, the service, and the check of both.

Used by ``stream`` and ``fill``, one :class:`ObjectSource` for each object version that is read.

Threading: any thread, no lock is held over anything that blocks.
"""

from __future__ import annotations

from collections import deque
from typing import Iterator, NamedTuple, Optional, Protocol

from cosfs.cos.interface import ObjectClient, ProgressCallback
from cosfs.errors import IntegrityError
from cosfs.reading.checksum import VersionChecksum
from cosfs.units import MIB

BLOCK_BYTES = MIB
"""Blocks of the cache, to which large ranges are aligned."""


class BlockCache(Protocol):
    """``DiskCache``, as far as reading needs it. Block ``index`` is ``[index * BLOCK_BYTES, ...)`` of the object."""

    def read(self, key: str, etag: str, index: int, buffer: memoryview) -> bool:
        """Fill ``buffer`` with a block; False if it is not there, or damaged."""

    def contains(self, key: str, etag: str, index: int) -> bool:
        """Whether a block seems to be there."""

    def write(self, key: str, etag: str, index: int, data: memoryview, *, wait: bool = False) -> None:
        """Have a copy of a block stored, if there is room. ``wait``: rather than leave it out when the disk is slow."""

    def discard(self, key: str, etag: str, index: int) -> None:
        """Remove a block, if it is there."""

    def has_room(self, count: int) -> bool:
        """Whether that many bytes more can be stored without giving up most of what is there."""


class _Block(NamedTuple):
    """Block ``number`` of the object lies at ``[start, stop)`` of a buffer."""

    number: int
    start: int
    stop: int


class ObjectSource:
    """``crc64``: the service's CRC of the object, as far as it is known already."""

    def __init__(self, client: ObjectClient, cache: Optional[BlockCache], key: str, etag: str, size_bytes: int,
                 crc64: Optional[int] = None) -> None:
        self._client = client
        self._cache = cache if etag else None
        self.key = key
        self.etag = etag
        self.size_bytes = size_bytes
        self._checksum = VersionChecksum(size_bytes, crc64)
        self._discarded = False

    @property
    def cached(self) -> bool:
        """Whether there is a cache on disk at all."""
        return self._cache is not None

    def fetch(self, start: int, view: memoryview, on_progress: ProgressCallback, *, background: bool = False) -> None:
        """Fill ``view`` with the bytes from ``start`` on. ``on_progress``: so many are there, but not the last ones
        before they are checked.

        Raises: Corrupted, and what ``get_object`` raises.
        """
        missing = 0
        for block in self._blocks(start, len(view)):
            if self._read_block(block, view):
                if missing < block.start:
                    self._get(start, view, missing, block.start, on_progress, background)
                missing = block.stop
                if missing < len(view):
                    on_progress(missing)
        if missing < len(view):
            self._get(start, view, missing, len(view), on_progress, background)
        mismatch = self._checksum.note(start, view)
        if mismatch is not None:
            raise Corrupted(f"{self.key!r} (ETag {self.etag}): bytes {mismatch.start} to {mismatch.stop} have the "
                            f"CRC-64 {mismatch.found} instead of {mismatch.expected}")

    def _get(self, start: int, view: memoryview, first: int, last: int, on_progress: ProgressCallback,
             background: bool) -> None:
        """Get ``view[first:last]`` from the service, and give it to the cache."""
        whole = deque(block for block in self._blocks(start, len(view)) if first <= block.start and block.stop <= last)

        def store(stop: int) -> None:
            while whole and whole[0].stop <= stop:
                block = whole.popleft()
                self._store_block(block.number, view[block.start:block.stop], wait=background)

        def progress(count: int) -> None:
            if first + count < len(view):
                on_progress(first + count)
            store(first + count)  # as they arrive: all of a range at once would be more than the cache can queue

        info = self._client.get_object(self.key, view[first:last], start=start + first, if_match=self.etag or None,
                                       on_progress=progress)
        self._checksum.tell(info.crc64)
        store(last)

    def _store_block(self, number: int, data: memoryview, *, wait: bool) -> None:
        if self._cache is not None and not self._discarded:
            self._cache.write(self.key, self.etag, number, data, wait=wait)
            if self._discarded:  # meanwhile
                self._cache.discard(self.key, self.etag, number)

    def _blocks(self, start: int, length: int) -> Iterator[_Block]:
        """The whole blocks in the ``length`` bytes from ``start`` on."""
        if self._cache is None:
            return
        stop = start + length
        for index in range(-(-start // BLOCK_BYTES), -(-stop // BLOCK_BYTES)):
            last = min((index + 1) * BLOCK_BYTES, self.size_bytes)
            if last <= stop:
                yield _Block(index, index * BLOCK_BYTES - start, last - start)

    def _read_block(self, block: _Block, view: memoryview) -> bool:
        return self._cache is not None and not self._discarded and self._cache.read(
            self.key, self.etag, block.number, view[block.start:block.stop])

    def has_block(self, position: int) -> bool:
        """Whether the cache seems to have the block around ``position``."""
        return self._cache is not None and self._cache.contains(self.key, self.etag, position // BLOCK_BYTES)

    def has_room(self, count: int) -> bool:
        """Whether the cache would take so many bytes."""
        return self._cache is not None and self._cache.has_room(count)

    def discard(self) -> None:
        """Take all of the object version out of the cache, also what is on its way there."""
        self._discarded = True
        if self._cache is not None:
            for index in range(-(-self.size_bytes // BLOCK_BYTES)):
                self._cache.discard(self.key, self.etag, index)


class Corrupted(IntegrityError):
    """What was received of an object version cannot be what the service has."""
