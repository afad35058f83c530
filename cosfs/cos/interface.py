"""What the filesystem knows of an object store: one Protocol and the frozen values that cross it.

``BucketClient`` (client.py) implements it over HTTP; decorators (prefix, counting, faults) and test fakes
implement it too. Everything above this package imports this module and never the client itself.

Conventions: keys have no leading slash; byte ranges are half-open ``[start, stop)``; ETags are without
quotes; times are seconds since the epoch, UTC; metadata names are lower case and lack the ``x-cos-meta-``
prefix. Calls block until answered, retry by the client's policy, may be made from any thread, and raise
only ``CosClientError`` and ``CosServiceError``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Iterator, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple, Union

from cosfs.archive import RestoreOrder

Body = Union[bytes, bytearray, memoryview]
"""A body in memory."""


class FileBytes(NamedTuple):
    """The bytes ``[start, stop)`` of an open file, which stay as they are until the request that sends them ends."""

    descriptor: int
    start: int
    stop: int


class StoredBody(Protocol):
    """A body that lies somewhere else, and can be read as often as needed."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""

    def chunks(self) -> Iterator[memoryview]:
        """All bytes, from the first, at each call; a chunk is valid until the next one. Raises: CosfsError."""

    def pieces(self) -> Iterator[Union[memoryview, FileBytes]]:
        """The same bytes for who need not see them: what lies in a file is only named."""


UploadBody = Union[Body, StoredBody]
"""The body of an upload, which can be sent again as it is."""

TAGS_UNKNOWN = -1


@dataclass(frozen=True)
class ObjectHeaders:
    """The headers that are stored with an object, as they are sent on PUT, copy and initiate.

    ``metadata``: user metadata. ``standard``: stored HTTP headers by their wire name, any of Cache-Control,
    Content-Disposition, Content-Encoding, Content-Language, Content-Type, Expires. ``storage_class``: None
    means the bucket's default (STANDARD). ``extra``: further request headers by wire name in the COS
    spelling (``x-cos-acl``, ``x-cos-tagging``, ``x-cos-server-side-encryption`` …).
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    standard: Mapping[str, str] = field(default_factory=dict)
    storage_class: Optional[str] = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectInfo:
    """An object's version as HEAD or GET describes it.

    ``crc64``: CRC-64/XZ of the whole object, None when the service gave none. ``storage_class``: STANDARD
    when the service names none. ``headers``: everything needed to write the object again unchanged, if
    ``complete``: a GET may show a Content-Disposition that is not stored, so after one only HEAD tells. Of tags, which
    copies keep and uploads do not, it tells the number, or ``TAGS_UNKNOWN``: tags change and the version does not.
    ``served_s``: the service's clock when it answered, None for what was not an answer to HEAD or GET.
    """

    key: str
    size_bytes: int
    etag: str
    last_modified_s: float
    headers: ObjectHeaders
    storage_class: str = "STANDARD"
    crc64: Optional[int] = None
    version_id: Optional[str] = None
    restore: Optional[str] = None
    complete: bool = True
    tag_count: int = 0
    served_s: Optional[float] = field(default=None, compare=False)

    @property
    def settled(self) -> bool:
        """Whether every later change must show in the ETag or in Last-Modified.

        Last-Modified has whole seconds, and a copy of an object onto itself with other headers keeps the ETag
        ("Put Object - Copy"). The second second is for services of several machines.
        """
        return self.served_s is not None and self.served_s >= self.last_modified_s + 2


@dataclass(frozen=True)
class ListedObject:
    """One row of a listing; rows carry no metadata."""

    key: str
    size_bytes: int
    etag: str
    last_modified_s: float
    storage_class: str = "STANDARD"


@dataclass(frozen=True)
class ListPage:
    """One page of a listing. ``next_marker`` is None on the last page."""

    objects: Tuple[ListedObject, ...]
    prefixes: Tuple[str, ...]
    next_marker: Optional[str] = None


@dataclass(frozen=True)
class ListedVersion:
    """One row of a listing of versions. ``is_marker``: a delete marker, which has neither content nor ETag.

    ``version_id``: ``null`` for what was stored while versioning was not, or no longer, enabled.
    """

    key: str
    version_id: str
    is_latest: bool
    last_modified_s: float
    is_marker: bool = False
    size_bytes: int = 0
    etag: str = ""
    storage_class: str = "STANDARD"


VersionMarker = Tuple[str, str]
"""Where a listing of versions goes on: after that version of that key; with an empty id, after all of the key's."""


@dataclass(frozen=True)
class VersionsPage:
    """One page of a listing of versions, by key, the newest of each first. ``next_marker``: None on the last page."""

    versions: Tuple[ListedVersion, ...]
    prefixes: Tuple[str, ...]
    next_marker: Optional[VersionMarker] = None


@dataclass(frozen=True)
class StoredObject:
    """The answer to a write that made an object: PUT, copy, complete."""

    etag: str
    crc64: Optional[int] = None
    version_id: Optional[str] = None
    last_modified_s: Optional[float] = None


@dataclass(frozen=True)
class UploadedPart:
    """One part of a multipart upload. ``crc64`` is None for parts copied on the server."""

    number: int
    etag: str
    size_bytes: int
    crc64: Optional[int] = None


@dataclass(frozen=True)
class PendingUpload:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str
    initiated_s: float


@dataclass(frozen=True)
class DeleteFailure:
    """A key that a Delete Multiple could not delete."""

    key: str
    code: str
    message: str


@dataclass(frozen=True)
class BucketInfo:
    """What HEAD Bucket tells. ``region`` is None when the answer names none."""

    region: Optional[str] = None
    multi_az: bool = False


@dataclass(frozen=True)
class CopySource:
    """A byte range of an object version to be copied on the server."""

    key: str
    start: int
    stop: int
    if_match: Optional[str] = None


_OF_VERSION = "\0"


def version_key(key: str, version_id: str) -> str:
    """What names one version of an object to ``get_object``, and as the source of a copy, in place of a key.

    Extent maps and journals hold it as they hold keys. No path leads to such a key.
    """
    return f"{key}{_OF_VERSION}{version_id}"


def split_version_key(key: str) -> Tuple[str, Optional[str]]:
    """Key and version id; None for an ordinary key."""
    key, _, version_id = key.partition(_OF_VERSION)
    return key, version_id or None


ProgressCallback = Callable[[int], None]

Tags = Tuple[Tuple[str, str], ...]
"""Names and values of an object's tags."""


class ObjectClient(Protocol):
    """One bucket. Each method is one API call of the service (retries aside)."""

    def head_object(self, key: str) -> ObjectInfo:
        """Head Object. Raises: ObjectNotFound."""

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, if_match: Optional[str] = None,
                   on_progress: Optional[ProgressCallback] = None) -> ObjectInfo:
        """Get Object, range ``[start, start + len(buffer))``, received into ``buffer``.

        ``on_progress(n)`` is called on this thread each time the first ``n`` bytes of the buffer are valid;
        n never falls. A broken connection is resumed at the byte where it broke, with If-Match. The range
        must lie inside the object and must not be empty.

        Raises: PreconditionFailed (``if_match`` no longer holds), ObjectNotFound, ObjectArchived,
        IntegrityError (length or range other than asked for).
        """

    def put_object(self, key: str, body: UploadBody, *, headers: ObjectHeaders,
                   forbid_overwrite: bool = False) -> StoredObject:
        """Put Object with Content-MD5; the CRC-64 of the answer is checked. Raises: ObjectExists."""

    def get_object_tagging(self, key: str) -> Tags:
        """Get Object Tagging; empty when there are none. Raises: ObjectNotFound."""

    def delete_object(self, key: str) -> None:
        """Delete Object; a key that does not exist is no error."""

    def delete_objects(self, keys: Sequence[str]) -> Tuple[DeleteFailure, ...]:
        """Delete Multiple Objects, at most 1,000 keys; returns those that were not deleted."""

    def copy_object(self, source_key: str, key: str, *, headers: Optional[ObjectHeaders] = None,
                    storage_class: Optional[str] = None, if_match: Optional[str] = None,
                    forbid_overwrite: bool = False) -> StoredObject:
        """Put Object - Copy, up to 5 GiB. Tags are copied.

        With ``headers`` the target gets exactly these (directive Replaced; required when the keys are
        equal). Without, the service copies metadata and standard headers, but *not* the encryption, and not
        the storage class: the target gets ``storage_class``. An error inside a 200 answer is raised.
        Raises: ObjectNotFound (source), PreconditionFailed, ObjectExists, ObjectArchived.
        """

    def restore_object(self, key: str, order: RestoreOrder) -> bool:
        """Post Object Restore: have a copy made that can be read. True when that has begun; False when there is one
        already, which then stays for as many days from now.

        Raises: RestoreInProgress, ObjectNotArchived, ObjectNotFound.
        """

    def list_objects(self, prefix: str, *, delimiter: str = "", marker: str = "",
                     max_keys: int = 1000, on_next: Optional[Callable[[str], None]] = None) -> ListPage:
        """Get Bucket (List Objects v1) with encoding-type=url, one page.

        ``on_next`` is told the marker of the next page, on this thread, when it is known before the rows are. It is
        told again should the answer have to be asked for again; what holds is the marker of the page.
        """

    def create_multipart_upload(self, key: str, *, headers: ObjectHeaders,
                                forbid_overwrite: bool = False) -> str:
        """Initiate Multipart Upload; returns the upload id."""

    def upload_part(self, key: str, upload_id: str, number: int, body: UploadBody) -> UploadedPart:
        """Upload Part with Content-MD5; the CRC-64 of the answer is checked. Raises: UploadNotFound."""

    def upload_part_copy(self, key: str, upload_id: str, number: int, source: CopySource) -> UploadedPart:
        """Upload Part - Copy. Raises: PreconditionFailed, UploadNotFound."""

    def complete_multipart_upload(self, key: str, upload_id: str, parts: Sequence[UploadedPart], *,
                                  forbid_overwrite: bool = False) -> StoredObject:
        """Complete Multipart Upload; never repeated blindly.

        When every part has a CRC-64 the combined value must equal the service's. A lost answer is resolved
        by Head Object: same size and same CRC-64 (of all parts) means that it was done. ``crc64`` of the
        result may be None. Raises: UploadNotFound, ObjectExists, IntegrityError.
        """

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Abort Multipart Upload; an upload that is gone is no error."""

    def list_multipart_uploads(self, prefix: str = "") -> Tuple[PendingUpload, ...]:
        """List Multipart Uploads, all pages."""

    def head_bucket(self) -> BucketInfo:
        """Head Bucket. Raises: BucketNotFound, AccessDenied."""

    def close(self) -> None:
        """Release the connections."""


class VersionedClient(ObjectClient, Protocol):
    """An ``ObjectClient`` that knows of the versions that a bucket keeps. ``version_id`` None: the latest one.

    ``get_object``, ``copy_object`` and ``upload_part_copy`` also take a ``version_key`` of what they read.
    """

    @property
    def changes(self) -> int:
        """Rises with each request that may have changed the bucket."""

    def head_object(self, key: str, *, version_id: Optional[str] = None) -> ObjectInfo:
        """Head Object. Raises: ObjectNotFound, for a delete marker too."""

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, if_match: Optional[str] = None,
                   on_progress: Optional[ProgressCallback] = None, version_id: Optional[str] = None) -> ObjectInfo:
        """Get Object, as above."""

    def restore_object(self, key: str, order: RestoreOrder, *, version_id: Optional[str] = None) -> bool:
        """Post Object Restore, as above."""

    def list_object_versions(self, prefix: str, *, delimiter: str = "", marker: VersionMarker = ("", ""),
                             max_keys: int = 1000) -> VersionsPage:
        """Get Bucket Object Versions with encoding-type=url, one page. Delete markers count among ``max_keys``."""

    def get_bucket_versioning(self) -> str:
        """Get Bucket Versioning: ``Enabled``, ``Suspended``, or "" for a bucket that never had it."""
