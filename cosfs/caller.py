"""Why the kernel asks: the system call that the caller is blocked in, and what else its process has open.

FUSE does not say whether a lookup serves stat(2), open(2) or unlink(2), but the thread that asked waits for
our answer inside its system call, and ``/proc/<tid>/syscall`` (proc(5)) tells which one that is. Where it may
not be read (another user's process without CAP_SYS_PTRACE, another PID namespace, no Linux) nothing is known.
A call that removes ``a/b`` looks up ``a`` too, which may be a symbolic link that has to be seen as one: so its
argument is read (``/proc/<tid>/mem``) to see which name is to go.

When a file is closed, FUSE does not say whether that was the last descriptor of it; ``/proc/<tid>/fd`` does.

Blocking: one read of procfs or two, some 15 µs each, or one for each open descriptor; made only when the answer saves a
request.
"""

from __future__ import annotations

import os
import platform
from itertools import islice

from cosfs.filesystem.types import Purpose

_REMOVE, _OPEN = Purpose.REMOVE, Purpose.OPEN
_CALLS = {
    # unlink, unlinkat; open, creat, openat, openat2 (the kernel's syscall_64.tbl)
    "x86_64": {87: _REMOVE, 263: _REMOVE, 2: _OPEN, 85: _OPEN, 257: _OPEN, 437: _OPEN},
    # unlinkat; openat, openat2 (the kernel's asm-generic/unistd.h)
    "aarch64": {35: _REMOVE, 56: _OPEN, 437: _OPEN},
}
_NUMBERS = _CALLS.get(platform.machine(), {})
_UNLINK = 87
"""Takes the path as its first argument, unlinkat as its second. No other call has this number on the machines above."""

_MOST_DESCRIPTORS = 1000

_PATH_BYTES = 4096
"""PATH_MAX (limits.h)."""


def purpose_of(tid: int, name: str) -> Purpose:
    """What the thread wants of ``name``, the last component of the path that it is asking for."""
    if tid <= 0 or not _NUMBERS:
        return Purpose.UNKNOWN
    try:
        with open(f"/proc/{tid}/syscall", "rb", buffering=0) as file:
            number, *arguments = file.read(256).split()
        if not number.isdigit():
            return Purpose.UNKNOWN
        purpose = _NUMBERS.get(int(number), Purpose.OTHER)
        if purpose is _REMOVE and not _ends_in(tid, int(arguments[int(number) != _UNLINK], 16), name):
            return Purpose.OTHER
        return purpose
    except OSError:
        return Purpose.UNKNOWN


def holds_open(tid: int, path: str) -> bool:
    """Whether the thread's process has a descriptor that may write to the file at ``path``, as this process sees it.

    One that is being closed is none any more. False, too, where that cannot be seen, and of processes with more than
    ``_MOST_DESCRIPTORS``.
    """
    folder = f"/proc/{tid}/fd"
    try:
        with os.scandir(folder) as entries:
            numbers = [entry.name for entry in islice(entries, _MOST_DESCRIPTORS + 1)]
    except OSError:
        return False
    return len(numbers) <= _MOST_DESCRIPTORS and any(_leads_to(f"{folder}/{number}", path)
                                                     and _may_write(tid, number) for number in numbers)


def _leads_to(link: str, path: str) -> bool:
    try:
        return os.readlink(link) == path
    except OSError:  # closed meanwhile, by another thread
        return False


def _may_write(tid: int, number: str) -> bool:
    """By the flags in ``/proc/<tid>/fdinfo`` (proc(5)), which are octal."""
    try:
        with open(f"/proc/{tid}/fdinfo/{number}", "rb", buffering=0) as file:
            fields = dict(line.split(b":", 1) for line in file.read(4096).splitlines() if b":" in line)
    except OSError:
        return False
    return int(fields[b"flags"], 8) & os.O_ACCMODE != os.O_RDONLY


def _ends_in(tid: int, address: int, name: str) -> bool:
    """Whether the path in the thread's memory has the name as its last component, and only there. Raises: OSError."""
    with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        *on_the_way, last = memory.read(_PATH_BYTES).partition(b"\0")[0].split(b"/")
    wanted = name.encode("utf-8", "surrogateescape")
    return last == wanted and wanted not in on_the_way
