"""The calls of multipart uploads; the upper half of ``BucketClient``, which adds all others (client.py)."""

from __future__ import annotations

import base64
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from cosfs.cos import xml
from cosfs.cos.adding import AddingRequester
from cosfs.cos.crc64 import combine, crc64
from cosfs.cos.endpoint import ClientConfig, check_key
from cosfs.cos.headers import HeaderList, object_info, object_request_headers, stored_object, strip_quotes
from cosfs.cos.interface import (
    Body,
    CopySource,
    ObjectHeaders,
    ObjectInfo,
    PendingUpload,
    StoredObject,
    UploadBody,
    UploadedPart,
    split_version_key,
)
from cosfs.cos.requester import Learned, Request, Requester, StreamedBody, error_inside
from cosfs.cos.retry import is_transient
from cosfs.cos.transport import Answer
from cosfs.errors import (
    CosException,
    CosServiceError,
    IntegrityError,
    InvalidAnswer,
    InvalidParameter,
    ObjectExists,
    PreconditionFailed,
    UploadNotFound,
    service_error,
)
from cosfs.metrics import RequestMeter
from cosfs.units import MAX_LIST_KEYS, MAX_PARTS, MAX_PUT_BYTES

T = TypeVar("T")

FORBID_OVERWRITE = ("x-cos-forbid-overwrite", "true")

_DATES_DIFFER_S = 2.0
"""Last-Modified has a resolution of one second, and so has the Date that our clock is compared with."""


class MultipartCalls:
    """What BucketClient does with a requester, as far as uploads in parts are concerned."""

    def __init__(self, config: ClientConfig, *, learned: Optional[Learned] = None,
                 meter: Optional[RequestMeter] = None) -> None:
        """``learned``: by an earlier client of the service. ``meter``: counts the requests."""
        self._config = config
        self._requester = AddingRequester(config, learned=learned, meter=meter) if config.additions else \
            Requester(config, learned=learned, meter=meter)

    def head_object(self, key: str, *, version_id: Optional[str] = None) -> ObjectInfo:
        def decode(answer: Answer) -> ObjectInfo:
            return object_info(key, answer.headers, size_bytes=answer.headers.integer("Content-Length"), is_get=False)
        return self._requester.call(
            Request("Head Object", "HEAD", check_key(key), params=version_params(version_id)), decode)

    def create_multipart_upload(self, key: str, *, headers: ObjectHeaders, forbid_overwrite: bool = False) -> str:
        pairs = object_request_headers(headers)
        if forbid_overwrite and self._config.signature == "cos":  # S3 knows the condition at completion only
            pairs.append(FORBID_OVERWRITE)
        # Repeated although a lost answer leaves an upload behind: one without parts costs nothing, a failed close does.
        request = Request("Initiate Multipart Upload", "POST", check_key(key), params=[("uploads", "")], headers=pairs)
        return self._requester.call(request, lambda answer: xml.parse_initiate(answer.read()))

    def upload_part(self, key: str, upload_id: str, number: int, body: UploadBody) -> UploadedPart:
        checked = check_body(body, with_md5=self._config.content_md5)

        def decode(answer: Answer) -> UploadedPart:
            stored = stored_object(answer.headers)
            check_crc(stored.crc64, checked.crc64, f"part {number} of {key!r}")
            return UploadedPart(number, stored.etag, checked.size_bytes, checked.crc64)
        request = Request("Upload Part", "PUT", check_key(key), params=_part_params(number, upload_id),
                          headers=checked.headers, body=checked.body)
        return self._requester.call(request, decode)

    def upload_part_copy(self, key: str, upload_id: str, number: int, source: CopySource) -> UploadedPart:
        pairs = self._copy_headers(source.key, source.if_match)
        pairs.append(("x-cos-copy-source-range", f"bytes={source.start}-{source.stop - 1}"))
        request = Request("Upload Part - Copy", "PUT", check_key(key), params=_part_params(number, upload_id),
                          headers=pairs, source_key=split_version_key(source.key)[0])
        stored = self._requester.call(request, lambda answer: stored_inside(answer, "PUT", "CopyPartResult"))
        return UploadedPart(number, stored.etag, source.stop - source.start)

    def complete_multipart_upload(self, key: str, upload_id: str, parts: Sequence[UploadedPart], *,
                                  forbid_overwrite: bool = False) -> StoredObject:
        request = Request(
            "Complete Multipart Upload", "POST", check_key(key), params=[("uploadId", upload_id)],
            headers=[("Content-Type", "application/xml"), *([FORBID_OVERWRITE] if forbid_overwrite else [])],
            body=xml.complete_body((part.number, part.etag) for part in parts), idempotent=False)
        size_bytes = sum(part.size_bytes for part in parts)
        own_crc = combine((part.crc64, part.size_bytes) for part in parts)
        retrying = self._config.retry.start()
        started_s = self._requester.now_s()
        perhaps_done = False
        while True:
            try:
                with exists_if_refused(forbid_overwrite):
                    stored = self._requester.call(
                        request, lambda answer: stored_inside(answer, "POST", "CompleteMultipartUploadResult"),
                        retrying)
            except (UploadNotFound, ObjectExists) as exc:
                failure: CosException = exc
                done = self._completed(key, size_bytes, own_crc, started_s, gone=True) if perhaps_done else None
                repeat = False
            except CosException as exc:
                if not is_transient(exc):
                    raise
                failure, perhaps_done, repeat = exc, True, True
                done = self._completed(key, size_bytes, own_crc, started_s, gone=False)
            else:
                check_crc(stored.crc64, own_crc, repr(key))
                return stored
            if done is not None:
                return done
            if not repeat or not retrying.pause(failure, f"Complete Multipart Upload {key}"):
                raise failure

    def _completed(self, key: str, size_bytes: int, own_crc: Optional[int], started_s: float, *,
                   gone: bool) -> Optional[StoredObject]:
        """Whether a completion whose answer was lost has happened: the object it made, else None.

        Without CRCs to compare, an object of the right size and age proves it only when the upload is gone.
        """
        try:
            found = self.head_object(key)
        except CosException:
            return None
        if found.size_bytes != size_bytes:
            return None
        if own_crc is not None and found.crc64 is not None:
            same = found.crc64 == own_crc
        else:
            same = gone and found.last_modified_s >= started_s - _DATES_DIFFER_S
        if not same:
            return None
        return StoredObject(found.etag, found.crc64, found.version_id, found.last_modified_s)

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        request = Request("Abort Multipart Upload", "DELETE", check_key(key), params=[("uploadId", upload_id)])
        try:
            self._requester.call(request, lambda _: None)
        except UploadNotFound:
            return

    def list_multipart_uploads(self, prefix: str = "") -> Tuple[PendingUpload, ...]:
        found: List[PendingUpload] = []
        marker: Optional[Tuple[str, str]] = ("", "")
        while marker is not None:
            request = Request("List Multipart Uploads", "GET", params=[
                ("uploads", ""), ("prefix", prefix), ("key-marker", marker[0]), ("upload-id-marker", marker[1]),
                ("max-uploads", str(MAX_LIST_KEYS)), ("encoding-type", "url")])
            page, following = self._requester.call(request, lambda answer: xml.parse_list_uploads(
                answer.read(), plus_is_space=self._requester.dialect.plus_is_space))
            found += page
            marker = advance(marker, following)
        return tuple(found)

    def _copy_headers(self, source_key: str, if_match: Optional[str]) -> HeaderList:
        requester, bucket = self._requester, self._config.bucket
        key, version_id = split_version_key(source_key)
        target = requester.endpoint.locate(bucket, check_key(key))
        pairs = [("x-cos-copy-source", requester.dialect.copy_source(target, bucket, key, version_id))]
        if if_match is not None:
            pairs.append(("x-cos-copy-source-If-Match", f'"{strip_quotes(if_match)}"'))
        return pairs


@contextmanager
def exists_if_refused(forbid_overwrite: bool) -> Iterator[None]:
    """Turn S3's refusal of a write that must not overwrite, which is a 412, into ObjectExists."""
    try:
        yield
    except PreconditionFailed as exc:
        if not forbid_overwrite:
            raise
        raise ObjectExists("PUT", {**_digest(exc), "code": "FileAlreadyExists"}, 409) from exc


def _digest(exc: CosServiceError) -> Mapping[str, str]:
    digest = exc.get_digest_msg()
    return digest if isinstance(digest, dict) else {}


def _part_params(number: int, upload_id: str) -> List[Tuple[str, str]]:
    if not 1 <= number <= MAX_PARTS:
        raise InvalidParameter(f"part number {number} is not between 1 and {MAX_PARTS}")
    return [("partNumber", str(number)), ("uploadId", upload_id)]


def version_params(version_id: Optional[str]) -> List[Tuple[str, str]]:
    return [] if version_id is None else [("versionId", version_id)]


def advance(marker: object, following: Optional[T]) -> Optional[T]:
    """The next page's marker; a service that repeats one would be asked for ever."""
    if following is not None and following == marker:
        raise InvalidAnswer("the listing does not get on: its next page starts where this one did")
    return following


def stored_inside(answer: Answer, method: str, expected: str, *, etag_required: bool = True) -> StoredObject:
    """The result in an answer that may be an error despite its status."""
    body = answer.read()
    error_inside(answer, body, method)
    if not body and expected == "CopyPartResult":  # rclone serve s3 takes it for a part without content
        raise service_error(method, {"code": "NotImplemented", "message": "the service cannot copy parts"}, 501)
    stored = xml.parse_stored(body, expected, etag_required=etag_required)
    return StoredObject(
        stored.etag,
        answer.headers.integer("x-cos-hash-crc64ecma") if stored.crc64 is None else stored.crc64,
        stored.version_id or answer.headers.get("x-cos-version-id"), stored.last_modified_s)


@dataclass(frozen=True)
class CheckedBody:
    """A body that one request can carry, and what proves that it arrived. ``headers``: its Content-MD5, if wanted."""

    body: Union[Body, StreamedBody]
    size_bytes: int
    crc64: int
    headers: HeaderList


def check_body(body: UploadBody, *, with_md5: bool) -> CheckedBody:
    """Read a body once. Raises: InvalidParameter when one request cannot carry it; what reading it raises."""
    sent: Union[Body, StreamedBody]
    if isinstance(body, (bytes, bytearray, memoryview)):
        sent, size_bytes, pieces = body, memoryview(body).nbytes, iter((memoryview(body),))
    else:
        size_bytes, pieces = body.size_bytes, body.chunks()
        sent = StreamedBody(body.chunks, size_bytes, steady=True, pieces=body.pieces)
    if size_bytes > MAX_PUT_BYTES:
        raise InvalidParameter(f"{size_bytes} bytes are more than one request can carry ({MAX_PUT_BYTES})")
    checksum = 0
    md5 = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        checksum = crc64(piece, checksum)
        if with_md5:
            md5.update(piece)
    headers = [("Content-MD5", base64.b64encode(md5.digest()).decode("ascii"))] if with_md5 else []
    return CheckedBody(sent, size_bytes, checksum, headers)


def check_crc(theirs: Optional[int], own: Optional[int], what: str) -> None:
    """Compare checksums where both are known. Raises: IntegrityError."""
    if theirs is not None and own is not None and theirs != own:
        raise IntegrityError(f"the service stored other bytes than were sent: {what}")
