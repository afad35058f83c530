"""Changes of the attributes of stored files: joined for a moment, then made by one copy of the object onto itself.

chmod, chown, utimens and setxattr of one file mostly come together (``install``, ``rsync``, ``tar``), and each
alone would be a copy. A file with a change that waits stands in the open-file table, dirty in its attributes
only, under a handle of our own: so stat shows the change, a rename carries it along in its own copy, data
written meanwhile takes it into its upload, and a removal drops it.

A change that cannot be stored is logged, and the attributes are again what the bucket has; the next change is
then waited for, and gets the error, until one succeeds.

Threading: any thread. One timer thread at a time, which stores on ``names_pool``.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional

from cosfs.errors import CosfsError, NoEntry, StaleHandle
from cosfs.filesystem.context import Context
from cosfs.filesystem.files import FileOperations
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.table import Handle, OpenFileTable
from cosfs.namespace.attributes import Attributes
from cosfs.namespace.paths import is_inside

log = logging.getLogger(__name__)

Change = Callable[[Attributes], Attributes]

DELAY_S = 0.1
"""From a file's first change to its copy: the calls of one program come within a millisecond."""

_MAX_WAITING = 1000
"""Files; whoever changes more of them at once waits for their copies."""


@dataclass
class _Waiting:
    """A file with changes that wait. ``pages_are_known``: the kernel's pages are of the version that is changed."""

    handle: Handle
    pages_are_known: bool
    due_s: float
    changes: List[Change] = field(default_factory=list)

    @property
    def file(self) -> OpenFile:
        return self.handle.file


class AttributeChanges:
    def __init__(self, context: Context, table: OpenFileTable, files: FileOperations, *, delay_s: float = DELAY_S,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._table = table
        self._files = files
        self._delay_s = delay_s
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: Dict[OpenFile, _Waiting] = {}
        self._storing: List[OpenFile] = []
        self._timer: Optional[threading.Timer] = None
        self._wait_for_next = False
        files.before_open = self.settle_file

    def change(self, path: str, change: Change) -> None:
        """Change a file's attributes; they are stored soon, or with the data that the file has to store anyway.

        Raises: NoEntry, IsADirectory, MetadataTooLarge, NotRestored (a copy changes them), what ``change`` raises.
        """
        handle, pages_are_known = self._files.hold(path)
        file = handle.file
        try:
            if file.base is not None and not file.content_dirty:
                self._context.archive.check(file.base, path)
            file.change_attributes(change)
        except BaseException:
            self._files.release(handle.fh)
            raise
        if not file.dirty or self._waits_for_data(file):
            self._files.release(handle.fh)  # removed or stored already, or stored when the writer closes
        elif file.promised:  # and waits for its upload, which takes the change along
            try:
                self._files.store(file)
            finally:
                self._files.release(handle.fh)
        elif self._wait_for_next:
            self._store(_Waiting(handle, pages_are_known, 0.0, [change]), raises=True)
        else:
            self._wait(handle, pages_are_known, change)

    def _wait(self, handle: Handle, pages_are_known: bool, change: Change) -> None:
        with self._changed:
            waiting = self._waiting.get(handle.file)
            first = waiting is None
            if waiting is None:
                due_s = self._clock() + self._delay_s
                waiting = self._waiting[handle.file] = _Waiting(handle, pages_are_known, due_s)
            waiting.changes.append(change)
            self._arm_locked()
            full = len(self._waiting) >= _MAX_WAITING
        if not first:
            self._files.release(handle.fh)
        if full:
            self.settle()

    def _waits_for_data(self, file: OpenFile) -> bool:
        """Whether somebody is writing: what is half written must not be stored for the sake of attributes."""
        return file.content_dirty and self._table.has_writer(file)

    def settle_file(self, path: str) -> bool:
        """Store what waits for one file; returns, when it is stored or given up, whether there was something."""
        file = self._table.get(path)
        if file is None:
            return False
        with self._changed:
            waiting = self._waiting.pop(file, None)
            if waiting is not None:
                self._storing.append(file)
            else:
                self._changed.wait_for(lambda: file not in self._storing)
        if waiting is not None:
            self._store_taken(waiting)
        return waiting is not None

    def settle(self, directory: str = "/") -> None:
        """Store what waits below a directory; returns when all changes made there before are. Failures are logged."""
        def concerned(file: OpenFile) -> bool:
            return is_inside(file.path, directory)

        earlier = list(filter(concerned, self._flush(lambda waiting: concerned(waiting.file))))
        with self._changed:
            self._changed.wait_for(lambda: not any(file in self._storing for file in earlier))

    def _arm_locked(self) -> None:
        if self._timer is None and self._waiting:
            first_s = min(waiting.due_s for waiting in self._waiting.values())
            self._timer = threading.Timer(max(0.0, first_s - self._clock()), self._on_timer)
            self._timer.name = "cosfs-attributes"
            self._timer.daemon = True
            self._timer.start()

    def _on_timer(self) -> None:
        now_s = self._clock()
        try:
            self._flush(lambda waiting: waiting.due_s <= now_s)
        finally:
            with self._changed:
                self._timer = None
                self._arm_locked()

    def _flush(self, chosen: Callable[[_Waiting], bool]) -> List[OpenFile]:
        """Store what is chosen of what waits; returns the files whose changes were on their way before."""
        with self._changed:
            earlier = list(self._storing)
            taken = [waiting for waiting in self._waiting.values() if chosen(waiting)]
            for waiting in taken:
                del self._waiting[waiting.file]
                self._storing.append(waiting.file)
        self._context.names_pool.map_all(self._store_taken, taken)
        return earlier

    def _store_taken(self, waiting: _Waiting) -> None:
        try:
            self._store(waiting, raises=False)
        finally:
            with self._changed:
                self._storing.remove(waiting.file)
                self._changed.notify_all()

    def _store(self, waiting: _Waiting, *, raises: bool) -> None:
        """Store changes, and give the handle back."""
        file = waiting.file
        tried = file.attributes
        try:
            self._commit(waiting, tried)
        except NoEntry:
            if raises:
                raise
            log.warning("%s is gone, removed by another host before its new attributes were stored", file.path)
        except CosfsError as exc:
            file.restore_attributes(tried)
            self._wait_for_next = True
            if raises:
                raise
            log.error("%s keeps its old attributes: the new ones could not be stored: %s", file.path, exc)
        finally:
            if not waiting.pages_are_known:  # the kernel was not told of this opening
                self._context.cache.kernel_pages_unknown(file.path)
            self._files.release(waiting.handle.fh)

    def _commit(self, waiting: _Waiting, tried: Attributes) -> None:
        """Store the changes; once more on the object's present version, if it has changed. Raises: CosfsError."""
        file = waiting.file
        try:
            with file.settled():
                if self._waits_for_data(file) or file.promised:
                    return
                file.commit()
        except StaleHandle:
            file.restore_attributes(tried)
            if self._table.get(file.path) is file:
                self._table.forget(file.path)
            if self._context.tree.refresh(file.path) is None:
                raise NoEntry(file.path) from None
            handle, _ = self._files.hold(file.path)
            try:
                for change in waiting.changes:
                    handle.file.change_attributes(change)
                tried = handle.file.attributes
                handle.file.commit()
            except CosfsError:
                handle.file.restore_attributes(tried)
                raise
            finally:
                self._context.cache.kernel_pages_unknown(file.path)
                self._files.release(handle.fh)
        self._wait_for_next = False
