"""Copies made by the server: whole objects, and parts of them. No bytes move; segments are shared."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Mapping, Tuple
from urllib.parse import parse_qs, unquote_to_bytes

from cosfs.server import documents, ids
from cosfs.server import object_rules as rules
from cosfs.server.blobs import Content, slice_segments
from cosfs.server.body import received_document
from cosfs.server.call import Answer, Call
from cosfs.server.documents import text
from cosfs.server.errors import ApiError
from cosfs.server.multipart_handlers import target_part
from cosfs.server.object_handlers import find_object, forbids_overwrite, require_thawed, write_headers, xml_answer
from cosfs.server.objects import APPENDABLE, SYMLINK, Detail, NewObject, ObjectVersion
from cosfs.server.store import Bucket
from cosfs.units import MAX_PUT_BYTES

_SOURCE = "x-cos-copy-source"
_PLAIN_ETAG = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class _Source:
    bucket: Bucket
    version: ObjectVersion
    explicit_version: bool


def _find_source(call: Call) -> _Source:
    """The object that x-cos-copy-source names, as ``host/key`` or, S3's way, as ``/bucket/key``.

    Raises: ApiError InvalidCopySource, NoSuchBucket, NoSuchKey, NoSuchVersion, PreconditionFailed,
    InvalidObjectState.
    """
    path, _, query = call.header(_SOURCE).partition("?")
    place, slash, raw_key = path.lstrip("/").partition("/")
    try:
        name, key = unquote_to_bytes(place).decode().split(".")[0], unquote_to_bytes(raw_key).decode()
    except UnicodeDecodeError:
        raise ApiError("InvalidCopySource") from None
    if not (name and slash and key):
        raise ApiError("InvalidCopySource")
    version_id = parse_qs(query).get("versionId", [None])[0]
    bucket = call.store.bucket(name)
    version = find_object(replace(call, address=replace(call.address, bucket=name)), key, version_id)
    if version.kind == SYMLINK:
        version = find_object(replace(call, address=replace(call.address, bucket=name)), version.detail.target)
    if rules.check_conditions(version, call.headers, _SOURCE + "-") is not None:
        raise ApiError("PreconditionFailed")
    rules.check_encryption_key(version.detail, rules.customer_key_md5(
        call.headers, f"{_SOURCE}-server-side-encryption"))
    require_thawed(call, version)
    if version.kind == APPENDABLE:
        raise ApiError("InvalidRequest", "An appendable object cannot be copied.")
    return _Source(bucket, version, version_id is not None)


def _replaces(call: Call, name: str) -> bool:
    """Whether a directive says Replaced, in any spelling clients use. Raises: ApiError InvalidArgument."""
    value = call.header(name).lower() or "copy"
    if value not in ("copy", "replaced", "replace"):
        raise ApiError("InvalidArgument", f"{name} must be Copy or Replaced.")
    return value != "copy"


def _copied_detail(call: Call, source: ObjectVersion) -> Detail:
    """What is stored with the copy: never the source's ACL or encryption."""
    asked = rules.new_detail(call.headers)
    if _replaces(call, "x-cos-metadata-directive"):
        headers: Mapping[str, str] = asked.headers
    else:
        kept = {name: value for name, value in source.detail.headers.items()
                if name not in rules.encryption_of(source.detail.headers)}
        headers = {**kept, **rules.encryption(call.headers)}
    replaces_tags = _replaces(call, "x-cos-tagging-directive")
    return Detail(headers=headers, acl=asked.acl, tagging=asked.tagging if replaces_tags else source.detail.tagging)


def _shared_content(call: Call, source: _Source, *, hides_md5: bool) -> Content:
    version, segments = source.version, source.version.segments
    if source.bucket is not call.bucket:
        segments = call.bucket.blobs.adopt(source.bucket.blobs, segments)
    plain = _PLAIN_ETAG.fullmatch(version.etag) and not hides_md5
    etag = version.etag if plain else ids.opaque_etag() if hides_md5 else ids.opaque_etag(1)
    return Content(version.size_bytes, etag, version.crc64, segments)


async def copy_object(call: Call) -> Answer:
    await received_document(call)
    source = _find_source(call)
    onto_itself = source.bucket is call.bucket and source.version.key == call.key and not source.explicit_version
    if onto_itself and not _replaces(call, "x-cos-metadata-directive"):
        raise ApiError("InvalidRequest", "An object can be copied onto itself only with other metadata (Replaced).")
    if source.version.size_bytes > MAX_PUT_BYTES:
        raise ApiError("EntityTooLarge")
    detail, storage_class = _copied_detail(call, source.version), rules.storage_class(call.headers)
    forbid_overwrite = forbids_overwrite(call)
    content = _shared_content(call, source, hides_md5=rules.hides_md5(detail))
    version = call.bucket.objects.put(call.key, NewObject(content, storage_class, detail=detail),
                                      forbid_overwrite=forbid_overwrite)
    headers = write_headers(version)
    del headers["ETag"]
    if source.explicit_version:
        headers["x-cos-copy-source-version-id"] = source.version.version_id
    return xml_answer(documents.document(
        "CopyObjectResult", text("ETag", f'"{version.etag}"'), text("CRC64", version.crc64),
        text("LastModified", ids.xml_date(version.modified_s)),
        *([text("VersionId", version.version_id)] if version.version_id != "null" else [])), headers=headers)


def _source_range(call: Call, size_bytes: int) -> Tuple[int, int]:
    """Raises: ApiError InvalidArgument, InvalidRange."""
    given = call.header(_SOURCE + "-range")
    if not given:
        return 0, size_bytes
    match = re.fullmatch(r"bytes=(\d{1,19})-(\d{1,19})", given)
    if match is None or int(match.group(2)) < int(match.group(1)):
        raise ApiError("InvalidArgument", "The range must be of the form bytes=first-last.")
    start, stop = int(match.group(1)), int(match.group(2)) + 1
    if stop > size_bytes:
        raise ApiError("InvalidRange")
    return start, stop


async def upload_part_copy(call: Call) -> Answer:
    await received_document(call)
    upload, number = target_part(call)
    rules.check_encryption_key(upload.detail, rules.customer_key_md5(call.headers))
    source = _find_source(call)
    start, stop = _source_range(call, source.version.size_bytes)
    if stop - start > MAX_PUT_BYTES:
        raise ApiError("EntityTooLarge")
    segments = slice_segments(source.version.segments, start, stop)
    # the source may be deleted while its bytes are being read for their checksum
    with source.bucket.blobs.pinned(segments):
        if stop - start == source.version.size_bytes:
            crc, etag = source.version.crc64, source.version.etag
        else:
            crc = await asyncio.get_running_loop().run_in_executor(None, source.bucket.blobs.crc64, segments)
            etag = ids.opaque_etag()
        if source.bucket is not call.bucket:
            segments = call.bucket.blobs.adopt(source.bucket.blobs, segments)
        part = call.bucket.uploads.put_part(call.key, upload.upload_id, number,
                                            Content(stop - start, etag, crc, segments))
    return xml_answer(documents.document("CopyPartResult", text("ETag", f'"{part.etag}"'),
                                         text("LastModified", ids.xml_date(part.modified_s))))
