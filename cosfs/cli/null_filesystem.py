"""``NullFilesystem``: the interface of ``CosFilesystem`` with nothing behind it, to measure what FUSE itself costs.

Files have names and sizes and no content: reads give zeros, writes only move the end. Mounted through the same
operations and binding as a real mount, it shows the ceiling that kernel, FUSE library and binding leave::

    binding = find_binding(libfuse)
    binding.run(CosOperations(NullFilesystem(), binding.caller_ids), mount_point, ...)

``truncate -s 1G FILE`` makes a large file to read. ``python -m cosfs.cli.null_filesystem MOUNTPOINT [2|3 [SECONDS]]``
mounts one in the foreground, with libfuse 2 or 3, and with that many seconds for which the kernel believes attributes.

Threading: many threads at once; a lock guards the names, and only changes take it.
"""

from __future__ import annotations

import itertools
import stat
import sys
import threading
import time
from typing import Callable, Dict, List, Optional

from cosfs.errors import DirectoryNotEmpty, NoAttribute, NoEntry, NotSupported
from cosfs.filesystem import Attr, Caller, Dirent, OpenResult, Purpose, Statfs, Time
from cosfs.filesystem.types import StillHeld, unknown_holders
from cosfs.fuse_library import find_binding
from cosfs.namespace.paths import split
from cosfs.operations import CosOperations
from cosfs.units import MAX_NAME_BYTES, MIB

_ZEROS = memoryview(bytes(MIB))
_BLOCK_BYTES = 4096
_BLOCKS = 1 << 40


class NullFilesystem:
    def __init__(self) -> None:
        self._now_ns = time.time_ns()
        self._sizes: Dict[str, Optional[int]] = {"/": None}
        """Size of a file; None for a directory."""
        self._open: Dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Nothing to start."""

    def getattr(self, path: str, fh: Optional[int] = None, *,
                purpose: Callable[[], Purpose] = lambda: Purpose.UNKNOWN) -> Attr:  # noqa: ARG002  CosFilesystem's
        size = self._size(path if fh is None else self._open[fh])
        mode = stat.S_IFDIR | 0o755 if size is None else stat.S_IFREG | 0o644
        return Attr(mode, 0, 0, size or 0, self._now_ns, self._now_ns, self._now_ns)

    def _size(self, path: str) -> Optional[int]:
        try:
            return self._sizes[path]
        except KeyError:
            raise NoEntry(path) from None

    def readdir(self, path: str) -> List[Dirent]:
        with self._lock:
            return [Dirent(split(name)[1], stat.S_IFDIR if size is None else stat.S_IFREG)
                    for name, size in self._sizes.items() if name != "/" and split(name)[0] == path]

    def open(self, path: str, flags: int) -> OpenResult:  # noqa: ARG002  CosFilesystem's
        self._size(path)
        return self._handle(path)

    def create(self, path: str, mode: int, flags: int, caller: Caller) -> OpenResult:  # noqa: ARG002
        with self._lock:
            self._sizes[path] = 0
        return self._handle(path)

    def _handle(self, path: str) -> OpenResult:
        fh = next(self._numbers)
        self._open[fh] = path
        return OpenResult(fh, keep_cache=False)

    def read(self, fh: int, offset: int, size: int) -> memoryview:
        end = self._size(self._open[fh]) or 0
        return _ZEROS[:max(0, min(size, end - offset))]

    def write(self, fh: int, offset: int, data: memoryview, *, append: bool = False) -> int:  # noqa: ARG002
        with self._lock:
            path = self._open[fh]
            self._sizes[path] = max(self._sizes.get(path) or 0, offset + len(data))
        return len(data)

    def truncate(self, path: str, length: int, fh: Optional[int] = None) -> None:
        with self._lock:
            self._sizes[path if fh is None else self._open[fh]] = length

    def flush(self, fh: int, *, still_held: StillHeld = unknown_holders) -> None:
        """Nothing to store."""

    def fsync(self, fh: int) -> None:
        """Nothing to store."""

    def fsyncdir(self) -> None:
        """Nothing to store."""

    def release(self, fh: int) -> None:
        del self._open[fh]

    def unlink(self, path: str) -> None:
        with self._lock:
            self._sizes.pop(path, None)

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:  # noqa: ARG002  CosFilesystem's
        with self._lock:
            self._sizes[path] = None

    def rmdir(self, path: str) -> None:
        if self.readdir(path):
            raise DirectoryNotEmpty(path)
        self.unlink(path)

    def rename(self, old: str, new: str, *, no_replace: bool = False) -> None:  # noqa: ARG002  the kernel has looked
        with self._lock:
            inside = [name for name in self._sizes if name == old or name.startswith(f"{old}/")]
            for name in inside:
                self._sizes[new + name[len(old):]] = self._sizes.pop(name)

    def chmod(self, path: str, mode: int) -> None:
        """Modes are not kept."""

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Owners are not kept."""

    def utimens(self, path: str, atime: Time, mtime: Time) -> None:
        """Times are not kept."""

    def getxattr(self, path: str, name: str) -> bytes:  # noqa: ARG002  CosFilesystem's
        raise NoAttribute(name)

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:  # noqa: ARG002
        raise NotSupported(name)

    def listxattr(self, path: str) -> List[str]:  # noqa: ARG002  CosFilesystem's
        return []

    def statfs(self) -> Statfs:
        return Statfs(_BLOCK_BYTES, _BLOCKS, _BLOCKS, MAX_NAME_BYTES)


def main(mount_point: str, libfuse: str = "2", timeout_s: str = "1") -> None:
    binding = find_binding(int(libfuse))
    binding.run(CosOperations(NullFilesystem(), binding.caller_ids),  # type: ignore[arg-type]  # its interface
                mount_point, foreground=True, threads=True, read_ahead_bytes=MIB // 2, options={
                    "fsname": "null", "subtype": "cosfs", "big_writes": True, "attr_timeout": timeout_s,
                    "entry_timeout": timeout_s})


if __name__ == "__main__":
    main(*sys.argv[1:])
