"""Headers of objects that outlive the mount: a small SQLite database in the bucket's state folder.

Kept by key, and true of one version: who looks headers up compares ETag, Last-Modified and storage class with a
listing. Only what is settled is kept (``ObjectInfo.settled``), so no later change can go unseen; of what changes
without a new version, tags and restores, nothing is. Headers hold no secrets: of encryption with a customer's key they
name the algorithm at most.

The database is a cache. Several mounts share it (write-ahead log); one that is damaged is made anew; one that
cannot be used costs a warning, and the mount goes on without.

Threading: any thread. ``put`` only takes a note; one own thread writes in batches, on a connection of its own.
Memory: the notes, at most ``_MAX_NOTES``, some 2 KB each.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from cosfs.cos.interface import TAGS_UNKNOWN, ObjectHeaders, ObjectInfo
from cosfs.executor import WorkerPool

log = logging.getLogger(__name__)

FILE_NAME = "headers-1.sqlite3"
"""The number is that of the schema: a mount of another version has its own file."""

MAX_ROWS = 1_000_000
"""Rows kept, the last ones stored: some 360 bytes each with the attributes of this program (measured), 360 MB."""

_BATCH = 5_000
"""Notes that are worth a transaction: writing must not compete with the program that makes them one by one. Fewer are
written when the mount ends."""

_MAX_NOTES = 20_000
"""Notes held while the disk is slow; later ones are dropped."""

_LOCK_WAIT_S = 2.0
"""Longest wait for another mount's write; its transactions take milliseconds."""

_KEYS_PER_QUERY = 500
"""SQLite before 3.32 takes 999 parameters ("Implementation Limits For SQLite")."""

_SCHEMA = (
    # NORMAL: a crash of the machine may lose the last transactions, never the database ("PRAGMA synchronous")
    "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL",
    "CREATE TABLE IF NOT EXISTS headers (age INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, etag TEXT NOT NULL, "
    "modified_s REAL NOT NULL, storage_class TEXT NOT NULL, folder TEXT, rest TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS by_folder ON headers (folder) WHERE folder IS NOT NULL",
)
_COLUMNS = "key, etag, modified_s, storage_class, rest"
_Row = Tuple[str, str, float, str, str]


class HeadersDatabase:
    """``folder``: where its file lies; made and opened with the first use, so after any fork."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE_NAME)
        self._pool = WorkerPool("cosfs-headers", 1, queue=1)
        self._lock = threading.Lock()
        self._notes: Dict[str, Tuple[ObjectInfo, bool]] = {}
        self._writing = False
        self._usable = True
        self._connection_lock = threading.Lock()
        self._reader: Optional[sqlite3.Connection] = None

    def put(self, info: ObjectInfo, *, special: bool) -> None:
        """Keep what HEAD or GET told, if it will hold. ``special``: of neither a regular file nor a directory."""
        if not info.settled or info.restore is not None or not self._usable or not _is_text(info.key):
            return  # the state of a restore changes by itself
        with self._lock:
            if len(self._notes) >= _MAX_NOTES:
                return
            self._notes[info.key] = info, special
            start = len(self._notes) >= _BATCH and not self._writing
            self._writing = self._writing or start
        if start:
            self._pool.submit(self._write_notes)

    def get(self, keys: Sequence[str]) -> Dict[str, ObjectInfo]:
        """The headers last seen of objects, by key; those that are not known are left out."""
        keys = list(filter(_is_text, keys))
        with self._lock:
            found = {key: self._notes[key][0] for key in keys if key in self._notes}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start:start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            rows = self._select(f"SELECT {_COLUMNS} FROM headers WHERE key IN ({marks})", some)
            found = {**_infos(rows), **found}
        return found

    def specials(self, folder: str) -> Dict[str, ObjectInfo]:
        """Those directly in a folder (a key prefix) whose type no listing tells: symbolic links, FIFOs, devices."""
        if not _is_text(folder):
            return {}
        with self._lock:
            noted = {key: info for key, (info, special) in self._notes.items()
                     if special and _folder_of(key) == folder}
        return {**_infos(self._select(f"SELECT {_COLUMNS} FROM headers WHERE folder = ?", (folder,))), **noted}

    def close(self) -> None:
        """Write what was noted. No use afterwards."""
        with self._lock:
            self._writing = True
        self._pool.close()
        self._write_notes()
        with self._connection_lock:
            self._usable = False
            self._close_reader_locked()

    def _select(self, statement: str, parameters: Sequence[str]) -> List[_Row]:
        with self._connection_lock:
            if not self._usable:
                return []
            try:
                if self._reader is None:
                    self._reader = self._connect()
                return self._reader.execute(statement, parameters).fetchall()
            except sqlite3.Error as exc:
                self._failed_locked(exc)
                return []

    def _write_notes(self) -> None:
        """Write until nothing worth it is left."""
        while True:
            with self._lock:
                notes = dict(self._notes)
            try:
                self._write(notes)
            except sqlite3.Error as exc:
                with self._connection_lock:
                    self._failed_locked(exc)
            with self._lock:
                for key, note in notes.items():
                    if self._notes.get(key) is note:
                        del self._notes[key]
                if len(self._notes) < _BATCH:
                    self._writing = False
                    return

    def _write(self, notes: Dict[str, Tuple[ObjectInfo, bool]]) -> None:
        if not notes or not self._usable:
            return
        connection = self._connect()
        try:
            with connection:
                connection.executemany(
                    f"INSERT OR REPLACE INTO headers ({_COLUMNS}, folder) VALUES (?, ?, ?, ?, ?, ?)",
                    ((*row_of_info(info), _folder_of(info.key) if special else None)
                     for info, special in notes.values()))
                connection.execute("DELETE FROM headers WHERE age <= (SELECT MAX(age) FROM headers) - ?", (MAX_ROWS,))
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        """Raises: sqlite3.Error."""
        connection = sqlite3.connect(self._path, timeout=_LOCK_WAIT_S, check_same_thread=False)
        try:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _failed_locked(self, exc: sqlite3.Error) -> None:
        """A damaged file is removed, once; with any other failure the mount goes on without."""
        if not self._usable:
            return
        self._close_reader_locked()
        damaged = isinstance(exc, sqlite3.DatabaseError) and not isinstance(exc, (
            sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.ProgrammingError))
        if damaged and self._remove():
            log.warning("%s was damaged (%s); it only held what the bucket tells, and is made anew", self._path, exc)
            return
        self._usable = False
        log.warning("headers are not kept in %s, so they are asked for again after the next mount: %s", self._path, exc)

    def _remove(self) -> bool:
        try:
            for suffix in ("", "-wal", "-shm"):
                if os.path.exists(self._path + suffix):
                    os.unlink(self._path + suffix)
        except OSError:
            return False
        return True

    def _close_reader_locked(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _is_text(key: str) -> bool:
    """Whether SQLite takes it; keys of bytes that are no UTF-8 it does not."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folder_of(key: str) -> str:
    return key[:key.rfind("/") + 1]


def row_of_info(info: ObjectInfo) -> _Row:
    """What is kept of headers; all but the state of a restore and the tags."""
    rest = [info.size_bytes, dict(info.headers.metadata), dict(info.headers.standard), info.headers.storage_class,
            dict(info.headers.extra), info.crc64, info.version_id, info.complete, info.served_s]
    return (info.key, info.etag, info.last_modified_s, info.storage_class,
            json.dumps(rest, separators=(",", ":")))


def info_of_row(row: Sequence[Any]) -> ObjectInfo:
    """The headers of such a row. Raises: ValueError, TypeError, when it makes no sense."""
    key, etag, modified_s, storage_class, rest = row
    size, metadata, standard, header_class, extra, crc64, version_id, complete, served_s = json.loads(rest)
    return ObjectInfo(key, size, etag, modified_s, ObjectHeaders(metadata, standard, header_class, extra),
                      storage_class, crc64, version_id, None, complete, TAGS_UNKNOWN, served_s)


def _infos(rows: Iterable[_Row]) -> Dict[str, ObjectInfo]:
    """Rows that make no sense are left out: what they were of is asked for again."""
    found = {}
    for row in rows:
        try:
            found[row[0]] = info_of_row(row)
        except (ValueError, TypeError):
            continue
    return found
