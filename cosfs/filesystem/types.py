"""The values that cross the filesystem's interface, upward to the FUSE adapter."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, Union


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


class Dirent(NamedTuple):
    """A name in a directory; ``mode`` holds the type bits only."""

    name: str
    mode: int


@dataclass(frozen=True)
class OpenResult:
    """``keep_cache``: the kernel's pages of this file are those of the version that was opened."""

    fh: int
    keep_cache: bool


@dataclass(frozen=True)
class Statfs:
    """What statfs(2) tells; blocks and files are numbers that no program overflows on."""

    block_bytes: int
    blocks: int
    files: int
    name_max: int
