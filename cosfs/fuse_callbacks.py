"""What libfuse calls, in the form that ``CosOperations`` wants: the part that both bindings have in common.

``Callbacks`` goes before the library's own ``FUSE`` class (fuse_binding.py, fuse3_binding.py) and takes the place of
its methods that are called often, lose something, or differ between libfuse 2 and 3. What it adds: bytes are copied
once, between libfuse's buffer and where they are; names that are no UTF-8; UTIME_NOW and UTIME_OMIT; and nothing but
an errno can come out of a failure (``_wrapper``).

Operations on open files get their path undecoded, for the log only: most calls are of that kind.

Threading: libfuse calls from many threads at once, up to ``THREADS``, which is how many calls may wait for the network.
They stay: a thread that Python has not made would get, and lose, its Python state with each call (measured on an empty
filesystem with Python 3.11: 50 us of CPU a call instead of 27).
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from typing import Any, Callable, ClassVar, Dict, Optional, Protocol, Tuple, Union

from cosfs.config import FuseOptions
from cosfs.filesystem.types import NOW, OMIT, Time
from cosfs.read_ahead import raise_read_ahead

log = logging.getLogger(__name__)

THREADS = 64

_UTIME_NOW = (1 << 30) - 1  # sys/stat.h
_UTIME_OMIT = (1 << 30) - 2
_KEEP = (1 << 32) - 1
"""The -1 of chown(2), unsigned."""
_SECTOR_BYTES = 512
"""Unit of st_blocks (stat(2))."""

Buffer = Union[bytes, bytearray, memoryview]


class FuseOSError(OSError):
    """The one exception that operations raise: its ``number`` (and ``errno``) is what the caller in the kernel gets."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.number = number


class Binding(Protocol):
    """What a module that binds a FUSE library has."""

    COPIES: bool
    """Whether the kernel may ask for copies from one file to another, without reading."""

    def caller_ids(self) -> Tuple[int, int, int]:
        """User, group and thread id of whoever made the request that this thread serves; 0 for an id out of sight."""

    def run(self, operations: Callable[..., Any], mount_point: str, *, foreground: bool, threads: bool,
            options: FuseOptions, read_ahead_bytes: int = 0) -> None:
        """Mount, and serve until unmounted. Raises: RuntimeError when the library refuses to mount.

        ``operations``: called as ``operations(name, *arguments)``; its attributes say which names it knows.
        ``read_ahead_bytes``: how far the kernel is to read ahead; 0 leaves it as it is.
        """


class Callbacks:
    """Mixed into a library's ``FUSE``, before it."""

    _stat_type: ClassVar[Any]
    """The library's ``struct stat``."""
    _filler_flags: ClassVar[Tuple[int, ...]] = ()
    """Further arguments of readdir's filler (libfuse 3)."""

    def _prepare(self, call: Callable[..., Any], mount_point: str, read_ahead_bytes: int) -> None:
        """To be called before libfuse has anything to call."""
        self._call = call
        self._mount_point = os.path.realpath(mount_point)  # asked for before it is a mount that does not answer yet
        self._read_ahead_bytes = read_ahead_bytes

    @staticmethod
    def _wrapper(function: Callable[..., Any], *args: Any) -> int:
        """What libfuse gets of a callback: its result, or a negative errno, whatever happens."""
        try:
            return function(*args) or 0
        except FuseOSError as exc:
            return -exc.number
        except BaseException:
            log.exception("the binding itself failed in %s", function.__name__)
            return -errno.EIO

    def init(self, conn: Any, config: Any = None) -> None:
        """The first call, in the process that serves the mount; the kernel waits for it before any other."""
        info = self._connection_info(conn)
        wanted = self._read_ahead_bytes
        if wanted and (wanted < info.max_readahead or raise_read_ahead(self._mount_point, wanted)):
            info.max_readahead = wanted
        self._call("init", "/")

    def _connection_info(self, conn: Any) -> Any:
        return conn.contents

    def getattr(self, path: Optional[bytes], buf: Any, fip: Any = None) -> None:
        attr = self._call("getattr", None if path is None else path.decode("utf-8", "surrogateescape"),
                          fip.contents if fip else None)
        ctypes.memset(buf, 0, ctypes.sizeof(self._stat_type))
        st = buf.contents
        st.st_mode, st.st_nlink, st.st_uid, st.st_gid = attr.mode, attr.nlink, attr.uid, attr.gid
        st.st_rdev, st.st_size, st.st_blksize, st.st_blocks = (
            attr.rdev, attr.size_bytes, attr.block_bytes, -(-attr.size_bytes // _SECTOR_BYTES))
        for spec, time_ns in ((st.st_atimespec, attr.atime_ns), (st.st_mtimespec, attr.mtime_ns),
                              (st.st_ctimespec, attr.ctime_ns)):
            spec.tv_sec, spec.tv_nsec = divmod(time_ns, 1_000_000_000)

    def opendir(self, path: Optional[bytes], fip: Any) -> None:
        self._call("opendir", _named(path))

    def readdir(self, path: Optional[bytes], buf: Any, filler: Any, offset: int, fip: Any, *flags: int) -> None:
        types: Dict[int, Any] = {}
        more = self._filler_flags
        for name, mode in self._call("readdir", _named(path)):
            st = types.get(mode)
            if st is None:
                st = types[mode] = self._stat_type(st_mode=mode)
            if filler(buf, name.encode("utf-8", "surrogateescape"), st, 0, *more):
                break

    def read(self, path: Optional[bytes], buf: Any, size: int, offset: int, fip: Any) -> int:
        data: Buffer = self._call("read", path, size, offset, fip.contents)
        length = len(data)
        if length > size:
            raise ValueError(f"{length} bytes were read where {size} were asked for")
        if isinstance(data, bytes):
            ctypes.memmove(buf, data, length)
        else:
            _view(buf, length)[:] = data
        return length

    def write(self, path: Optional[bytes], buf: Any, size: int, offset: int, fip: Any) -> int:
        """The operation gets a view of libfuse's buffer, which holds these bytes until it returns and not longer."""
        with _view(buf, size).toreadonly() as data:
            written: int = self._call("write", path, data, offset, fip.contents)
        return written

    def flush(self, path: Optional[bytes], fip: Any) -> None:
        self._call("flush", path, fip.contents)

    def release(self, path: Optional[bytes], fip: Any) -> None:
        self._call("release", path, fip.contents)

    def fsync(self, path: Optional[bytes], datasync: int, fip: Any) -> None:
        self._call("fsync", path, datasync, fip.contents)

    def fsyncdir(self, path: Optional[bytes], datasync: int, fip: Any) -> None:
        self._call("fsyncdir", path)

    def truncate(self, path: Optional[bytes], length: int, fip: Any = None) -> None:
        self._call("truncate", None if path is None else _text(path), length, fip.contents if fip else None)

    def chmod(self, path: Optional[bytes], mode: int, fip: Any = None) -> None:
        self._call("chmod", _named(path), mode)

    def chown(self, path: Optional[bytes], uid: int, gid: int, fip: Any = None) -> None:
        self._call("chown", _named(path), *(-1 if number == _KEEP else number for number in (uid, gid)))

    def utimens(self, path: Optional[bytes], times: Any, fip: Any = None) -> None:
        atime: Time = NOW
        mtime: Time = NOW
        if times:
            atime, mtime = _time(times.contents.actime), _time(times.contents.modtime)
        self._call("utimens", _named(path), atime, mtime)

    def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        self._call("rename", _text(old), _text(new), flags)

    def getxattr(self, path: bytes, name: bytes, value: Any, size: int) -> int:
        data = self._call("getxattr", _text(path), _text(name))
        if size and len(data) > size:
            raise FuseOSError(errno.ERANGE)
        if size:
            ctypes.memmove(value, data, len(data))
        return len(data)


def _view(buf: Any, size: int) -> memoryview:
    """The bytes at a C pointer, as long as libfuse keeps them there."""
    return memoryview((ctypes.c_char * size).from_address(ctypes.addressof(buf.contents))).cast("B")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _named(path: Optional[bytes]) -> str:
    """The path of what is changed by its name; one that has none any more cannot be found."""
    if path is None:
        raise FuseOSError(errno.ENOENT)
    return _text(path)


def _time(spec: Any) -> Time:
    if spec.tv_nsec == _UTIME_NOW:
        return NOW
    if spec.tv_nsec == _UTIME_OMIT:
        return OMIT
    return int(spec.tv_sec) * 1_000_000_000 + int(spec.tv_nsec)
