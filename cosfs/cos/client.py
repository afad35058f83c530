"""``BucketClient``: the Protocol of interface.py over HTTP. One method, one API call (retries aside).

Made by the composition root and by tests; everything else knows the Protocol only. Each method carries out
the call that its Protocol docstring names. Byte ranges in the HTTP form exist here, in multipart.py and in
download.py only.

Threading: any thread may call; there is no state but the pool of connections.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Callable, List, Optional, Sequence, Tuple

from cosfs.archive import RestoreOrder
from cosfs.cos import xml
from cosfs.cos.download import Download
from cosfs.cos.endpoint import check_key
from cosfs.cos.headers import object_request_headers, stored_object
from cosfs.cos.interface import (
    BucketInfo,
    DeleteFailure,
    ListPage,
    ObjectHeaders,
    ObjectInfo,
    ProgressCallback,
    StoredObject,
    Tags,
    UploadBody,
    VersionMarker,
    VersionsPage,
    split_version_key,
)
from cosfs.cos.multipart import (
    FORBID_OVERWRITE,
    CheckedBody,
    MultipartCalls,
    advance,
    check_body,
    check_crc,
    exists_if_refused,
    stored_inside,
    version_params,
)
from cosfs.cos.requester import Learned, Request
from cosfs.cos.transport import Answer
from cosfs.errors import CosException, CosServiceError, InvalidParameter, ObjectExists, PreconditionFailed
from cosfs.units import MAX_LIST_KEYS

if TYPE_CHECKING:
    from cosfs.cos.interface import VersionedClient


log = logging.getLogger(__name__)


class BucketClient(MultipartCalls):
    """One bucket of a service that speaks COS, or S3 with ``signature="v4"``."""

    _conditional_puts = True

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, if_match: Optional[str] = None,
                   on_progress: Optional[ProgressCallback] = None, version_id: Optional[str] = None) -> ObjectInfo:
        learned = self.learned
        conditional = learned.conditional_gets is not False
        if version_id is None:
            key, version_id = split_version_key(key)
        receive = partial(self._download, key, buffer, start, if_match, on_progress, version_id)
        try:
            info = receive(conditional=conditional)
        except PreconditionFailed as refusal:
            if if_match is None or learned.conditional_gets is not None:
                raise
            # There are servers that refuse every If-Match (measured: nginx in front of files). What holds then is
            # the ETag of each answer, which is compared in any case.
            try:
                info = receive(conditional=False)
            except CosServiceError as exc:
                raise refusal from exc
            log.info("the server refuses If-Match on a version that is there; comparing ETags instead")
            learned.conditional_gets = False
        if if_match is not None and learned.conditional_gets is None:
            learned.conditional_gets = True
        return info

    def _download(self, key: str, buffer: memoryview, start: int, if_match: Optional[str],
                  on_progress: Optional[ProgressCallback], version_id: Optional[str], *,
                  conditional: bool) -> ObjectInfo:
        retrying = self._config.retry.start()
        download = Download(check_key(key), buffer, start, if_match, on_progress, retrying, conditional=conditional,
                            params=version_params(version_id))
        return self._requester.call(download.request, download.receive, retrying)

    def put_object(self, key: str, body: UploadBody, *, headers: ObjectHeaders,
                   forbid_overwrite: bool = False) -> StoredObject:
        if forbid_overwrite and self._conditional_puts:
            try:
                return self._put(key, body, headers, forbid_overwrite=True)
            except CosServiceError as exc:
                if exc.status != 501:  # what S3 has for headers that a server does not know
                    raise
                log.info("the server knows no PUT that forbids overwriting; names are no longer guarded by it")
                self._conditional_puts = False
        return self._put(key, body, headers, forbid_overwrite=False)

    def _put(self, key: str, body: UploadBody, headers: ObjectHeaders, *, forbid_overwrite: bool) -> StoredObject:
        checked = check_body(body, with_md5=self._config.content_md5)
        pairs = [*object_request_headers(headers), *checked.headers]
        if forbid_overwrite:
            pairs.append(FORBID_OVERWRITE)
        request = Request("Put Object", "PUT", check_key(key), headers=pairs, body=checked.body)
        sendings = 0

        def counted() -> Request:
            nonlocal sendings
            sendings += 1
            return request

        def decode(answer: Answer) -> StoredObject:
            stored = stored_object(answer.headers)
            check_crc(stored.crc64, checked.crc64, repr(key))
            return stored
        try:
            with exists_if_refused(forbid_overwrite):
                return self._requester.call(counted, decode)
        except ObjectExists:
            own = self._own_object(key, checked, headers) if sendings > 1 else None
            if own is None:
                raise
            return own

    def _own_object(self, key: str, body: CheckedBody, headers: ObjectHeaders) -> Optional[StoredObject]:
        """The object, when it is the one that an earlier sending of this call made before its answer was lost."""
        try:
            found = self.head_object(key)
        except CosException:
            return None
        metadata = {name.lower(): value for name, value in headers.metadata.items()}
        if (found.size_bytes, found.headers.metadata) != (body.size_bytes, metadata) \
                or found.crc64 not in (None, body.crc64):
            return None
        return StoredObject(found.etag, found.crc64, found.version_id, found.last_modified_s)

    def get_object_tagging(self, key: str) -> Tags:
        request = Request("Get Object Tagging", "GET", check_key(key), params=[("tagging", "")])
        try:
            return self._requester.call(request, lambda answer: xml.parse_tagging(answer.read()))
        except CosServiceError as exc:
            if exc.code == "NoSuchTagSet":
                return ()
            raise

    def delete_object(self, key: str) -> None:
        self._requester.call(Request("Delete Object", "DELETE", check_key(key)), lambda _: None)

    def delete_objects(self, keys: Sequence[str]) -> Tuple[DeleteFailure, ...]:
        if len(keys) > MAX_LIST_KEYS:
            raise InvalidParameter(f"{len(keys)} keys are more than the {MAX_LIST_KEYS} that one request may delete")
        named = [check_key(key) for key in keys if xml.is_xml_text(key)]
        failures: List[DeleteFailure] = []
        if named:
            body = xml.delete_body(named)
            request = Request("Delete Multiple Objects", "POST", params=[("delete", "")], body=body, headers=[
                ("Content-Type", "application/xml"), *check_body(body, with_md5=True).headers])
            failures += self._requester.call(request, _decode_deleted)
        for key in keys:  # XML cannot name these
            if not xml.is_xml_text(key):
                self.delete_object(key)
        return tuple(failure for failure in failures if failure.code != "NoSuchKey")

    def copy_object(self, source_key: str, key: str, *, headers: Optional[ObjectHeaders] = None,
                    storage_class: Optional[str] = None, if_match: Optional[str] = None,
                    forbid_overwrite: bool = False) -> StoredObject:
        if headers is None and source_key == key:
            raise InvalidParameter("a copy of an object onto itself needs headers")
        pairs = self._copy_headers(source_key, if_match)
        pairs.append(("x-cos-metadata-directive", "Copy" if headers is None else "Replaced"))
        pairs += object_request_headers(ObjectHeaders(storage_class=storage_class) if headers is None else headers)
        if forbid_overwrite:
            pairs.append(FORBID_OVERWRITE)
        request = Request("Put Object - Copy", "PUT", check_key(key), headers=pairs,
                          source_key=split_version_key(source_key)[0])
        etag_required = self._config.signature == "cos"
        stored = self._requester.call(request, lambda answer: stored_inside(
            answer, "PUT", "CopyObjectResult", etag_required=etag_required))
        if stored.etag:
            return stored
        found = self.head_object(key)  # rclone serve s3 names none
        return StoredObject(found.etag, found.crc64, found.version_id, found.last_modified_s)

    def restore_object(self, key: str, order: RestoreOrder, *, version_id: Optional[str] = None) -> bool:
        body = xml.restore_body(order, s3=self._config.signature == "v4")
        request = Request("Post Object Restore", "POST", check_key(key), params=[("restore", ""),
                          *version_params(version_id)], body=body, headers=[
                              ("Content-Type", "application/xml"), *check_body(body, with_md5=True).headers])
        return self._requester.call(request, lambda answer: answer.status == 202)

    def list_objects(self, prefix: str, *, delimiter: str = "", marker: str = "", max_keys: int = 1000,
                     on_next: Optional[Callable[[str], None]] = None) -> ListPage:
        params = [("prefix", prefix), ("delimiter", delimiter), ("marker", marker), ("max-keys", str(max_keys)),
                  ("encoding-type", "url")]
        plus_is_space = self._requester.dialect.plus_is_space

        def decode(answer: Answer) -> ListPage:
            body = answer.read()
            next_marker = None if on_next is None else xml.early_marker(body, plus_is_space=plus_is_space)
            if on_next is not None and next_marker is not None:
                on_next(next_marker)
            return xml.parse_list_objects(body, plus_is_space=plus_is_space)
        return self._requester.call(Request("List Objects", "GET", params=params), decode)

    def list_object_versions(self, prefix: str, *, delimiter: str = "", marker: VersionMarker = ("", ""),
                             max_keys: int = 1000) -> VersionsPage:
        # S3 takes no empty marker of a version, and moto leaves out the first row after an empty one of a key.
        markers = zip(("key-marker", "version-id-marker"), marker)
        params = [("versions", ""), ("prefix", prefix), ("delimiter", delimiter),
                  *((name, value) for name, value in markers if value),
                  ("max-keys", str(max_keys)), ("encoding-type", "url")]
        plus_is_space = self._requester.dialect.plus_is_space
        page = self._requester.call(Request("List Object Versions", "GET", params=params), lambda answer:
                                    xml.parse_list_versions(answer.read(), plus_is_space=plus_is_space))
        advance(marker, page.next_marker)
        return page

    def get_bucket_versioning(self) -> str:
        return self._requester.call(Request("Get Bucket Versioning", "GET", params=[("versioning", "")]),
                                    lambda answer: xml.parse_versioning(answer.read()))

    @property
    def changes(self) -> int:
        return self._requester.changes.count

    def head_bucket(self) -> BucketInfo:
        def decode(answer: Answer) -> BucketInfo:
            return BucketInfo(answer.headers.get("x-cos-bucket-region"),
                              answer.headers.get("x-cos-bucket-az-type", "").upper() == "MAZ")
        return self._requester.call(Request("Head Bucket", "HEAD"), decode)

    @property
    def learned(self) -> Learned:
        """What answers have shown of the service so far."""
        return self._requester.learned

    def close(self) -> None:
        self._requester.close()


def _decode_deleted(answer: Answer) -> Tuple[DeleteFailure, ...]:
    return xml.parse_delete_result(answer.read())


if TYPE_CHECKING:
    def _conforms(client: BucketClient) -> VersionedClient:
        return client
