"""The kernel's table of mounts (proc(5), mountinfo).

Reading the table asks no filesystem, so it works for mounts that are dead or do not answer, and from within the process
that serves one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

KIND = "fuse.cosfs"
"""The type of the program's mounts in the table; the C++ tool's have the same."""

_USER = re.compile(rb"(?:^|,)user_id=(\d+)(?:,|$)")


@dataclass(frozen=True)
class MountEntry:
    """``number``: of this mount. ``device``: ``0:MINOR``, the same wherever one filesystem is mounted.

    ``user``: the id of who has mounted it; None for what is no FUSE filesystem.
    """

    number: int
    device: str
    point: str
    kind: str
    source: str
    user: Optional[int] = None


def mounts() -> List[MountEntry]:
    """All mounts that this process sees, oldest first."""
    return parse_mounts(Path("/proc/self/mountinfo").read_bytes())


def parse_mounts(table: bytes) -> List[MountEntry]:
    """The entries of the table's text.

    Of blanks only space, tab and newline are escaped there: others, such as carriage returns, stand in names as they
    are. A source may be empty.
    """
    return [_entry(line) for line in table.split(b"\n") if line]


def _entry(line: bytes) -> MountEntry:
    fields, _, filesystem = line.partition(b" - ")
    number, _, device, _, point = fields.split(b" ")[:5]
    kind, source, options = filesystem.split(b" ")[:3]
    user = _USER.search(options)
    return MountEntry(int(number), device.decode(), unescaped(point), unescaped(kind), unescaped(source),
                      int(user[1]) if user else None)


def unescaped(field: bytes) -> str:
    """A field of this table, or of fstab: blanks, newlines and backslashes stand there as octal escapes."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field))


def mount_at(path: str) -> Optional[MountEntry]:
    """The uppermost mount exactly there; None if there is none.

    A path that the table has as it is asks no filesystem. Others block as long as one on their way takes to answer.
    """
    table = mounts()
    by_name = None if os.pardir in path.split("/") else _uppermost(table, os.path.abspath(path))
    return by_name or _uppermost(table, os.path.realpath(path))


def _uppermost(table: Sequence[MountEntry], point: str) -> Optional[MountEntry]:
    return next((entry for entry in reversed(table) if entry.point == point), None)
