"""PUT, GET, HEAD, DELETE of objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Tuple
from urllib.parse import parse_qsl

from cosfs.server import documents, ids
from cosfs.server import object_rules as rules
from cosfs.server.blobs import slice_segments
from cosfs.server.body import received_blob, received_document, require_length
from cosfs.server.call import Answer, Call, Headers
from cosfs.server.errors import ApiError
from cosfs.server.objects import NORMAL, SYMLINK, Detail, NewObject, ObjectVersion
from cosfs.server.payload import content_md5

_OVERRIDES = {"response-content-type": "Content-Type", "response-content-language": "Content-Language",
              "response-expires": "Expires", "response-cache-control": "Cache-Control",
              "response-content-disposition": "Content-Disposition", "response-content-encoding": "Content-Encoding"}


def find_object(call: Call, key: str, version_id: Optional[str] = None) -> ObjectVersion:
    """A delete marker counts as absent. Raises: ApiError NoSuchKey, NoSuchVersion."""
    version = call.bucket.objects.find(key, version_id)
    if version is None:
        raise ApiError("NoSuchVersion" if version_id else "NoSuchKey")
    if version.is_marker:
        raise ApiError("NoSuchKey", headers={"x-cos-delete-marker": "true", "x-cos-version-id": version.version_id})
    return version


def readable_object(call: Call) -> ObjectVersion:
    """The object that GET and HEAD speak of: where a symbolic link leads."""
    version = find_object(call, call.key, call.query.get("versionId"))
    return find_object(call, version.detail.target) if version.kind == SYMLINK else version


def is_frozen(call: Call, version: ObjectVersion) -> bool:
    """Whether an archived object must be restored before it can be read."""
    if version.storage_class not in rules.ARCHIVE_CLASSES:
        return False
    restored_at_s, expiry_s = version.detail.restored_at_s, version.detail.restore_expiry_s
    return restored_at_s is None or expiry_s is None or not restored_at_s <= call.now_s < expiry_s


def require_thawed(call: Call, version: ObjectVersion) -> None:
    if is_frozen(call, version):
        raise ApiError("InvalidObjectState", headers={"x-cos-storage-class": version.storage_class})


def write_headers(version: ObjectVersion) -> Headers:
    """The headers of the answer to a write."""
    headers = {"ETag": f'"{version.etag}"', "x-cos-hash-crc64ecma": str(version.crc64),
               **rules.encryption_of(version.detail.headers)}
    if version.version_id != "null":
        headers["x-cos-version-id"] = version.version_id
    return headers


def _read_headers(call: Call, version: ObjectVersion) -> Headers:
    headers = {**version.detail.headers, **write_headers(version)}
    headers["Last-Modified"] = ids.http_date(version.modified_s)
    headers["Accept-Ranges"] = "bytes"
    if version.storage_class != rules.STANDARD:
        headers["x-cos-storage-class"] = version.storage_class
    if version.detail.tagging:
        headers["x-cos-tagging-count"] = str(len(parse_qsl(version.detail.tagging, keep_blank_values=True)))
    if call.dialect == "cos":
        headers["x-cos-object-type"] = NORMAL if version.kind == SYMLINK else version.kind
    return {**headers, **_restore_headers(call, version.detail)}


def _restore_headers(call: Call, detail: Detail) -> Headers:
    """While a restore goes on, and as long as there is a restored copy."""
    restored_at_s, expiry_s = detail.restored_at_s, detail.restore_expiry_s
    if restored_at_s is None or expiry_s is None or call.now_s >= expiry_s:
        return {}
    if call.now_s >= restored_at_s:
        return {"x-cos-restore": f'ongoing-request="false", expiry-date="{ids.http_date(expiry_s)}"'}
    asked = ids.http_date(detail.restore_asked_s or restored_at_s)
    return {"x-cos-restore": 'ongoing-request="true"',
            "x-cos-restore-status": f'tier="{detail.restore_tier.lower()}"; request-date="{asked}"'}


def _read_answer(call: Call, version: ObjectVersion) -> Optional[Answer]:
    """What conditions make of the request: the answer, or None when they hold."""
    status = rules.check_conditions(version, call.headers)
    if status == 412:
        raise ApiError("PreconditionFailed")
    if status == 304:
        return Answer(304, _read_headers(call, version))
    rules.check_encryption_key(version.detail, rules.customer_key_md5(call.headers))
    return None


async def get_object(call: Call) -> Answer:
    version = readable_object(call)
    refused = _read_answer(call, version)
    if refused is not None:
        return refused
    require_thawed(call, version)
    headers = _read_headers(call, version)
    headers.update({_OVERRIDES[name]: value for name, value in call.query.items() if name in _OVERRIDES and value})
    span = rules.byte_range(call.header("range"), version.size_bytes)
    if span is None:
        return Answer(200, headers, stored=(call.bucket.blobs, version.segments))
    headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{version.size_bytes}"
    return Answer(206, headers, stored=(call.bucket.blobs, slice_segments(version.segments, *span)))


async def head_object(call: Call) -> Answer:
    version = readable_object(call)
    refused = _read_answer(call, version)
    return refused or Answer(200, _read_headers(call, version), head_length_bytes=version.size_bytes)


def forbids_overwrite(call: Call) -> bool:
    """Whether the request may only create. Raises: ApiError FileAlreadyExists, before a body is read."""
    forbids = call.header("x-cos-forbid-overwrite").lower() == "true"
    if forbids and call.bucket.objects.overwrites(call.key):
        raise ApiError("FileAlreadyExists")
    return forbids


async def put_object(call: Call) -> Answer:
    require_length(call, allow_chunked=True)
    detail, storage_class = rules.new_detail(call.headers), rules.storage_class(call.headers)
    forbid_overwrite = forbids_overwrite(call)
    async with received_blob(call) as content:
        if rules.hides_md5(detail):
            content = replace(content, etag=ids.opaque_etag())
        version = call.bucket.objects.put(call.key, NewObject(content, storage_class, detail=detail),
                                          forbid_overwrite=forbid_overwrite)
    return Answer(200, write_headers(version))


async def delete_object(call: Call) -> Answer:
    marker, version_id = _delete(call, call.key, call.query.get("versionId"))
    headers = {"x-cos-version-id": version_id} if version_id else {}
    if marker:
        headers["x-cos-delete-marker"] = "true"
    return Answer(204, headers)


def _delete(call: Call, key: str, version_id: Optional[str]) -> Tuple[bool, Optional[str]]:
    """Delete a key or a version; returns whether a delete marker was made or deleted, and its version."""
    if version_id is None:
        marker_id = call.bucket.objects.delete(key)
        return marker_id is not None, marker_id
    deleted = call.bucket.objects.delete_version(key, version_id)
    return deleted is not None and deleted.is_marker, version_id


async def delete_objects(call: Call) -> Answer:
    if content_md5(call.headers) is None and not _has_checksum(call):
        raise ApiError("InvalidRequest", "Missing required header for this request: Content-MD5")
    quiet, items = documents.parse_delete(await received_document(call))
    rows = []
    for key, version_id in items:
        marker, id_ = _delete(call, key, version_id)
        fields = [documents.text("Key", key)]
        if marker:
            fields += [documents.text("DeleteMarker", "true"), documents.text("DeleteMarkerVersionId", id_)]
        if version_id:
            fields.append(documents.text("VersionId", version_id))
        rows.append(documents.element("Deleted", *fields))
    return xml_answer(documents.document("DeleteResult", *([] if quiet else rows)))


def _has_checksum(call: Call) -> bool:
    """S3 clients of today send another checksum instead of Content-MD5."""
    return call.dialect == "amz" and any(name.startswith("x-amz-checksum-") for name in call.headers)


def xml_answer(body: bytes, status: int = 200, headers: Optional[Headers] = None) -> Answer:
    return Answer(status, {"Content-Type": "application/xml", **(headers or {})}, body)
