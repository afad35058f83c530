"""``CosOperations``: libfuse's path API in front of ``CosFilesystem``, and the one error boundary.

No logic: each method translates arguments and results. Every call of a binding comes through ``__call__``,
which lets nothing out but ``FuseOSError`` with a true errno. That is more than tidiness: in fusepy 3.0.1
an exception with ``errno`` None, as ``requests`` raises them, makes ``read`` return a clean end of file
and ``write`` report success (docs/ARCHITECTURE.md).

An operation that is not here is not known to libfuse, and the kernel does it itself or takes it as allowed (access,
locks). Paths of operations on open files are bytes or None: they are for the log.

Threading: libfuse calls from many threads at once; there is no state here.
"""

from __future__ import annotations

import logging
import os
import stat
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from cosfs.caller import holds_open, purpose_of
from cosfs.errors import (
    CosClientError,
    CosServiceError,
    FilesystemError,
    InvalidArgument,
    ObjectExists,
    StagingFailed,
    StagingFull,
    to_errno,
)
from cosfs.filesystem import Attr, Caller, CosFilesystem, Purpose, Time
from cosfs.fuse_callbacks import FuseOSError
from cosfs.scanner_guard import ScannerGuard

log = logging.getLogger(__name__)

_RENAME_NOREPLACE = 1 << 0
"""Flag of renameat2(2)."""

Entry = Tuple[str, int]
RawPath = Optional[bytes]


class CosOperations:
    use_ns = True
    flag_nullpath_ok = 1
    flag_utime_omit_ok = 1

    def __init__(self, filesystem: CosFilesystem, caller_ids: Callable[[], Tuple[int, int, int]],
                 on_ready: Callable[[], None] = lambda: None, guard: Optional[ScannerGuard] = None,
                 mount_point: str = "") -> None:
        """``caller_ids``: of the binding that will call. ``guard``: who is not let into folders; None: all are.

        ``mount_point``: without symbolic links.
        """
        self._filesystem = filesystem
        self._caller_ids = caller_ids
        self._on_ready = on_ready
        self._mount_point = mount_point.rstrip("/")
        if guard is not None:
            # for the object, not for the class: without a guard libfuse answers by itself, which costs nothing
            self.opendir = partial(self._admit, guard)

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

    def getattr(self, path: Optional[str], fi: Any = None) -> Attr:
        return self._filesystem.getattr(path or "", fi.fh if fi else None, purpose=partial(self._purpose, path))

    def readdir(self, path: str) -> List[Entry]:
        """Names with their type bits. A list, not a generator: that would run, and fail, outside the boundary."""
        return [(".", stat.S_IFDIR), ("..", stat.S_IFDIR), *self._filesystem.readdir(path)]

    def open(self, path: str, fi: Any) -> int:
        opened = self._filesystem.open(path, fi.flags)
        fi.fh, fi.keep_cache, fi.direct_io = opened.fh, int(opened.keep_cache), int(opened.direct_io)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        opened = self._filesystem.create(path, mode, fi.flags, self._caller())
        fi.fh, fi.keep_cache = opened.fh, int(opened.keep_cache)
        return 0

    def read(self, path: RawPath, size: int, offset: int, fi: Any) -> Union[bytes, memoryview]:
        return self._filesystem.read(fi.fh, offset, size)

    def write(self, path: RawPath, data: memoryview, offset: int, fi: Any) -> int:
        """``data`` is libfuse's buffer, which is its own again when this returns."""
        # Pages of a mapping, written back through whatever handle, have their place.
        append = bool(fi.flags & os.O_APPEND) and not fi.writepage
        return self._filesystem.write(fi.fh, offset, data, append=append)

    def copy_file_range(self, path: RawPath, source: Any, offset: int, target: Any, target_offset: int,
                        length: int) -> int:
        """``path``: of the target."""
        return self._filesystem.copy_range(source.fh, offset, target.fh, target_offset, length)

    def truncate(self, path: Optional[str], length: int, fi: Any = None) -> None:
        self._filesystem.truncate(path or "", length, fi.fh if fi else None)

    def flush(self, path: RawPath, fi: Any) -> None:
        self._filesystem.flush(fi.fh, still_held=self._still_held)

    def fsync(self, path: RawPath, datasync: int, fi: Any) -> None:
        self._filesystem.fsync(fi.fh)

    def fsyncdir(self, path: RawPath) -> None:
        self._filesystem.fsyncdir()

    def release(self, path: RawPath, fi: Any) -> None:
        self._filesystem.release(fi.fh)

    def unlink(self, path: str) -> None:
        self._filesystem.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        self._filesystem.mkdir(path, mode, self._caller())

    def rmdir(self, path: str) -> None:
        self._filesystem.rmdir(path)

    def rename(self, old: str, new: str, flags: int) -> None:
        if flags & ~_RENAME_NOREPLACE:  # to exchange two names takes more than one request, and can stop halfway
            raise InvalidArgument(f"flags {flags:#x} of renameat2")
        self._filesystem.rename(old, new, no_replace=bool(flags & _RENAME_NOREPLACE))

    def symlink(self, path: str, target: str) -> None:
        self._filesystem.symlink(path, target, self._caller())

    def readlink(self, path: str) -> str:
        return self._filesystem.readlink(path)

    def link(self, path: str, source: str) -> None:
        self._filesystem.link(path)

    def mknod(self, path: str, mode: int, rdev: int) -> None:
        self._filesystem.mknod(path, mode, rdev, self._caller())

    def chmod(self, path: str, mode: int) -> None:
        self._filesystem.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._filesystem.chown(path, uid, gid)

    def utimens(self, path: str, atime: Time, mtime: Time) -> None:
        self._filesystem.utimens(path, atime, mtime)

    def getxattr(self, path: str, name: str) -> bytes:
        return self._filesystem.getxattr(path, name)

    def setxattr(self, path: str, name: str, value: bytes, options: int) -> None:
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

    def _admit(self, guard: ScannerGuard, path: str) -> None:
        guard.admit(self._caller_ids()[2], path)

    def _caller(self) -> Caller:
        uid, gid, _ = self._caller_ids()
        return Caller(uid, gid)

    def _still_held(self, path: str) -> bool:
        return holds_open(self._caller_ids()[2], self._mount_point + path)

    def _purpose(self, path: Optional[str]) -> Purpose:
        return purpose_of(self._caller_ids()[2], (path or "").rpartition("/")[2])


def _log_failure(operation: str, args: Tuple[Any, ...], number: int, exc: BaseException) -> None:
    """One line per failed operation: what users ask for every day at DEBUG, trouble at WARNING, bugs with a trace."""
    path = args[0] if args else None
    if isinstance(path, bytes):
        path = path.decode("utf-8", "surrogateescape")
    if isinstance(exc, ObjectExists):
        log.debug("%s %s: errno %d: %s", operation, path, number, exc)
    elif isinstance(exc, (StagingFull, StagingFailed, CosClientError, CosServiceError)):
        log.warning("%s %s: errno %d: %s", operation, path, number, exc)
    elif isinstance(exc, FilesystemError):
        log.debug("%s %s: errno %d: %s %s", operation, path, number, type(exc).__name__, exc)
    else:
        log.error("%s %s: errno %d: unexpected %s", operation, path, number, type(exc).__name__, exc_info=exc)
