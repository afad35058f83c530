"""Header values: a case-insensitive mapping, dates, and the headers that are stored with an object.

Header names are spelled as COS has them (``x-cos-*``) everywhere above dialect.py.
"""

from __future__ import annotations

import email.utils
import functools
import sys
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from cosfs.cos.additions import CUSTOMER_KEY_MD5
from cosfs.cos.interface import ObjectHeaders, ObjectInfo, StoredObject
from cosfs.errors import InvalidAnswer

HeaderList = List[Tuple[str, str]]

METADATA_PREFIX = "x-cos-meta-"
_STANDARD = {name.lower(): name for name in (
    "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires")}
# What a write must repeat for the new version to be like the old one. Of a customer's key that is its MD5, instead of
# which adding.py sends the key.
_REPEATED = ("x-cos-server-side-encryption", "x-cos-server-side-encryption-cos-kms-key-id",
             "x-cos-server-side-encryption-context", CUSTOMER_KEY_MD5.lower(), "x-cos-website-redirect-location")


class Headers(Mapping[str, str]):
    """Headers of an answer by name in any letter case; iteration gives the names as received."""

    def __init__(self, pairs: HeaderList) -> None:
        """The first of several headers of one name counts."""
        self.by_lower_name: Dict[str, str] = {}
        self._names: List[str] = []
        for name, value in pairs:
            lower = name.lower()
            if lower not in self.by_lower_name:
                self._names.append(name)
                self.by_lower_name[lower] = value.rstrip() if value.isascii() else _decoded(value.rstrip())

    def __getitem__(self, name: str) -> str:
        return self.by_lower_name[name.lower()]

    def get(self, name: str, default: Any = None) -> Any:
        return self.by_lower_name.get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.by_lower_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

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


@functools.lru_cache(maxsize=1024)
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
    lower = headers.by_lower_name
    etag, modified = strip_quotes(lower.get("etag", "")), parse_http_date(lower.get("last-modified", ""))
    if not etag or modified is None or size_bytes is None:
        raise InvalidAnswer(f"the answer does not describe an object (key {key!r}): "
                            "ETag, Last-Modified or Content-Length is missing")
    storage_class = lower.get("x-cos-storage-class") or None
    if storage_class == "STANDARD":
        storage_class = None
    standard = {name: lower[lower_name] for lower_name, name in _STANDARD.items() if lower.get(lower_name)}
    complete = not (is_get and "Content-Disposition" in standard)
    if not complete:
        del standard["Content-Disposition"]
    return ObjectInfo(
        key=key, size_bytes=size_bytes, etag=etag, last_modified_s=modified,
        headers=ObjectHeaders(
            metadata={sys.intern(name[len(METADATA_PREFIX):]): value for name, value in lower.items()
                      if name.startswith(METADATA_PREFIX)},
            standard=standard,
            storage_class=storage_class,
            extra={name: lower[name] for name in _REPEATED if lower.get(name)}),
        storage_class=storage_class or "STANDARD",
        crc64=headers.integer("x-cos-hash-crc64ecma"),
        version_id=lower.get("x-cos-version-id"),
        restore=lower.get("x-cos-restore"),
        complete=complete,
        tag_count=headers.integer("x-cos-tagging-count") or 0,
        served_s=parse_http_date(lower.get("date", "")))


def stored_object(headers: Headers) -> StoredObject:
    """What a PUT answered. Raises: InvalidAnswer."""
    etag = strip_quotes(headers.get("ETag", ""))
    if not etag:
        raise InvalidAnswer("the answer to a write has no ETag")
    return StoredObject(etag, headers.integer("x-cos-hash-crc64ecma"), headers.get("x-cos-version-id"))


def strip_quotes(etag: str) -> str:
    return etag.strip().strip('"')
