"""How much the disk cache takes: a counter that all mounts of its folder share, and what goes when it is too much.

Defined here and only here: the counter's file, and which blocks are evicted. Used by ``disk_cache`` alone.

The counter stands in a small file under a lock of the system (flock(2)). A block is counted before it is written and
no longer after it was removed, so a killed mount leaves the counter too high at most, by a block. A file that makes no
sense, or was written before the machine was started last (what a power cut left may be old), is counted anew.

Eviction is least recently used, by the times of the files, in samples: blocks lie spread over the subfolders by hash,
so whole subfolders with ``SAMPLE_FILES`` files together are a fair sample of all. The oldest of a sample go, then it
is the next subfolders' turn. A cache with fewer files is one sample, and its order exact. So nothing is kept per
block, neither in memory nor on disk, and no work grows with the cache.

Threading: one thread at a time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional

from cosfs.cos.crc64 import crc64
from cosfs.reading.disk_blocks import BlockFiles, StoredFile

SAMPLE_FILES = 4096
"""Files looked at together: some 20 ms, and an age told to 2 % or better."""

_FILE_NAME = "usage"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RECORD = struct.Struct("<q36s")
_CRC = struct.Struct("<Q")

_LEAST_SHARE = 20
"""At least a twentieth of a sample goes, so that a full cache is not looked through for each new block."""

_MOST_SHARE = 4
"""At most a quarter of a sample goes, unless the sample is all there is: the others' oldest may be older."""


class SharedCounter:
    """Bytes that the blocks of a folder take, for all mounts of it.

    ``recount``: what to begin with when the counter is not known; asked while the other mounts wait.
    """

    def __init__(self, folder: str, recount: Callable[[], int]) -> None:
        self._path = os.path.join(folder, _FILE_NAME)
        self._recount = recount
        self._boot_id = _boot_id()
        self._descriptor = -1

    def add(self, count: int) -> int:
        """Add to the counter, or take off; returns what it is then. Raises: OSError."""
        with self._locked() as descriptor:
            total = self._load(descriptor)
            if total is None:
                total = self._recount()
            total = max(0, total + count)
            record = _RECORD.pack(total, self._boot_id)
            os.pwrite(descriptor, record + _CRC.pack(crc64(record)), 0)
        return total

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _locked(self) -> Iterator[int]:
        if self._descriptor >= 0 and not os.fstat(self._descriptor).st_nlink:
            self.close()  # somebody has removed the folder
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield self._descriptor
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _load(self, descriptor: int) -> Optional[int]:
        found = os.pread(descriptor, _RECORD.size + _CRC.size + 1, 0)
        record = found[:_RECORD.size]
        if len(found) != _RECORD.size + _CRC.size or found[_RECORD.size:] != _CRC.pack(crc64(record)):
            return None
        total, boot_id = _RECORD.unpack(record)
        return int(total) if boot_id == self._boot_id else None


class Evicted(NamedTuple):
    """What an eviction did. ``kept_bytes``: what is left in all, if everything was looked at."""

    freed_bytes: int
    kept_bytes: Optional[int]


class Evictor:
    """Removes the blocks that were not used for the longest time."""

    def __init__(self, files: BlockFiles) -> None:
        self._files = files
        self._hand = ""

    def evict(self, need_bytes: int) -> Evicted:
        """Free at least ``need_bytes``, if looking at each subfolder once gives as much. Raises: OSError."""
        shards = self._files.shards()
        behind = [shard for shard in shards if shard <= self._hand]
        ahead = [shard for shard in shards if shard > self._hand] + behind
        freed = seen = 0
        while ahead and freed < need_bytes:
            sample: List[StoredFile] = []
            while ahead and len(sample) < SAMPLE_FILES:
                self._hand = ahead.pop(0)
                sample += self._files.files(self._hand)
            freed += self._evict_oldest(sample, need_bytes - freed, everything=not ahead and not seen)
            seen += sum(item.size_bytes for item in sample)
        return Evicted(freed, None if ahead else seen - freed)

    def _evict_oldest(self, sample: List[StoredFile], need_bytes: int, *, everything: bool) -> int:
        wanted = max(need_bytes, sum(item.size_bytes for item in sample) // _LEAST_SHARE)
        most = len(sample) if everything else -(-len(sample) // _MOST_SHARE)
        freed = 0
        for item in sorted(sample)[:most]:
            if freed >= wanted:
                break
            freed += self._files.remove(item.path)
        return freed

    def recount(self, cancelled: Callable[[], bool]) -> int:
        """What all blocks take: seconds of work for a large cache. Raises: OSError, also when it is cancelled."""
        total = 0
        for shard in self._files.shards():
            if cancelled():
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
            total += sum(item.size_bytes for item in self._files.files(shard))
        return total


def _boot_id() -> bytes:
    """Another one after each start of the machine (proc(5), /proc/sys/kernel/random); zeros where there is none."""
    try:
        return _BOOT_ID.read_bytes().strip()[:36].ljust(36, b"\0")
    except OSError:
        return bytes(36)
