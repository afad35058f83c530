"""The local disk space of unsent data: one area per mount, one anonymous sparse file per open file.

A file of which only the first 64 KiB were written is in memory instead, with up to 8 MiB over all files: most files
are small, and are gone again before a disk would have seen them.

Used by the filesystem (which writes) and by the uploader (which reads). The files have no name, so nothing is left
behind however the process ends; but in writeback mode they have, so that what was promised is found by the next one.

Space that runs out is not yet an error: bytes that have reached a part of an open upload can go (``Relief``), and
those on their way will be able to. Only when neither is there is the area full.

Threading: everything may be used from any thread. Reads and writes at different offsets need no lock; who keeps them
from overlapping is the lock of the open file. ``reserve`` may wait for uploads, so it is called under no lock that
an upload, or giving up what was uploaded, needs: of the locks of a file only the mutation lock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
import threading
from contextlib import suppress
from typing import Dict, NoReturn, Optional, Protocol, Tuple, Union

from cosfs.cos.interface import FileBytes
from cosfs.errors import StagingFailed, StagingFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02  # linux/falloc.h
_COPY_BYTES = 4 << 20
_SMALL_BYTES = 64 << 10
_IN_MEMORY_BYTES = 8 << 20
_RELIEF_S = 1.0
"""Free space may come from elsewhere, too, so it is looked for again after this long."""


class Relief(Protocol):
    """An upload of staged bytes."""

    def give_up_sent(self) -> int:
        """Give up the staged copies of bytes that are in the bucket's keeping; how many there were."""

    @property
    def in_flight(self) -> bool:
        """Whether bytes are on their way that can be given up after."""


class StagingArea:
    """The folder of the staging files and the limit for all of them together.

    ``limit_bytes``: most staged bytes at any time, None leaves it to the disk. ``min_free_bytes``: free space that is
    left to others on the disk of the folder.
    """

    def __init__(self, folder: str, limit_bytes: Optional[int], min_free_bytes: int = 0) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.min_free_bytes = min_free_bytes
        self._named = False
        self._used = 0
        self._in_memory = 0
        self._progress = 0
        self._changed = threading.Condition()
        self._reliefs: Dict[Relief, None] = {}

    @property
    def used_bytes(self) -> int:
        with self._changed:
            return self._used

    def use_names_in(self, folder: str) -> None:
        """Make staging files in ``folder`` from now on, with names."""
        self.folder, self._named = folder, True

    def open(self) -> StagingFile:
        """Make an empty staging file."""
        return StagingFile(self)

    def _make_file(self) -> Tuple[int, str]:
        """Descriptor and path ("": no name) of a new file on the disk. Raises: StagingFull, StagingFailed."""
        try:
            if not self._named:
                with suppress(OSError):  # no such folder, or a file system that cannot make files without a name
                    return os.open(self.folder, os.O_TMPFILE | os.O_RDWR, 0o600), ""
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            descriptor, path = tempfile.mkstemp(prefix="staged-", dir=self.folder)
            if not self._named:
                os.unlink(path)
                path = ""
            return descriptor, path
        except OSError as exc:
            _fail("create a staging file", exc)

    def _take_memory(self, count: int) -> bool:
        with self._changed:
            fits = self._in_memory + count <= _IN_MEMORY_BYTES
            self._in_memory += count if fits else 0
            return fits

    def _give_memory(self, count: int) -> None:
        with self._changed:
            self._in_memory -= count

    def reopen(self, path: str) -> StagingFile:
        """A staging file that another process has left. Raises: StagingFailed."""
        try:
            file = StagingFile(self, os.open(path, os.O_RDWR), path)
        except OSError as exc:
            _fail(f"open {path}", exc)
        file.keep()
        return file

    def add_relief(self, relief: Relief) -> None:
        with self._changed:
            self._reliefs[relief] = None

    def remove_relief(self, relief: Relief) -> None:
        with self._changed:
            self._reliefs.pop(relief, None)
        self.progressed()

    def progressed(self) -> None:
        """Some bytes in flight have arrived, or never will, or space came free in another way."""
        with self._changed:
            self._progress += 1
            self._changed.notify_all()

    def make_room(self) -> bool:
        """Give up what was sent, or wait until something was; whether asking for space again may succeed."""
        with self._changed:
            reliefs, seen = list(self._reliefs), self._progress
        hope = any(relief.in_flight for relief in reliefs)
        if sum(relief.give_up_sent() for relief in reliefs):
            return True
        if hope:
            with self._changed:
                self._changed.wait_for(lambda: self._progress != seen, _RELIEF_S)
        return hope

    def _take(self, count: int) -> None:
        if self.min_free_bytes:
            try:
                try:
                    disk = os.statvfs(self.folder)
                except FileNotFoundError:
                    os.makedirs(self.folder, mode=0o700, exist_ok=True)
                    disk = os.statvfs(self.folder)
            except OSError as exc:
                _fail("look for free space", exc)
            if disk.f_bavail * disk.f_frsize - count < self.min_free_bytes:
                raise StagingFull(f"less than {self.min_free_bytes} bytes would be left free on {self.folder}")
        with self._changed:
            if self.limit_bytes is not None and self._used + count > self.limit_bytes:
                raise StagingFull(f"{self._used} bytes wait for upload, the limit is {self.limit_bytes}")
            self._used += count

    def _give(self, count: int) -> None:
        with self._changed:
            self._used -= count
            self.progressed()


class StagingFile:
    """One sparse file. Which of its bytes mean anything the extent map knows.

    A write goes: ``reserve`` what it will add, ``write``, change the map, ``settle``. After any other change of the
    map: ``settle(extents.staged_bytes)``.
    ::

        IN MEMORY --write() beyond what may be there, sync()--> ON DISK
    """

    def __init__(self, area: StagingArea, descriptor: int = -1, path: str = "") -> None:
        """``descriptor``: of one that is on the disk already."""
        self._area = area
        self._descriptor = descriptor
        self._path = path
        self._memory: Optional[bytearray] = bytearray() if descriptor < 0 else None
        self._kept = False
        self._name_synced = False
        self._staged = 0
        self._reserved = 0

    @property
    def held_bytes(self) -> int:
        return self._staged + self._reserved

    def reserve(self, count: int) -> None:
        """Have room for ``count`` bytes more, until ``settle``; waits for uploads that will make some.

        Raises: StagingFull (nothing changed), StagingFailed.
        """
        while True:
            try:
                with self._area._changed:
                    self._area._take(count)
                    self._reserved += count
                return
            except StagingFull:
                if not self._area.make_room():
                    raise

    def settle(self, staged_bytes: int, *, used_up: bool = True) -> None:
        """Have so many bytes accounted to this file; what was reserved is given back, if it is ``used_up``."""
        with self._area._changed:
            held = self.held_bytes
            self._staged = staged_bytes
            if used_up:
                self._reserved = 0
            given = held - self.held_bytes
            if given:
                self._area._give(given)

    def write(self, offset: int, data: Union[bytes, bytearray, memoryview]) -> None:
        """Write all of ``data``. Raises: StagingFull, StagingFailed; part of it may have been written then."""
        if self._memory is not None:
            if self._grow_memory(offset + len(data)):
                self._memory[offset:offset + len(data)] = data
                return
            self._to_disk()
        self._write(offset, data)

    def _grow_memory(self, size_bytes: int) -> bool:
        memory = self._memory
        assert memory is not None
        missing = size_bytes - len(memory)
        if missing > 0:
            if size_bytes > _SMALL_BYTES or not self._area._take_memory(missing):
                return False
            memory.extend(bytes(missing))
        return True

    def _to_disk(self) -> None:
        """Raises: StagingFull, StagingFailed; it is in memory still then."""
        memory = self._memory
        if memory is None:
            return
        self._descriptor, self._path = self._area._make_file()
        try:
            self._write(0, memory)
        except BaseException:
            self._remove()
            raise
        self._memory = None
        self._area._give_memory(len(memory))

    def _write(self, offset: int, data: Union[bytes, bytearray, memoryview]) -> None:
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
        memory = self._memory
        if memory is not None:
            data = memory[offset:offset + len(buffer)]
            if len(data) < len(buffer):
                raise StagingFailed(f"the staged bytes end at byte {offset + len(data)}")
            buffer[:] = data
            return
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

    def bytes_of(self, start: int, stop: int) -> Union[memoryview, FileBytes]:
        """Where they are, for who has the kernel read them. Raises: StagingFailed."""
        if self._memory is not None:
            return memoryview(self.read(start, stop - start))
        return FileBytes(self._descriptor, start, stop)

    def copy_from(self, other: StagingFile, start: int, stop: int) -> None:
        """Have the bytes that another file has there. Raises: StagingFull, StagingFailed."""
        for offset in range(start, stop, _COPY_BYTES):
            self.write(offset, other.read(offset, min(_COPY_BYTES, stop - offset)))

    def punch(self, start: int, stop: int) -> bool:
        """Give the disk space of ``[start, stop)`` back, which reads as zeros then; False where the disk cannot."""
        return self._memory is None and _fallocate(self._descriptor, _KEEP_SIZE_PUNCH_HOLE, start, stop - start)

    def truncate(self, size_bytes: int) -> None:
        """Give the space after ``size_bytes`` back."""
        if self._memory is not None:
            self._area._give_memory(max(0, len(self._memory) - size_bytes))
            del self._memory[size_bytes:]
            return
        try:
            if os.fstat(self._descriptor).st_size > size_bytes:
                os.ftruncate(self._descriptor, size_bytes)
        except OSError as exc:
            _fail("cut the staging file", exc)

    @property
    def name(self) -> str:
        """Its name in the area's folder; "" when it has none."""
        return os.path.basename(self._path)

    def sync(self) -> None:
        """Have all bytes on the disk, and the name, if it has one. Raises: StagingFull, StagingFailed."""
        self._to_disk()
        try:
            os.fdatasync(self._descriptor)
            if self._path and not self._name_synced:
                sync_folder(os.path.dirname(self._path))
                self._name_synced = True
        except OSError as exc:
            _fail("sync the staging file", exc)

    def keep(self) -> None:
        """Leave the name there when the file is closed: somebody else removes it."""
        self._kept = True

    def clear(self) -> None:
        """Give everything back; the file can be used on."""
        self.truncate(0)
        self.settle(0)

    def close(self) -> None:
        """Give everything back for good; a second call does nothing."""
        if self._memory is not None:
            self.truncate(0)
        if self._descriptor >= 0:
            self._remove()
        self.settle(0)

    def _remove(self) -> None:
        if self._path and not self._kept:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self._descriptor)
        self._descriptor = -1


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(libc, "fallocate", None)
    if function is None:
        return False
    off_t = ctypes.c_int64
    return bool(function(descriptor, mode, off_t(offset), off_t(length)) == 0)


def sync_folder(path: str) -> None:
    """Have the names in a folder on the disk: syncing a file need not do that (fsync(2)). Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fail(action: str, exc: OSError) -> NoReturn:
    kind = StagingFull if exc.errno in _FULL else StagingFailed
    raise kind(f"cannot {action}: {exc.strerror}") from exc
