"""XML of the service: answers into the frozen values of interface.py, request bodies out of plain values.

Reading is lenient about what does not matter (namespaces, leading spaces, letter case and hyphens of
element names, unknown elements) and strict about what does: a missing or malformed field that a caller
relies on is ``InvalidAnswer``. Document types are refused, so no entity is ever expanded.

Sources: the COS documentation page of each operation; element names vary between those pages and the
official SDKs ("EncodingType", "Encoding-Type").
"""

from __future__ import annotations

import calendar
import re
from functools import lru_cache
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple
from urllib.parse import unquote, unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cosfs.archive import RestoreOrder
from cosfs.cos.interface import (
    DeleteFailure,
    ListedObject,
    ListedVersion,
    ListPage,
    PendingUpload,
    StoredObject,
    Tags,
    VersionsPage,
)
from cosfs.errors import InvalidAnswer

Row = Dict[str, str]
"""Texts of an element's children by canonical name; of children with one name, the first."""


class Document(NamedTuple):
    """The root of an answer: its canonical name, its simple children, and its repeated ones."""

    root: str
    fields: Row
    rows: List[Tuple[str, Row]]
    decode: Callable[[str], str]


@lru_cache(maxsize=512)
def _canonical(tag: str) -> str:
    return tag.rpartition("}")[2].replace("-", "").lower()


def _row(element: ElementTree.Element) -> Row:
    row: Row = {}
    for child in element:
        row.setdefault(_canonical(child.tag), child.text or "")
    return row


_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


def parse_root(body: bytes) -> ElementTree.Element:
    """Parse an answer. Raises: InvalidAnswer."""
    text = body.strip()
    if _DECLARATION.search(text):
        raise InvalidAnswer("the answer is no XML of the service: it declares a document type")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as exc:
        raise InvalidAnswer(f"the answer is no XML: {exc}") from None


def _parse(body: bytes, expected: str, *, plus_is_space: bool = False) -> Document:
    root = parse_root(body)
    name = root.tag.rpartition("}")[2]
    if _canonical(root.tag).replace("response", "result") != expected.lower():  # moto: ListPartsResponse
        raise InvalidAnswer(f"the answer is <{name}>, not <{expected}>")
    fields = _row(root)
    rows = [(_canonical(child.tag), _row(child)) for child in root if len(child)]
    decode: Callable[[str], str] = str
    if fields.get("encodingtype", "").strip().lower() == "url":
        decode = _unquote_plus if plus_is_space else _unquote
    return Document(name, fields, rows, decode)


def _unquote(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _unquote_plus(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _required(row: Row, name: str) -> str:
    value = row.get(name.lower(), "")
    if not value:
        raise InvalidAnswer(f"the answer has no <{name}>")
    return value


def _integer(row: Row, name: str) -> int:
    value = _required(row, name).strip()
    if not (value.isascii() and value.isdigit()):
        raise InvalidAnswer(f"<{name}> is no number: {value[:40]!r}")
    return int(value)


def _optional_integer(value: Optional[str]) -> Optional[int]:
    value = (value or "").strip()
    return int(value) if value.isascii() and value.isdigit() else None


def _etag(row: Row) -> str:
    return _required(row, "ETag").strip().strip('"')


_ISO_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(?:Z|\+00:?00)?")


@lru_cache(maxsize=4096)  # the rows of a listing have few different ones
def parse_time(text: str) -> float:
    """Seconds since the epoch of ``2020-12-10T03:37:30.000Z``; the fraction and the Z may be missing."""
    match = _ISO_TIME.fullmatch(text.strip())
    if match is None:
        raise InvalidAnswer(f"not a time: {text[:40]!r}")
    year, month, day, hour, minute, second, fraction = match.groups()
    seconds = calendar.timegm((int(year), int(month), int(day), int(hour), int(minute), int(second), 0, 0, 0))
    return seconds + float(fraction or 0)


def _is_truncated(document: Document) -> bool:
    return document.fields.get("istruncated", "").strip().lower() == "true"


def parse_list_objects(body: bytes, *, plus_is_space: bool = False) -> ListPage:
    """``ListBucketResult``. S3 omits NextMarker without a delimiter: then it is the greatest name of the page.

    SeaweedFS and rclone give NextMarker as it is among encoded names: one that is the greatest name as it
    stands is not decoded.
    """
    document = _parse(body, "ListBucketResult", plus_is_space=plus_is_space)
    decode = document.decode
    objects = tuple(
        ListedObject(
            key=decode(_required(row, "Key")), size_bytes=_integer(row, "Size"), etag=row.get("etag", "").strip('"'),
            last_modified_s=parse_time(_required(row, "LastModified")) // 1,  # HEAD has whole seconds: be the same
            storage_class=row.get("storageclass") or "STANDARD")
        for name, row in document.rows if name == "contents")
    prefixes = tuple(decode(_required(row, "Prefix")) for name, row in document.rows
                     if name in ("commonprefixes", "commonprefixs"))
    if not _is_truncated(document):
        return ListPage(objects, prefixes)
    given = document.fields.get("nextmarker", "")
    if given and decode(given) == given:
        return ListPage(objects, prefixes, given)
    greatest = max((*(entry.key for entry in objects), *prefixes), default="",
                   key=lambda name: name.encode("utf-8", "surrogateescape"))
    marker = greatest if given in ("", greatest) else decode(given)
    if not marker:
        raise InvalidAnswer("a listing that is to be continued has neither entries nor a marker")
    return ListPage(objects, prefixes, marker)


def parse_list_versions(body: bytes, *, plus_is_space: bool = False) -> VersionsPage:
    """``ListVersionsResult``. Rows are in the order of their keys, the newest of each first, whether the service has
    versions and delete markers one among the other or each kind by itself."""
    document = _parse(body, "ListVersionsResult", plus_is_space=plus_is_space)
    decode = document.decode
    versions = [_listed_version(row, decode, is_marker=name == "deletemarker")
                for name, row in document.rows if name in ("version", "deletemarker")]
    versions.sort(key=lambda row: (row.key.encode("utf-8", "surrogateescape"), not row.is_latest, -row.last_modified_s))
    prefixes = tuple(decode(_required(row, "Prefix")) for name, row in document.rows
                     if name in ("commonprefixes", "commonprefixs"))
    if not _is_truncated(document):
        return VersionsPage(tuple(versions), prefixes)
    version_id = document.fields.get("nextversionidmarker", "").strip()
    return VersionsPage(tuple(versions), prefixes, (decode(_required(document.fields, "NextKeyMarker")), version_id))


def _listed_version(row: Row, decode: Callable[[str], str], *, is_marker: bool) -> ListedVersion:
    common = (decode(_required(row, "Key")), row.get("versionid", "").strip() or "null",
              row.get("islatest", "").strip().lower() == "true", parse_time(_required(row, "LastModified")) // 1)
    if is_marker:
        return ListedVersion(*common, is_marker=True)
    return ListedVersion(*common, size_bytes=_integer(row, "Size"), etag=row.get("etag", "").strip('"'),
                         storage_class=row.get("storageclass") or "STANDARD")


def parse_versioning(body: bytes) -> str:
    """The status of a ``VersioningConfiguration``, or whatever the server calls it; "" when it has none."""
    root = parse_root(body)
    if "versioning" not in _canonical(root.tag):  # moto: GetBucketVersioningResponse
        raise InvalidAnswer(f"the answer is <{root.tag}>, not <VersioningConfiguration>")
    return _row(root).get("status", "").strip()


_EARLY_MARKER = re.compile(rb"<NextMarker>([!-%'-;=-~]+)</NextMarker>")  # nothing that XML writes in another way


def early_marker(body: bytes, *, plus_is_space: bool = False) -> Optional[str]:
    """The ``next_marker`` that a listing will turn out to have; None when only parsing can tell.

    One that could be encoded is when it is written as one of the names is.
    """
    match = _EARLY_MARKER.search(body)
    if match is None or b"<IsTruncated>true<" not in body:
        return None
    given = match.group(1)
    if b"%" not in given and b"+" not in given:
        return given.decode("ascii")
    if b"<EncodingType>url<" not in body or not any(
            b"<%s>%s</%s>" % (name, given, name) in body for name in (b"Key", b"Prefix")):
        return None
    return (_unquote_plus if plus_is_space else _unquote)(given.decode("ascii"))


_UPLOAD_ID = re.compile(rb"<UploadId>\s*([^<>\s]+)\s*</UploadId>", re.IGNORECASE)


def parse_initiate(body: bytes) -> str:
    """The upload id. The answer repeats the key as it is, and with control characters it is no XML."""
    match = _UPLOAD_ID.search(body)
    if match is None:
        raise InvalidAnswer("the answer has no <UploadId>")
    return match.group(1).decode("utf-8", "replace").replace("&amp;", "&")


def parse_stored(body: bytes, expected: str, *, etag_required: bool = True) -> StoredObject:
    """``CopyObjectResult``, ``CopyPartResult`` or ``CompleteMultipartUploadResult``."""
    fields = _parse(body, expected).fields
    etag = _etag(fields) if etag_required or fields.get("etag") else ""
    modified = fields.get("lastmodified")
    return StoredObject(etag, _optional_integer(fields.get("crc64")), fields.get("versionid") or None,
                        parse_time(modified) // 1 if modified else None)


def parse_list_uploads(body: bytes, *, plus_is_space: bool = False,
                       ) -> Tuple[Tuple[PendingUpload, ...], Optional[Tuple[str, str]]]:
    """One page, and the (key, upload id) markers of the next."""
    document = _parse(body, "ListMultipartUploadsResult", plus_is_space=plus_is_space)
    uploads = tuple(
        PendingUpload(document.decode(_required(row, "Key")), _required(row, "UploadId"),
                      parse_time(_required(row, "Initiated")))
        for name, row in document.rows if name == "upload")
    if not _is_truncated(document):
        return uploads, None
    return uploads, (document.decode(_required(document.fields, "NextKeyMarker")),
                     document.fields.get("nextuploadidmarker", ""))


def parse_delete_result(body: bytes) -> Tuple[DeleteFailure, ...]:
    """The errors of a ``DeleteResult``."""
    document = _parse(body, "DeleteResult")
    return tuple(DeleteFailure(row.get("key", ""), row.get("code", "Unknown"), row.get("message", ""))
                 for name, row in document.rows if name == "error")


def parse_tagging(body: bytes) -> Tags:
    """The tags of a ``Tagging``."""
    root = parse_root(body)
    rows = (_row(node) for node in root.iter() if _canonical(node.tag) == "tag")
    return tuple((_required(row, "Key"), row.get("value", "")) for row in rows)


def is_error(body: bytes) -> bool:
    """Whether a body, perhaps after spaces that kept the connection alive, is an ``<Error>`` document."""
    head = body.lstrip()[:400]
    return re.match(rb"(<\?xml[^>]*\?>\s*)?<(\w+:)?Error\b", head) is not None


def _text(value: str) -> str:
    """A key as XML text. Control characters are no XML 1.0, which is all the service reads."""
    if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", value):
        raise ValueError(value)
    return escape(value, {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


def is_xml_text(value: str) -> bool:
    """Whether a key can be named in a request body."""
    try:
        _text(value)
    except ValueError:
        return False
    return True


def delete_body(keys: Iterable[str], *, quiet: bool = True) -> bytes:
    """``Delete``. Each key must be ``is_xml_text``."""
    rows = "".join(f"<Object><Key>{_text(key)}</Key></Object>" for key in keys)
    return f"<Delete><Quiet>{str(quiet).lower()}</Quiet>{rows}</Delete>".encode()


def restore_body(order: RestoreOrder, *, s3: bool = False) -> bytes:
    """``RestoreRequest``. ``s3``: as S3 names what COS calls CASJobParameters ("Compatibility with S3")."""
    parameters = "GlacierJobParameters" if s3 else "CASJobParameters"
    return (f"<RestoreRequest><Days>{order.days}</Days><{parameters}><Tier>{order.tier.value}</Tier></{parameters}>"
            "</RestoreRequest>").encode()


def complete_body(parts: Iterable[Tuple[int, str]]) -> bytes:
    """``CompleteMultipartUpload`` of (number, ETag without quotes)."""
    rows = "".join(f'<Part><PartNumber>{number}</PartNumber><ETag>"{_text(etag)}"</ETag></Part>'
                   for number, etag in parts)
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
