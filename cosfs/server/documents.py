"""The XML documents of the service: those it answers with, and those it is sent. Pure.

Answers carry no namespace, as the service's own; documents received may.
"""

from __future__ import annotations

import re
from typing import Callable, Iterable, List, Mapping, Optional, Tuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cosfs.cos.signing import percent_encode
from cosfs.server.errors import ApiError

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'

_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f]")

_MAX_RESTORE_DAYS = 365
"""The documentation gives no bound; this one keeps expiry dates printable."""

_RESTORE_TIERS = ("Expedited", "Standard", "Bulk")

Encode = Callable[[str], str]


def text(name: str, value: object) -> str:
    """An element with text. Characters that XML forbids become references, as S3 has them: the answer is
    then not well-formed, which is what ``encoding-type=url`` is there to avoid."""
    safe = _FORBIDDEN.sub(lambda match: f"&#{ord(match.group())};", escape(str(value)))
    return f"<{name}>{safe}</{name}>"


def element(name: str, *children: str) -> str:
    return f"<{name}>{''.join(children)}</{name}>"


def document(name: str, *children: str, declaration: bool = True) -> bytes:
    return ((DECLARATION if declaration else "") + element(name, *children)).encode("utf-8", "replace")


def key_encoder(encoding_type: str) -> Encode:
    """How keys are written. Raises: ApiError InvalidArgument for an encoding that is none."""
    if encoding_type not in ("", "url"):
        raise ApiError("InvalidArgument", "encoding-type must be url.")
    return (lambda key: percent_encode(key, "/")) if encoding_type else (lambda key: key)


def owner(name: str, bucket: str) -> str:
    app_id = bucket.rpartition("-")[2]
    return element(name, text("ID", app_id), text("DisplayName", app_id))


def prefixes(encode: Encode, keys: Iterable[bytes]) -> str:
    return "".join(element("CommonPrefixes", text("Prefix", encode(key.decode()))) for key in keys)


def error_document(error: ApiError, *, resource: str, request_id: str, trace_id: str,
                   declaration: bool = True) -> bytes:
    fields = [("Code", error.code), ("Message", error.message), ("Resource", resource),
              ("RequestId", request_id), ("TraceId", trace_id), *error.fields.items()]
    return document("Error", *(text(name, value) for name, value in fields), declaration=declaration)


def parse(body: bytes, root: str) -> ElementTree.Element:
    """A received document, its names without namespaces. Raises: ApiError MalformedXML."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ApiError("MalformedXML")
    try:
        tree = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise ApiError("MalformedXML") from None
    for node in tree.iter():
        node.tag = node.tag.rpartition("}")[2]
    if tree.tag != root:
        raise ApiError("MalformedXML", f"The document must be a {root}.")
    return tree


def parse_delete(body: bytes) -> Tuple[bool, List[Tuple[str, Optional[str]]]]:
    """Quiet, and the keys with the versions named."""
    tree = parse(body, "Delete")
    items = [(item.findtext("Key") or "", item.findtext("VersionId") or None) for item in tree.findall("Object")]
    if not items or len(items) > 1000 or not all(key for key, _ in items):
        raise ApiError("MalformedXML")
    return (tree.findtext("Quiet") or "").strip().lower() == "true", items


def parse_complete(body: bytes) -> List[Tuple[int, str]]:
    """Part numbers and ETags (without quotes), in the order given."""
    parts = []
    for item in parse(body, "CompleteMultipartUpload").findall("Part"):
        number, etag = (item.findtext("PartNumber") or "").strip(), (item.findtext("ETag") or "").strip()
        if not number.isdecimal() or not etag:
            raise ApiError("MalformedXML")
        parts.append((int(number), etag.strip('"')))
    if not parts:
        raise ApiError("MalformedXML")
    return parts


def parse_tagging(body: bytes) -> List[Tuple[str, str]]:
    return [(tag.findtext("Key") or "", tag.findtext("Value") or "")
            for tag in parse(body, "Tagging").iterfind("TagSet/Tag")]


def tagging_document(tags: Iterable[Tuple[str, str]]) -> bytes:
    return document("Tagging", element("TagSet", *(
        element("Tag", text("Key", key), text("Value", value)) for key, value in tags)))


def parse_restore(body: bytes) -> Tuple[int, str]:
    """Days and tier."""
    root = parse(body, "RestoreRequest")
    days = (root.findtext("Days") or "1").strip()
    # CASJobParameters, or S3's GlacierJobParameters
    tier = next((node.text or "" for node in root.iter() if node.tag == "Tier"), "Standard").strip()
    if not days.isdecimal() or not 1 <= int(days) <= _MAX_RESTORE_DAYS or tier not in _RESTORE_TIERS:
        raise ApiError("MalformedXML")
    return int(days), tier


def parse_versioning(body: bytes) -> str:
    status = (parse(body, "VersioningConfiguration").findtext("Status") or "").strip()
    if status not in ("Enabled", "Suspended"):
        raise ApiError("IllegalVersioningConfigurationException")
    return status


def buckets_document(owner_id: str, rows: Iterable[Mapping[str, str]]) -> bytes:
    """``rows``: Name, Location and CreationDate of each bucket."""
    return document("ListAllMyBucketsResult",
                    element("Owner", text("ID", owner_id), text("DisplayName", owner_id)),
                    element("Buckets", *(element("Bucket", *(text(name, value) for name, value in row.items()))
                                         for row in rows)))
