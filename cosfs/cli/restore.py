"""``cosfs restore``: have archived files of a mount restored, see how far that is, and wait for it.

It speaks to the mount by the extended attributes ``user.cosfs.storage-class`` and ``user.cosfs.restore``: so it needs
no keys, and whoever may write to a file may have it restored. The mount asks the service, and keeps to its limits.
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
import sys
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Callable, Deque, Iterable, Iterator, List, NoReturn, Optional, Sequence, TypeVar

from cosfs.archive import (
    MAX_DAYS,
    RestoreOrder,
    RestoreTold,
    Tier,
    is_archived,
    parse_restore_header,
    usual_duration,
)
from cosfs.cli.mount import UsageError, reported
from cosfs.cli.pending import printable
from cosfs.cli.restore_wait import wait_for
from cosfs.executor import WorkerPool
from cosfs.mount_table import KIND, mounts

DESCRIPTION = """\
Have archived files of a mount restored: the service makes a copy of each that
can be read, and removes it after some days. That takes time, and costs money:

              Expedited        Standard         Bulk
ARCHIVE       1 to 5 minutes   3 to 5 hours     5 to 12 hours
DEEP_ARCHIVE  -                12 to 24 hours   24 to 48 hours"""
EPILOG = """\
A file that is readable stays so for the days asked for, from now. Setting the
attribute user.cosfs.restore of a file to DAYS or DAYS:TIER does the same.

exit status: 0 when all files are readable or are being restored, with --wait
when all are readable, else 1."""

DEFAULT_DAYS = 7
_AT_ONCE = 16
_AHEAD = 256
"""Files that are dealt with before the result of the first is shown."""

_TIERED = "TIERING"
"""In the names of classes whose objects may be archived without the class telling."""

_CLASS, _RESTORE = "user.cosfs.storage-class", "user.cosfs.restore"

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """What a mount tells of a file. ``failure``: in words, why it does not. ``gone``: and never will."""

    path: str
    storage_class: str = ""
    told: Optional[RestoreTold] = None
    failure: str = ""
    gone: bool = False

    @property
    def archived(self) -> bool:
        """Whether it needs, or needed, a restore; of other classes only a restore that there is tells that."""
        return is_archived(self.storage_class) or self.told is not None

    @property
    def state(self) -> str:
        if not self.archived:
            return "readable" + (", as far as the service tells" if _TIERED in self.storage_class else "")
        if self.told is None:
            return "not restored"
        if self.told.ongoing:
            return "being restored"
        if self.told.expiry_s is None:
            return "readable"
        return time.strftime("readable until %Y-%m-%d %H:%M:%S", time.localtime(self.told.expiry_s))


@dataclass(frozen=True)
class Result:
    """What became of a file: one of the words of ``_COUNTED``. ``text``: the same for a user."""

    path: str
    kind: str
    text: str


_COUNTED = {"started": "restores started", "ongoing": "being restored already", "readable": "readable",
            "plain": "not archived", "failed": "failed"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DAYS):
        raise argparse.ArgumentTypeError(f"{text} is wrong, give a whole number from 1 to {MAX_DAYS}")
    return int(text)


def _tier(text: str) -> Tier:
    try:
        return Tier(text.capitalize())
    except ValueError:
        names = ", ".join(tier.value for tier in Tier)
        raise argparse.ArgumentTypeError(f"{text} is wrong, give one of {names}") from None


def _parser() -> _Parser:
    parser = _Parser(prog="cosfs restore", description=DESCRIPTION, epilog=EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file in a mount; with -r a folder, too")
    parser.add_argument("-r", "--recursive", action="store_true", help="all archived files below a folder")
    parser.add_argument("-d", "--days", metavar="N", type=_days, default=DEFAULT_DAYS,
                        help=f"how long the restored copy stays (default: {DEFAULT_DAYS})")
    parser.add_argument("-t", "--tier", metavar="TIER", type=_tier, choices=tuple(Tier), default=Tier.STANDARD,
                        help="Expedited, Standard or Bulk (default: Standard)")
    parser.add_argument("-w", "--wait", action="store_true", help="return when all files are readable")
    parser.add_argument("-s", "--status", action="store_true", help="change nothing, show class and state")
    return parser


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return reported(lambda: _run(_parser().parse_args(list(argv))))


def _run(options: argparse.Namespace) -> int:
    if options.status and options.wait:
        raise UsageError("--status shows what is so now, and --wait waits; give one of them")
    for path in options.paths:
        _check(path, recursive=options.recursive)
    if options.status:
        return _show(options)
    order = RestoreOrder(options.days, options.tier)
    counts: Counter[str] = Counter()
    waiting: List[str] = []
    for result in _in_order(_files(options.paths, counts), lambda path: _restore(path, order)):
        counts[result.kind] += 1
        if result.kind in ("started", "ongoing"):
            waiting.append(result.path)
        if result.kind == "failed":
            _complain(f"{printable(result.path)}: {result.text}")
        elif not options.recursive:
            print(f"{printable(result.path)}: {result.text}")
    if options.recursive or sum(counts.values()) > 1:
        told = [f"{text}: {counts[kind]}" for kind, text in _COUNTED.items() if counts[kind]]
        print(", ".join(told) or "no files there")
    failed = counts["failed"]
    if options.wait and waiting:
        sys.stdout.flush()
        failed += wait_for(waiting, look, _complain)
    return int(failed > 0)


def _check(path: str, *, recursive: bool) -> None:
    """See that a path is in a mount of cosfs, and no folder. Raises: UsageError."""
    try:
        found = os.stat(path)
    except OSError as exc:
        raise UsageError(f"{path}: {_reason(exc)}") from None
    device = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
    if not any(entry.device == device and entry.kind == KIND for entry in mounts()):
        raise UsageError(f"{path} is in no mount of cosfs; give a file below a mount point, as mount -t {KIND} shows "
                         "them")
    if not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is neither a file nor a folder, and nothing to be restored")
    if stat.S_ISDIR(found.st_mode) and not recursive:
        raise UsageError(f"{path} is a folder; add -r to have all archived files below it restored")


def _show(options: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    for seen in _in_order(_files(options.paths, counts), look):
        if seen.failure:
            counts["failed"] += 1
            _complain(f"{printable(seen.path)}: {seen.failure}")
        elif seen.archived or not options.recursive:
            counts["shown"] += 1
            print(f"{printable(seen.path)}: {seen.storage_class}, {seen.state}")
    if not counts:
        print("no archived files there")
    return int(counts["failed"] > 0)


def _files(paths: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    """The files that are named, and all below the folders that are; what cannot be listed is told, and counted."""
    def unlisted(exc: OSError) -> None:
        counts["failed"] += 1
        _complain(f"{printable(str(exc.filename))}: {_reason(exc)}")

    for path in map(_without_links, paths):
        if not os.path.isdir(path):
            yield path
            continue
        for folder, _, names in os.walk(path, onerror=unlisted):
            yield from (os.path.join(folder, name) for name in names)


def _without_links(path: str) -> str:
    return os.path.realpath(path) if os.path.islink(path) else path


def _in_order(paths: Iterable[str], work: Callable[[str], Optional[T]]) -> Iterator[T]:
    """What ``work`` makes of the paths, several at a time; None is left out."""
    pool = WorkerPool("cosfs-restore", _AT_ONCE, queue=_AT_ONCE)
    futures: Deque[Future[Optional[T]]] = deque()
    try:
        for path in paths:
            futures.append(pool.submit(work, path))
            while len(futures) > _AHEAD or (futures and futures[0].done()):
                result = futures.popleft().result()
                if result is not None:
                    yield result
        for future in futures:
            result = future.result()
            if result is not None:
                yield result
    finally:
        pool.close()


def look(path: str) -> Optional[Seen]:
    """What the mount tells of a file now; None for what is no regular file."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        storage_class = os.getxattr(path, _CLASS).decode()
        told = _told(path) if is_archived(storage_class) or _TIERED in storage_class else None
        return Seen(path, storage_class, told)
    except OSError as exc:
        return Seen(path, failure=_reason(exc), gone=exc.errno in _FOR_EVER)


def _told(path: str) -> Optional[RestoreTold]:
    """What the service tells of a restore; one request of the mount. Raises: OSError."""
    try:
        return parse_restore_header(os.getxattr(path, _RESTORE).decode())
    except OSError as exc:
        if exc.errno == errno.ENODATA:
            return None
        raise


def _restore(path: str, order: RestoreOrder) -> Optional[Result]:
    seen = look(path)
    if seen is None:
        return None
    if seen.failure:
        return Result(path, "failed", seen.failure)
    what = seen.storage_class
    if not seen.archived and _TIERED not in what:
        return Result(path, "plain", f"not archived ({what}), it can be read as it is")
    if seen.told is not None and seen.told.ongoing:
        return Result(path, "ongoing", f"being restored already ({what})")
    duration = usual_duration(what, order.tier)
    if duration is None:
        return Result(path, "failed", f"{what} knows no tier {order.tier.value}; give Standard or Bulk")
    try:
        os.setxattr(path, _RESTORE, str(order).encode())
    except OSError as exc:
        return Result(path, "failed", _reason(exc))
    days = f"{order.days} day{'' if order.days == 1 else 's'}"
    if seen.told is not None:
        return Result(path, "readable", f"readable, and kept so for {days} from now")
    return Result(path, "started", f"restore started, which by {order.tier.value} usually takes {duration} ({what}); "
                                   f"readable for {days} then")


_FOR_EVER = (errno.ENOENT, errno.ENOTDIR, errno.ENOTCONN)
_REASONS = {
    errno.ENOENT: "does not exist",
    errno.EACCES: "refused: the file, or the keys of the mount, do not allow it; its log says more",
    errno.EROFS: "the mount is read-only; mount it without ro or snapshot=, or with restore=DAYS and open the file",
    errno.ENODATA: "the mount tells no storage class: the file is not stored yet, or it is mounted with noxattr",
    errno.EOPNOTSUPP: "the service does not restore this file; the log of the mount says more",
    errno.ENOTCONN: "the mount is dead; clear it with: fusermount -uz MOUNTPOINT",
    errno.EISDIR: "is a folder",
}


def _reason(exc: OSError) -> str:
    return _REASONS.get(exc.errno or 0) or f"{exc.strerror}; the log of the mount says more"


def _complain(text: str) -> None:
    print(f"cosfs: {text}", file=sys.stderr)
