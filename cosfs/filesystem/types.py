"""The values that cross the filesystem's interface, upward to the FUSE adapter."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Callable, NamedTuple, Union


class TimeUpdate(enum.Enum):
    """The two special values of utimensat(2)."""

    NOW = "now"
    OMIT = "omit"


NOW = TimeUpdate.NOW
OMIT = TimeUpdate.OMIT
Time = Union[int, TimeUpdate]

Data = Union[bytes, memoryview]
"""Bytes that were read. A view is of memory that serves others next: it is copied and let go at once."""
"""Nanoseconds since the epoch, or NOW, or OMIT."""


@dataclass(frozen=True)
class Caller:
    """Who asked: the owner of what is created."""

    uid: int
    gid: int


class Purpose(enum.Enum):
    """What the attributes of a name are asked for."""

    UNKNOWN = "unknown"
    OPEN = "open"
    REMOVE = "remove"
    OTHER = "other"


READ_BLOCK_BYTES = 4096
WRITE_BLOCK_BYTES = 1 << 20
"""``st_blksize``, in pieces of which programs read and write. Those that read here and there would fetch too much by
large ones. While a file is being written they save the kernel's questions before each piece (measured: ``cp`` of 1 GiB
in 2.7 s instead of 3.5 with libfuse 3, in 3.1 to 3.3 instead of 3.4 with libfuse 2)."""


StillHeld = Callable[[str], bool]
"""Whether the process that closes the file at a path has another descriptor of it that may write."""


def unknown_holders(path: str) -> bool:  # noqa: ARG001
    """Where nobody can see which descriptors a process has."""
    return False


class Attr(NamedTuple):
    """What stat(2) tells. A tuple, because one is made for each call."""

    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    nlink: int = 1
    rdev: int = 0
    block_bytes: int = READ_BLOCK_BYTES


class Dirent(NamedTuple):
    """A name in a directory; ``mode`` holds the type bits only."""

    name: str
    mode: int


@dataclass(frozen=True)
class OpenResult:
    """``keep_cache``: the kernel's pages of this file are those of the version that was opened. ``direct_io``: its size
    tells nothing, and the kernel keeps none of it."""

    fh: int
    keep_cache: bool
    direct_io: bool = False


@dataclass(frozen=True)
class Statfs:
    """What statfs(2) tells; blocks and files are numbers that no program overflows on."""

    block_bytes: int
    blocks: int
    files: int
    name_max: int
