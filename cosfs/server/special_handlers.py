"""What an object can be beside plain bytes: appendable, a symbolic link, tagged, asked back from the archive."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional
from urllib.parse import parse_qsl, unquote, urlencode

from cosfs.cos.crc64 import combine
from cosfs.server import documents, ids
from cosfs.server import object_rules as rules
from cosfs.server.blobs import Content
from cosfs.server.body import received_blob, received_document, require_length
from cosfs.server.call import Answer, Call
from cosfs.server.errors import ApiError
from cosfs.server.object_handlers import find_object, forbids_overwrite, is_frozen, write_headers, xml_answer
from cosfs.server.objects import APPENDABLE, SYMLINK, NewObject, ObjectVersion
from cosfs.units import MAX_PUT_BYTES


async def append_object(call: Call) -> Answer:
    require_length(call, allow_chunked=False)
    text = call.query.get("position", "")
    if not text.isdecimal():
        raise ApiError("InvalidArgument", "position must be a number.")
    position = int(text)
    async with received_blob(call) as added:
        existing = _appendable(call, position)
        if existing is None:
            new = NewObject(replace(added, etag=ids.opaque_etag()), rules.storage_class(call.headers), APPENDABLE,
                            rules.new_detail(call.headers))
            version = call.bucket.objects.put(call.key, new)
        else:
            version = _lengthen(call, existing, added)
    headers = {"ETag": f'"{version.etag}"', "x-cos-hash-crc64ecma": str(version.crc64),
               "x-cos-next-append-position": str(version.size_bytes), "x-cos-content-sha1": added.etag}
    return Answer(200, headers)


def _appendable(call: Call, position: int) -> Optional[ObjectVersion]:
    """The object to append to. Raises: ApiError ObjectNotAppendable, AppendPositionErr."""
    existing = call.bucket.objects.find(call.key)
    if existing is not None and existing.kind != APPENDABLE:
        raise ApiError("ObjectNotAppendable")
    length = existing.size_bytes if existing else 0
    if position != length:
        raise ApiError("AppendPositionErr", headers={"x-cos-next-append-position": str(length)})
    return existing


def _lengthen(call: Call, existing: ObjectVersion, added: Content) -> ObjectVersion:
    size_bytes = existing.size_bytes + added.size_bytes
    if size_bytes > MAX_PUT_BYTES:
        raise ApiError("EntityTooLarge")
    crc = combine([(existing.crc64, existing.size_bytes), (added.crc64, added.size_bytes)])
    assert crc is not None
    total = Content(size_bytes, ids.opaque_etag(), crc, existing.segments + added.segments)
    call.bucket.objects.append(existing, added, total)
    return find_object(call, call.key)


async def put_symlink(call: Call) -> Answer:
    """SDKs differ in whether they percent-encode the target, so it is decoded."""
    await received_document(call)
    target = unquote(call.header("x-cos-symlink-target"))
    if not target:
        raise ApiError("InvalidArgument", "x-cos-symlink-target is missing.")
    rules.check_key(target, new=True)
    detail = replace(rules.new_detail(call.headers), target=target)
    new = NewObject(Content(0, ids.opaque_etag(), 0, ()), rules.storage_class(call.headers), SYMLINK, detail)
    version = call.bucket.objects.put(call.key, new, forbid_overwrite=forbids_overwrite(call))
    return Answer(200, write_headers(version))


async def get_symlink(call: Call) -> Answer:
    version = find_object(call, call.key, call.query.get("versionId"))
    if version.kind != SYMLINK:
        raise ApiError("NotSymlink")
    headers = {**write_headers(version), "x-cos-symlink-target": version.detail.target,
               "Last-Modified": ids.http_date(version.modified_s)}
    return Answer(200, headers)


async def put_object_tagging(call: Call) -> Answer:
    tags = urlencode(documents.parse_tagging(await received_document(call)))
    version = find_object(call, call.key, call.query.get("versionId"))
    call.bucket.objects.update(version, tagging=rules.tagging(tags))
    return Answer(200)


async def get_object_tagging(call: Call) -> Answer:
    version = find_object(call, call.key, call.query.get("versionId"))
    if not version.detail.tagging and call.dialect == "cos":
        raise ApiError("NoSuchTagSet")
    return xml_answer(documents.tagging_document(parse_qsl(version.detail.tagging, keep_blank_values=True)))


async def delete_object_tagging(call: Call) -> Answer:
    version = find_object(call, call.key, call.query.get("versionId"))
    call.bucket.objects.update(version, tagging="")
    return Answer(204)


async def restore_object(call: Call) -> Answer:
    days, tier = documents.parse_restore(await received_document(call))
    version = find_object(call, call.key, call.query.get("versionId"))
    if version.storage_class not in rules.ARCHIVE_CLASSES:
        raise ApiError("RestoreNonArchiveObject")
    restored_at_s = version.detail.restored_at_s
    if restored_at_s is not None and call.now_s < restored_at_s:
        raise ApiError("RestoreAlreadyInProgress")
    again = not is_frozen(call, version)
    ready_s = restored_at_s if again and restored_at_s is not None else call.now_s + call.settings.restore_s
    expiry_s = max(ready_s, call.now_s) + days * call.settings.day_s
    call.bucket.objects.update(version, restored_at_s=ready_s, restore_expiry_s=expiry_s, restore_asked_s=call.now_s,
                               restore_tier=tier)
    return Answer(200 if again else 202)
