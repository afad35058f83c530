"""The local disk space of unsent data: one area per mount, one anonymous sparse file per open file.

Used by the filesystem (which writes) and by the uploader (which reads). The files have no name, so nothing is left
behind however the process ends.

Threading: everything may be used from any thread. Reads and writes at different offsets need no lock; who keeps them
from overlapping is the lock of the open file.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from typing import NoReturn, Optional, Union

from cosfs.errors import StagingFailed, StagingFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StagingArea:
    """The folder of the staging files and the limit for all of them together.

    ``limit_bytes``: most staged bytes at any time, None leaves it to the disk. ``min_free_bytes``: free space that is
    left to others on the disk of the folder. What goes beyond is refused with StagingFull. Waiting for uploads that
    are under way, should a caller want that, belongs into ``_grow``, the one place where space is given.
    """

    def __init__(self, folder: str, limit_bytes: Optional[int], min_free_bytes: int = 0) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.min_free_bytes = min_free_bytes
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        with self._lock:
            return self._used

    def open(self) -> StagingFile:
        """Make an empty staging file. Raises: StagingFull, StagingFailed."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix="staged-", dir=self.folder)
            os.unlink(name)
        except OSError as exc:
            _fail("create a staging file", exc)
        return StagingFile(self, descriptor)

    def _grow(self, count: int) -> None:
        if self.min_free_bytes:
            try:
                disk = os.statvfs(self.folder)
            except OSError as exc:
                _fail("look for free space", exc)
            if disk.f_bavail * disk.f_frsize - count < self.min_free_bytes:
                raise StagingFull(f"less than {self.min_free_bytes} bytes would be left free on {self.folder}")
        with self._lock:
            if self.limit_bytes is not None and self._used + count > self.limit_bytes:
                raise StagingFull(f"{self._used} bytes wait for upload, the limit is {self.limit_bytes}")
            self._used += count

    def _shrink(self, count: int) -> None:
        with self._lock:
            self._used -= count


class StagingFile:
    """One sparse file without a name. Which of its bytes mean anything the extent map knows.

    A write goes: ``hold`` the bytes that will be staged then, ``write``, change the map. After a truncate: change the
    map, ``truncate``, ``hold(extents.staged_bytes)``; after a commit: ``clear``.
    """

    def __init__(self, area: StagingArea, descriptor: int) -> None:
        self._area = area
        self._descriptor = descriptor
        self._held = 0

    @property
    def held_bytes(self) -> int:
        return self._held

    def hold(self, count: int) -> None:
        """Have exactly ``count`` bytes of the area accounted to this file. Raises: StagingFull (nothing changed)."""
        if count > self._held:
            self._area._grow(count - self._held)
        else:
            self._area._shrink(self._held - count)
        self._held = count

    def write(self, offset: int, data: Union[bytes, bytearray, memoryview]) -> None:
        """Write all of ``data``. Raises: StagingFull, StagingFailed; part of it may have been written then."""
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, offset)
                offset += written
                rest = rest[written:]
        except OSError as exc:
            _fail("write to the staging file", exc)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises: StagingFailed, also if the file ends before."""
        try:
            while buffer:
                count = os.preadv(self._descriptor, [buffer], offset)
                if not count:
                    raise StagingFailed(f"the staging file ends at byte {offset}")
                offset += count
                buffer = buffer[count:]
        except OSError as exc:
            _fail("read the staging file", exc)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises: StagingFailed, also if the file ends before."""
        data = bytearray(size)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def truncate(self, size_bytes: int) -> None:
        """Give the disk space after ``size_bytes`` back."""
        try:
            if os.fstat(self._descriptor).st_size > size_bytes:
                os.ftruncate(self._descriptor, size_bytes)
        except OSError as exc:
            _fail("cut the staging file", exc)

    def clear(self) -> None:
        """Give everything back; the file can be used on."""
        self.truncate(0)
        self.hold(0)

    def close(self) -> None:
        """Give everything back for good; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self.hold(0)


def _fail(action: str, exc: OSError) -> NoReturn:
    kind = StagingFull if exc.errno in _FULL else StagingFailed
    raise kind(f"cannot {action}: {exc.strerror}") from exc
