"""Rename of a directory: every object below it is copied, then the old ones are deleted. Used by rename.py.

PLANNING -> COPYING -> DELETING -> done. If planning or copying fails, the copies are deleted and nothing has
changed. If deleting fails, both names exist, and nothing is lost. A process that dies in between leaves its
journal (rename_journal.py), by which the next mount undoes the copies or finishes the deletes.

Only objects that were copied are deleted. Memory is bounded: the plan is on disk, and what is known of the
copies goes to the cache only if it could hold it.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Sequence

from cosfs.archive import is_archived
from cosfs.cos.interface import ListedObject
from cosfs.errors import CosfsError, CosServiceError, NameTooLong, NotRestored, ObjectNotFound
from cosfs.executor import wait_all
from cosfs.filesystem.context import Context
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.progress import Progress
from cosfs.filesystem.rename_copies import Copied, Copier, Sample
from cosfs.filesystem.rename_journal import COPYING, DELETING, EXTRA, MARKER, OPEN, Move, RenameJournal
from cosfs.filesystem.rename_recovery import Recovery, delete_all
from cosfs.filesystem.table import OpenFileTable
from cosfs.namespace.entries import Entry, entry_of_info
from cosfs.units import MAX_KEY_BYTES

log = logging.getLogger(__name__)

_COPIED = 1
_UNCERTAIN = 2
"""A copy that failed, although the service may have made it."""


class DirectoryRename:
    """One rename; used once."""

    def __init__(self, context: Context, table: OpenFileTable, old: str, new: str) -> None:
        self._context = context
        self._table = table
        self._old = old
        self._new = new
        self._open_files: Sequence[OpenFile] = ()
        self._outcomes = bytearray()
        self._single_outcomes: Dict[str, int] = {}
        self._copies: List[Copied] = []
        self._failed = threading.Event()
        self._archived_seen = False

    def run(self, source: Entry, target: Optional[Entry]) -> None:
        """``target``: the empty directory that is replaced. Raises: what stopped it."""
        context = self._context
        context.deletes.settle()
        journal = self._plan(source, target)
        try:
            try:
                self._copy_all(journal)
                journal.enter(DELETING)
                with self._open_files_moved():
                    self._copy_singles(journal, MARKER)
            except BaseException:
                self._undo(journal)
                raise
            self._delete_old(journal)
            journal.discard()
        finally:
            journal.close()
            self._update_cache()
        local = context.tree.local_directory(self._old)
        if local is not None:
            context.tree.keep_locally(self._new, local)
            context.tree.forget_locally(self._old)

    # Planning

    def _plan(self, source: Entry, target: Optional[Entry]) -> RenameJournal:
        """List what is below the old name, once, into the journal."""
        context, keys = self._context, self._context.tree.keys
        old_prefix, new_prefix = keys.directory_key(self._old), keys.directory_key(self._new)
        self._open_files = self._table.inside(self._old)
        singles = [Move(file.key, keys.object_key(self._moved(file.path)), "", kind=OPEN)
                   for file in self._open_files if file.stored]
        apart = {move.key for move in singles}
        extra = context.tree.own_keys(self._old) - apart
        if source.marker and source.key == old_prefix:
            extra.add(old_prefix)
        elif not source.key.endswith("/"):
            singles.append(Move(source.key, new_prefix, source.etag, kind=EXTRA))
        if target is not None and target.marker is not False:
            apart.add(old_prefix)
        known = context.cache.infos_inside(self._old)
        sample = Sample()
        journal = RenameJournal.create(context.config.state_folder, context.staging.folder, old_prefix, new_prefix)
        try:
            for row in context.tree.walk(old_prefix):
                extra.discard(row.key)
                if row.key not in known:
                    sample.add(row.key)
                if row.key not in apart:
                    _check_length(new_prefix + row.key[len(old_prefix):])
                    self._check_restored(row)
                    journal.add(row)
                elif row.key == old_prefix:
                    singles.append(Move(row.key, new_prefix, row.etag, kind=MARKER))
            singles += [Move(key, new_prefix + key[len(old_prefix):], "", kind=EXTRA) for key in sorted(extra)]
            journal.seal(singles)
            self._copier = Copier(context, journal, known)
            self._copier.sample(sample)
        except BaseException:
            journal.discard()
            journal.close()
            raise
        self._outcomes = bytearray(journal.rows)
        return journal

    def _check_restored(self, row: ListedObject) -> None:
        """See by the first archived object, before anything is copied, that such can be. Raises: NotRestored."""
        if self._archived_seen or not row.size_bytes or not is_archived(row.storage_class):
            return
        self._archived_seen = True
        try:
            info = self._context.client.head_object(row.key)
        except ObjectNotFound:
            return
        self._context.tree.restores.told(info)
        self._context.archive.check(info)

    def _moved(self, path: str) -> str:
        return self._new + path[len(self._old):]

    # Copying

    def _copy_all(self, journal: RenameJournal) -> None:
        progress = Progress(f"renaming {self._old} to {self._new}: %d of {journal.rows} objects are copied",
                            self._context.cache.now)
        done = 0
        for batch in journal.batches():
            journal.begin(done + len(batch))
            if journal.rows <= self._context.config.max_stat_entries:
                self._copier.recall([_row(move) for move in batch])
            futures = [self._context.names_pool.submit(self._copy, move) for move in batch]
            for index, future in enumerate(futures, done):
                self._outcomes[index] = self._outcome(future)
                progress.report(index + 1)
            done += len(batch)
            wait_all(futures)
        self._copy_singles(journal, EXTRA)

    def _copy(self, move: Move) -> Optional[Copied]:
        """None when there is no such object (any more): a listing may lag behind."""
        if self._failed.is_set():
            return None
        try:
            return self._copier.copy(_row(move), move.target)
        except BaseException:
            self._failed.set()
            raise

    def _copy_singles(self, journal: RenameJournal, kind: str) -> None:
        moves = [move for move in journal.singles if move.kind == kind]
        futures = [self._context.names_pool.submit(self._copy, move) for move in moves]
        for move, future in zip(moves, futures):
            self._single_outcomes[move.key] = self._outcome(future)
        wait_all(futures)

    def _outcome(self, future: Future[Optional[Copied]]) -> int:
        error = future.exception()
        if error is not None:
            refused = isinstance(error, NotRestored) or (isinstance(error, CosServiceError) and error.status < 500)
            return 0 if refused else _UNCERTAIN
        copied = future.result()
        if copied is None:
            return 0
        if len(self._copies) <= self._context.config.max_stat_entries:
            self._copies.append(copied)
        return _COPIED

    def _moves(self, journal: RenameJournal, outcome: int) -> Iterator[Move]:
        index = 0
        for batch in journal.batches():
            for move in batch:
                if self._outcomes[index] == outcome:
                    yield move
                index += 1
        for move in journal.singles:
            if self._single_outcomes.get(move.key) == outcome:
                yield move

    def _undo(self, journal: RenameJournal) -> None:
        """Delete the copies, and nothing else: what a directory that was to be replaced had stays."""
        self._copies = []
        try:
            if journal.state != COPYING:
                journal.enter(COPYING)
            made = (move.target for move in self._moves(journal, _COPIED) if move.kind != MARKER)
            delete_all(self._context, made)
            left = Recovery(self._context, journal).undo_each(
                [move for move in self._moves(journal, _UNCERTAIN) if move.kind != MARKER])
            for line in left:
                log.warning("after an undone rename: %s", line)
            journal.discard()
        except CosfsError as exc:
            log.error("the rename of %s to %s failed, and copies are left below the new name (%s); %s", self._old,
                      self._new, exc, "the next mount deletes them" if journal.path else "delete them by hand")

    # Open files

    @contextmanager
    def _open_files_moved(self) -> Iterator[None]:
        """Move open files to the new name. If one fails, or the body does, those that had moved go back."""
        moved: List[OpenFile] = []
        try:
            for file in dict.fromkeys([*self._open_files, *self._table.inside(self._old)]):
                self._move_open_file(file, self._old, self._new)
                moved.append(file)
            yield
        except BaseException:
            for file in moved:
                try:
                    self._move_open_file(file, self._new, self._old)
                except CosfsError as exc:
                    log.error("an unfinished rename left the open file %s behind: %s", file.path, exc)
            raise
        self._open_files = moved
        for hidden in self._table.inside(self._old, detached=True):
            old_path = hidden.path
            hidden.detach(self._moved(old_path))
            self._table.renamed(hidden, old_path)

    def _move_open_file(self, file: OpenFile, old: str, new: str) -> None:
        old_path = file.path
        path = new + old_path[len(old):]
        file.move(path, self._context.tree.keys.object_key(path), replaces=False)
        self._table.renamed(file, old_path)

    # Deleting

    def _delete_old(self, journal: RenameJournal) -> None:
        try:
            delete_all(self._context, (move.key for move in self._moves(journal, _COPIED)))
        except BaseException:
            log.error("objects of %s are left under the old name, although all are copied to %s; %s", self._old,
                      self._new, "the next mount, or cosfs recover, deletes those that have not changed"
                      if journal.path else "delete them")
            raise

    def _update_cache(self) -> None:
        context = self._context
        context.cache.forget_tree(self._old)
        context.cache.forget_tree(self._new)
        if not self._copies or len(self._copies) > context.config.max_stat_entries:
            return
        copies = sorted(self._copies, key=lambda copied: copied.row.key.encode("utf-8", "surrogatepass"))
        infos = {copied.row.key: copied.info for copied in copies if copied.info is not None}
        entries = context.tree.entries(self._new, [copied.row for copied in copies], infos)
        entries.update({file.path: entry_of_info(file.base, is_directory=False)
                        for file in self._open_files if file.base is not None})
        context.cache.changed_all(entries)


def _row(move: Move) -> ListedObject:
    return ListedObject(move.key, move.size_bytes, move.etag, move.last_modified_s, move.storage_class)


def _check_length(key: str) -> None:
    size = len(key.encode("utf-8", "surrogatepass"))
    if size > MAX_KEY_BYTES:
        raise NameTooLong(f"key of {size} bytes; the service takes {MAX_KEY_BYTES}")
