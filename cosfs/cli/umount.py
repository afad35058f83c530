"""``cosfs umount``: unmount, and see the mount's process to its end.

umount(8) and fusermount(1) return when the kernel has let the mount go; in writeback mode files may then still be on
their way into the bucket. This command shows them going, and tells by its exit status whether all have arrived.
"""

from __future__ import annotations

import argparse
import os
import pwd
import subprocess
import sys
import time
from typing import List, NoReturn, Optional, Sequence

from cosfs.cli.mount import UsageError, reported
from cosfs.cli.values import seconds
from cosfs.dead_mounts import detach_dead, is_dead, unmount_command
from cosfs.errors import CosfsError
from cosfs.filesystem import Listed, files_in_journal
from cosfs.mount_process import Process, mounted_elsewhere, serving_process, users_of
from cosfs.mount_table import KIND, MountEntry, mount_at, mounts

DESCRIPTION = """\
Unmount a mount of cosfs and wait until its process has ended: files that a
mount with the option writeback has promised are then in the bucket."""
EPILOG = """\
exit status: 0 when it is unmounted and nothing remains to be uploaded, else 1.
A mount that is in use is left as it is."""

_COMMAND_LIMIT_S = 60.0
_SHOWN_USERS = 5
_SILENT_S = 5.0
"""So long nothing is said of a process that ends without anything to upload."""
_TERMINAL_S, _LINES_S = 0.5, 5.0
"""How often progress is shown on a terminal, and elsewhere."""


class UnmountError(CosfsError):
    """It is not unmounted, or files remain; the message says which."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _seconds(text: str) -> float:
    try:
        return float(seconds(0).parse(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is wrong, give {seconds(0).allowed}") from None


def _parser() -> _Parser:
    parser = _Parser(prog="cosfs umount", description=DESCRIPTION, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("point", metavar="MOUNTPOINT")
    parser.add_argument("-t", "--timeout", metavar="SECONDS", type=_seconds,
                        help="longest wait for the end of the process, which goes on after that; default: no limit")
    return parser


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return reported(lambda: _run(_parser().parse_args(list(argv))))


def _run(options: argparse.Namespace) -> int:
    return _unmount(options.point, options.timeout)


def _unmount(path: str, limit_s: Optional[float]) -> int:
    entry = _find(path)
    os.chdir("/")  # a command that was started in the mount must not itself keep it in use
    dead = is_dead(entry)
    process = None if dead else serving_process(entry)
    journal = process.journal_folder() if process else None
    waiting = _waiting(journal)
    if not (dead and detach_dead(entry)):
        _detach(entry)
    if dead:
        print(f"cosfs: {path} was a dead mount: its process had ended before; what it had promised by writeback and "
              "not uploaded, the next mount uploads", file=sys.stderr)
    elif process is None:
        print(f"cosfs: {path} is unmounted; the process that served it was not found, and not waited for",
              file=sys.stderr)
    elif not any(other.device == entry.device for other in mounts()):
        _see_to_its_end(path, entry, process, journal, waiting, limit_s)
    return 0


def _find(path: str) -> MountEntry:
    """The mount of cosfs there. Raises: UsageError."""
    entry = mount_at(path)
    if entry is not None and entry.kind == KIND:
        return entry
    what = f"a mount of type {entry.kind}" if entry else "no mount point"
    known = [other.point for other in mounts() if other.kind == KIND]
    there = f"mounts of cosfs are: {', '.join(known)}" if known else "there are no mounts of cosfs here"
    if entry is None and not os.path.lexists(path):
        what = "not there"
    raise UsageError(f"{path} is {what}, so it is not unmounted; {there}")


def _detach(entry: MountEntry) -> None:
    """Unmount. Raises: UnmountError."""
    command = unmount_command()
    if not command:
        raise UnmountError("fusermount is not installed, without which only root can unmount; install it with: "
                           "apt-get install fuse3")
    try:
        done = subprocess.run([*command, entry.point], check=False, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", env={**os.environ, "LC_ALL": "C"}, timeout=_COMMAND_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise UnmountError(f"{entry.point} is not unmounted: {command[0]} has not ended within {_COMMAND_LIMIT_S:g} s, "
                           "perhaps because the service does not answer; see the mount's log") from None
    if done.returncode == 0:
        return
    reason = (done.stderr.strip() or f"{command[0]} ended with status {done.returncode}").splitlines()[-1]
    if "busy" in reason:
        raise UnmountError(_busy(entry.point))
    if entry.user is not None and os.geteuid() not in (0, entry.user):  # fusermount misses it in /etc/mtab
        raise UnmountError(f"{entry.point} is not unmounted: it was mounted by {_user_name(entry.user)}; unmount it as "
                           "that user, or as root")
    raise UnmountError(f"{entry.point} cannot be unmounted: {reason}")


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _busy(point: str) -> str:
    users = users_of(point)
    if not users:
        remedy = "wait a moment and try again" if os.geteuid() == 0 else "root can see by whom: sudo cosfs umount"
        return f"{point} is in use, and nobody is seen to use it; {remedy}"
    more = f" and {len(users) - _SHOWN_USERS} more" if len(users) > _SHOWN_USERS else ""
    return f"{point} is in use by {', '.join(users[:_SHOWN_USERS])}{more}; end that and try again"


def _see_to_its_end(path: str, entry: MountEntry, process: Process, journal: Optional[str], left: Sequence[Listed],
                    limit_s: Optional[float]) -> None:
    """Wait, showing what is left. Raises: UnmountError, when the time is over or files remain."""
    progress = _Progress()
    began_s = time.monotonic()
    ended = False
    while not ended:
        used_s = time.monotonic() - began_s
        progress.show(left, used_s, mounted_elsewhere(entry) if used_s >= _SILENT_S else None)
        if limit_s is not None and used_s >= limit_s:
            progress.end()
            what = f": {_amount(left)} still to be uploaded" if left else ""
            raise UnmountError(f"{path} is unmounted, but after {limit_s:g} s its process {process.pid} has not ended; "
                               f"it goes on{what}")
        ended = process.wait(progress.interval_s if limit_s is None else min(progress.interval_s, limit_s - used_s))
        left = _waiting(journal)
    progress.end()
    if left:
        reason = f" ({left[0].failure})" if left[0].failure else ""
        raise UnmountError(f"{path} is unmounted, but {_amount(left)} could not be uploaded{reason}; the next mount "
                           "here, or cosfs recover, goes on with that")
    progress.done()


def _waiting(journal: Optional[str]) -> List[Listed]:
    """What is left in the journal of the mount, which goes with its process. Raises: CosfsError."""
    return [] if journal is None else files_in_journal(journal)


def _amount(left: Sequence[Listed]) -> str:
    size_bytes: float = sum(file.size_bytes for file in left)
    unit = "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size_bytes < 1024:
            break
        size_bytes, unit = size_bytes / 1024, larger
    number = f"{size_bytes:.0f}" if unit == "bytes" else f"{size_bytes:.1f}"
    return f"{len(left)} {'file' if len(left) == 1 else 'files'} ({number} {unit})"


class _Progress:
    """What is left, on standard error: one line that changes on a terminal, else a line each time."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self.interval_s = _TERMINAL_S if self._terminal else _LINES_S
        self._shown = ""
        self._had_files = False

    def show(self, left: Sequence[Listed], used_s: float, elsewhere: Optional[str]) -> None:
        """``elsewhere``: who keeps it mounted in another mount namespace."""
        self._had_files |= bool(left)
        text = f"{_amount(left)} still to be uploaded" if left else "waiting for the mount's process to end"
        text += f": it is still mounted in the mount namespace of {elsewhere}" if elsewhere else ""
        if text == self._shown or not (left or self._had_files or used_s >= _SILENT_S):
            return
        self._shown = text
        print(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr,
              flush=True)

    def end(self) -> None:
        if self._terminal and self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        if self._had_files:
            print("all files are uploaded", file=sys.stderr)
