"""The journal of writeback mode: files whose close returned and that are not in the bucket yet, on local disk.

Each mount has one in a folder of its own, ``writeback-…`` in the bucket's state folder, locked (flock) as long as the
process lives: an SQLite database with one row per file, and the staged files that the rows name (what is small lies in
the row itself: one sync of the disk instead of three, and no file). A file is promised to
its program when ``put`` has returned, and no sooner; the row goes when the bucket has the file, or its name is gone.
What the process leaves behind the next mount takes over (filesystem/writeback_recovery.py). Whatever else lies in the
folder was promised to nobody.

A row says where each byte of the file lies (the runs of its extent map), under which path and key it is to be stored,
with which attributes, and which object version it was made from. Paths are those below ``prefix``, keys are whole.

The bytes of a staged file that a row names must not change: whoever writes on does that elsewhere (content.py).

Threading: any thread; one connection and one lock. Each change is a transaction that is on the disk when the call
returns (write-ahead log, synchronous=FULL).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import sqlite3
import tempfile
import threading
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Optional, Tuple

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import CosfsError, StagingFailed, StagingFull
from cosfs.filesystem.held import LocalBytes
from cosfs.namespace.attributes import Attributes
from cosfs.namespace.headers_db import info_of_row, row_of_info
from cosfs.writing.extents import STAGED, ZERO, Remote, Run

PREFIX = "writeback-"
"""Begin of the folders' names."""

_DATABASE = "journal-1.sqlite3"
"""The number is that of the schema."""

_SCHEMA = (
    "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
    "CREATE TABLE IF NOT EXISTS about (prefix TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS files (number INTEGER PRIMARY KEY AUTOINCREMENT, since_s REAL NOT NULL, "
    "staged TEXT NOT NULL, body BLOB NOT NULL, failure TEXT NOT NULL DEFAULT '', record TEXT NOT NULL)",
)
_LOCK_WAIT_S = 10.0


def files_wait(count: int) -> str:
    return "1 file waits" if count == 1 else f"{count} files wait"


class JournalDamaged(CosfsError):
    """The database cannot be read; the message says why."""


@dataclass(frozen=True)
class Record:
    """One file.

    ``base``: the object version that it was made from. ``exclusive``: it must not replace an object.
    """

    path: str
    key: str
    local: LocalBytes
    attributes: Attributes
    base: Optional[ObjectInfo] = None
    exclusive: bool = False

    @property
    def size_bytes(self) -> int:
        return self.local.runs[-1].stop if self.local.runs else 0


@dataclass(frozen=True)
class Waiting:
    """A row. ``since_s``: when the file was first put. ``failure``: why it could not be stored so far."""

    number: int
    since_s: float
    failure: str
    record: Record


class Journal:
    """An open journal, which this process has locked."""

    def __init__(self, folder: str, lock: int, connection: sqlite3.Connection, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self._lock_descriptor = lock
        self._connection = connection
        self._lock = threading.Lock()
        self._staged: Dict[int, str] = dict(connection.execute("SELECT number, staged FROM files"))

    @classmethod
    def create(cls, state_folder: str, prefix: str) -> Journal:
        """An empty one in a new folder. Raises: StagingFull, StagingFailed."""
        with _local_errors(), contextlib.ExitStack() as undo:
            lock: Optional[int] = None
            while lock is None:  # a recovery may remove an empty folder before it is locked
                folder = tempfile.mkdtemp(prefix=PREFIX, dir=state_folder)
                lock = _lock(folder)
            undo.callback(os.close, lock)
            connection = undo.enter_context(contextlib.closing(_connect(os.path.join(folder, _DATABASE))))
            with connection:
                connection.execute("INSERT INTO about VALUES (?)", (prefix,))
            _sync_folder(folder)
            _sync_folder(state_folder)
            journal = cls(folder, lock, connection, prefix)
            undo.pop_all()
            return journal

    @classmethod
    def take_over(cls, folder: str) -> Optional[Journal]:
        """One that a process has left; None while that lives, and for folders that hold nothing, which are removed.

        Raises: JournalDamaged, StagingFailed.
        """
        with _local_errors(), contextlib.ExitStack() as undo:
            lock = _lock(folder)
            if lock is None:
                return None
            undo.callback(os.close, lock)
            path = os.path.join(folder, _DATABASE)
            if not os.path.exists(path):
                _remove_folder(folder)
                return None
            try:
                connection = undo.enter_context(contextlib.closing(_connect(path)))
                journal = cls(folder, lock, connection, _prefix(connection))
            except sqlite3.DatabaseError as exc:
                raise JournalDamaged(f"{folder}: {exc}") from exc
            undo.pop_all()
            return journal

    def put(self, record: Record, number: Optional[int] = None, *, now_s: float) -> int:
        """Have a file on the disk, in place of row ``number`` if it is given; returns the row's number.

        The staged file has been synced before. Raises: StagingFull, StagingFailed: nothing is promised then.
        """
        with self._lock, _local_errors():
            old = "" if number is None else self._staged[number]
            name, values = record.local.name, (record.local.name, record.local.body, _dump(record))
            if name not in ("", old):
                _sync_folder(self.folder)
            with self._connection:
                if number is None:
                    cursor = self._connection.execute(
                        "INSERT INTO files (staged, body, record, since_s) VALUES (?, ?, ?, ?)", (*values, now_s))
                    number = int(cursor.lastrowid or 0)
                else:
                    self._connection.execute("UPDATE files SET staged = ?, body = ?, record = ? WHERE number = ?",
                                             (*values, number))
            self._staged[number] = name
            if old != name:
                self._remove_staged(old)
            return number

    def remove(self, number: int) -> None:
        """The file is in the bucket, or gone. Raises: StagingFailed; the row may still be there then."""
        with self._lock, _local_errors():
            with self._connection:
                self._connection.execute("DELETE FROM files WHERE number = ?", (number,))
            self._remove_staged(self._staged.pop(number, ""))

    def note_failure(self, number: int, failure: str) -> None:
        """Keep why the file could not be stored. Raises: StagingFull, StagingFailed."""
        with self._lock, _local_errors(), self._connection:
            self._connection.execute("UPDATE files SET failure = ? WHERE number = ?", (failure, number))

    def waiting(self) -> List[Waiting]:
        """All rows, oldest first. Raises: JournalDamaged, StagingFailed."""
        with self._lock, _local_errors():
            return _read(self._connection)

    def staged_path(self, record: Record) -> str:
        """Its staged file; "" when it has none."""
        return os.path.join(self.folder, record.local.name) if record.local.name else ""

    def close(self) -> bool:
        """Give the lock back; an empty journal goes. Returns whether files are left for the next mount."""
        with self._lock:
            left = bool(self._staged)
            self._connection.close()
            with contextlib.suppress(OSError):
                if not left:
                    _remove_folder(self.folder)
                os.close(self._lock_descriptor)
            return left

    def _remove_staged(self, name: str) -> None:
        if name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))


def peek(folder: str) -> Tuple[str, List[Waiting]]:
    """Prefix and rows of a journal that a living process may be using. Raises: JournalDamaged, StagingFailed."""
    with _local_errors():
        path = os.path.join(folder, _DATABASE)
        if not os.path.exists(path):
            return "", []
        try:
            connection = _connect(path)
            try:
                return _prefix(connection), _read(connection)
            finally:
                connection.close()
        except sqlite3.DatabaseError as exc:
            raise JournalDamaged(f"{folder}: {exc}") from exc


def in_use(folder: str) -> bool:
    """Whether the process that made the folder lives."""
    try:
        lock = _lock(folder)
    except OSError:
        return False
    if lock is not None:
        os.close(lock)
    return lock is None


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_LOCK_WAIT_S, check_same_thread=False)
    try:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _prefix(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT prefix FROM about").fetchone()
    return row[0] if row else ""


def _read(connection: sqlite3.Connection) -> List[Waiting]:
    rows = connection.execute(
        "SELECT number, since_s, failure, record, staged, body FROM files ORDER BY number").fetchall()
    try:
        return [Waiting(number, since_s, failure, _load(text, staged, body))
                for number, since_s, failure, text, staged, body in rows]
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        raise JournalDamaged(f"a row makes no sense: {exc!r}") from exc


def _lock(folder: str) -> Optional[int]:
    """Lock the folder; None when another process has it, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == os.stat(folder).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove_folder(folder: str) -> None:
    for entry in os.scandir(folder):
        os.unlink(entry.path)
    os.rmdir(folder)


def _sync_folder(folder: str) -> None:
    """Have new names on the disk (fsync(2), NOTES)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dump(record: Record) -> str:
    attributes = record.attributes
    base = record.base
    return json.dumps({
        "path": record.path, "key": record.key, "exclusive": record.exclusive,
        "base": None if base is None else row_of_info(base),
        "runs": [_dump_run(run) for run in record.local.runs],
        "attributes": [attributes.mode, attributes.uid, attributes.gid, attributes.mtime_ns, attributes.atime_ns,
                       attributes.ctime_ns, attributes.rdev],
        "xattrs": {name: base64.b64encode(value).decode() for name, value in attributes.xattrs.items()},
    }, separators=(",", ":"))


def _dump_run(run: Run) -> List[Any]:
    source = run.source
    if isinstance(source, Remote):
        return [run.start, run.stop, source.key, source.etag, source.offset, source.object_bytes]
    if source not in (STAGED, ZERO):
        raise ValueError(f"{source} is not on the local disk")
    return [run.start, run.stop, source is STAGED]


def _load(text: str, staged: str, body: bytes) -> Record:
    fields = json.loads(text)
    base = fields["base"]
    xattrs = {name: base64.b64decode(value) for name, value in fields["xattrs"].items()}
    attributes = replace(Attributes(*fields["attributes"]), xattrs=xattrs)
    local = LocalBytes(tuple(map(_load_run, fields["runs"])), staged, body)
    return Record(fields["path"], fields["key"], local, attributes, None if base is None else info_of_row(base),
                  fields["exclusive"])


def _load_run(fields: List[Any]) -> Run:
    start, stop, *source = fields
    if len(source) == 1:
        return Run(start, stop, STAGED if source[0] else ZERO)
    return Run(start, stop, Remote(*source))


@contextlib.contextmanager
def _local_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        text = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
        full = "full" in text or "No space" in text  # SQLITE_FULL: "database or disk is full"
        raise (StagingFull if full else StagingFailed)(f"the journal of unsent files cannot be kept: {text}") from exc
