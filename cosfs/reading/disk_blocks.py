"""The files of the disk cache: one per block, each checked by what stands at its head.

Defined here and only here: names and layout of the files, and what counts as damage. A file holds a header (magic,
index, lengths, key, ETag), a CRC-64 of header and block, and the block. So a file under a wrong name, zeros after a
power cut and flipped bits are all noticed; for that reason nothing is synced: what a crash damages is fetched again.

A file is written under a temporary name and gets its own when it is whole, so no half of one is ever seen. Its
modification time is the time of its last use; a read sets it if it is older than ``TOUCH_S``. Files are for their user
alone (0600 in 0700): the access rules of the bucket do not hold for them.

Threading: any thread, and any process that shares the folder.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
import struct
import time
from hashlib import blake2b
from typing import Callable, Iterator, List, NamedTuple, Union

from cosfs.cos.crc64 import crc64
from cosfs.units import KIB, MIB

BLOCK_BYTES = MIB
"""Bytes of an object in one file. Large enough that checksum, name and header cost little beside the bytes, small
enough that a random read of a cached object costs a small part of a round trip."""

TOUCH_S = 60.0
"""How exact times of last use are: the price of exactness is a change of the inode with each read."""

Data = Union[bytes, bytearray, memoryview]

_STALE_S = 3600.0
"""Age of a temporary file that nobody writes any more; writing one takes milliseconds."""

_MAGIC = b"cosfsB1\n"
_FIXED = struct.Struct("<8sQIHH")
"""Magic, index, length of the block, of the key, of the ETag; key and ETag follow."""

_CRC = struct.Struct("<Q")
_PAGE_BYTES = 4 * KIB
_TEMPORARY = "writing"
_SHARD_DIGITS = 3
_numbers = itertools.count()

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
_OUR_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)


class Damaged(Exception):
    """What lies under a block's name is not that block."""


class Block(NamedTuple):
    """Which block of which object version."""

    key: str
    etag: str
    number: int


class StoredFile(NamedTuple):
    """A file as eviction sees it; sorts by last use. ``size_bytes``: what it takes from the disk."""

    used_ns: int
    size_bytes: int
    path: str


def stored_bytes(block: Block, length: int) -> int:
    """What a block of ``length`` bytes takes from the disk."""
    return _disk_bytes(len(_header(block, length)) + _CRC.size + length)


def prepare_folder(folder: str) -> None:
    """Make the folder, for its user alone, and see that it can be written to. Raises: OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", folder)
    if stat.S_IMODE(found.st_mode) != 0o700:
        os.chmod(folder, 0o700)
    temporary = os.path.join(folder, _TEMPORARY)
    os.makedirs(temporary, mode=0o700, exist_ok=True)
    probe = os.path.join(temporary, f"probe-{os.getpid()}")
    os.close(_create(probe))
    os.unlink(probe)


class BlockFiles:
    """The blocks below ``folder``, in 4,096 subfolders: some 250 files in each for a cache of 1 TB."""

    def __init__(self, folder: str, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.folder = folder
        self.clock_ns = clock_ns

    def path(self, block: Block) -> str:
        digest = blake2b(_header(block, 0), digest_size=20).hexdigest()
        return f"{self.folder}/{digest[:_SHARD_DIGITS]}/{digest[_SHARD_DIGITS:]}"

    def read(self, path: str, block: Block, buffer: memoryview) -> bool:
        """Fill ``buffer``; False: the block is not there, or cannot be looked for now. Raises: Damaged."""
        try:
            # O_NONBLOCK: should a FIFO lie there, opening it must not wait
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                self._read(descriptor, block, buffer)
            finally:
                os.close(descriptor)
        except OSError as exc:
            if exc.errno in _NOT_THERE or exc.errno in _OUR_OWN_TROUBLE:
                return False
            raise Damaged(exc.strerror or str(exc)) from exc
        return True

    def _read(self, descriptor: int, block: Block, buffer: memoryview) -> None:
        header = _header(block, len(buffer))
        head = bytearray(len(header) + _CRC.size)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Damaged("it is no regular file")
        if found.st_size != len(head) + len(buffer):
            raise Damaged(f"it has {found.st_size} bytes instead of {len(head) + len(buffer)}")
        if os.preadv(descriptor, [head, buffer], 0) != found.st_size:
            raise Damaged("it could not be read to its end")
        if head[:len(header)] != header:
            raise Damaged("it is the file of something else")
        if head[len(header):] != _CRC.pack(crc64(buffer, crc64(header))):
            raise Damaged("its checksum is wrong")
        now_ns = self.clock_ns()
        if abs(now_ns - found.st_mtime_ns) > TOUCH_S * 1e9:
            with contextlib.suppress(OSError):  # a disk that became read-only can be read
                os.utime(descriptor, ns=(now_ns, now_ns))

    def write(self, path: str, block: Block, data: Data) -> bool:
        """Store a block: it is there whole or not at all. False: another mount was faster.

        Raises: OSError (ENOENT: the folder is gone).
        """
        header = _header(block, len(data))
        head = header + _CRC.pack(crc64(data, crc64(header)))
        temporary = f"{self.folder}/{_TEMPORARY}/{os.getpid()}-{next(_numbers)}"
        descriptor = _create(temporary)
        try:
            try:
                if os.writev(descriptor, [head, data]) != len(head) + len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
                now_ns = self.clock_ns()
                os.utime(descriptor, ns=(now_ns, now_ns))
            finally:
                os.close(descriptor)
            try:
                return _publish(temporary, path)
            except (FileNotFoundError, NotADirectoryError):
                _make_shard(os.path.dirname(path))
                return _publish(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def remove(self, path: str) -> int:
        """Remove whatever lies there; returns what it took from the disk, 0 if it was gone. Raises: OSError."""
        try:
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(path)
                return 0
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        return _disk_bytes(found.st_size)

    def shards(self) -> List[str]:
        """The names of the subfolders that hold blocks, in order. Raises: OSError."""
        return sorted(name for name in os.listdir(self.folder) if len(name) == _SHARD_DIGITS)

    def files(self, shard: str) -> Iterator[StoredFile]:
        """What lies in a subfolder now. Times in the future, of a clock that was wrong, count as long ago."""
        now_ns = self.clock_ns()
        try:
            with os.scandir(f"{self.folder}/{shard}") as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        used_ns = found.st_mtime_ns if found.st_mtime_ns <= now_ns else 0
                        yield StoredFile(used_ns, _disk_bytes(found.st_size), entry.path)
        except (FileNotFoundError, NotADirectoryError):
            return

    def remove_stale(self) -> None:
        """Remove the temporary files that killed mounts have left. Raises: OSError."""
        oldest_ns = self.clock_ns() - int(_STALE_S * 1e9)
        for item in self.files(_TEMPORARY):
            if item.used_ns < oldest_ns:
                self.remove(item.path)

    def remove_all(self) -> None:
        """Remove all blocks. What other mounts store at the same time may stay. Raises: OSError."""
        for shard in self.shards():
            shutil.rmtree(f"{self.folder}/{shard}", ignore_errors=True)


def _header(block: Block, length: int) -> bytes:
    # surrogatepass: keys may hold bytes that are no UTF-8, as surrogate escapes
    key, etag = block.key.encode("utf-8", "surrogatepass"), block.etag.encode("utf-8", "surrogatepass")
    return _FIXED.pack(_MAGIC, block.number, length, len(key), len(etag)) + key + etag


def _disk_bytes(size_bytes: int) -> int:
    return -(-size_bytes // _PAGE_BYTES) * _PAGE_BYTES


def _create(path: str) -> int:
    return os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _publish(temporary: str, path: str) -> bool:
    """Give a file its name, unless the name is taken: what is stored twice would be counted twice."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except PermissionError:  # a filesystem without hard links (link(2))
        os.rename(temporary, path)
    return True


def _make_shard(path: str) -> None:
    """Make a subfolder, which another mount may do at the same time; a file in its place goes."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if not os.path.isdir(path):
        os.unlink(path)
        os.mkdir(path, 0o700)
