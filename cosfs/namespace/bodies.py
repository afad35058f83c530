"""Contents of small objects, whole, in memory: of those that came with their headers, that were fetched ahead of a
program that reads file by file, and that this mount stored itself.

Defined here and only here: how long, and in how much memory. ``headers.py`` puts in what it fetches, the filesystem
what it stores (of what a program wrote, the kernel keeps whole pages only, and asks for the last one again); an open
file takes its bytes from here.

Threading: one lock, held for bookkeeping only. Lock order: bodies, then budget.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Callable, NamedTuple, Optional, Tuple

from cosfs.cos.interface import ObjectInfo
from cosfs.executor import ByteBudget
from cosfs.units import KIB, MIB

SMALL_BYTES = 64 * KIB
"""Objects up to this size are fetched instead of asked for: at 90 MB/s the bytes take 0.7 ms, a request 20 and more."""

_SHARE = 8
_MOST_BYTES = 64 * MIB
"""Memory for contents: a share of the budget that leaves the most of it to reads and uploads, and no more than serves
a program that reads what it wrote a moment ago (a thousand files of this size)."""

_ENTRY_BYTES = 500
"""What an entry takes besides the content (measured, CPython 3.11): empty files are not free of charge."""

_Version = Tuple[str, str]


class _Body(NamedTuple):
    """``since_s``: when it was known to be the present version. ``ahead_s``: so long a reader may take it for that."""

    content: bytes
    since_s: float
    ahead_s: float


class SmallBodies:
    """By key and ETag, the longest unused given up first. ``clock`` is monotonic seconds.

    Memory: what it has of ``budget``, at most ``limit_bytes``, and given back to whoever would have to wait.
    """

    def __init__(self, budget: ByteBudget, clock: Callable[[], float]) -> None:
        self.limit_bytes = min(budget.limit_bytes // _SHARE, _MOST_BYTES)
        self._budget = budget
        self._clock = clock
        self._lock = threading.Lock()
        self._held = 0
        self._bodies: OrderedDict[_Version, _Body] = OrderedDict()
        budget.add_reclaimer(self._reclaim)

    def put(self, key: str, etag: str, content: bytes) -> None:
        """Keep the content of what is the present version now, if there is room."""
        if self._take(len(content)):
            self._insert((key, etag), content, 0.0)

    def fetch(self, key: str, etag: str, size_bytes: int, receive: Callable[[memoryview], ObjectInfo], *,
              ahead_s: float = 0.0) -> Optional[ObjectInfo]:
        """Keep what ``receive`` puts into a buffer of that size, and return what it does; None, if there is no room.

        ``ahead_s``: see ``get``.
        """
        if not self._take(size_bytes):
            return None
        try:
            content = bytearray(size_bytes)
            info = receive(memoryview(content))
        except BaseException:
            self._budget.release(_ENTRY_BYTES + size_bytes)
            raise
        self._insert((key, etag), bytes(content), ahead_s)
        return info

    def get(self, key: str, etag: str, *, max_age_s: Optional[float] = None, ahead: bool = False) -> Optional[bytes]:
        """The whole content of that version; None if it is not here, or came more than ``max_age_s`` ago.

        ``ahead``: what was fetched ahead may be as old as was said then.
        """
        with self._lock:
            body = self._bodies.get((key, etag))
            if body is None:
                return None
            if max_age_s is not None:
                age_s = self._clock() - body.since_s
                if age_s > (max(max_age_s, body.ahead_s) if ahead else max_age_s):
                    return None
            self._bodies.move_to_end((key, etag))
            return body.content

    def came_in_time(self, key: str, etag: str) -> Optional[bool]:
        """Whether a content that was fetched ahead serves a reader; None when it was not, or is not here."""
        with self._lock:
            body = self._bodies.get((key, etag))
            return self._clock() - body.since_s <= body.ahead_s if body is not None and body.ahead_s else None

    def copied(self, version: _Version, copy: _Version) -> None:
        """An object was copied just now: the copy has the same content."""
        with self._lock:
            body = self._bodies.get(version)
        if body is not None:
            self.put(*copy, body.content)

    def _take(self, size_bytes: int) -> bool:
        size_bytes += _ENTRY_BYTES
        return size_bytes <= self.limit_bytes and self._budget.acquire_idle(size_bytes)

    def _insert(self, version: _Version, content: bytes, ahead_s: float) -> None:
        """Keep a content for which memory was taken."""
        with self._lock:
            self._drop_locked(version)
            self._held += _ENTRY_BYTES + len(content)
            self._bodies[version] = _Body(content, self._clock(), ahead_s)
            while self._held > self.limit_bytes:
                self._drop_oldest_locked()

    def _reclaim(self, count: int) -> int:
        with self._lock:
            held = self._held
            while self._bodies and held - self._held < count:
                self._drop_oldest_locked()
            return held - self._held

    def _drop_oldest_locked(self) -> None:
        self._drop_locked(next(iter(self._bodies)))

    def _drop_locked(self, version: _Version) -> None:
        body = self._bodies.pop(version, None)
        if body is not None:
            self._held -= _ENTRY_BYTES + len(body.content)
            self._budget.release(_ENTRY_BYTES + len(body.content))
