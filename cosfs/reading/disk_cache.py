"""The block cache on local disk (``use_cache=``): bytes of objects that outlive the mount.

Defined here and only here: when a block is stored, and what happens when the disk is full or fails. The files are the
business of ``disk_blocks``; how much they take, and which go first, that of ``disk_usage``. The mount makes one
:class:`DiskCache`; who reads objects asks it before the service, and gives it whole blocks afterwards.

A block is ``BLOCK_BYTES`` of one object version, ``[index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)``, the last one
shorter. Objects without an ETag are never cached. Nothing in here raises because of the disk: what cannot be read
whole, with the right checksum, is absent; what cannot be stored is not, and after a failure nothing is for a minute.

Limits: a block is counted before it is written, in a counter that all mounts of the folder share, so the limit holds
for all of them together at any moment. The floor of free space is looked at before each block, and once a minute
besides, because others fill the disk, too.

Threading: any thread. ``read`` and ``contains`` go to the disk in the caller's; ``write`` copies the block into a queue
of at most ``queue_bytes`` and returns. One own thread writes and evicts; when it is behind, blocks are not cached.
Memory: the queue, and some 4,000 file names (2 MB) while it evicts; nothing per block on disk.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Callable, Deque, Optional, Set, Tuple

from cosfs.metrics import HitRate
from cosfs.reading.disk_blocks import BLOCK_BYTES, Block, BlockFiles, Damaged, Data, prepare_folder, stored_bytes
from cosfs.reading.disk_usage import Evictor, SharedCounter
from cosfs.units import MIB

log = logging.getLogger(__name__)

QUEUE_BYTES = 32 * MIB
"""Blocks on their way to the disk: what ten connections bring in 40 ms, for which the disk, or a processor, may have
something else to do."""

PAUSE_S = 60.0
"""How long nothing is stored after the disk refused. It is looked at again then: people make room."""

_WATCH_S = 60.0
"""How often the free space is looked at while nothing is stored."""

_CLOSE_S = 5.0
"""How long unmounting may wait for the cache, but for the one operation on the disk that is under way."""

_WAIT_S = 5.0
"""How long ``write`` waits for the disk at most, if it waits."""

_IN_FLIGHT_BYTES = 16 * BLOCK_BYTES
"""What other mounts may have counted and not yet written when all files are looked at."""

_MAX_REPORTED = 1000
"""Damaged files named in the log; a disk that rots as a whole is known by then."""


class DiskCache:
    """The blocks of one bucket; several processes may share them.

    ``folder``: an own one, as ``prepare_folder`` made it. ``limit_bytes``: most bytes on disk, None: what the disk
    has. ``min_free_bytes``: free bytes left to others there. ``wipe``: empty the folder when it starts, and remove it
    when it ends.
    """

    def __init__(self, folder: str, *, limit_bytes: Optional[int] = None, min_free_bytes: int = 0,
                 queue_bytes: int = QUEUE_BYTES, wipe: bool = False,
                 clock_ns: Callable[[], int] = time.time_ns, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._min_free_bytes = min_free_bytes
        self.queue_bytes = queue_bytes
        self.rate = HitRate()
        self._wipe = wipe
        self._monotonic = monotonic
        self._files = BlockFiles(folder, clock_ns)
        self._evictor = Evictor(self._files)
        self._counter = SharedCounter(folder, lambda: self._evictor.recount(self._is_late))
        self._used_bytes = 0
        self._uncounted_bytes = 0
        self._device: Optional[int] = None
        self._reported: Set[str] = set()
        self._paused_until_s = -1.0
        self._warned = False
        self._evicted_bytes = 0
        self._disk_lock = threading.Lock()
        self._changed = threading.Condition()
        self._queue: Deque[Tuple[Block, bytes]] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._end_s = math.inf
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Start the thread; to be called in the process that serves the mount, after any fork."""
        self._thread = threading.Thread(target=self._run, name="cosfs-disk-cache", daemon=True)
        self._thread.start()

    def read(self, key: str, etag: str, index: int, buffer: memoryview) -> bool:
        """Fill ``buffer``, which must be as long as the block; False: it is not there, and ``buffer`` is undefined.

        A damaged block is removed and named in the log, and counts as absent.
        """
        if not etag or self._closing:
            return False
        block = Block(key, etag, index)
        path = self._files.path(block)
        try:
            found = self._files.read(path, block, buffer)
        except Damaged as exc:
            self._discard(path, exc)
            found = False
        (self.rate.hits if found else self.rate.misses).add()
        return found

    def contains(self, key: str, etag: str, index: int) -> bool:
        """Whether there is a file for the block; ``read`` may still find it damaged, or gone."""
        return bool(etag) and not self._closing and os.path.lexists(self._files.path(Block(key, etag, index)))

    def write(self, key: str, etag: str, index: int, data: Data, *, wait: bool = False) -> None:
        """Have a whole block stored, if there is room for it now. ``data`` is copied before this returns.

        ``wait``: for the queue, when the thread is behind, instead of leaving the block out.
        """
        size = len(data)
        if not etag or not size or self._monotonic() < self._paused_until_s or self.contains(key, etag, index):
            return
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closing or self._fits_locked(size), _WAIT_S)
            if self._closing or not self._fits_locked(size):
                return
            self._queued_bytes += size
            self._queue.append((Block(key, etag, index), bytes(data)))
            self._changed.notify_all()

    def _fits_locked(self, size: int) -> bool:
        return self._queued_bytes + size <= self.queue_bytes

    def discard(self, key: str, etag: str, index: int) -> None:
        """Remove a block that turned out to be wrong, also one that is on its way to the disk."""
        block = Block(key, etag, index)
        with self._disk_lock:
            with self._changed:
                for item in [item for item in self._queue if item[0] == block]:
                    self._queue.remove(item)
                    self._queued_bytes -= len(item[1])
                self._changed.notify_all()
            self._remove(self._files.path(block))

    def has_room(self, count: int) -> bool:
        """Whether ``count`` bytes are less than half of what the cache may take, so that they can be stored and read
        before they are evicted."""
        if self._closing or self._monotonic() < self._paused_until_s:
            return False
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return False
        most = self._used_bytes + disk.f_bavail * disk.f_frsize - self._min_free_bytes
        return count <= (most if self._limit_bytes is None else min(most, self._limit_bytes)) // 2

    def shares_disk(self, folder: str) -> bool:
        """Whether what is evicted here makes room there."""
        try:
            return os.stat(folder).st_dev == os.stat(self._folder).st_dev
        except OSError:
            return False

    def make_room(self, count: int) -> int:
        """Evict until ``count`` bytes more than the floor are free, or nothing is left to evict; blocks.

        Returns the bytes that were given back.
        """
        with self._disk_lock:
            before = self._evicted_bytes
            if not self._closing:
                self._attempt(lambda: self._free_disk(count))
            return self._evicted_bytes - before

    def close(self) -> None:
        """Store what is queued, as far as that is a matter of seconds, and end the thread; no use afterwards."""
        with self._changed:
            self._closing = True
            self._end_s = self._monotonic() + _CLOSE_S
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._counter.close()
        if self._wipe:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        with self._disk_lock:
            self._attempt(self._begin)
        while True:
            with self._changed:
                if not self._queue and not self._closing:
                    self._changed.wait(_WATCH_S)
                if not self._queue and self._closing:
                    return
                idle = not self._queue
            if idle:
                self.make_room(0)
            else:
                self._store_next()

    def _store_next(self) -> None:
        with self._disk_lock:  # first, so that a block is either in the queue or stored for who discards it
            with self._changed:
                if not self._queue:
                    return
                block, data = self._queue.popleft()
            if self._monotonic() >= self._paused_until_s and not self._is_late():
                self._attempt(lambda: self._store(block, data))
        with self._changed:
            self._queued_bytes -= len(data)
            self._changed.notify_all()

    def _is_late(self) -> bool:
        return self._monotonic() > self._end_s

    def _begin(self) -> None:
        self._device = os.stat(self._folder).st_dev
        self._files.remove_stale()
        if self._wipe:
            self._files.remove_all()
            self._count(-self._count(0))
        self._count(0)

    def _attempt(self, work: Callable[[], object]) -> None:
        """Do something on the disk; if it fails the cache makes a pause. A folder that was removed is made again."""
        try:
            try:
                work()
            except FileNotFoundError:
                self._restore_folder()
                work()
        except OSError as exc:
            self._refused(exc.strerror or str(exc))

    def _store(self, block: Block, data: bytes) -> None:
        path = self._files.path(block)
        size = stored_bytes(block, len(data))
        if os.path.lexists(path) or not self._reserve(size):
            return
        stored = False
        try:
            stored = self._files.write(path, block, data)
        finally:
            if not stored:
                with suppress(OSError):
                    self._count(-size)

    def _reserve(self, size: int) -> bool:
        """Count a block that is about to be written, and make room for it; False if there is none."""
        limit = self._limit_bytes
        if limit is not None and size > limit:
            return False
        if not self._free_disk(size):
            self._refused(f"less than {self._min_free_bytes} bytes would be left free on its disk")
            return False
        total = self._count(size)
        while limit is not None and total > limit:
            freed = self._evict(total - limit, pending=size)
            before, total = total, self._count(0)
            if not freed and total >= before:
                self._count(-size)
                return False
        return True

    def _free_disk(self, count: int) -> bool:
        """Evict until ``count`` bytes can be taken from the disk and the floor is left; False if that cannot be."""
        while True:
            disk = os.statvfs(self._folder)
            missing = count + self._min_free_bytes - disk.f_bavail * disk.f_frsize
            if missing <= 0:
                return True
            if not self._evict(missing, pending=0):
                return False

    def _evict(self, need: int, *, pending: int) -> int:
        """Remove old blocks; returns their bytes. ``pending``: what is counted by us and not on the disk yet."""
        freed, kept = self._evictor.evict(need)
        self._evicted_bytes += freed
        total = self._count(-freed)
        if kept is not None and (not freed or total > kept + pending + _IN_FLIGHT_BYTES):
            # blocks were removed by somebody else, or mounts were killed at the wrong moment
            self._count(kept + pending - total)
        return freed

    def _discard(self, path: str, damage: Damaged) -> None:
        if path not in self._reported and len(self._reported) < _MAX_REPORTED:
            self._reported.add(path)
            log.warning("the cached block %s is damaged (%s); it is removed and fetched again", path, damage)
        self._remove(path)

    def _remove(self, path: str) -> None:
        with suppress(OSError):
            count = self._files.remove(path)
            with self._changed:
                self._uncounted_bytes += count

    def _count(self, count: int) -> int:
        """Add to the counter, with the disk's lock held; returns what it is then. Raises: OSError."""
        with self._changed:
            removed, self._uncounted_bytes = self._uncounted_bytes, 0
        self._used_bytes = self._counter.add(count - removed)
        return self._used_bytes

    def _restore_folder(self) -> None:
        """Make a folder again that was removed, but not on another disk than it was on. Raises: OSError."""
        above = self._folder
        while not os.path.exists(above):
            above = os.path.dirname(above)
        if os.stat(above).st_dev != self._device:
            raise FileNotFoundError(2, "the disk of the cache is not mounted", self._folder)
        prepare_folder(self._folder)

    def _refused(self, reason: str) -> None:
        self._paused_until_s = self._monotonic() + PAUSE_S
        level = logging.INFO if self._warned or self._is_late() else logging.WARNING
        self._warned = True
        log.log(level, "the cache in %s stores nothing for the time being: %s", self._folder, reason)
