"""``World`` over ``CosFilesystem`` itself, without FUSE; what the kernel would do is done here."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional

from cosfs.errors import CosfsError, StaleHandle, to_errno
from cosfs.filesystem import CosFilesystem
from tests.support.worlds import NOW, OMIT, Stat, World


class FilesystemWorld(World):
    """A ``CosFilesystem``; ``base`` is the folder of it that is the world's root."""

    def __init__(self, filesystem: Any, base: str = "") -> None:
        self.filesystem = filesystem
        self.base = base
        self._flags: Dict[int, int] = {}
        self._path_of: Dict[int, Optional[str]] = {}

    def real(self, path: str) -> str:
        return (self.base + path).rstrip("/") or "/"

    def stat(self, path: str) -> Stat:
        self._walk(path)
        return self._getattr(path)

    def fstat(self, handle: int) -> Stat:
        with _as_os_error():
            return _from_attr(self.filesystem.getattr(self._path_of[handle], handle))

    def readdir(self, path: str) -> Dict[str, int]:
        self._walk(path)
        if self._getattr(path).type != stat.S_IFDIR:
            raise OSError(errno.ENOTDIR, path)
        with _as_os_error():
            return {entry.name: stat.S_IFMT(entry.mode) for entry in self.filesystem.readdir(self.real(path))}

    def open(self, path: str, flags: int, mode: int = 0o644) -> int:
        self._walk(path)
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        try:
            kind: Optional[int] = self._getattr(path).type
        except FileNotFoundError:
            kind = None
        if kind is None and not flags & os.O_CREAT:
            raise OSError(errno.ENOENT, path)
        if kind is not None and flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, path)
        if kind == stat.S_IFDIR and (writes or flags & os.O_CREAT):
            raise OSError(errno.EISDIR, path)
        if kind == stat.S_IFLNK:
            raise OSError(errno.ELOOP, path)
        with _as_os_error():
            if kind is None:
                opened = self.filesystem.create(self.real(path), mode | stat.S_IFREG, flags, self._caller())
            else:
                opened = self._open_existing(self.real(path), flags & ~(os.O_CREAT | os.O_EXCL))
        self._flags[opened.fh] = flags
        self._path_of[opened.fh] = self.real(path)
        return int(opened.fh)

    def _open_existing(self, path: str, flags: int) -> Any:
        """As the kernel does: ESTALE of an open has the name looked up again, once (fs/namei.c, do_filp_open)."""
        try:
            return self.filesystem.open(path, flags)
        except StaleHandle:
            self.filesystem.getattr(path)
            return self.filesystem.open(path, flags)

    def close(self, handle: int) -> None:
        self._path_of.pop(handle)
        self._flags.pop(handle)
        try:
            with _as_os_error():
                self.filesystem.flush(handle)
        finally:
            with _as_os_error():
                self.filesystem.release(handle)

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        if self._flags[handle] & os.O_ACCMODE == os.O_WRONLY:
            raise OSError(errno.EBADF, "not open for reading")
        with _as_os_error():
            return bytes(self.filesystem.read(handle, offset, size))

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        if self._flags[handle] & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "not open for writing")
        if self._flags[handle] & os.O_APPEND:  # Linux appends whatever the offset says: pwrite(2), BUGS
            offset = self.fstat(handle).size
        with _as_os_error():
            return int(self.filesystem.write(handle, offset, data))

    def append(self, handle: int, data: bytes) -> int:
        return self.pwrite(handle, data, self.fstat(handle).size)

    def ftruncate(self, handle: int, length: int) -> None:
        if self._flags[handle] & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EINVAL, "not open for writing")
        with _as_os_error():
            self.filesystem.truncate(self._path_of[handle], length, handle)

    def truncate(self, path: str, length: int) -> None:
        self._walk(path)
        kind = self._getattr(path).type
        if kind != stat.S_IFREG:
            raise OSError(errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL, path)
        with _as_os_error():
            self.filesystem.truncate(self.real(path), length)

    def fsync(self, handle: int) -> None:
        with _as_os_error():
            self.filesystem.fsync(handle)

    def fsyncdir(self, path: str) -> None:
        self._walk(path)
        with _as_os_error():
            self.filesystem.fsyncdir()

    def unlink(self, path: str) -> None:
        self._walk(path)
        if self._getattr(path).type == stat.S_IFDIR:
            raise OSError(errno.EISDIR, path)
        with _as_os_error():
            self.filesystem.unlink(self.real(path))
        self._forget(path)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        self._make(path)
        with _as_os_error():
            self.filesystem.mkdir(self.real(path), mode, self._caller())

    def rmdir(self, path: str) -> None:
        self._walk(path)
        if self._getattr(path).type != stat.S_IFDIR:
            raise OSError(errno.ENOTDIR, path)
        with _as_os_error():
            self.filesystem.rmdir(self.real(path))

    def rename(self, old: str, new: str) -> None:
        self._walk(old)
        self._walk(new)
        self._getattr(old)
        if old.startswith(new.rstrip("/") + "/"):
            raise OSError(errno.ENOTEMPTY, new)  # the kernel looks at this before the types
        with _as_os_error():
            self.filesystem.rename(self.real(old), self.real(new))
        if old != new:
            self._forget(new)
            for handle, path in self._path_of.items():
                if path is not None and (path + "/").startswith(self.real(old) + "/"):
                    self._path_of[handle] = self.real(new) + path[len(self.real(old)):]

    def symlink(self, path: str, target: str) -> None:
        self._make(path)
        with _as_os_error():
            self.filesystem.symlink(self.real(path), target, self._caller())

    def readlink(self, path: str) -> str:
        self._walk(path)
        if self._getattr(path).type != stat.S_IFLNK:
            raise OSError(errno.EINVAL, path)
        with _as_os_error():
            return str(self.filesystem.readlink(self.real(path)))

    def mknod(self, path: str, mode: int, rdev: int = 0) -> None:
        self._make(path)
        with _as_os_error():
            self.filesystem.mknod(self.real(path), mode, rdev, self._caller())

    def chmod(self, path: str, mode: int) -> None:
        self._walk(path)
        with _as_os_error():
            self.filesystem.chmod(self.real(path), self._getattr(path).type | mode)

    def fchmod(self, handle: int, mode: int) -> None:
        with _as_os_error():
            self.filesystem.chmod(self._path_of[handle], stat.S_IFREG | mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._walk(path)
        with _as_os_error():
            self.filesystem.chown(self.real(path), uid, gid)

    def utimens(self, path: str, atime: Any, mtime: Any) -> None:
        from cosfs import filesystem as constants

        self._walk(path)
        named = {NOW: constants.NOW, OMIT: constants.OMIT}
        with _as_os_error():
            self.filesystem.utimens(self.real(path), named.get(atime, atime), named.get(mtime, mtime))

    def futimens(self, handle: int, atime_ns: int, mtime_ns: int) -> None:
        with _as_os_error():
            self.filesystem.utimens(self._path_of[handle], atime_ns, mtime_ns)

    def getxattr(self, path: str, name: str) -> bytes:
        self._walk(path)
        with _as_os_error():
            return bytes(self.filesystem.getxattr(self.real(path), name))

    def setxattr(self, path: str, name: str, value: bytes, flags: int = 0) -> None:
        self._walk(path)
        with _as_os_error():
            self.filesystem.setxattr(self.real(path), name, value, flags)

    def listxattr(self, path: str) -> List[str]:
        self._walk(path)
        with _as_os_error():
            return list(self.filesystem.listxattr(self.real(path)))

    def removexattr(self, path: str, name: str) -> None:
        self._walk(path)
        with _as_os_error():
            self.filesystem.removexattr(self.real(path), name)

    def statvfs(self) -> Dict[str, int]:
        with _as_os_error():
            found = self.filesystem.statfs()
        return {"f_bsize": found.block_bytes, "f_frsize": found.block_bytes, "f_blocks": found.blocks,
                "f_bfree": found.blocks, "f_bavail": found.blocks, "f_files": found.files, "f_ffree": found.files,
                "f_namemax": found.name_max}

    def _getattr(self, path: str) -> Stat:
        with _as_os_error():
            return _from_attr(self.filesystem.getattr(self.real(path)))

    def _walk(self, path: str) -> None:
        """What the kernel finds on the way to the last component."""
        parts = path.strip("/").split("/")[:-1]
        for count in range(1, len(parts) + 1):
            if self._getattr("/" + "/".join(parts[:count])).type != stat.S_IFDIR:
                raise OSError(errno.ENOTDIR, path)

    def _make(self, path: str) -> None:
        self._walk(path)
        if self.exists(path):
            raise OSError(errno.EEXIST, path)

    def _forget(self, path: str) -> None:
        """Handles of a removed name go on without one, as libfuse with ``hard_remove`` passes them."""
        for handle, known in self._path_of.items():
            if known == self.real(path):
                self._path_of[handle] = None

    @staticmethod
    def _caller() -> Any:
        from cosfs.filesystem import Caller

        return Caller(os.getuid(), os.getgid())


@contextmanager
def started(filesystem: CosFilesystem) -> Iterator[FilesystemWorld]:
    """The world of a filesystem that runs until the block ends."""
    filesystem.start()
    yield FilesystemWorld(filesystem)
    filesystem.stop()


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except CosfsError as exc:
        number = to_errno(exc)
        raise OSError(number, f"{os.strerror(number)}: {exc}") from exc


def _from_attr(found: Any) -> Stat:
    return Stat(found.mode, found.uid, found.gid, found.size_bytes, found.mtime_ns, found.atime_ns, found.ctime_ns,
                found.nlink, found.rdev)
