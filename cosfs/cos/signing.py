"""Request signatures: COS (``q-sign-algorithm=sha1``) and AWS Signature Version 4. Pure functions.

The client signs with them (transport.py, sdk_presign.py) and the embedded server verifies with them
(server/auth.py), so each function signs exactly what it is given; only the ``*_authorization`` functions
choose which headers take part. Text is treated as UTF-8 with surrogate escapes, so that keys that are not
valid UTF-8 are signed byte for byte.

Sources: COS documentation "Request signature" (product/436/7778); AWS "Authenticating Requests (AWS
Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import List, Optional, Sequence, Tuple
from urllib.parse import quote

Pairs = Sequence[Tuple[str, str]]
"""Names and values, decoded, in any order; names in any letter case."""

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
V4_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")


@dataclass(frozen=True)
class Credentials:
    """A key pair, with the session token of a temporary one. Neither repr nor str shows a secret."""

    secret_id: str
    secret_key: str = field(repr=False)
    token: Optional[str] = field(default=None, repr=False)


def percent_encode(text: str, safe: str = "") -> str:
    """RFC 3986 encoding: all but ``A-Za-z0-9-_.~`` and ``safe`` become ``%XX``, upper case."""
    if _UNRESERVED.fullmatch(text):
        return text  # as most names and values are; ``quote`` takes ten times as long to say so
    return quote(text, safe=safe, errors="surrogateescape")


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _encoded_pairs(pairs: Pairs) -> List[Tuple[str, str]]:
    """Sorted by name, then value. Names are lower-cased after encoding: ``%E9`` becomes ``%e9`` in them."""
    return sorted((percent_encode(name).lower(), percent_encode(value)) for name, value in pairs)


def cos_name_list(pairs: Pairs) -> str:
    """The value of ``q-header-list`` or ``q-url-param-list``."""
    return _names(_encoded_pairs(pairs))


def _names(encoded: Pairs) -> str:
    return ";".join([name for name, _ in encoded])


def cos_http_string(method: str, path: str, params: Pairs, headers: Pairs) -> str:
    """``HttpString`` of the COS scheme. ``path`` is decoded: ``/`` and the key."""
    return _http_string(method, path, _encoded_pairs(params), _encoded_pairs(headers))


def _http_string(method: str, path: str, encoded_params: Pairs, encoded_headers: Pairs) -> str:
    lists = ["&".join([f"{name}={value}" for name, value in pairs]) for pairs in (encoded_params, encoded_headers)]
    return "\n".join([method.lower(), path, *lists, ""])


def cos_string_to_sign(key_time: str, http_string: str) -> str:
    return f"sha1\n{key_time}\n{hashlib.sha1(_to_bytes(http_string)).hexdigest()}\n"


@lru_cache(maxsize=16)
def cos_sign_key(secret_key: str, key_time: str) -> str:
    return hmac.new(_to_bytes(secret_key), _to_bytes(key_time), "sha1").hexdigest()


def cos_signature(secret_key: str, key_time: str, http_string: str) -> str:
    sign_key = cos_sign_key(secret_key, key_time)
    return hmac.new(_to_bytes(sign_key), _to_bytes(cos_string_to_sign(key_time, http_string)), "sha1").hexdigest()


_COS_SIGNED_HEADERS = frozenset((
    "cache-control", "content-disposition", "content-encoding", "content-length", "content-md5", "content-type",
    "expect", "expires", "host", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since",
    "origin", "pic-operations", "range", "transfer-encoding",
))


def _cos_signs(header_name: str) -> bool:
    name = header_name.lower()
    return name in _COS_SIGNED_HEADERS or name.startswith(("x-cos-", "x-ci-"))


def cos_auth_fields(credentials: Credentials, method: str, path: str, params: Pairs, headers: Pairs, *,
                    start_s: int, end_s: int) -> List[Tuple[str, str]]:
    """The seven ``q-`` fields, for a header or (percent-encoded by the caller) for a URL.

    All ``params`` are signed, and those of ``headers`` that the official Python SDK signs. ``host`` is
    signed as given; that SDK gives it without the port.
    """
    signed = _encoded_pairs([pair for pair in headers if _cos_signs(pair[0])])
    encoded_params = _encoded_pairs(params)
    key_time = f"{start_s};{end_s}"
    http_string = _http_string(method, path, encoded_params, signed)
    return [
        ("q-sign-algorithm", "sha1"),
        ("q-ak", credentials.secret_id),
        ("q-sign-time", key_time),
        ("q-key-time", key_time),
        ("q-header-list", _names(signed)),
        ("q-url-param-list", _names(encoded_params)),
        ("q-signature", cos_signature(credentials.secret_key, key_time, http_string)),
    ]


def cos_authorization(credentials: Credentials, method: str, path: str, params: Pairs, headers: Pairs, *,
                      start_s: int, end_s: int) -> str:
    """The value of the ``Authorization`` header (not percent-encoded)."""
    fields = cos_auth_fields(credentials, method, path, params, headers, start_s=start_s, end_s=end_s)
    return "&".join(f"{name}={value}" for name, value in fields)


def v4_canonical_request(method: str, raw_path: str, params: Pairs, headers: Pairs,
                         signed_headers: Sequence[str], payload_hash: str) -> str:
    """``CanonicalRequest``. ``raw_path`` is the path as sent: S3 neither normalises nor encodes it again.

    Raises: KeyError when a signed header is absent.
    """
    values = {name.lower(): " ".join(value.split()) for name, value in headers}
    names = sorted(name.lower() for name in signed_headers)
    query = sorted((percent_encode(name), percent_encode(value)) for name, value in params)
    return "\n".join([
        method.upper(),
        raw_path,
        "&".join(f"{name}={value}" for name, value in query),
        *(f"{name}:{values[name]}" for name in names),
        "",
        ";".join(names),
        payload_hash,
    ])


def v4_string_to_sign(amz_date: str, scope: str, canonical_request: str) -> str:
    """``amz_date`` is ``YYYYMMDDTHHMMSSZ``; ``scope`` is ``date/region/service/aws4_request``."""
    digest = hashlib.sha256(_to_bytes(canonical_request)).hexdigest()
    return f"{V4_ALGORITHM}\n{amz_date}\n{scope}\n{digest}"


@lru_cache(maxsize=64)
def _v4_signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    key = _to_bytes("AWS4" + secret_key)
    for message in (date, region, service, "aws4_request"):
        key = hmac.new(key, _to_bytes(message), "sha256").digest()
    return key


def v4_signature(secret_key: str, date: str, region: str, service: str, string_to_sign: str) -> str:
    """``date`` is ``YYYYMMDD``, the first field of the scope."""
    key = _v4_signing_key(secret_key, date, region, service)
    return hmac.new(key, _to_bytes(string_to_sign), "sha256").hexdigest()


def _v4_signs(header_name: str) -> bool:
    name = header_name.lower()
    return name in ("host", "content-md5", "content-type", "range") or name.startswith("x-amz-")


def v4_authorization(credentials: Credentials, method: str, raw_path: str, params: Pairs, headers: Pairs, *,
                     amz_date: str, region: str, payload_hash: str, service: str = "s3") -> str:
    """The value of the ``Authorization`` header.

    ``headers`` must hold Host, x-amz-date, x-amz-content-sha256 and, with a token, x-amz-security-token.
    """
    signed_headers = sorted(name.lower() for name, _ in headers if _v4_signs(name))
    date = amz_date[:8]
    scope = f"{date}/{region}/{service}/aws4_request"
    canonical = v4_canonical_request(method, raw_path, params, headers, signed_headers, payload_hash)
    signature = v4_signature(credentials.secret_key, date, region, service,
                             v4_string_to_sign(amz_date, scope, canonical))
    return (f"{V4_ALGORITHM} Credential={credentials.secret_id}/{scope}, "
            f"SignedHeaders={';'.join(signed_headers)}, Signature={signature}")
