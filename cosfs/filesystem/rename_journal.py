"""The journal of a directory rename: which objects go where, and how far that has come, on local disk.

Written by the rename (rename_directory.py) before its first copy, read by the recovery of the next mount when
the rename was cut off (rename_recovery.py). It is the rename's plan too: rows are read back a thousand at a
time, so a million keys are never in memory. Without a folder for it, the plan is a file without a name.

Format, JSON, one value a line; COPYING -> DELETING -> removed::

    {"cosfs rename journal": 1, "place": "BUCKET@HOST:PORT", "old": "a/", "new": "b/"}
    ["x", "etag", 12, "STANDARD", 1700000000]    one object a/x, to be copied to b/x; in key order, any number
    {"rows": 1, "crc": 123, "singles": [...]}    the end of the plan, with a CRC-32 of the lines above
    {"state": "deleting"}                        from here on, any number, appended; the last of a kind counts
    {"begun": 1}                                 copies have begun up to this row
    {"copied": ["a/x", "etag", "etag"]}          a copy whose ETag, or whose source's, is not the row's

The file takes its name when the plan is on the disk, and is locked (flock) as long as its process lives.

Threading: ``note`` and ``begin`` from any thread, everything else from one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import tempfile
import threading
import zlib
from dataclasses import dataclass
from typing import IO, Any, Dict, Iterator, List, Optional, Tuple

from cosfs.cos.interface import ListedObject
from cosfs.errors import CosfsError, StagingFailed, StagingFull
from cosfs.units import MAX_LIST_KEYS

log = logging.getLogger(__name__)

SUFFIX = ".journal"
UNFINISHED_SUFFIX = ".plan"
VERSION = 1
_VERSION_KEY = "cosfs rename journal"

COPYING = "copying"
DELETING = "deleting"
LISTED = "listed"
"""Kind of a move: an object that the listing showed, below the old prefix."""
EXTRA = "extra"
"""One that it did not show: stored a moment ago, or an old form of the folder's own object."""
MARKER = "marker"
"""The folder's own object, when it replaces that of an empty folder: copied when nothing can fail any more."""
OPEN = "open"
"""An open file, which moves itself when everything else is copied."""


class JournalDamaged(CosfsError):
    """Not a journal, or not a whole one, or of another version; the message says which."""


class JournalInUse(CosfsError):
    """The rename that it belongs to is running, or another process recovers it."""


@dataclass(frozen=True)
class Move:
    """One object of a rename. ``etag``: of the version that is copied; "" when any is meant."""

    key: str
    target: str
    etag: str
    size_bytes: int = 0
    storage_class: str = "STANDARD"
    last_modified_s: float = 0.0
    kind: str = LISTED


class RenameJournal:
    """``old`` and ``new`` are key prefixes. ``place``: the bucket that they are in."""

    def __init__(self, file: IO[bytes], path: Optional[str], place: str, old: str, new: str) -> None:
        self.path = path
        self.place = place
        self.old = old
        self.new = new
        self.rows = 0
        self.begun = 0
        self.state = COPYING
        self.singles: List[Move] = []
        self.copied: Dict[str, Tuple[str, str]] = {}
        self._file = file
        self._lock = threading.Lock()
        self._crc = 0
        self._offset = 0
        self._batches: List[Tuple[int, int]] = []

    # Writing

    @classmethod
    def create(cls, folder: Optional[str], temporary: str, old: str, new: str) -> RenameJournal:
        """An empty plan in ``folder``, or without a name in ``temporary``. Raises: StagingFull, StagingFailed."""
        with _local_errors():
            path, place = None, ""
            file: Optional[IO[bytes]] = None
            if folder is not None:
                place = os.path.basename(folder)
                try:
                    descriptor, path = tempfile.mkstemp(UNFINISHED_SUFFIX, "rename-", folder)
                    file = os.fdopen(descriptor, "w+b")
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                except OSError as exc:
                    log.warning("a folder's rename has no journal, because %s cannot be written to: %s", folder,
                                exc.strerror)
            if file is None:
                file = tempfile.TemporaryFile(dir=temporary)  # noqa: SIM115  closed by close()
            journal = cls(file, path, place, old, new)
            journal._write({_VERSION_KEY: VERSION, "place": place, "old": old, "new": new})
        return journal

    def add(self, row: ListedObject) -> None:
        """Plan an object below ``old``. In the order of keys."""
        start = self._offset
        self._write([row.key[len(self.old):], row.etag, row.size_bytes, row.storage_class,
                     row.last_modified_s])
        self._count_row(start)

    def seal(self, singles: List[Move]) -> None:
        """The plan is complete. When this returns it is on the disk, and a crash can be recovered from."""
        self.singles = singles
        self._write({"rows": self.rows, "crc": self._crc, "singles": [
            [move.key, move.target, move.etag, move.kind] for move in singles]})
        with _local_errors():
            self._file.flush()
            if self.path is not None:
                os.fsync(self._file.fileno())
                path = self.path[:-len(UNFINISHED_SUFFIX)] + SUFFIX
                os.rename(self.path, path)
                self.path = path
                _sync_folder(path)

    def enter(self, state: str) -> None:
        """The rename goes over to a state; on the disk when this returns."""
        self.state = state
        self._append({"state": state})
        if self.path is not None:
            with _local_errors():
                os.fsync(self._file.fileno())

    def begin(self, row: int) -> None:
        """Copies up to this row may exist from now on, though listings may not show them yet."""
        self.begun = row
        self._append({"begun": row})

    def note(self, key: str, source_etag: str, etag: str) -> None:
        """A copy was made of another version than planned, or has another ETag than its source."""
        self.copied[key] = source_etag, etag
        self._append({"copied": [key, source_etag, etag]})

    def discard(self) -> None:
        """The rename is finished, or undone."""
        if self.path is not None:
            with _local_errors(), contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            self.path = None

    def close(self) -> None:
        """Give the lock back. What was not discarded is for the next mount."""
        if self.path is not None and self.path.endswith(UNFINISHED_SUFFIX):
            self.discard()
        self._file.close()

    def _write(self, value: Any) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        with _local_errors():
            self._file.write(line)
        self._crc = zlib.crc32(line, self._crc)
        self._offset += len(line)

    def _append(self, value: Any) -> None:
        with self._lock, _local_errors():
            self._write(value)
            self._file.flush()

    def _count_row(self, start: int) -> None:
        """Note where the batch begins that the row at ``start``, just passed, belongs to."""
        if self.rows % MAX_LIST_KEYS == 0:
            self._batches.append((start, start))
        self._batches[-1] = self._batches[-1][0], self._offset
        self.rows += 1

    # Reading

    @classmethod
    def load(cls, path: str) -> RenameJournal:
        """A journal that was left behind, locked. Raises: JournalInUse, JournalDamaged."""
        try:
            file = open(path, "r+b")  # noqa: SIM115  closed by close()
        except FileNotFoundError:
            raise JournalInUse(path) from None
        except OSError as exc:
            raise JournalDamaged(f"it cannot be opened: {exc.strerror}") from exc
        try:
            return cls._load_locked(file, path)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as exc:
            file.close()
            raise JournalDamaged("it is not a whole journal") from exc
        except BaseException:
            file.close()
            raise

    @classmethod
    def _load_locked(cls, file: IO[bytes], path: str) -> RenameJournal:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JournalInUse(path) from None
        if os.fstat(file.fileno()).st_nlink == 0:  # finished by its owner a moment ago
            raise JournalInUse(path)
        lines = iter(file)
        line = next(lines, b"")
        head = json.loads(line)
        if head[_VERSION_KEY] != VERSION:
            raise JournalDamaged(f"it has version {head[_VERSION_KEY]}, this program writes version {VERSION}")
        journal = cls(file, path, head["place"], head["old"], head["new"])
        journal._passed(line)
        for line in lines:
            if not line.startswith(b"["):
                break
            start = journal._offset
            journal._passed(line)
            journal._count_row(start)
        end = json.loads(line)
        if (end["rows"], end["crc"]) != (journal.rows, journal._crc):
            raise ValueError(end)
        journal.singles = [Move(key, target, etag, kind=kind) for key, target, etag, kind in end["singles"]]
        journal._passed(line)
        for line in lines:
            if not line.endswith(b"\n"):  # cut off by the crash
                break
            journal._passed(line)
            journal._take(json.loads(line))
        file.truncate(journal._offset)
        file.seek(journal._offset)
        return journal

    def _passed(self, line: bytes) -> None:
        self._crc = zlib.crc32(line, self._crc)
        self._offset += len(line)

    def _take(self, event: Dict[str, Any]) -> None:
        self.state = event.get("state", self.state)
        self.begun = event.get("begun", self.begun)
        if "copied" in event:
            key, source_etag, etag = event["copied"]
            self.copied[key] = source_etag, etag

    def batches(self) -> Iterator[List[Move]]:
        """The planned objects but for the singles, a thousand at a time, in the order of keys."""
        for start, stop in self._batches:
            with _local_errors():
                text = os.pread(self._file.fileno(), stop - start, start)
            yield [self._move(json.loads(line)) for line in text.splitlines()]

    def _move(self, fields: List[Any]) -> Move:
        name, etag, size_bytes, storage_class, last_modified_s = fields
        return Move(self.old + name, self.new + name, etag, size_bytes, storage_class, last_modified_s)


def _sync_folder(path: str) -> None:
    """Have a new name on the disk (fsync(2), NOTES)."""
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _local_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        kind = StagingFull if exc.errno in (errno.ENOSPC, errno.EDQUOT) else StagingFailed
        raise kind(f"the journal of a rename cannot be kept: {exc.strerror}") from exc
