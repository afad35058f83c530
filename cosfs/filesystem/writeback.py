"""Writeback mode: files that were promised (writeback_journal.py) go into the bucket behind their programs.

``accept`` is what fsync and close do in this mode. A file that was accepted stays in the open-file table until it is
stored, whether it has a handle or not, so it is shown and read as it is. It leaves after a delay: what is rewritten,
renamed or removed at once costs one request or none. One that fails is tried again, at growing intervals, until it
succeeds or the mount ends; then it stays in the journal, for the next mount.

What has been changed since, and not closed or synced, is left for a while: the bucket should not get it half done.

Space for staged bytes that runs out is made by uploads, which need no delay then, as long as one of them succeeds.

Threading: any thread. One thread of its own looks what is due, a pool stores it. Lock order: mutation lock of a file,
then the open-file table, then ``_changed``.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from cosfs.errors import CosfsError, NetworkError, ObjectExists, RequestTimeout, StagingFailed, StagingFull, StaleHandle
from cosfs.executor import WorkerPool
from cosfs.filesystem.context import Context
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.table import OpenFileTable
from cosfs.filesystem.writeback_journal import files_wait

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Between tries of one file; each try has the client's own retries."""

_AT_ONCE = 0.0
"""Due since always."""

_BUSY_S = 0.5
"""So long a file is waited for that somebody works on; others are stored meanwhile."""

_CHANGING_S = 30.0
"""So long a file that is being changed is left."""


@dataclass
class _Waiting:
    """``failures``: in a row. ``cause``: what the log was told last."""

    file: OpenFile
    since_s: float
    failures: int = 0
    cause: str = ""


@dataclass(frozen=True)
class WaitingFile:
    """A file that is safe here, and not in the bucket yet. ``cause``: why it could not be stored, "" for no reason."""

    file: OpenFile
    age_s: float
    failures: int
    cause: str


class Writeback:
    def __init__(self, context: Context, table: OpenFileTable, delay_s: float, *,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._table = table
        self._delay_s = delay_s
        self._clock = clock
        self._workers = context.config.parallel_parts
        self._pool = WorkerPool("cosfs-behind", self._workers, queue=1)
        self._changed = threading.Condition()
        self._waiting: Dict[OpenFile, _Waiting] = {}
        self._due: List[Tuple[float, int, _Waiting]] = []
        """A heap; those that are being stored are not in it."""
        self._numbers = itertools.count()
        self._running = 0
        self._thread: Optional[threading.Thread] = None
        self._stopping = False
        self._unreachable = False
        """Whether the last try ended without an answer."""
        self._unkept = ""
        context.staging.add_relief(self)

    def accept(self, file: OpenFile) -> None:
        """Have a file safe, here or in the bucket. Raises: what keeps it from both."""
        with file.settled():
            if not file.dirty or file.all_promised:
                return
            if not (file.content_dirty or file.promised) or not self._promise(file):
                file.commit()
                return
            with self._changed:
                if file not in self._waiting:
                    waiting = self._waiting[file] = _Waiting(file, self._clock())
                    self._schedule_locked(waiting, waiting.since_s + self._delay_s)
                if self._thread is None and not self._stopping:
                    self._thread = threading.Thread(target=self._run, name="cosfs-writeback", daemon=True)
                    self._thread.start()

    def _promise(self, file: OpenFile) -> bool:
        try:
            return file.promise()
        except (StagingFull, StagingFailed) as exc:
            if self._unkept != str(exc):
                log.warning("%s, and others maybe, are stored before their close returns: %s", file.path, exc)
                self._unkept = str(exc)
            return False

    def keeps(self, file: OpenFile) -> bool:
        """Whether a file that was closed is still needed."""
        with self._changed:
            return file in self._waiting

    def told(self) -> List[WaitingFile]:
        """What waits, in the order in which it was promised."""
        with self._changed:
            now_s = self._clock()
            return [WaitingFile(waiting.file, now_s - waiting.since_s, waiting.failures, waiting.cause)
                    for waiting in self._waiting.values()]

    @property
    def in_flight(self) -> bool:
        """See ``staging.Relief``."""
        with self._changed:
            return any(not waiting.failures and not waiting.file.starved for waiting in self._waiting.values())

    def give_up_sent(self) -> int:
        """See ``staging.Relief``: nothing at once, but what is to be stored is stored now."""
        with self._changed:
            now_s = self._clock()
            if any(due_s > now_s and not waiting.failures for due_s, _, waiting in self._due):
                self._due = [(due_s if waiting.failures else _AT_ONCE, number, waiting)
                             for due_s, number, waiting in self._due]
                heapq.heapify(self._due)
                self._changed.notify_all()
        return 0

    def settle(self) -> None:
        """Wait until nothing waits but what has failed."""
        self.give_up_sent()
        with self._changed:
            self._changed.wait_for(lambda: all(waiting.failures for waiting in self._waiting.values()))

    def stop(self) -> None:
        """Store all that waits, each file once more, and end the threads. What fails stays in the journal."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        with self._changed:
            left = [waiting for _, _, waiting in sorted(self._due)]
            self._due = []
        if left:
            log.info("%s for the upload that unmounting brings", files_wait(len(left)))
        for waiting in left:
            self._pool.submit(self._store_last, waiting)
        self._pool.close()
        with self._changed:
            self._waiting = {file: waiting for file, waiting in self._waiting.items() if file.promised}
            count = len(self._waiting)
        journal = self._context.journal
        if count and journal is not None:
            log.error("%s in %s; the next mount of the bucket here, or cosfs recover, goes on with that",
                      files_wait(count), journal.folder)
        self._context.staging.remove_relief(self)

    def _store_last(self, waiting: _Waiting) -> None:
        """A service that does not answer at all is not asked for each file."""
        with self._changed:
            unreachable = self._unreachable
        if not unreachable:
            self._store(waiting)

    def _schedule_locked(self, waiting: _Waiting, due_s: float) -> None:
        heapq.heappush(self._due, (due_s, next(self._numbers), waiting))
        self._changed.notify_all()

    def _run(self) -> None:
        with self._changed:
            while not self._stopping:
                now_s = self._clock()
                if self._running >= self._workers or not self._due:
                    self._changed.wait()
                elif self._due[0][0] > now_s:
                    self._changed.wait(self._due[0][0] - now_s)
                else:
                    due_s, _, waiting = heapq.heappop(self._due)
                    self._running += 1
                    self._pool.submit(self._store_due, waiting, due_s == _AT_ONCE)

    def _store_due(self, waiting: _Waiting, at_once: bool) -> None:
        try:
            self._store(waiting, timeout_s=_BUSY_S, at_once=at_once)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _is_changing(self, waiting: _Waiting) -> bool:
        file = waiting.file
        return (file.changed_since_promised and self._table.has_writer(file)
                and self._clock() - waiting.since_s < _CHANGING_S)

    def _look_again(self, waiting: _Waiting) -> None:
        with self._changed:
            self._schedule_locked(waiting, self._clock() + max(self._delay_s, _BUSY_S))

    def _store(self, waiting: _Waiting, *, timeout_s: float = -1, at_once: bool = True) -> None:
        """``timeout_s``: a file that somebody works on for longer is looked at later; by default it is waited for.

        ``at_once``: it is stored as it is, whether it is being changed or not.
        """
        file = waiting.file
        self._context.borrowed.settle(file.key)
        with file.settled(timeout_s) as settled:
            # Who holds it may be writing to it, and wait for the room that others make.
            if not settled or (not at_once and self._is_changing(waiting)):
                self._look_again(waiting)
                return
            try:
                file.commit()
            except CosfsError as exc:
                self._failed(waiting, exc)
            except Exception:
                log.exception("%s is not stored", file.path)
                self._failed(waiting, StagingFailed("a fault of this program"))
            else:
                with self._changed:
                    del self._waiting[file]
                    self._unreachable = False
        if self._table.drop(file, self.keeps):
            file.close()
        self._context.staging.progressed()

    def _failed(self, waiting: _Waiting, exc: CosfsError) -> None:
        file = waiting.file
        cause = f"{type(exc).__name__} {getattr(exc, 'code', '')}"
        if cause == waiting.cause:
            log.debug("%s waits on: %s", file.path, exc)
        else:
            waiting.cause = cause
            if isinstance(exc, (StaleHandle, ObjectExists)):
                log.error("%s waits in the journal, because another host has changed it as well: %s; cosfs recover "
                          "--export brings it out", file.path, exc)
            else:
                log.warning("%s waits in the journal and is tried again: %s", file.path, exc)
            try:
                file.note_failure(str(exc))
            except (StagingFull, StagingFailed) as inner:
                log.debug("the reason is not kept: %s", inner)
        with self._changed:
            self._unreachable = isinstance(exc, (NetworkError, RequestTimeout))
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(waiting.failures, 10))
            waiting.failures += 1
            self._schedule_locked(waiting, self._clock() + pause_s)
