"""``CosOperations``: fusepy's path API in front of ``CosFilesystem``, and the one error boundary.

No logic: each method translates arguments and results. Every call of fusepy comes through ``__call__``,
which lets nothing out but ``FuseOSError`` with a true errno. That is more than tidiness: in fusepy 3.0.1
an exception with ``errno`` None, as ``requests`` raises them, makes ``read`` return a clean end of file
and ``write`` report success (docs/ARCHITECTURE.md).

Threading: fusepy calls from many threads at once; there is no state here.
"""

from __future__ import annotations

import logging
import os
import stat
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

from cosfs.caller import purpose_of
from cosfs.errors import (
    CosClientError,
    CosServiceError,
    FilesystemError,
    ObjectExists,
    StagingFailed,
    StagingFull,
    to_errno,
)
from cosfs.filesystem import Caller, CosFilesystem, Purpose, Time
from cosfs.fuse_binding import FuseOSError, Operations, caller_ids

log = logging.getLogger(__name__)

_BLOCK_BYTES = 4096
_SECTOR_BYTES = 512
"""Unit of st_blocks (stat(2))."""

Entry = Tuple[str, int]


class CosOperations(Operations):  # type: ignore[misc]  # fusepy has no type hints
    use_ns = True
    flag_nullpath_ok = 1
    flag_utime_omit_ok = 1
    # Not answered: the kernel then does these itself, or takes them as allowed (access).
    access = None
    bmap = None
    ioctl = None
    lock = None

    def __init__(self, filesystem: CosFilesystem, on_ready: Callable[[], None] = lambda: None) -> None:
        self._filesystem = filesystem
        self._on_ready = on_ready

    def __call__(self, operation: str, *args: Any) -> Any:
        try:
            return getattr(self, operation)(*args)
        except FuseOSError:
            raise
        except BaseException as exc:
            number = to_errno(exc)
            _log_failure(operation, args, number, exc)
            raise FuseOSError(number) from None

    def init(self, path: str) -> None:
        self._filesystem.start()
        self._on_ready()

    def destroy(self, path: str) -> None:
        """Nothing: who made the filesystem stops it once FUSE has returned."""

    def getattr(self, path: Optional[str], fi: Any = None) -> Dict[str, int]:
        attr = self._filesystem.getattr(path or "", fi.fh if fi else None, purpose=partial(_purpose, path))
        return {
            "st_mode": attr.mode, "st_nlink": attr.nlink, "st_uid": attr.uid, "st_gid": attr.gid,
            "st_rdev": attr.rdev, "st_size": attr.size_bytes, "st_blksize": _BLOCK_BYTES,
            "st_blocks": -(-attr.size_bytes // _SECTOR_BYTES),
            "st_atime": attr.atime_ns, "st_mtime": attr.mtime_ns, "st_ctime": attr.ctime_ns}

    def readdir(self, path: str, fh: int) -> List[Entry]:
        """Names with their type bits. A list, not a generator: that would run, and fail, outside the boundary."""
        return [(".", stat.S_IFDIR), ("..", stat.S_IFDIR), *self._filesystem.readdir(path)]

    def open(self, path: str, fi: Any) -> int:
        opened = self._filesystem.open(path, fi.flags)
        fi.fh, fi.keep_cache = opened.fh, int(opened.keep_cache)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        opened = self._filesystem.create(path, mode, fi.flags, _caller())
        fi.fh, fi.keep_cache = opened.fh, int(opened.keep_cache)
        return 0

    def read(self, path: Optional[str], size: int, offset: int, fi: Any) -> bytes:
        return self._filesystem.read(fi.fh, offset, size)

    def write(self, path: Optional[str], data: bytes, offset: int, fi: Any) -> int:
        # Pages of a mapping, written back through whatever handle, have their place.
        append = bool(fi.flags & os.O_APPEND) and not fi.writepage
        return self._filesystem.write(fi.fh, offset, data, append=append)

    def truncate(self, path: Optional[str], length: int, fi: Any = None) -> None:
        self._filesystem.truncate(path or "", length, fi.fh if fi else None)

    def flush(self, path: Optional[str], fi: Any) -> None:
        self._filesystem.flush(fi.fh)

    def fsync(self, path: Optional[str], datasync: int, fi: Any) -> None:
        self._filesystem.fsync(fi.fh)

    def fsyncdir(self, path: Optional[str], datasync: int, fh: int) -> None:
        self._filesystem.fsyncdir()

    def release(self, path: Optional[str], fi: Any) -> None:
        self._filesystem.release(fi.fh)

    def unlink(self, path: str) -> None:
        self._filesystem.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        self._filesystem.mkdir(path, mode, _caller())

    def rmdir(self, path: str) -> None:
        self._filesystem.rmdir(path)

    def rename(self, old: str, new: str) -> None:
        self._filesystem.rename(old, new)

    def symlink(self, path: str, target: str) -> None:
        self._filesystem.symlink(path, target, _caller())

    def readlink(self, path: str) -> str:
        return self._filesystem.readlink(path)

    def link(self, path: str, source: str) -> None:
        self._filesystem.link(path)

    def mknod(self, path: str, mode: int, rdev: int) -> None:
        self._filesystem.mknod(path, mode, rdev, _caller())

    def chmod(self, path: str, mode: int) -> None:
        self._filesystem.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._filesystem.chown(path, uid, gid)

    def utimens(self, path: str, times: Tuple[Time, Time]) -> None:
        self._filesystem.utimens(path, *times)

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        return self._filesystem.getxattr(path, name)

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> None:
        self._filesystem.setxattr(path, name, value, options)

    def listxattr(self, path: str) -> List[str]:
        return self._filesystem.listxattr(path)

    def removexattr(self, path: str, name: str) -> None:
        self._filesystem.removexattr(path, name)

    def statfs(self, path: str) -> Dict[str, int]:
        found = self._filesystem.statfs()
        return {"f_bsize": found.block_bytes, "f_frsize": found.block_bytes, "f_blocks": found.blocks,
                "f_bfree": found.blocks, "f_bavail": found.blocks, "f_files": found.files, "f_ffree": found.files,
                "f_favail": found.files, "f_namemax": found.name_max}


def _caller() -> Caller:
    uid, gid, _ = caller_ids()
    return Caller(uid, gid)


def _purpose(path: Optional[str]) -> Purpose:
    return purpose_of(caller_ids()[2], (path or "").rpartition("/")[2])


def _log_failure(operation: str, args: Tuple[Any, ...], number: int, exc: BaseException) -> None:
    """One line per failed operation: what users ask for every day at DEBUG, trouble at WARNING, bugs with a trace."""
    path = args[0] if args else None
    if isinstance(exc, ObjectExists):
        log.debug("%s %s: errno %d: %s", operation, path, number, exc)
    elif isinstance(exc, (StagingFull, StagingFailed, CosClientError, CosServiceError)):
        log.warning("%s %s: errno %d: %s", operation, path, number, exc)
    elif isinstance(exc, FilesystemError):
        log.debug("%s %s: errno %d: %s %s", operation, path, number, type(exc).__name__, exc)
    else:
        log.error("%s %s: errno %d: unexpected %s", operation, path, number, type(exc).__name__, exc_info=exc)
