"""The object versions of a bucket: find, put, delete, scan.

At most one version of a key is *latest*; a latest delete marker makes the key absent. In a bucket that
never had versioning every version is called ``null`` and replaces the one before.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Mapping, Optional

from cosfs.server.blobs import Content, Segments
from cosfs.server.errors import ApiError
from cosfs.server.ids import VersionIds
from cosfs.server.index import Index, Row, pack_segments, unpack_segments

NULL_VERSION = "null"
NORMAL, APPENDABLE, SYMLINK = "normal", "appendable", "symlink"


@dataclass(frozen=True)
class Detail:
    """What is stored with an object beside its bytes.

    ``headers``: those that GET returns, by wire name in the COS spelling. ``tagging``: as in
    ``x-cos-tagging``. ``target``: the key that a symbolic link names. ``restored_at_s``,
    ``restore_expiry_s``: of an archived object that was asked back, at ``restore_asked_s`` and by ``restore_tier``.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    acl: str = "default"
    tagging: str = ""
    target: str = ""
    restored_at_s: Optional[float] = None
    restore_expiry_s: Optional[float] = None
    restore_asked_s: Optional[float] = None
    restore_tier: str = ""

    def pack(self) -> str:
        return json.dumps({name: value for name, value in vars(self).items() if value}, ensure_ascii=False)

    @staticmethod
    def unpack(text: str) -> Detail:
        return Detail(**json.loads(text))


@dataclass(frozen=True)
class NewObject:
    """An object about to be put."""

    content: Content
    storage_class: str = "STANDARD"
    kind: str = NORMAL
    detail: Detail = field(default_factory=Detail)


@dataclass(frozen=True)
class ObjectVersion:
    """A stored version of a key."""

    seq: int
    key: str
    version_id: str
    is_latest: bool
    is_marker: bool
    size_bytes: int
    etag: str
    crc64: int
    modified_s: float
    storage_class: str
    kind: str
    detail: Detail
    segments: Segments


def _version(row: Row) -> ObjectVersion:
    return ObjectVersion(
        row["seq"], row["key"].decode(), row["version_id"], bool(row["latest"]), bool(row["marker"]),
        row["size_bytes"], row["etag"], int(row["crc64"]), row["modified_s"], row["storage_class"], row["kind"],
        Detail.unpack(row["detail"]), unpack_segments(row["segments"]))


class ObjectTable:
    """``on_change(key, row)`` is told the listing row that a key had before it changes, None if it had none."""

    def __init__(self, index: Index, on_change: Callable[[bytes, Optional[Row]], None]) -> None:
        self._index = index
        self._on_change = on_change
        self._version_ids = VersionIds()
        self.versioning = index.setting("versioning") or ""

    def set_versioning(self, status: str) -> None:
        self._index.set_setting("versioning", status)
        self.versioning = status

    def find(self, key: str, version_id: Optional[str] = None) -> Optional[ObjectVersion]:
        """The version asked for (a marker too), or the latest one, None when the key is absent."""
        if version_id is None:
            row = self._index.row("SELECT * FROM object WHERE key = ? AND latest = 1 AND marker = 0", key.encode())
        else:
            row = self._index.row("SELECT * FROM object WHERE key = ? AND version_id = ?", key.encode(), version_id)
        return None if row is None else _version(row)

    def put(self, key: str, new: NewObject, *, forbid_overwrite: bool = False, held: bool = False) -> ObjectVersion:
        """Make ``new`` the latest version of the key.

        ``held``: its blobs are counted already. ``forbid_overwrite`` is void once versioning was ever
        enabled, as the documentation has it. Raises: ApiError FileAlreadyExists.
        """
        with self._index.transaction():
            return self.put_in_transaction(key, new, forbid_overwrite=forbid_overwrite, held=held)

    def put_in_transaction(self, key: str, new: NewObject, *, forbid_overwrite: bool = False,
                           held: bool = False) -> ObjectVersion:
        if forbid_overwrite and self.overwrites(key):
            raise ApiError("FileAlreadyExists")
        if not held:
            # before anything is released: an object copied onto itself must not lose its blobs in between
            self._index.hold(new.content.segments)
        version_id = self._displace(key)
        self._insert(key, version_id, new, marker=False)
        found = self.find(key)
        assert found is not None
        return found

    def overwrites(self, key: str) -> bool:
        return not self.versioning and self.find(key) is not None

    def _displace(self, key: str) -> str:
        """Make room for a new latest version and return its id."""
        raw = key.encode()
        self._announce(raw)
        version_id = self._version_ids.next() if self.versioning == "Enabled" else NULL_VERSION
        if version_id == NULL_VERSION:
            self._remove(self.find(key, NULL_VERSION))
        if self.versioning:
            self._index.change("UPDATE object SET latest = 0 WHERE key = ? AND latest = 1", raw)
        return version_id

    def _insert(self, key: str, version_id: str, new: NewObject, *, marker: bool) -> None:
        content = new.content
        self._index.change(
            "INSERT INTO object (key, version_id, latest, marker, size_bytes, etag, crc64, modified_s, storage_class,"
            " kind, detail, segments) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            key.encode(), version_id, int(marker), content.size_bytes, content.etag, str(content.crc64), time.time(),
            new.storage_class, new.kind, new.detail.pack(), pack_segments(content.segments))

    def _remove(self, version: Optional[ObjectVersion]) -> None:
        if version is not None:
            self._index.release(version.segments)
            self._index.change("DELETE FROM object WHERE seq = ?", version.seq)

    def _announce(self, raw_key: bytes) -> None:
        self._on_change(raw_key, self._index.row(
            "SELECT * FROM object WHERE key = ? AND latest = 1 AND marker = 0", raw_key))

    def delete(self, key: str) -> Optional[str]:
        """Delete the latest version; returns the id of the delete marker if one was made."""
        with self._index.transaction():
            version_id = self._displace(key)
            if not self.versioning:
                return None
            self._insert(key, version_id, NewObject(Content(0, "", 0, ())), marker=True)
            return version_id

    def delete_version(self, key: str, version_id: str) -> Optional[ObjectVersion]:
        """Delete one version for good; the newest one left becomes the latest. Returns what was deleted."""
        version = self.find(key, version_id)
        if version is None:
            return None
        raw = key.encode()
        with self._index.transaction():
            self._announce(raw)
            self._remove(version)
            if version.is_latest:
                self._index.change("UPDATE object SET latest = 1 WHERE seq ="
                                   " (SELECT max(seq) FROM object WHERE key = ?)", raw)
        return version

    def update(self, version: ObjectVersion, **changes: Any) -> None:
        """Change the detail of a stored version."""
        detail = Detail(**{**vars(version.detail), **changes})
        self._index.change("UPDATE object SET detail = ? WHERE seq = ?", detail.pack(), version.seq)

    def append(self, version: ObjectVersion, added: Content, total: Content) -> None:
        """Lengthen an appendable object by ``added``; ``total`` is what it holds then."""
        with self._index.transaction():
            self._announce(version.key.encode())
            self._index.hold(added.segments)
            self._index.change(
                "UPDATE object SET size_bytes = ?, etag = ?, crc64 = ?, modified_s = ?, segments = ? WHERE seq = ?",
                total.size_bytes, total.etag, str(total.crc64), time.time(), pack_segments(total.segments),
                version.seq)

    def scan(self, start: bytes, stop: Optional[bytes]) -> Iterator[Row]:
        """Listing rows of the keys in ``[start, stop)``, in byte order."""
        return self._index.rows(
            "SELECT key, size_bytes, etag, modified_s, storage_class FROM object"
            f" WHERE latest = 1 AND marker = 0 AND key >= ?{'' if stop is None else ' AND key < ?'} ORDER BY key",
            *_bounds(start, stop))

    def scan_versions(self, start: bytes, stop: Optional[bytes]) -> Iterator[Row]:
        """All versions and markers of the keys in ``[start, stop)``, the newest of each key first."""
        return self._index.rows(
            f"SELECT * FROM object WHERE key >= ?{'' if stop is None else ' AND key < ?'} ORDER BY key, seq DESC",
            *_bounds(start, stop))

    def is_empty(self) -> bool:
        return self._index.row("SELECT 1 FROM object LIMIT 1") is None


def _bounds(start: bytes, stop: Optional[bytes]) -> Any:
    return (start,) if stop is None else (start, stop)

