"""Dead mounts of cosfs: which are, and clearing them.

A mount is dead when the process that served it has ended without unmounting: everything there fails with ENOTCONN.
One whose process serves it is not dead, and is not asked: it may take long to answer, or never do.
Used before a mount (cosfs/mount.py) and by ``cosfs umount``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import List

from cosfs.mount_process import serving_process
from cosfs.mount_table import KIND, MountEntry, mount_at

_DETACH = 2
"""MNT_DETACH of umount2(2): at once, whatever is open there."""
_O_PATH = getattr(os, "O_PATH", 0o10000000)
_MOST_LAYERS = 64
"""Dead mounts over one another that are cleared in one go."""
_HELPER_LIMIT_S = 30.0


def is_dead(entry: MountEntry) -> bool:
    """Whether a mount is dead. Blocks as long as it takes to answer where its process is not found."""
    process = serving_process(entry)
    return not (process is not None and process.serves) and _is_cut_off(entry.point)


def _is_cut_off(path: str) -> bool:
    """Whether the path lies in a mount that nobody serves. Blocks as long as one that is served takes to answer.

    (The kernel may know the attributes of its root still; for statvfs(2) it asks.)
    """
    while True:
        try:
            os.statvfs(path)
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
        if found is None or found.kind != KIND or not is_dead(found):
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
        if f"mnt_id:\t{entry.number}\n" not in details or not _is_cut_off(f"/proc/self/fd/{descriptor}"):
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
        if mount_at(entry.point) != entry or not _is_cut_off(entry.point):
            return False
        try:
            done = subprocess.run([*command, "-z", entry.point], check=False, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=_HELPER_LIMIT_S)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def unmount_command() -> List[str]:
    """Begin of the command that unmounts what lies at a path without symbolic links; empty when it is not installed.

    Neither fusermount(1) nor umount(8) with ``-c`` asks the mount, which may not answer. Busybox has no ``-c``.
    """
    if os.geteuid() == 0:
        busybox = os.path.basename(os.path.realpath(shutil.which("umount") or "")) == "busybox"
        return ["umount"] if busybox else ["umount", "-c"]
    return next(([name, "-u"] for name in ("fusermount", "fusermount3") if shutil.which(name)), [])
