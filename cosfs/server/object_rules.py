"""What the service accepts as key, metadata and stored headers, and what it makes of conditions and ranges. Pure.

Sources: COS documentation "Object overview", "PUT Object", "GET Object", "Common request headers".
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Mapping, Optional, Tuple
from urllib.parse import parse_qsl

from cosfs.server.errors import ApiError
from cosfs.server.ids import parse_http_date
from cosfs.server.objects import Detail, ObjectVersion
from cosfs.units import MAX_KEY_BYTES, MAX_METADATA_BYTES

STANDARD = "STANDARD"
ARCHIVE_CLASSES = frozenset(("ARCHIVE", "DEEP_ARCHIVE", "MAZ_ARCHIVE", "MAZ_DEEP_ARCHIVE"))
STORAGE_CLASSES = ARCHIVE_CLASSES | {
    STANDARD, "STANDARD_IA", "INTELLIGENT_TIERING", "MAZ_STANDARD", "MAZ_STANDARD_IA", "MAZ_INTELLIGENT_TIERING",
    # no longer in the service's lists, but sent by its oldest clients
    "NEARLINE", "REDUCED_REDUNDANCY"}

META = "x-cos-meta-"
SSE = "x-cos-server-side-encryption"
SSE_KEY_MD5 = f"{SSE}-customer-key-md5"
_STANDARD_HEADERS = {name.lower(): name for name in (
    "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires")}
_SSE_HEADERS = (SSE, f"{SSE}-customer-algorithm", SSE_KEY_MD5, f"{SSE}-cos-kms-key-id")
_CUSTOMER_KEY_BYTES = 32
_ACLS = ("default", "private", "public-read", "public-read-write", "authenticated-read", "bucket-owner-read",
         "bucket-owner-full-control")
_FORBIDDEN_IN_KEYS = re.compile("[\r\n\x00\x18-\x1b]")
_MAX_TAGS = 10


def check_key(key: str, *, new: bool) -> None:
    """``new``: an object of this name may come to be. Raises: ApiError KeyTooLong, InvalidObjectName."""
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ApiError("KeyTooLong")
    if new and (key[:1] in ("/", "\\") or _FORBIDDEN_IN_KEYS.search(key)):
        raise ApiError("InvalidObjectName")


def storage_class(headers: Mapping[str, str]) -> str:
    """Raises: ApiError NotSupportedStorageClass."""
    name = headers.get("x-cos-storage-class", "").upper() or STANDARD
    if name not in STORAGE_CLASSES:
        raise ApiError("NotSupportedStorageClass")
    return name


def user_metadata(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Raises: ApiError KeyTooLong when names and values together exceed the limit."""
    found = {name: value for name, value in headers.items() if name.startswith(META)}
    if sum(len(name.encode()) + len(value.encode()) for name, value in found.items()) > MAX_METADATA_BYTES:
        raise ApiError("KeyTooLong", "Your metadata headers exceed the maximum allowed metadata size.")
    return found


def _content_encoding(value: str) -> str:
    """Without aws-chunked, which describes the request only."""
    return ", ".join(item.strip() for item in value.split(",") if item.strip().lower() not in ("aws-chunked", ""))


def tagging(text: str) -> str:
    """Raises: ApiError InvalidTag."""
    tags = parse_qsl(text, keep_blank_values=True)
    if len(tags) > _MAX_TAGS or (text and not tags) or len(dict(tags)) != len(tags):
        raise ApiError("InvalidTag")
    return text


def new_detail(headers: Mapping[str, str]) -> Detail:
    """What a request for a new object asks to be stored with it."""
    stored = {name: headers[lower] for lower, name in _STANDARD_HEADERS.items() if headers.get(lower)}
    if "Content-Encoding" in stored:
        stored["Content-Encoding"] = _content_encoding(stored["Content-Encoding"])
    stored = {name: value for name, value in stored.items() if value}
    stored.setdefault("Content-Type", "application/octet-stream")
    stored.update(user_metadata(headers))
    return Detail(headers={**stored, **encryption(headers)}, acl=acl(headers),
                  tagging=tagging(headers.get("x-cos-tagging", "")))


def acl(headers: Mapping[str, str]) -> str:
    """Raises: ApiError InvalidArgument."""
    name = headers.get("x-cos-acl", "") or "default"
    if name not in _ACLS:
        raise ApiError("InvalidArgument", "The ACL is not valid.")
    return name


def encryption(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The encryption headers to store; nothing is in fact encrypted. Raises: ApiError InvalidArgument."""
    if headers.get(SSE, "AES256") not in ("AES256", "cos/kms", "aws:kms"):
        raise ApiError("InvalidArgument", f"{SSE} must be AES256 or cos/kms.")
    if customer_key_md5(headers) and headers.get(SSE):
        raise ApiError("InvalidArgument", "An object is encrypted in one way only.")
    return encryption_of(headers)


def encryption_of(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Those among an object's headers that are about its encryption."""
    return {name: headers[name] for name in _SSE_HEADERS if headers.get(name)}


def customer_key_md5(headers: Mapping[str, str], prefix: str = SSE) -> str:
    """The MD5 that stands for the customer's key of a request, "" without one. Raises: ApiError InvalidArgument,
    unless all three headers are there and agree."""
    algorithm, key, md5 = (headers.get(f"{prefix}-customer-{name}", "") for name in ("algorithm", "key", "key-md5"))
    if not (algorithm or key or md5):
        return ""
    try:
        raw = base64.b64decode(key, validate=True)
    except ValueError:
        raw = b""
    actual = base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode("ascii")
    if algorithm != "AES256" or len(raw) != _CUSTOMER_KEY_BYTES or md5 != actual:
        raise ApiError("InvalidArgument", "The key of the customer, its MD5 or its algorithm is not valid.")
    return md5


def hides_md5(detail: Detail) -> bool:
    """Whether the ETag must not be the MD5: objects under a KMS key or the customer's own."""
    headers = detail.headers
    return SSE_KEY_MD5 in headers or headers.get("x-cos-server-side-encryption", "AES256") != "AES256"


def check_encryption_key(detail: Detail, given: str) -> None:
    """``given``: see ``customer_key_md5``. Raises: ApiError SSEHeaderNotAllowed, SsecDecryptHeaderInvalid."""
    stored = detail.headers.get(SSE_KEY_MD5, "")
    if given and not stored:
        raise ApiError("SSEHeaderNotAllowed")
    if stored != given:
        raise ApiError("SsecDecryptHeaderInvalid")


def _matches(condition: str, etag: str) -> bool:
    tags = [item.strip() for item in condition.split(",")]
    return "*" in tags or etag in (tag[2:].strip('"') if tag.startswith("W/") else tag.strip('"') for tag in tags)


def check_conditions(version: ObjectVersion, headers: Mapping[str, str], prefix: str = "") -> Optional[int]:
    """412 or 304 when a condition of the request fails, else None. ``prefix``: of the headers' names."""
    match, none_match = headers.get(prefix + "if-match"), headers.get(prefix + "if-none-match")
    modified_s = int(version.modified_s)
    unmodified_since = parse_http_date(headers.get(prefix + "if-unmodified-since", ""))
    modified_since = parse_http_date(headers.get(prefix + "if-modified-since", ""))
    if match is not None:
        if not _matches(match, version.etag):
            return 412
    elif unmodified_since is not None and modified_s > unmodified_since:
        return 412
    if none_match is not None:
        return 304 if _matches(none_match, version.etag) else None
    return 304 if modified_since is not None and modified_s <= modified_since else None


def byte_range(text: str, size_bytes: int) -> Optional[Tuple[int, int]]:
    """The range ``[start, stop)`` that a Range header means; None when it is absent or to be ignored.

    Raises: ApiError InvalidRange.
    """
    match = re.fullmatch(r"bytes=(\d{0,19})-(\d{0,19})", text.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(size_bytes - int(last), 0), size_bytes
    else:
        start, stop = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes:
        raise ApiError("InvalidRange", headers={"Content-Range": f"bytes */{size_bytes}"})
    return start, stop
