"""Header values: a case-insensitive mapping, dates, and the headers that are stored with an object.

Header names are spelled as COS has them (``x-cos-*``) everywhere above dialect.py.
"""

from __future__ import annotations

import email.utils
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from cosfs.cos.interface import ObjectHeaders, ObjectInfo, StoredObject
from cosfs.errors import InvalidAnswer

HeaderList = List[Tuple[str, str]]

METADATA_PREFIX = "x-cos-meta-"
_STANDARD = ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires")
# What a write must repeat for the new version to be like the old one; SSE-C needs its key and cannot be.
_REPEATED = ("x-cos-server-side-encryption", "x-cos-server-side-encryption-cos-kms-key-id",
             "x-cos-server-side-encryption-context", "x-cos-website-redirect-location")


class Headers(Mapping[str, str]):
    """Headers of an answer by name in any letter case; iteration gives the names as received."""

    def __init__(self, pairs: HeaderList) -> None:
        self._by_lower_name: Dict[str, Tuple[str, str]] = {}
        for name, value in pairs:
            self._by_lower_name.setdefault(name.lower(), (name, _decoded(value)))

    def __getitem__(self, name: str) -> str:
        return self._by_lower_name[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._by_lower_name.values())

    def __len__(self) -> int:
        return len(self._by_lower_name)

    def integer(self, name: str) -> Optional[int]:
        """The value as a number that is not negative; None when absent or no number."""
        value = self.get(name, "")
        return int(value) if value.isascii() and value.isdigit() else None


def _decoded(value: str) -> str:
    """Python reads headers as latin-1; services send user metadata as UTF-8."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def parse_http_date(value: str) -> Optional[float]:
    """Seconds since the epoch; None when it is no date (RFC 9110, section 5.6.7)."""
    parsed = email.utils.parsedate_tz(value)
    if parsed is None:
        return None
    try:
        return float(email.utils.mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None


def object_request_headers(headers: ObjectHeaders) -> HeaderList:
    """The request headers that store ``headers`` with a new object."""
    pairs = list(headers.standard.items())
    pairs += ((METADATA_PREFIX + name, value) for name, value in headers.metadata.items())
    if headers.storage_class:
        pairs.append(("x-cos-storage-class", headers.storage_class))
    pairs += headers.extra.items()
    return pairs


def object_info(key: str, headers: Headers, *, size_bytes: Optional[int], is_get: bool) -> ObjectInfo:
    """An object as the headers of a HEAD or GET answer describe it.

    On GET the service may force a Content-Disposition that is not stored, so one that is there is left out and
    the description incomplete ("Notice on the default domain names", product/436/96243).
    """
    etag, modified = strip_quotes(headers.get("ETag", "")), parse_http_date(headers.get("Last-Modified", ""))
    if not etag or modified is None or size_bytes is None:
        raise InvalidAnswer(f"the answer does not describe an object (key {key!r}): "
                            "ETag, Last-Modified or Content-Length is missing")
    storage_class = headers.get("x-cos-storage-class") or None
    if storage_class == "STANDARD":
        storage_class = None
    lower = {name.lower(): headers[name] for name in headers}
    return ObjectInfo(
        key=key, size_bytes=size_bytes, etag=etag, last_modified_s=modified,
        headers=ObjectHeaders(
            metadata={name[len(METADATA_PREFIX):]: value for name, value in lower.items()
                      if name.startswith(METADATA_PREFIX)},
            standard={name: headers[name] for name in _STANDARD
                      if headers.get(name) and not (is_get and name == "Content-Disposition")},
            storage_class=storage_class,
            extra={name: lower[name] for name in _REPEATED if lower.get(name)}),
        storage_class=storage_class or "STANDARD",
        crc64=headers.integer("x-cos-hash-crc64ecma"),
        version_id=headers.get("x-cos-version-id"),
        restore=headers.get("x-cos-restore"),
        complete=not (is_get and headers.get("Content-Disposition")))


def stored_object(headers: Headers) -> StoredObject:
    """What a PUT answered. Raises: InvalidAnswer."""
    etag = strip_quotes(headers.get("ETag", ""))
    if not etag:
        raise InvalidAnswer("the answer to a write has no ETag")
    return StoredObject(etag, headers.integer("x-cos-hash-crc64ecma"), headers.get("x-cos-version-id"))


def strip_quotes(etag: str) -> str:
    return etag.strip().strip('"')
