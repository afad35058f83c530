"""Why the kernel asks for a name's attributes: the system call that the caller is blocked in.

FUSE does not say whether a lookup serves stat(2), open(2) or unlink(2), but the thread that asked waits for
our answer inside its system call, and ``/proc/<tid>/syscall`` (proc(5)) tells which one that is. Where it may
not be read (another user's process without CAP_SYS_PTRACE, another PID namespace, no Linux) nothing is known.
A call that removes ``a/b`` looks up ``a`` too, which may be a symbolic link that has to be seen as one: so its
argument is read (``/proc/<tid>/mem``) to see which name is to go.

Blocking: one read of procfs or two, some 15 µs each; made only when the answer saves a request.
"""

from __future__ import annotations

import platform

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


def _ends_in(tid: int, address: int, name: str) -> bool:
    """Whether the path in the thread's memory has the name as its last component, and only there. Raises: OSError."""
    with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        *on_the_way, last = memory.read(_PATH_BYTES).partition(b"\0")[0].split(b"/")
    wanted = name.encode("utf-8", "surrogateescape")
    return last == wanted and wanted not in on_the_way
