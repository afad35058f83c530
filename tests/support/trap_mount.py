"""``CosOperations`` over a filesystem that raises on demand: ``python -m tests.support.trap_mount MOUNTPOINT LIBFUSE``.

The name of a file says what happens to it: ``read-KIND`` raises in read, ``write-KIND`` in write, ``flush-KIND`` in
flush, ``release-KIND`` in release, ``stat-KIND`` in getattr, with KIND a key of ``RAISED``. ``crowd`` is read only by
``CROWD`` readers at once. ``sizes`` collects the sizes of the writes to it, and reads as them. Anything else is a file
of ten bytes.
"""

from __future__ import annotations

import errno
import logging
import stat
import sys
import threading
from typing import Any, Callable, Dict, List

import requests

from cosfs.errors import NetworkError, StaleHandle
from cosfs.filesystem import Attr, OpenResult
from cosfs.filesystem.types import StillHeld, unknown_holders
from cosfs.fuse_callbacks import FuseOSError
from cosfs.fuse_library import find_binding
from cosfs.operations import CosOperations

CROWD = 24
"""More than the threads that libfuse 3 has by default, and than the reads that the kernel sends at once."""
CROWD_LIMIT_S = 20.0

RAISED: Dict[str, Callable[[], BaseException]] = {
    "ConnectionError": lambda: requests.ConnectionError("the connection was lost"),
    "Timeout": lambda: requests.Timeout("no answer"),
    "ValueError": lambda: ValueError("wrong"),
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(3),
    "OSErrorNone": OSError,
    "OSErrorNegative": lambda: OSError(-5, "negative"),
    "OSErrorMissing": lambda: FileNotFoundError(errno.ENOENT, "a staging file, say"),
    "AssertionError": AssertionError,
    "GeneratorExit": GeneratorExit,
    "NetworkError": lambda: NetworkError("our own"),
    "StaleHandle": lambda: StaleHandle("our own"),
    "FuseOSError": lambda: FuseOSError(errno.EDQUOT),
}
EXPECTED = {"NetworkError": errno.EHOSTUNREACH, "StaleHandle": errno.ESTALE, "FuseOSError": errno.EDQUOT}
"""errno of a KIND; EIO for all others."""


class TrapFilesystem:
    """As much of ``CosFilesystem`` as reading and writing files takes."""

    def __init__(self) -> None:
        self._names: Dict[int, str] = {}
        self._sizes: List[int] = []
        self._crowd = threading.Barrier(CROWD, timeout=CROWD_LIMIT_S)
        self._lock = threading.Lock()

    def start(self) -> None:
        pass

    def getattr(self, path: str, fh: Any = None, *, purpose: Any = None) -> Attr:  # noqa: ARG002
        self._spring("stat", path)
        directory = path == "/"
        mode = stat.S_IFDIR | 0o755 if directory else stat.S_IFREG | 0o644
        size = len(self._reported()) if path == "/sizes" else 10
        return Attr(mode, 0, 0, 0 if directory else size, 0, 0, 0)

    def open(self, path: str, flags: int) -> OpenResult:  # noqa: ARG002
        with self._lock:
            fh = len(self._names) + 1
            self._names[fh] = path
        return OpenResult(fh, keep_cache=False)

    def read(self, fh: int, offset: int, size: int) -> bytes:
        self._spring("read", self._names[fh])
        if self._names[fh] == "/crowd":
            self._crowd.wait()
        data = self._reported() if self._names[fh] == "/sizes" else b"0123456789"
        return data[offset:offset + size]

    def write(self, fh: int, offset: int, data: bytes, *, append: bool = False) -> int:  # noqa: ARG002
        self._spring("write", self._names[fh])
        with self._lock:
            self._sizes.append(len(data))
        return len(data)

    def truncate(self, path: str, length: int, fh: Any = None) -> None:
        pass

    def flush(self, fh: int, *, still_held: StillHeld = unknown_holders) -> None:  # noqa: ARG002 - of the interface
        self._spring("flush", self._names[fh])

    def release(self, fh: int) -> None:
        self._spring("release", self._names[fh])

    def getxattr(self, path: str, name: str) -> bytes:
        raise NotImplementedError

    def _reported(self) -> bytes:
        with self._lock:
            return " ".join(str(size) for size in self._sizes).encode()

    @staticmethod
    def _spring(operation: str, path: str) -> None:
        begin, _, kind = path[1:].partition("-")
        if begin == operation and kind in RAISED:
            raise RAISED[kind]()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    binding = find_binding(int(sys.argv[2]))
    binding.run(CosOperations(TrapFilesystem(), binding.caller_ids),  # type: ignore[arg-type]
                sys.argv[1], foreground=True, threads=True, options={
                    "big_writes": True, "attr_timeout": 0, "max_background": CROWD})
