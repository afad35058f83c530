"""The FUSE library, and the few places where fusepy 3.0.1 needs help. The only module that imports ``fuse``.

What is added: names that are no UTF-8 (fusepy decodes strictly), and UTIME_NOW and UTIME_OMIT (fusepy
folds them into the nanoseconds). ``operations.py`` is written against the names exported here, so another
binding of the same API can take fusepy's place.
"""

from __future__ import annotations

import codecs
import ctypes
from typing import Any, Dict, Tuple, Union

import fuse
from fuse import FuseOSError, Operations

from cosfs.filesystem.types import NOW, OMIT, Time

__all__ = ["FuseOSError", "Operations", "caller_ids", "run"]

Options = Dict[str, Union[str, int, float, bool]]

_ENCODING = "cosfs-path"
_STAT_BYTES = ctypes.sizeof(fuse.c_stat)
_UTIME_NOW = (1 << 30) - 1  # sys/stat.h
_UTIME_OMIT = (1 << 30) - 2


def _path_codec(name: str) -> Any:
    """UTF-8 with surrogate escapes, as a codec of its own because fusepy passes no error handler."""
    if name.replace("_", "-") != _ENCODING:
        return None
    return codecs.CodecInfo(
        name=_ENCODING,
        encode=lambda text, errors="strict": (text.encode("utf-8", "surrogateescape"), len(text)),
        decode=lambda data, errors="strict": (bytes(data).decode("utf-8", "surrogateescape"), len(data)))


codecs.register(_path_codec)


class _Fuse(fuse.FUSE):  # type: ignore[misc]  # fusepy has no type hints
    """``getattr`` and ``readdir`` do what fusepy's do in less time: they are called for every name of a listing."""

    def getattr(self, path: bytes, buf: Any) -> int:
        attrs = self.operations("getattr", path.decode("utf-8", "surrogateescape"), None)
        ctypes.memset(buf, 0, _STAT_BYTES)
        st = buf.contents
        st.st_mode, st.st_nlink, st.st_uid, st.st_gid = (
            attrs["st_mode"], attrs["st_nlink"], attrs["st_uid"], attrs["st_gid"])
        st.st_rdev, st.st_size, st.st_blksize, st.st_blocks = (
            attrs["st_rdev"], attrs["st_size"], attrs["st_blksize"], attrs["st_blocks"])
        for spec, time_ns in ((st.st_atimespec, attrs["st_atime"]), (st.st_mtimespec, attrs["st_mtime"]),
                              (st.st_ctimespec, attrs["st_ctime"])):
            spec.tv_sec, spec.tv_nsec = divmod(time_ns, 1_000_000_000)
        return 0

    def readdir(self, path: bytes, buf: Any, filler: Any, offset: int, fip: Any) -> int:
        types: Dict[int, Any] = {}
        for name, mode in self.operations("readdir", path.decode("utf-8", "surrogateescape"), fip.contents.fh):
            st = types.get(mode)
            if st is None:
                st = types[mode] = fuse.c_stat(st_mode=mode)
            if filler(buf, name.encode("utf-8", "surrogateescape"), st, 0):
                break
        return 0

    def utimens(self, path: bytes, times: Any) -> int:
        atime: Time = NOW
        mtime: Time = NOW
        if times:
            atime, mtime = _time(times.contents.actime), _time(times.contents.modtime)
        self.operations("utimens", path.decode(_ENCODING), (atime, mtime))
        return 0

    def getxattr(self, path: bytes, name: bytes, value: Any, size: int, *args: Any) -> int:
        data = self.operations("getxattr", path.decode(_ENCODING), name.decode(_ENCODING), *args)
        if size and len(data) > size:
            raise FuseOSError(34)  # ERANGE; fusepy's own version fails on empty values
        if size:
            ctypes.memmove(value, data, len(data))
        return len(data)


def _time(spec: Any) -> Time:
    if spec.tv_nsec == _UTIME_NOW:
        return NOW
    if spec.tv_nsec == _UTIME_OMIT:
        return OMIT
    return int(spec.tv_sec) * 1_000_000_000 + int(spec.tv_nsec)


def caller_ids() -> Tuple[int, int, int]:
    """User, group and thread id of whoever made the request that this thread serves; 0 for an id out of sight."""
    uid, gid, tid = fuse.fuse_get_context()
    return uid, gid, tid


def run(operations: Operations, mount_point: str, *, foreground: bool, threads: bool, options: Options) -> None:
    """Mount, and serve until unmounted. Raises: RuntimeError when libfuse refuses to mount."""
    _Fuse(operations, mount_point, raw_fi=True, encoding=_ENCODING, foreground=foreground, nothreads=not threads,
          **options)
