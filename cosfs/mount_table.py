"""The kernel's table of mounts (proc(5), mountinfo), and clearing dead mounts of cosfs from it.

Reading the table asks no filesystem, so it works for mounts that are dead, and from within the process that serves one.
A mount is dead when the process that served it has ended without unmounting: everything there fails with ENOTCONN.
Used before a mount (cosfs/mount.py) and by ``cosfs umount``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

KIND = "fuse.cosfs"
"""The type of the program's mounts in the table; the C++ tool's have the same."""

_DETACH = 2
"""MNT_DETACH of umount2(2): at once, whatever is open there."""
_O_PATH = getattr(os, "O_PATH", 0o10000000)
_MOST_LAYERS = 64
"""Dead mounts over one another that are cleared in one go."""
_HELPER_LIMIT_S = 30.0
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
    """The uppermost mount exactly there; None if there is none."""
    real = os.path.realpath(path)
    return next((entry for entry in reversed(mounts()) if entry.point == real), None)


def is_dead(path: str) -> bool:
    """Whether the path lies in a dead mount. Blocks as long as a living one takes to answer."""
    while True:
        try:
            os.stat(path)
        except OSError as exc:
            if exc.errno == errno.ECONNABORTED:  # it has died while it was asked
                continue
            return exc.errno == errno.ENOTCONN
        return False


def clear_dead_mounts(path: str) -> bool:
    """Unmount the dead mounts of cosfs exactly there, and no other; returns whether there were any.

    What cannot be cleared stays, and so does a mount that somebody else has made meanwhile.
    """
    cleared = False
    for _ in range(_MOST_LAYERS):
        found = mount_at(path)
        if found is None or found.kind != KIND or not is_dead(path):
            break
        if not detach_dead(found):
            break
        cleared = True
    return cleared


def detach_dead(entry: MountEntry) -> bool:
    """Unmount a dead mount, from under those too who still use it; returns whether it was this one and it is gone."""
    return _detach(entry) if os.geteuid() == 0 else _detach_by_helper(entry)


def _detach(entry: MountEntry) -> bool:
    """Root's way: a descriptor holds the mount, so that exactly this one goes, whatever comes to lie over it."""
    try:
        descriptor = os.open(entry.point, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        details = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        if f"mnt_id:\t{entry.number}\n" not in details or not is_dead(f"/proc/self/fd/{descriptor}"):
            return False
        return int(ctypes.CDLL(None).umount2(f"/proc/self/fd/{descriptor}".encode(), _DETACH)) == 0
    finally:
        os.close(descriptor)


def _detach_by_helper(entry: MountEntry) -> bool:
    """Other users' way: the helper takes a path. Two mounts that start at once take turns at the folder above it."""
    command = unmount_command()
    if not command:
        return False
    with ExitStack() as stack:
        try:
            above = os.open(os.path.dirname(entry.point), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a folder that may be passed but not read: nobody can take turns there
            pass
        else:
            stack.callback(os.close, above)
            fcntl.flock(above, fcntl.LOCK_EX)
        if mount_at(entry.point) != entry or not is_dead(entry.point):
            return False
        try:
            done = subprocess.run([*command, "-z", entry.point], check=False, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=_HELPER_LIMIT_S)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def unmount_command() -> List[str]:
    """Begin of the command that unmounts for this user; empty when it is not installed."""
    if os.geteuid() == 0:
        return ["umount"]
    return next(([name, "-u"] for name in ("fusermount", "fusermount3") if shutil.which(name)), [])
