"""The process that serves a mount, and the processes that use one, found by proc(5).

The serving process carries the number of its filesystem in its name (``announce``): ``cosfs 57`` is the one of the
mounts whose device is 0:57. So it is found from outside, by any user, and nothing is left over when it is killed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from cosfs.mount_table import MountEntry, mounts, parse_mounts

log = logging.getLogger(__name__)

_PROC = Path("/proc")
_NAME = "cosfs {}"
_POLL_S = 0.05
_JOURNAL = re.compile(r"(.*/writeback-[^/]*)/journal-[^/]*\.sqlite3")
_UID = re.compile(r"^Uid:\s+(\d+)", re.MULTILINE)
_WHAT = {"cwd": "its current folder", "root": "its root folder", "exe": "its program"}


def announce(real_point: str) -> None:
    """Name this process after the mount there, which the kernel has already.

    Asks nothing of the mount, whose first request is being answered. ``real_point``: without symbolic links.
    """
    found = next((entry for entry in reversed(mounts()) if entry.point == real_point), None)
    try:
        if found is not None:
            (_PROC / "self" / "comm").write_text(_name(found))
    except OSError as exc:
        log.debug("this process cannot be renamed: %s", exc)


def _name(entry: MountEntry) -> str:
    return _NAME.format(entry.device.partition(":")[2])


@dataclass(frozen=True)
class Process:
    """``started``: the kernel's time of its start, by which it is told from a later one of its number."""

    pid: int
    started: str

    @property
    def lives(self) -> bool:
        found = _state(self.pid)
        return found is not None and found[1] == self.started and found[0] not in "ZX"

    @property
    def serves(self) -> bool:
        """Whether it has the FUSE device open. One that is ending, or has lost its mount, has not; False for another
        user's process."""
        return any(target.endswith("/fuse") for _, target in _links(self.pid, "fd"))

    def wait(self, limit_s: float) -> bool:
        """Block until it has ended, or the limit is over; returns whether it has.

        It is no child of ours, and pidfd_open(2) is missing in kernels before 5.3: so it is looked at repeatedly.
        """
        end_s = time.monotonic() + limit_s
        while self.lives:
            remaining_s = end_s - time.monotonic()
            if remaining_s <= 0:
                return False
            time.sleep(min(_POLL_S, remaining_s))
        return True

    def journal_folder(self) -> Optional[str]:
        """Folder of the journal of writeback mode that it has open; None without one, or for another user's process."""
        found = (_JOURNAL.fullmatch(target) for _, target in _links(self.pid, "fd"))
        return next((match[1] for match in found if match), None)


def _state(pid: int) -> Optional[Tuple[str, str]]:
    """State and start time (proc(5), /proc/PID/stat); the name before them may hold blanks and brackets."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]


def _user(pid: int) -> Optional[int]:
    """Who runs a process. The owner of its folder in /proc is root for one that may not be traced."""
    try:
        found = _UID.search((_PROC / str(pid) / "status").read_text(errors="replace"))
    except OSError:
        return None
    return int(found[1]) if found else None


def serving_process(entry: MountEntry) -> Optional[Process]:
    """The process that serves a mount; None when it is dead, or served by a program that does not say so.

    It is one of the user who has mounted: others may give their processes any name.
    """
    found = []
    for pid in _pids():
        state = _state(pid) if _command(pid) == _name(entry) and _user(pid) == entry.user else None
        if state is not None:
            found.append(Process(pid, state[1]))
    # an older one had that number before, lost its mount, and still stores what waits
    return max(found, key=lambda process: int(process.started), default=None)


def users_of(point: str) -> List[str]:
    """Whoever keeps a mount from being unmounted, as ``NAME (process PID: what it uses)``, and mounts inside it.

    Processes of other users can be seen by root only.
    """
    found = [f"the mount on {entry.point}" for entry in mounts() if entry.point.startswith(point + "/")]
    for pid in _pids():
        what = next(_uses(pid, point), None)
        if what is not None:
            found.append(f"{_command(pid)} (process {pid}: {what})")
    return found


def mounted_elsewhere(entry: MountEntry) -> Optional[str]:
    """A process in whose mount namespace a filesystem is still mounted that is not in ours, as ``NAME (process PID)``.

    A container, or a service with a view of its own, that was started while it was mounted. None when there is none, or
    it is another user's.
    """
    seen = set()
    for pid in _pids():
        try:
            space = os.readlink(_PROC / str(pid) / "ns" / "mnt")
            table = b"" if space in seen else (_PROC / str(pid) / "mountinfo").read_bytes()
        except OSError:
            continue
        seen.add(space)
        if any(other.device == entry.device for other in parse_mounts(table)):
            return f"{_command(pid)} (process {pid})"
    return None


def _uses(pid: int, point: str) -> Iterator[str]:
    for name, target in (*_links(pid, ""), *_links(pid, "fd"), *_mappings(pid)):
        if target == point or target.startswith(point + "/"):
            yield _WHAT.get(name, target)


def _links(pid: int, folder: str) -> Iterator[Tuple[str, str]]:
    """Names and targets of the symbolic links of a process; none for one that is gone or may not be looked at."""
    place = _PROC / str(pid) / folder
    try:
        names = os.listdir(place) if folder else list(_WHAT)
    except OSError:
        return
    for name in names:
        try:
            yield name, os.readlink(place / name)
        except OSError:
            continue


def _mappings(pid: int) -> Iterator[Tuple[str, str]]:
    try:
        lines = (_PROC / str(pid) / "maps").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) == 6:
            yield "", fields[5]


def _pids() -> List[int]:
    return sorted(int(name) for name in os.listdir(_PROC) if name.isdigit())


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return "a process"
