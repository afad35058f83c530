"""The multipart uploads of a bucket and their parts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Iterator, List, Optional

from cosfs.server import ids
from cosfs.server.blobs import Content, Segments
from cosfs.server.errors import ApiError
from cosfs.server.index import Index, Row, pack_segments, unpack_segments
from cosfs.server.objects import Detail, NewObject, ObjectTable, ObjectVersion


@dataclass(frozen=True)
class Upload:
    upload_id: str
    key: str
    initiated_s: float
    storage_class: str
    detail: Detail


@dataclass(frozen=True)
class Part:
    number: int
    size_bytes: int
    etag: str
    crc64: int
    modified_s: float
    segments: Segments


def _part(row: Row) -> Part:
    return Part(row["number"], row["size_bytes"], row["etag"], int(row["crc64"]), row["modified_s"],
                unpack_segments(row["segments"]))


class UploadTable:
    def __init__(self, index: Index, objects: ObjectTable) -> None:
        self._index = index
        self._objects = objects

    def create(self, key: str, storage_class: str, detail: Detail) -> str:
        upload_id = ids.upload_id(time.time())
        self._index.change("INSERT INTO upload VALUES (?, ?, ?, ?, ?)", upload_id, key.encode(), time.time(),
                           storage_class, detail.pack())
        return upload_id

    def get(self, key: str, upload_id: str) -> Upload:
        """Raises: ApiError NoSuchUpload."""
        row = self._index.row("SELECT * FROM upload WHERE id = ? AND key = ?", upload_id, key.encode())
        if row is None:
            raise ApiError("NoSuchUpload")
        return Upload(row["id"], row["key"].decode(), row["initiated_s"], row["storage_class"],
                      Detail.unpack(row["detail"]))

    def put_part(self, key: str, upload_id: str, number: int, content: Content) -> Part:
        """Store a part in place of one of the same number. Raises: ApiError NoSuchUpload."""
        with self._index.transaction():
            self.get(key, upload_id)
            self._index.hold(content.segments)
            for row in self._index.rows("SELECT * FROM part WHERE upload_id = ? AND number = ?", upload_id, number):
                self._index.release(unpack_segments(row["segments"]))
            part = Part(number, content.size_bytes, content.etag, content.crc64, time.time(), content.segments)
            self._index.change("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?, ?)", upload_id, number,
                               part.size_bytes, part.etag, str(part.crc64), part.modified_s,
                               pack_segments(part.segments))
        return part

    def parts(self, upload_id: str, after: int = 0) -> List[Part]:
        return [_part(row) for row in self._index.rows(
            "SELECT * FROM part WHERE upload_id = ? AND number > ? ORDER BY number", upload_id, after)]

    def complete(self, upload: Upload, parts: List[Part], new: NewObject, *,
                 forbid_overwrite: bool) -> ObjectVersion:
        """Turn ``parts`` into the object ``new``; parts of the upload that are not among them are dropped."""
        used = {part.number for part in parts}
        with self._index.transaction():
            self._drop(upload.upload_id, [part for part in self.parts(upload.upload_id) if part.number not in used])
            return self._objects.put_in_transaction(upload.key, new, forbid_overwrite=forbid_overwrite, held=True)

    def abort(self, key: str, upload_id: str) -> None:
        with self._index.transaction():
            self.get(key, upload_id)
            self._drop(upload_id, self.parts(upload_id))

    def _drop(self, upload_id: str, parts: List[Part]) -> None:
        for part in parts:
            self._index.release(part.segments)
        self._index.change("DELETE FROM part WHERE upload_id = ?", upload_id)
        self._index.change("DELETE FROM upload WHERE id = ?", upload_id)

    def scan(self, start: bytes, stop: Optional[bytes]) -> Iterator[Row]:
        """Uploads of the keys in ``[start, stop)``, by key and id."""
        bound = () if stop is None else (stop,)
        return self._index.rows(
            f"SELECT * FROM upload WHERE key >= ?{'' if stop is None else ' AND key < ?'} ORDER BY key, id",
            start, *bound)

    def is_empty(self) -> bool:
        return self._index.row("SELECT 1 FROM upload LIMIT 1") is None
