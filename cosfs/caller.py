"""Why the kernel asks for a name's attributes: the system call that the caller is blocked in.

FUSE does not say whether a lookup serves stat(2), open(2) or unlink(2), but the thread that asked waits for
our answer inside its system call, and ``/proc/<tid>/syscall`` (proc(5)) tells which one that is. Where it may
not be read (another user's process without CAP_SYS_PTRACE, another PID namespace, no Linux) nothing is known.

Blocking: one read of procfs, some 15 µs; made only when the answer saves a request.
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


def purpose_of(tid: int) -> Purpose:
    """What the thread wants of the name that it is asking for."""
    if tid <= 0 or not _NUMBERS:
        return Purpose.UNKNOWN
    try:
        with open(f"/proc/{tid}/syscall", "rb", buffering=0) as file:
            number = file.read(32).split(b" ", 1)[0]
    except OSError:
        return Purpose.UNKNOWN
    return _NUMBERS.get(int(number), Purpose.OTHER) if number.isdigit() else Purpose.UNKNOWN
