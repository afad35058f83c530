"""What the clients of other times have in common: they are asked as any client, and refuse every change.

Threading: any thread.
"""
# ruff: noqa: ARG002 - what is refused needs no arguments

from __future__ import annotations

from typing import Iterator, NoReturn, Optional, Sequence, Tuple

from cosfs.cos.interface import (
    BucketInfo,
    CopySource,
    DeleteFailure,
    ListedObject,
    ListedVersion,
    ObjectHeaders,
    PendingUpload,
    StoredObject,
    Tags,
    UploadBody,
    UploadedPart,
    VersionedClient,
    VersionMarker,
)
from cosfs.errors import CosServiceError, ReadOnlyFilesystem, service_error
from cosfs.units import MAX_LIST_KEYS

FEW = 10
"""Most objects have fewer versions, so the first request for those of one asks for no more."""


def versions_of(client: VersionedClient, key: str) -> Iterator[ListedVersion]:
    """All versions and delete markers of one object, the newest first; a request for the first ten, then one for each
    thousand."""
    marker: Optional[VersionMarker] = ("", "")
    max_keys = FEW
    while marker is not None:
        page = client.list_object_versions(key, marker=marker, max_keys=max_keys)
        for row in page.versions:
            if row.key != key:
                return
            yield row
        marker, max_keys = page.next_marker, MAX_LIST_KEYS


def listed_object(key: str, row: ListedVersion) -> ListedObject:
    """A version as the row of an ordinary listing, under ``key``."""
    return ListedObject(key, row.size_bytes, row.etag, row.last_modified_s, row.storage_class)


def not_found(key: str) -> CosServiceError:
    """What the service would answer, had it been asked."""
    return service_error("HEAD", {"code": "NoSuchKey", "message": "there is no such object at that time",
                                  "resource": key, "requestid": "", "traceid": ""}, 404)


class ReadOnlyClient:
    """The calls of ``ObjectClient`` that neither read objects, nor list them, nor have them restored."""

    def __init__(self, client: VersionedClient) -> None:
        self._client = client

    def get_object_tagging(self, key: str) -> Tags:
        return _refuse(key)

    def put_object(self, key: str, body: UploadBody, *, headers: ObjectHeaders,
                   forbid_overwrite: bool = False) -> StoredObject:
        return _refuse(key)

    def delete_object(self, key: str) -> None:
        _refuse(key)

    def delete_objects(self, keys: Sequence[str]) -> Tuple[DeleteFailure, ...]:
        return _refuse(next(iter(keys), ""))

    def copy_object(self, source_key: str, key: str, *, headers: Optional[ObjectHeaders] = None,
                    storage_class: Optional[str] = None, if_match: Optional[str] = None,
                    forbid_overwrite: bool = False) -> StoredObject:
        return _refuse(key)

    def create_multipart_upload(self, key: str, *, headers: ObjectHeaders, forbid_overwrite: bool = False) -> str:
        return _refuse(key)

    def upload_part(self, key: str, upload_id: str, number: int, body: UploadBody) -> UploadedPart:
        return _refuse(key)

    def upload_part_copy(self, key: str, upload_id: str, number: int, source: CopySource) -> UploadedPart:
        return _refuse(key)

    def complete_multipart_upload(self, key: str, upload_id: str, parts: Sequence[UploadedPart], *,
                                  forbid_overwrite: bool = False) -> StoredObject:
        return _refuse(key)

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        _refuse(key)

    def list_multipart_uploads(self, prefix: str = "") -> Tuple[PendingUpload, ...]:
        return ()

    def head_bucket(self) -> BucketInfo:
        return self._client.head_bucket()

    def close(self) -> None:
        self._client.close()


def _refuse(key: str) -> NoReturn:
    raise ReadOnlyFilesystem(f"{key!r} is of another time and cannot be changed")
