"""What becomes of directory renames that a crash cut off: undone, or finished, from their journals.

Run when a filesystem starts, before any name is served, and by ``cosfs recover``. A rename that was still
copying is undone: copies are deleted whose sources are there unchanged. One that was already deleting is
finished: sources are deleted that are unchanged and whose copies are there. Both are asked for before, as a
listing may lag behind what others did. Anything that does not fit stays as it is and is reported. So no object
is deleted whose content is not under its other name.

Threading: one thread, at the start; it uses the pool for names.
"""

from __future__ import annotations

import glob
import logging
import os
import time
from dataclasses import dataclass
from itertools import islice
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import CosfsError, ObjectNotFound, service_error
from cosfs.filesystem.context import Context
from cosfs.filesystem.deletes import delete_together
from cosfs.filesystem.progress import Progress
from cosfs.filesystem.rename_journal import (
    COPYING,
    MARKER,
    OPEN,
    SUFFIX,
    UNFINISHED_SUFFIX,
    JournalDamaged,
    JournalInUse,
    Move,
    RenameJournal,
)
from cosfs.units import MAX_LIST_KEYS

log = logging.getLogger(__name__)

_LOGGED_KEYS = 20
"""Objects left behind that are named one by one; the journal's prefixes tell where the others are."""

_PLAN_AGE_S = 60.0
"""An unlocked plan that nobody has written to for so long belongs to a process that died while planning."""

@dataclass(frozen=True)
class Recovered:
    """What became of one journal. ``outcome``: in words. ``left``: objects that need a look, one line each.

    ``remains``: the journal is still there, or something is left.
    """

    journal: str
    outcome: str
    left: Sequence[str] = ()
    remains: bool = False


def recover_all(context: Context) -> List[Recovered]:
    """Deal with every journal in the state folder. What goes wrong is logged, and its journal kept."""
    folder = context.config.state_folder
    if folder is None:
        return []
    _remove_plans(folder)
    found = [_recover_one(context, folder, path) for path in sorted(glob.glob(f"{glob.escape(folder)}/*{SUFFIX}"))]
    return [recovered for recovered in found if recovered is not None]


def _recover_one(context: Context, folder: str, path: str) -> Optional[Recovered]:
    try:
        journal = RenameJournal.load(path)
    except JournalInUse:
        log.info("%s is in use: its rename is under way", path)
        return Recovered(path, "in use by a rename that is under way", remains=os.path.exists(path))
    except JournalDamaged as exc:
        log.error("%s cannot be used, and its rename is neither finished nor undone: %s", path, exc)
        return Recovered(path, f"cannot be used: {exc}", remains=True)
    what = f"the unfinished rename of {journal.old} to {journal.new}"
    try:
        if journal.place != os.path.basename(folder):
            log.error("%s is of another bucket, %s; it is left alone", path, journal.place)
            return Recovered(path, f"is of another bucket, {journal.place}", remains=True)
        prefix = context.config.prefix
        if not (journal.old.startswith(prefix) and journal.new.startswith(prefix)):
            log.info("%s is in another part of the bucket; left for a mount of that, or cosfs recover", what)
            return Recovered(path, f"{what} is in another part of the bucket", remains=True)
        if context.config.read_only:
            log.warning("%s waits for a mount that may write, or cosfs recover", what)
            return Recovered(path, f"{what} waits for a mount that may write", remains=True)
        return _carry_out(context, journal, what)
    except CosfsError as exc:
        log.error("%s could be neither finished nor undone now; the next mount, or cosfs recover, tries again: %s",
                  what, exc)
        return Recovered(path, f"{what}: {exc}", remains=True)
    finally:
        journal.close()


def _carry_out(context: Context, journal: RenameJournal, what: str) -> Recovered:
    path = str(journal.path)
    recovery = Recovery(context, journal)
    if journal.state == COPYING:
        log.info("undoing %s: %d objects were to be copied", what, journal.rows + len(journal.singles))
        left = recovery.undo()
        outcome = f"{what} is undone, {recovery.deleted} copies are deleted"
    else:
        log.info("finishing %s: %d objects were copied", what, journal.rows + len(journal.singles))
        left = recovery.finish()
        outcome = f"{what} is finished, {recovery.deleted} old objects are deleted"
    log.warning("%s%s", outcome, f"; {len(left)} objects are left to be looked at" if left else "")
    for line in left[:_LOGGED_KEYS]:
        log.warning("%s", line)
    journal.discard()
    return Recovered(path, outcome, left, bool(left))


def _remove_plans(folder: str) -> None:
    """Remove what processes have left that died before their first copy."""
    for path in glob.glob(f"{glob.escape(folder)}/*{UNFINISHED_SUFFIX}"):
        try:
            if time.time() - os.stat(path).st_mtime > _PLAN_AGE_S:
                _remove_plan(path)
        except (JournalInUse, OSError) as exc:
            log.debug("%s stays: %s", path, exc)


def _remove_plan(path: str) -> None:
    try:
        RenameJournal.load(path).close()
    except JournalDamaged:
        os.unlink(path)


class Recovery:
    """One journal carried out. ``deleted`` counts."""

    def __init__(self, context: Context, journal: RenameJournal) -> None:
        self._context = context
        self._journal = journal
        self.deleted = 0

    def undo(self) -> List[str]:
        """Delete the copies; returns what is left to be looked at. Objects not copied yet are as they were."""
        left: List[str] = []
        index = 0
        for moves, listed in self._listed("undoing", self._journal.new, lambda move: move.target):
            # Copies made a moment ago may not be listed yet.
            left += self.undo_each([move for number, move in enumerate(moves, index)
                                    if move.target in listed or number < self._journal.begun])
            index += len(moves)
        return left + self.undo_each([move for move in self._journal.singles if move.kind not in (MARKER, OPEN)])

    def undo_each(self, moves: Sequence[Move]) -> List[str]:
        """The same for some objects."""
        return [f"{move.target!r} is no copy of {move.key!r} any more, one of them has changed or is gone; keep the "
                "right one" for move in self._delete_each(moves, lambda move: move.target)]

    def finish(self) -> List[str]:
        """Delete what was copied; returns what is left to be looked at."""
        left: List[str] = []
        for moves, listed in self._listed("finishing", self._journal.old, lambda move: move.key):
            left += self._finish_each([move for move in moves if move.key in listed])
        left += self._finish_each([move for move in self._journal.singles if move.kind not in (MARKER, OPEN)])
        for move in self._journal.singles:
            if move.kind in (MARKER, OPEN):
                left += self._finish_late(move)
        return left

    def _finish_each(self, moves: Sequence[Move]) -> List[str]:
        return [f"{move.key!r} has changed since it was copied, or its copy {move.target!r} has; keep the right one"
                for move in self._delete_each(moves, lambda move: move.key)]

    def _delete_each(self, moves: Sequence[Move], key_of: Callable[[Move], str]) -> List[Move]:
        """Delete what ``key_of`` names where object and copy are the same; returns those where they are not."""
        found = self._heads(moves)
        moves = [move for move in moves if key_of(move) in found]
        same = self._same(moves, found)
        delete_all(self._context, (key_of(move) for move in moves if move in same))
        self.deleted += len(same)
        return [move for move in moves if move not in same]

    def _finish_late(self, move: Move) -> List[str]:
        """A folder's own object, or a file that was open: moved as it is now, if it was not moved before."""
        found = self._heads([move])
        source, copy = found.get(move.key), found.get(move.target)
        if source is None:
            return []
        if move.kind == OPEN and copy is not None and not self._same([move], found):
            return [f"{move.key!r} and {move.target!r} differ, one is the newer version; keep the right one"]
        if move.kind == MARKER or copy is None:
            self._context.copy(source, move.target, self._context.headers_of(source))
        self._context.client.delete_object(move.key)
        self.deleted += 1
        return []

    def _listed(self, doing: str, prefix: str, key_of: Callable[[Move], str]) -> Iterator[Tuple[List[Move], Set[str]]]:
        """The planned objects by thousands, and which keys are listed where ``key_of`` has theirs, below ``prefix``."""
        journal = self._journal
        progress = Progress(f"{doing} the rename of {journal.old} to {journal.new}: %d of {journal.rows} objects",
                            self._context.cache.now)
        count, after = 0, ""
        for moves in journal.batches():
            last = key_of(moves[-1])
            yield moves, self._keys(prefix, after, last)
            after = last
            count += len(moves)
            progress.report(count)

    def _keys(self, prefix: str, after: str, last: str) -> Set[str]:
        """The keys of objects after ``after``, up to ``last`` at least."""
        keys: Set[str] = set()
        marker: Optional[str] = after
        end = last.encode("utf-8", "surrogatepass")
        while marker is not None:
            page = self._context.client.list_objects(prefix, marker=marker)
            keys.update(row.key for row in page.objects)
            past = page.objects and page.objects[-1].key.encode("utf-8", "surrogatepass") >= end
            marker = None if past else page.next_marker
        return keys

    def _heads(self, moves: Sequence[Move]) -> Dict[str, ObjectInfo]:
        """Those of the objects under both names that are there. By HEAD: a listing may lag behind a foreign change."""
        def head(key: str) -> Optional[ObjectInfo]:
            try:
                return self._context.client.head_object(key)
            except ObjectNotFound:
                return None
        keys = (key for move in moves for key in (move.key, move.target))
        return {info.key: info for info in self._context.names_pool.map_all(head, keys) if info is not None}

    def _same(self, moves: Sequence[Move], found: Dict[str, ObjectInfo]) -> Set[Move]:
        """Those moves whose source is the version that was copied, and whose copy has its content still."""
        same = set()
        for move in moves:
            source, copy = found.get(move.key), found.get(move.target)
            source_etag, etag = self._journal.copied.get(move.key, (move.etag, move.etag))
            if source is None or copy is None or source.size_bytes != copy.size_bytes or (
                    source_etag and source.etag != source_etag):
                continue
            # ETags of objects made from parts do not tell ("ETag": not the MD5); checksums do.
            if copy.etag in (etag, source.etag) or (source.crc64 is not None and source.crc64 == copy.crc64):
                same.add(move)
        return same


def delete_all(context: Context, keys: Iterable[str]) -> None:
    """Delete many objects, a thousand a request, several requests at once. Raises: CosServiceError when one is left."""
    rest = iter(keys)

    def delete(chunk: List[str]) -> None:
        failures = delete_together(context.client, chunk)
        if failures:
            failure = failures[0]
            status = 403 if failure.code == "AccessDenied" else 409
            raise service_error("POST ?delete", {"code": failure.code, "message": failure.message,
                                                 "resource": failure.key, "requestid": "", "traceid": ""}, status)
    context.names_pool.map_all(delete, iter(lambda: list(islice(rest, MAX_LIST_KEYS)), []))
