"""The index of one bucket: an SQLite file beside its blobs, the count of each blob's users, the settings.

A commit is what makes a write exist. The journal (WAL) is not forced to the disk at each commit: an
acknowledged object outlives the death of the server, by SIGKILL too, but not a power cut.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence

from cosfs.server.blobs import BlobStore, Content, Segment, Segments

Row = Any
"""A row of the index; columns by name or position."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blob (number INTEGER PRIMARY KEY, users INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL, version_id TEXT NOT NULL,
    latest INTEGER NOT NULL, marker INTEGER NOT NULL, size_bytes INTEGER NOT NULL, etag TEXT NOT NULL,
    crc64 TEXT NOT NULL, modified_s REAL NOT NULL, storage_class TEXT NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL, segments TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS object_current ON object (key) WHERE latest = 1 AND marker = 0;
CREATE INDEX IF NOT EXISTS object_versions ON object (key, seq);
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY, key BLOB NOT NULL, initiated_s REAL NOT NULL, storage_class TEXT NOT NULL,
    detail TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS upload_keys ON upload (key, id);
CREATE TABLE IF NOT EXISTS part (
    upload_id TEXT NOT NULL, number INTEGER NOT NULL, size_bytes INTEGER NOT NULL, etag TEXT NOT NULL,
    crc64 TEXT NOT NULL, modified_s REAL NOT NULL, segments TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)) WITHOUT ROWID;
"""


def pack_segments(segments: Segments) -> str:
    return " ".join(f"{s.blob}:{s.offset}:{s.length}" for s in segments)


def unpack_segments(text: str) -> Segments:
    return tuple(Segment(*map(int, item.split(":"))) for item in text.split())


class Index:
    """The database of a bucket and its blobs; every change happens inside ``transaction()``."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(str(folder / "index.db"), isolation_level=None, cached_statements=256)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._freed: List[int] = []
        known = {row[0] for row in self._db.execute("SELECT number FROM blob")}
        self.blobs = BlobStore(folder / "blobs", known)
        if self.setting("created_s") is None:
            self.set_setting("created_s", str(time.time()))

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; the files of blobs that lost their last user go once it is committed."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._freed.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        freed, self._freed = self._freed, []
        self.blobs.remove(freed)

    def rows(self, sql: str, *values: object) -> Iterator[Row]:
        return self._db.execute(sql, values)

    def row(self, sql: str, *values: object) -> Optional[Row]:
        return self._db.execute(sql, values).fetchone()

    def change(self, sql: str, *values: object) -> int:
        """Run one statement; returns the id of an inserted row."""
        return self._db.execute(sql, values).lastrowid or 0

    def hold(self, segments: Segments) -> None:
        """Count one more user of each segment's blob. Inside a transaction."""
        self._db.executemany("INSERT INTO blob VALUES (?, 1) ON CONFLICT (number) DO UPDATE SET users = users + 1",
                             [(segment.blob,) for segment in segments])

    def release(self, segments: Segments) -> None:
        """Count one user less of each segment's blob. Inside a transaction."""
        for segment in segments:
            self._db.execute("UPDATE blob SET users = users - 1 WHERE number = ?", (segment.blob,))
            if self._db.execute("DELETE FROM blob WHERE number = ? AND users = 0", (segment.blob,)).rowcount:
                self._freed.append(segment.blob)

    def discard(self, content: Content) -> None:
        """Forget bytes that were received and that no row holds."""
        self.blobs.remove(self._unheld(content.segments))

    def _unheld(self, segments: Sequence[Segment]) -> List[int]:
        return [s.blob for s in segments if self.row("SELECT 1 FROM blob WHERE number = ?", s.blob) is None]

    def setting(self, name: str) -> Optional[str]:
        row = self.row("SELECT value FROM setting WHERE name = ?", name)
        return None if row is None else str(row[0])

    def set_setting(self, name: str, value: str) -> None:
        self.change("INSERT OR REPLACE INTO setting VALUES (?, ?)", name, value)
