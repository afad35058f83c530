"""One os-like face for the things that scenarios and the model run on.

``OsWorld`` is a folder of the operating system: a kernel mount of cosfs, or a local folder as reference.
``FilesystemWorld`` is a ``CosFilesystem`` without FUSE; it does what the kernel would do before it calls
(path lookup, ``O_EXCL``, the offset of an append), and nothing else. Both raise ``OSError`` with an errno.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

NOW = "now"
OMIT = "omit"
"""Times of ``utimens`` that are not nanoseconds."""


class Stat(NamedTuple):
    """What scenarios look at; times in nanoseconds."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    nlink: int
    rdev: int

    @property
    def permissions(self) -> int:
        return stat.S_IMODE(self.mode)

    @property
    def type(self) -> int:
        return stat.S_IFMT(self.mode)


class World:
    """Base: the helpers that are made of the primitives. Paths begin with "/" and are relative to the world."""

    # Primitives, implemented by the subclasses. A handle is opaque.

    def stat(self, path: str) -> Stat:
        """lstat"""
        raise NotImplementedError

    def fstat(self, handle: Any) -> Stat:
        raise NotImplementedError

    def readdir(self, path: str) -> Dict[str, int]:
        """Names to type bits (0 when the listing does not say)."""
        raise NotImplementedError

    def open(self, path: str, flags: int, mode: int = 0o644) -> Any:
        raise NotImplementedError

    def close(self, handle: Any) -> None:
        raise NotImplementedError

    def pread(self, handle: Any, size: int, offset: int) -> bytes:
        raise NotImplementedError

    def pwrite(self, handle: Any, data: bytes, offset: int) -> int:
        raise NotImplementedError

    def append(self, handle: Any, data: bytes) -> int:
        """write() on a handle opened with O_APPEND."""
        raise NotImplementedError

    def ftruncate(self, handle: Any, length: int) -> None:
        raise NotImplementedError

    def truncate(self, path: str, length: int) -> None:
        raise NotImplementedError

    def fsync(self, handle: Any) -> None:
        raise NotImplementedError

    def fsyncdir(self, path: str) -> None:
        raise NotImplementedError

    def unlink(self, path: str) -> None:
        raise NotImplementedError

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        raise NotImplementedError

    def rmdir(self, path: str) -> None:
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        raise NotImplementedError

    def symlink(self, path: str, target: str) -> None:
        raise NotImplementedError

    def readlink(self, path: str) -> str:
        raise NotImplementedError

    def mknod(self, path: str, mode: int, rdev: int = 0) -> None:
        raise NotImplementedError

    def chmod(self, path: str, mode: int) -> None:
        raise NotImplementedError

    def fchmod(self, handle: Any, mode: int) -> None:
        raise NotImplementedError

    def chown(self, path: str, uid: int, gid: int) -> None:
        raise NotImplementedError

    def utimens(self, path: str, atime: Any, mtime: Any) -> None:
        """Nanoseconds, NOW or OMIT; symbolic links are not followed."""
        raise NotImplementedError

    def futimens(self, handle: Any, atime_ns: int, mtime_ns: int) -> None:
        raise NotImplementedError

    def getxattr(self, path: str, name: str) -> bytes:
        raise NotImplementedError

    def setxattr(self, path: str, name: str, value: bytes, flags: int = 0) -> None:
        raise NotImplementedError

    def listxattr(self, path: str) -> List[str]:
        raise NotImplementedError

    def removexattr(self, path: str, name: str) -> None:
        raise NotImplementedError

    def statvfs(self) -> Dict[str, int]:
        raise NotImplementedError

    # Helpers

    @contextmanager
    def opened(self, path: str, flags: int, mode: int = 0o644) -> Iterator[Any]:
        handle = self.open(path, flags, mode)
        try:
            yield handle
        finally:
            self.close(handle)

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode) as handle:
            self.write_all(handle, data, 0)

    def write_all(self, handle: Any, data: bytes, offset: int) -> None:
        """Write in the pieces in which a kernel with big_writes would."""
        for start in range(0, len(data), 131072):
            piece = data[start:start + 131072]
            written = self.pwrite(handle, piece, offset + start)
            assert written == len(piece)

    def read_file(self, path: str) -> bytes:
        with self.opened(path, os.O_RDONLY) as handle:
            return self.read_all(handle)

    def read_all(self, handle: Any) -> bytes:
        pieces: List[bytes] = []
        offset = 0
        while True:
            piece = self.pread(handle, 131072, offset)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            offset += len(piece)

    def exists(self, path: str) -> bool:
        try:
            self.stat(path)
        except FileNotFoundError:
            return False
        return True

    def tree(self, path: str = "/") -> Dict[str, Tuple[str, Any]]:
        """Every path below ``path`` with its kind and content, for comparison of whole worlds."""
        found: Dict[str, Tuple[str, Any]] = {}
        for name in sorted(self.readdir(path)):
            child = path.rstrip("/") + "/" + name
            attributes = self.stat(child)
            if attributes.type == stat.S_IFDIR:
                found[child] = ("directory", None)
                found.update(self.tree(child))
            elif attributes.type == stat.S_IFLNK:
                found[child] = ("symlink", self.readlink(child))
            elif attributes.type == stat.S_IFREG:
                data = self.read_file(child)
                assert attributes.size == len(data), f"{child}: stat says {attributes.size}, read {len(data)} bytes"
                found[child] = ("file", data)
            else:
                found[child] = ("other", attributes.type)
        return found


class OsWorld(World):
    """A folder of the operating system."""

    def __init__(self, root: str) -> None:
        self.root = root

    def real(self, path: str) -> str:
        return self.root + path.rstrip("/") if path != "/" else self.root

    def stat(self, path: str) -> Stat:
        return _from_os(os.lstat(self.real(path)))

    def fstat(self, handle: int) -> Stat:
        return _from_os(os.fstat(handle))

    def readdir(self, path: str) -> Dict[str, int]:
        kinds = {}
        with os.scandir(self.real(path)) as entries:
            for entry in entries:
                if entry.is_symlink():
                    kind = stat.S_IFLNK
                elif entry.is_dir(follow_symlinks=False):
                    kind = stat.S_IFDIR
                elif entry.is_file(follow_symlinks=False):
                    kind = stat.S_IFREG
                else:
                    kind = 0
                kinds[entry.name] = kind
        return kinds

    def open(self, path: str, flags: int, mode: int = 0o644) -> int:
        return os.open(self.real(path), flags, mode)

    def close(self, handle: int) -> None:
        os.close(handle)

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        return os.pread(handle, size, offset)

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        return os.pwrite(handle, data, offset)

    def append(self, handle: int, data: bytes) -> int:
        return os.write(handle, data)

    def ftruncate(self, handle: int, length: int) -> None:
        os.ftruncate(handle, length)

    def truncate(self, path: str, length: int) -> None:
        os.truncate(self.real(path), length)

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def fsyncdir(self, path: str) -> None:
        handle = os.open(self.real(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def unlink(self, path: str) -> None:
        os.unlink(self.real(path))

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        os.mkdir(self.real(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.real(path))

    def rename(self, old: str, new: str) -> None:
        os.rename(self.real(old), self.real(new))

    def symlink(self, path: str, target: str) -> None:
        os.symlink(target, self.real(path))

    def readlink(self, path: str) -> str:
        return os.readlink(self.real(path))

    def mknod(self, path: str, mode: int, rdev: int = 0) -> None:
        os.mknod(self.real(path), mode, rdev)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.real(path), mode)

    def fchmod(self, handle: int, mode: int) -> None:
        os.fchmod(handle, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.lchown(self.real(path), uid, gid)

    def utimens(self, path: str, atime: Any, mtime: Any) -> None:
        if isinstance(atime, int) and isinstance(mtime, int):
            os.utime(self.real(path), ns=(atime, mtime), follow_symlinks=False)
        else:
            _utimensat(self.real(path), atime, mtime)

    def futimens(self, handle: int, atime_ns: int, mtime_ns: int) -> None:
        os.utime(handle, ns=(atime_ns, mtime_ns))

    def getxattr(self, path: str, name: str) -> bytes:
        return os.getxattr(self.real(path), name, follow_symlinks=False)

    def setxattr(self, path: str, name: str, value: bytes, flags: int = 0) -> None:
        os.setxattr(self.real(path), name, value, flags, follow_symlinks=False)

    def listxattr(self, path: str) -> List[str]:
        return os.listxattr(self.real(path), follow_symlinks=False)

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(self.real(path), name, follow_symlinks=False)

    def statvfs(self) -> Dict[str, int]:
        found = os.statvfs(self.root)
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}


def _from_os(found: os.stat_result) -> Stat:
    return Stat(found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns, found.st_atime_ns,
                found.st_ctime_ns, found.st_nlink, found.st_rdev)


def _utimensat(path: str, atime: Any, mtime: Any) -> None:
    """utimensat(2), for UTIME_NOW and UTIME_OMIT, which ``os.utime`` cannot say."""
    import ctypes

    class TimeSpec(ctypes.Structure):
        _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]

    special = {NOW: (0, (1 << 30) - 1), OMIT: (0, (1 << 30) - 2)}  # linux/stat.h
    times = (TimeSpec * 2)(*(TimeSpec(*(special[time] if isinstance(time, str) else divmod(time, 10**9)))
                             for time in (atime, mtime)))
    libc = ctypes.CDLL(None, use_errno=True)
    at_fdcwd, nofollow = -100, 0x100  # fcntl.h
    if libc.utimensat(at_fdcwd, os.fsencode(path), times, nofollow) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
