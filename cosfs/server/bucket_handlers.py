"""Buckets and the service: listing, creation, deletion, versioning, location."""

from __future__ import annotations

from typing import Iterator, List, Optional

from cosfs.server import documents, ids
from cosfs.server.body import received_document
from cosfs.server.call import Answer, Call
from cosfs.server.documents import element, text
from cosfs.server.errors import ApiError
from cosfs.server.index import Row
from cosfs.server.listing import Page, Scan, first_after, list_page
from cosfs.server.object_handlers import xml_answer
from cosfs.units import MAX_LIST_KEYS


def _scan(call: Call) -> Scan:
    stale = call.fault("stale-list")
    bucket = call.bucket
    if stale is None:
        return bucket.objects.scan
    return lambda start, stop: bucket.scan_past(stale.seconds, start, stop)


def delimiter(call: Call) -> str:
    """Raises: ApiError InvalidDelimiter."""
    value = call.query.get("delimiter", "")
    if len(value) > 1 and call.dialect == "cos":
        raise ApiError("InvalidDelimiter")
    return value


def raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _page(call: Call, marker: str, limit: int) -> Page:
    prefix, cut = raw(call.query.get("prefix", "")), raw(delimiter(call))
    start = first_after(raw(marker), prefix, cut) if marker else b""
    return list_page(_scan(call), prefix, cut, start, limit)


def _contents(row: Row, encode: documents.Encode, owner: str) -> str:
    return element(
        "Contents", text("Key", encode(row["key"].decode())),
        f"<LastModified>{ids.xml_date(row['modified_s'])}</LastModified>"
        f"<ETag>\"{row['etag']}\"</ETag><Size>{row['size_bytes']}</Size>", owner,
        text("StorageClass", row["storage_class"]))


def last_key(page: Page) -> str:
    """The last entry of a page, key or common prefix: where the next page goes on."""
    raw_key = page.last_prefix if page.last_prefix is not None else page.last_row["key"] if page.last_row else b""
    return raw_key.decode()


async def list_objects(call: Call) -> Answer:
    encode = documents.key_encoder(call.query.get("encoding-type", ""))
    marker, limit = call.query.get("marker", ""), call.int_query("max-keys", MAX_LIST_KEYS, MAX_LIST_KEYS)
    page = _page(call, marker, limit)
    owner = documents.owner("Owner", call.bucket.name)
    head = [text("Name", call.bucket.name), *listing_head(call, encode), text("Marker", encode(marker)),
            text("MaxKeys", limit), text("IsTruncated", str(page.truncated).lower())]
    if page.truncated:
        head.append(text("NextMarker", encode(last_key(page))))
    body = documents.document("ListBucketResult", *head, documents.prefixes(encode, page.prefixes),
                              *(_contents(row, encode, owner) for row in page.rows))
    return xml_answer(body, headers={"x-cos-bucket-region": call.settings.region})


async def list_objects_v2(call: Call) -> Answer:
    encode = documents.key_encoder(call.query.get("encoding-type", ""))
    limit = call.int_query("max-keys", MAX_LIST_KEYS, MAX_LIST_KEYS)
    token, start_after = call.query.get("continuation-token", ""), call.query.get("start-after", "")
    page = _page(call, token or start_after, limit)
    owner = documents.owner("Owner", call.bucket.name) if call.query.get("fetch-owner") == "true" else ""
    head = [text("Name", call.bucket.name), *listing_head(call, encode), text("MaxKeys", limit),
            text("KeyCount", len(page.rows) + len(page.prefixes)), text("IsTruncated", str(page.truncated).lower())]
    if token:
        head.append(text("ContinuationToken", token))
    if start_after:
        head.append(text("StartAfter", encode(start_after)))
    if page.truncated:
        head.append(text("NextContinuationToken", last_key(page)))
    body = documents.document("ListBucketResult", *head, documents.prefixes(encode, page.prefixes),
                              *(_contents(row, encode, owner) for row in page.rows))
    return xml_answer(body, headers={"x-cos-bucket-region": call.settings.region})


def listing_head(call: Call, encode: documents.Encode) -> List[str]:
    """What all listings begin with; EncodingType and Delimiter only when they were asked for."""
    head = [text("EncodingType", "url")] if call.query.get("encoding-type") else []
    head.append(text("Prefix", encode(call.query.get("prefix", ""))))
    if call.query.get("delimiter"):
        head.append(text("Delimiter", encode(call.query["delimiter"])))
    return head


async def list_object_versions(call: Call) -> Answer:
    encode = documents.key_encoder(call.query.get("encoding-type", ""))
    limit = call.int_query("max-keys", MAX_LIST_KEYS, MAX_LIST_KEYS)
    key_marker, id_marker = call.query.get("key-marker", ""), call.query.get("version-id-marker", "")
    prefix, cut = raw(call.query.get("prefix", "")), raw(delimiter(call))
    seq = 0
    if id_marker:
        version = call.bucket.objects.find(key_marker, id_marker)
        if version is None:
            raise ApiError("InvalidArgument", "version-id-marker names no version.")
        seq = version.seq
    start = raw(key_marker) if id_marker else first_after(raw(key_marker), prefix, cut) if key_marker else b""

    def scan(begin: bytes, end: Optional[bytes]) -> Iterator[Row]:
        rows = call.bucket.objects.scan_versions(begin, end)
        return (row for row in rows if not (id_marker and row["key"] == raw(key_marker) and row["seq"] >= seq))

    page = list_page(scan, prefix, cut, start, limit)
    head = [text("Name", call.bucket.name), *listing_head(call, encode), text("KeyMarker", encode(key_marker)),
            text("VersionIdMarker", id_marker), text("MaxKeys", limit),
            text("IsTruncated", str(page.truncated).lower())]
    if page.truncated:
        head.append(text("NextKeyMarker", encode(last_key(page))))
        head.append(text("NextVersionIdMarker", page.last_row["version_id"] if page.last_row else ""))
    owner = documents.owner("Owner", call.bucket.name)
    return xml_answer(documents.document(
        "ListVersionsResult", *head, documents.prefixes(encode, page.prefixes),
        *(_version_element(row, encode, owner) for row in page.rows)))


def _version_element(row: Row, encode: documents.Encode, owner: str) -> str:
    common = [text("Key", encode(row["key"].decode())), text("VersionId", row["version_id"]),
              text("IsLatest", str(bool(row["latest"])).lower()),
              text("LastModified", ids.xml_date(row["modified_s"])), owner]
    if row["marker"]:
        return element("DeleteMarker", *common)
    return element("Version", *common, text("ETag", f'"{row["etag"]}"'), text("Size", row["size_bytes"]),
                   text("StorageClass", row["storage_class"]))


async def head_bucket(call: Call) -> Answer:
    _ = call.bucket
    return Answer(200, {"x-cos-bucket-region": call.settings.region, "Content-Type": "application/xml"})


async def get_bucket_location(call: Call) -> Answer:
    _ = call.bucket
    return xml_answer(documents.document("LocationConstraint", call.settings.region))


async def get_bucket_versioning(call: Call) -> Answer:
    status = call.bucket.objects.versioning
    return xml_answer(documents.document("VersioningConfiguration", *([text("Status", status)] if status else [])))


async def put_bucket_versioning(call: Call) -> Answer:
    status = documents.parse_versioning(await received_document(call))
    call.bucket.objects.set_versioning(status)
    return Answer(200)


async def create_bucket(call: Call) -> Answer:
    await received_document(call)
    call.store.create_bucket(call.address.bucket or "")
    return Answer(200, {"Location": f"/{call.address.bucket}"} if call.dialect == "amz" else {})


async def delete_bucket(call: Call) -> Answer:
    call.store.delete_bucket(call.address.bucket or "")
    return Answer(204)


async def list_buckets(call: Call) -> Answer:
    buckets = call.store.buckets()
    owner_id = buckets[0].name.rpartition("-")[2] if buckets else "0"
    return xml_answer(documents.buckets_document(owner_id, [
        {"Name": bucket.name, "Location": call.settings.region, "CreationDate": ids.xml_date(bucket.created_s)}
        for bucket in buckets]))
