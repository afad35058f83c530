"""A request as it came over the wire, read without interpreting it: path, query, headers, dialect, address.

The path is percent-decoded once and never normalised: ``//``, ``.`` and ``..`` are parts of keys.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple
from urllib.parse import parse_qsl, unquote_to_bytes

from aiohttp import web

from cosfs.server.errors import ApiError

COS, AMZ = "cos", "amz"

_BUCKET_HOST = re.compile(r"([a-z0-9][a-z0-9-]*-[0-9]+)\.")
_SERVICE_HOST = re.compile(r"(service\.)?cos(-internal)?[.]")


@dataclass(frozen=True)
class WireRequest:
    """``raw_path`` is still encoded; ``params`` and ``headers`` are decoded, in the order received."""

    method: str
    raw_path: str
    raw_query: str
    params: Tuple[Tuple[str, str], ...]
    headers: Tuple[Tuple[str, str], ...]

    @property
    def path(self) -> str:
        """The decoded path; bytes that are not UTF-8 as surrogate escapes."""
        return unquote_to_bytes(self.raw_path).decode("utf-8", "surrogateescape")

    def header(self, name: str) -> str:
        """The first value of a header given in lower case, "" when absent."""
        return next((value for given, value in self.headers if given.lower() == name), "")

    def param(self, name: str) -> Optional[str]:
        return next((value for given, value in self.params if given == name), None)


def _text(raw: bytes) -> str:
    """A header's text: UTF-8, as all official clients send it, else each byte for itself."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def make_wire_request(method: str, target: str, headers: List[Tuple[str, str]]) -> WireRequest:
    """``target`` is the request target of the start line, origin or absolute form."""
    if not target.startswith("/"):
        target = "/" + re.sub(r"^[a-z]+://[^/?]*/?", "", target, flags=re.IGNORECASE)
    raw_path, _, raw_query = target.partition("#")[0].partition("?")
    params = parse_qsl(raw_query, keep_blank_values=True, errors="surrogateescape")
    return WireRequest(method, raw_path, raw_query, tuple(params), tuple(headers))


def read_wire_request(request: web.BaseRequest) -> WireRequest:
    headers = [(_text(name), _text(value)) for name, value in request.raw_headers]
    return make_wire_request(request.method, request.raw_path, headers)


def dialect_of(wire: WireRequest) -> str:
    """Whose names the answer uses: those of the scheme that the request is signed with."""
    authorization = wire.header("authorization")
    if authorization:
        return AMZ if authorization.startswith("AWS") else COS
    if wire.param("X-Amz-Algorithm") is not None or wire.param("AWSAccessKeyId") is not None:
        return AMZ
    names = {name.lower() for name, _ in wire.headers}
    return AMZ if any(n.startswith("x-amz-") for n in names) and not any(n.startswith("x-cos-") for n in names) else COS


def neutral_headers(wire: WireRequest) -> Dict[str, str]:
    """Headers by lower-case name in the COS spelling (``x-amz-acl`` is ``x-cos-acl``); the first value counts."""
    found: Dict[str, str] = {}
    for name, value in wire.headers:
        lower = name.lower()
        if lower.startswith("x-amz-") and not lower.startswith(("x-amz-content-sha256", "x-amz-checksum-")):
            lower = "x-cos-" + lower[6:]
        found.setdefault(lower, value)
    return found


def dialect_header(name: str, dialect: str) -> str:
    """An answer's header name in the dialect: ``x-cos-…`` becomes ``x-amz-…`` where S3 has the twin."""
    if dialect == AMZ and name.startswith("x-cos-") and name not in _WITHOUT_TWIN:
        return "x-amz-" + name[6:]
    return name


_WITHOUT_TWIN = {"x-cos-hash-crc64ecma", "x-cos-symlink-target", "x-cos-next-append-position", "x-cos-object-type"}


@dataclass(frozen=True)
class Address:
    """What a request is about. ``bucket`` None: the service; ``key`` "": the bucket."""

    bucket: Optional[str]
    key: str


NOWHERE = Address(None, "")


def host_name(wire: WireRequest) -> str:
    """The host without port, lower case."""
    return re.sub(r":\d*$", "", wire.header("host")).strip("[]").lower()


def _is_path_style(host: str) -> bool:
    if not host or host == "localhost" or _SERVICE_HOST.match(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def address_of(wire: WireRequest, only_bucket: Optional[str]) -> Address:
    """Find bucket and key.

    The bucket is the first label of the host; for a bare IP address, localhost or a service host the first
    segment of the path; for any other host, taken for a custom domain, ``only_bucket``.

    Raises: ApiError InvalidURI (path or query is not UTF-8).
    """
    _decode(wire.raw_query)
    raw_rest = wire.raw_path[1:]
    host = host_name(wire)
    match = _BUCKET_HOST.match(host)
    bucket = match.group(1) if match else only_bucket
    if match is None and (_is_path_style(host) or only_bucket is None):
        first, _, raw_rest = raw_rest.partition("/")
        bucket = _decode(first) or None
    return Address(bucket, _decode(raw_rest))


def _decode(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError("InvalidURI") from None
