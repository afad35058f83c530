"""Multipart uploads: initiate, parts, complete, abort, and the two listings."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterator, List, Optional, Tuple

from cosfs.cos.crc64 import combine
from cosfs.server import documents, ids
from cosfs.server import object_rules as rules
from cosfs.server.blobs import Content
from cosfs.server.body import received_blob, received_document, require_length
from cosfs.server.bucket_handlers import delimiter, last_key, listing_head, raw
from cosfs.server.call import Answer, Call
from cosfs.server.documents import element, text
from cosfs.server.errors import ApiError
from cosfs.server.index import Row
from cosfs.server.listing import first_after, list_page
from cosfs.server.object_handlers import forbids_overwrite, write_headers, xml_answer
from cosfs.server.objects import NewObject
from cosfs.server.uploads import Part, Upload
from cosfs.units import MAX_LIST_KEYS, MAX_PARTS, MIN_PART_BYTES

_KEEP_ALIVE = b"   \n"
"""What the service sends while it merges parts; XML may follow it only without a declaration."""


async def create_multipart_upload(call: Call) -> Answer:
    await received_document(call)
    forbids_overwrite(call)
    upload_id = call.bucket.uploads.create(call.key, rules.storage_class(call.headers), rules.new_detail(call.headers))
    return xml_answer(documents.document("InitiateMultipartUploadResult", text("Bucket", call.bucket.name),
                                         text("Key", call.key), text("UploadId", upload_id)))


def target_part(call: Call) -> Tuple[Upload, int]:
    """The upload and the part number that a request is about. Raises: ApiError NoSuchUpload, InvalidArgument."""
    number = call.int_query("partNumber", 0, MAX_PARTS + 1)
    if not 1 <= number <= MAX_PARTS:
        raise ApiError("InvalidArgument", f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive.")
    return call.bucket.uploads.get(call.key, call.query.get("uploadId", "")), number


async def upload_part(call: Call) -> Answer:
    require_length(call, allow_chunked=False)
    upload, number = target_part(call)
    rules.check_encryption_key(upload.detail, rules.customer_key_md5(call.headers))
    async with received_blob(call) as content:
        if rules.hides_md5(upload.detail):
            content = replace(content, etag=ids.opaque_etag())
        part = call.bucket.uploads.put_part(call.key, upload.upload_id, number, content)
    return Answer(200, {"ETag": f'"{part.etag}"', "x-cos-hash-crc64ecma": str(part.crc64),
                        **rules.encryption_of(upload.detail.headers)})


def _chosen_parts(call: Call, upload: Upload, listed: List[Tuple[int, str]]) -> List[Part]:
    """The stored parts that a complete request names.

    Raises: ApiError InvalidPartOrder, InvalidPart, EntityTooSmall.
    """
    numbers = [number for number, _ in listed]
    if any(later <= earlier for earlier, later in zip(numbers, numbers[1:])):
        raise ApiError("InvalidPartOrder")
    stored = {part.number: part for part in call.bucket.uploads.parts(upload.upload_id)}
    # COS documents gaps between part numbers as InvalidPart; S3 allows them
    if call.dialect == "cos" and numbers[-1] - numbers[0] >= len(numbers):
        raise ApiError("InvalidPart", "The part numbers are not continuous.")
    for number, etag in listed:
        if number not in stored or stored[number].etag != etag:
            raise ApiError("InvalidPart")
    parts = [stored[number] for number in numbers]
    if any(part.size_bytes < MIN_PART_BYTES for part in parts[:-1]):
        raise ApiError("EntityTooSmall")
    return parts


async def complete_multipart_upload(call: Call) -> Answer:
    listed = documents.parse_complete(await received_document(call))
    upload = call.bucket.uploads.get(call.key, call.query.get("uploadId", ""))
    parts = _chosen_parts(call, upload, listed)
    crc = combine((part.crc64, part.size_bytes) for part in parts)
    assert crc is not None
    content = Content(sum(part.size_bytes for part in parts), ids.opaque_etag(len(parts)), crc,
                      tuple(segment for part in parts for segment in part.segments))
    new = NewObject(content, upload.storage_class, detail=upload.detail)
    version = call.bucket.uploads.complete(upload, parts, new, forbid_overwrite=forbids_overwrite(call))
    headers = write_headers(version)
    del headers["ETag"]
    body = documents.document(
        "CompleteMultipartUploadResult", text("Location", f"http://{call.host}{call.wire.raw_path}"),
        text("Bucket", call.bucket.name), text("Key", call.key), text("ETag", f'"{version.etag}"'), declaration=False)
    answer = xml_answer(_KEEP_ALIVE + body, headers=headers)
    answer.chunked = True
    return answer


async def abort_multipart_upload(call: Call) -> Answer:
    call.bucket.uploads.abort(call.key, call.query.get("uploadId", ""))
    return Answer(204)


async def list_parts(call: Call) -> Answer:
    encode = documents.key_encoder(call.query.get("encoding-type", ""))
    upload = call.bucket.uploads.get(call.key, call.query.get("uploadId", ""))
    marker = call.int_query("part-number-marker", 0, MAX_PARTS)
    limit = call.int_query("max-parts", MAX_LIST_KEYS, MAX_LIST_KEYS)
    parts = call.bucket.uploads.parts(upload.upload_id, marker)
    truncated, parts = len(parts) > limit, parts[:limit]
    head = [text("Bucket", call.bucket.name), *_encoding_element(call), text("Key", encode(call.key)),
            text("UploadId", upload.upload_id), documents.owner("Owner", call.bucket.name),
            documents.owner("Initiator", call.bucket.name), text("StorageClass", upload.storage_class),
            text("PartNumberMarker", marker), text("MaxParts", limit), text("IsTruncated", str(truncated).lower())]
    if truncated:
        head.append(text("NextPartNumberMarker", parts[-1].number if parts else marker))
    return xml_answer(documents.document("ListPartsResult", *head, *(
        element("Part", text("PartNumber", part.number), text("LastModified", ids.xml_date(part.modified_s)),
                text("ETag", f'"{part.etag}"'), text("Size", part.size_bytes)) for part in parts)))


def _encoding_element(call: Call) -> List[str]:
    return [text("EncodingType", "url")] if call.query.get("encoding-type") else []


async def list_multipart_uploads(call: Call) -> Answer:
    encode = documents.key_encoder(call.query.get("encoding-type", ""))
    limit = call.int_query("max-uploads", MAX_LIST_KEYS, MAX_LIST_KEYS)
    key_marker, id_marker = call.query.get("key-marker", ""), call.query.get("upload-id-marker", "")
    prefix, cut, marker = raw(call.query.get("prefix", "")), raw(delimiter(call)), raw(key_marker)
    start = marker if id_marker else first_after(marker, prefix, cut) if marker else b""

    def scan(begin: bytes, end: Optional[bytes]) -> Iterator[Row]:
        rows = call.bucket.uploads.scan(begin, end)
        return (row for row in rows if not (id_marker and row["key"] == marker and row["id"] <= id_marker))

    page = list_page(scan, prefix, cut, start, limit)
    head = [text("Bucket", call.bucket.name), *listing_head(call, encode), text("KeyMarker", encode(key_marker)),
            text("UploadIdMarker", id_marker), text("MaxUploads", limit),
            text("IsTruncated", str(page.truncated).lower())]
    if page.truncated:
        head.append(text("NextKeyMarker", encode(last_key(page))))
        head.append(text("NextUploadIdMarker", page.last_row["id"] if page.last_row else ""))
    people = documents.owner("Initiator", call.bucket.name) + documents.owner("Owner", call.bucket.name)
    return xml_answer(documents.document("ListMultipartUploadsResult", *head, *(
        element("Upload", text("Key", encode(row["key"].decode())), text("UploadId", row["id"]), people,
                text("StorageClass", row["storage_class"]), text("Initiated", ids.xml_date(row["initiated_s"])))
        for row in page.rows), documents.prefixes(encode, page.prefixes)))
