"""Programs that walk all folders of a machine to index them, kept out of the mount (``scanner_guard=``).

Listing a bucket costs a request for each folder and each thousand names, and what such a program makes of it serves
nobody. So folders do not open to it: EACCES, which these programs know from folders of other users. An empty folder
would be a lie: an index would forget files, and a program that was taken for another one might remove its copies.

``ScannerGuard`` is asked once for each folder that is opened, by the FUSE operation opendir, and by nothing else. The
name of the caller's program tells whether it is one (``comm`` in proc(5), which the kernel cuts at 15 bytes), or the
name of what has started it: an updatedb may be a shell script that runs find. Of threads the program's name counts, not
their own. Callers out of sight (another PID namespace, a procfs that hides processes) are let in.

Blocking: one read of procfs, some 12 us, for a caller that has opened a folder before; a few for a new one.
Threading: any thread. Memory: some 200 bytes for each of ``_CALLERS`` callers.
"""

from __future__ import annotations

import logging
import os
from typing import Dict, Iterable, NamedTuple, Optional

from cosfs.errors import KeptOut
from cosfs.metrics import Refusals
from cosfs.updatedb_conf import CONFIGURATION, MOUNT_TYPE, passed_over

log = logging.getLogger(__name__)

_NAME_BYTES = 15
"""TASK_COMM_LEN of the kernel, less the NUL."""
_PARENTS = 4
"""Processes between the script and what walks: find, of a shell, of su, of the script's pipeline, of the script."""
_CALLERS = 256
"""Threads whose programs are known; beyond that all are looked at anew."""
_READ_BYTES = 1024
_PARENT, _STARTED = 1, 19
"""Positions in /proc/ID/stat behind the name: ppid, and starttime in clock ticks since the machine started."""


class _Process(NamedTuple):
    """What /proc/ID/stat tells of a process, or of a thread."""

    name: bytes
    parent: int
    started: bytes


class _Known(NamedTuple):
    """``process``: which one had that number; ``scanner``: the name that it was recognised by."""

    process: _Process
    scanner: Optional[str]


class ScannerGuard:
    """``names``: of programs. ``refusals``: counts them.

    ``mount_point``: without symbolic links, for what the log says; it is not looked at, as that would ask ourselves.
    """

    def __init__(self, names: Iterable[str], refusals: Refusals, mount_point: str) -> None:
        self._names = {name.encode("utf-8", "surrogateescape")[:_NAME_BYTES]: name for name in names}
        self._refusals = refusals
        self._mount_point = mount_point
        self._known: Dict[int, _Known] = {}

    def admit(self, tid: int, path: str) -> None:
        """See who opens the folder. Raises: KeptOut."""
        scanner = self._scanner(tid)
        if scanner is None:
            return
        if self._refusals.add(scanner) == 1:
            self._tell(scanner)
        raise KeptOut(f"{path}: {scanner} is kept out")

    def _tell(self, scanner: str) -> None:
        remedy = f"take that folder out of its settings, or let it in by scanner_guard=-{scanner}"
        if scanner.startswith("updatedb"):
            try:
                covered = passed_over(self._mount_point)
            except OSError:  # there is none
                covered = None
            if covered is not None:  # plocate's opens the mount's own folder before it looks at that
                log.info("%s has opened %s, and will not list it: %s", scanner, self._mount_point, covered)
                return
            remedy = f"have it pass such mounts over: add {MOUNT_TYPE} to PRUNEFS in {CONFIGURATION}"
        log.warning("%s is kept out of %s, where it would cost requests for each folder; %s (said once)", scanner,
                    self._mount_point, remedy)

    def _scanner(self, tid: int) -> Optional[str]:
        """The name in the list that the thread's program has, or what has started it; None: not one of them."""
        if tid <= 0:
            return None
        try:
            process = _process(tid)
            known = self._known.get(tid)
            # a number may belong to another thread by now, and a process may have become another program
            if known is None or known.process != process:
                known = _Known(process, self._recognised(tid, process))
                if len(self._known) >= _CALLERS:
                    self._known = {}
                self._known[tid] = known
        except (OSError, ValueError, IndexError):  # it has ended, or cannot be seen
            return None
        return known.scanner

    def _recognised(self, tid: int, process: _Process) -> Optional[str]:
        """Raises: OSError, ValueError, IndexError."""
        leader = _leader(tid)
        if leader != tid:
            process = _process(leader)
        for _ in range(_PARENTS):
            if process.name in self._names or process.parent <= 1:
                break
            try:
                process = _process(process.parent)
            except OSError:  # it has ended, or is another user's and hidden
                break
        return self._names.get(process.name)


def _process(number: int) -> _Process:
    """Of a process or a thread. Raises: OSError, ValueError, IndexError."""
    head, _, tail = _read(number, "stat").rpartition(b") ")
    fields = tail.split()
    return _Process(head.partition(b" (")[2], int(fields[_PARENT]), fields[_STARTED])


def _leader(tid: int) -> int:
    """The process that a thread belongs to. Raises: OSError, ValueError, IndexError."""
    return int(_read(tid, "status").partition(b"\nTgid:")[2].split(None, 1)[0])


def _read(number: int, name: str) -> bytes:
    """The beginning of a file of procfs. Raises: OSError."""
    descriptor = os.open(f"/proc/{number}/{name}", os.O_RDONLY)  # a file object would cost as much again
    try:
        return os.read(descriptor, _READ_BYTES)
    finally:
        os.close(descriptor)
