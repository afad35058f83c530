"""The two ways to speak to a service: COS with its own signature, S3 with AWS Signature V4.

Everything above speaks COS: headers are ``x-cos-*``, keys and values as the COS documentation has them. A
dialect makes the headers of one sending out of that, signed, and turns the headers of an answer back.

Sources: COS documentation "Request signature" (product/436/7778) and "Compatibility with S3"
(product/436/37421); AWS "Signature Version 4".
"""

from __future__ import annotations

import hashlib
import time
from typing import Dict, Iterable, Optional, Protocol

from cosfs.cos.endpoint import Target, encode_key
from cosfs.cos.headers import HeaderList, Headers
from cosfs.cos.interface import Body
from cosfs.cos.signing import UNSIGNED_PAYLOAD, Credentials, Pairs, cos_authorization, percent_encode, v4_authorization

SIGNATURE_BACKDATED_S = 60
"""A signature counts from this before now, as the official SDKs do, against clocks that differ a little."""
SIGNATURE_LIFE_S = 3600

WirePayload = Optional[Iterable[Body]]
"""The pieces of the body; None: it can be read only once, and not be hashed before it is sent."""


class Dialect(Protocol):
    safe_dots: bool
    """See endpoint.encode_key."""
    plus_is_space: bool
    """Whether ``+`` in a name of a listing with encoding-type=url is a space."""

    def signed_headers(self, credentials: Optional[Credentials], method: str, target: Target, params: Pairs,
                       headers: HeaderList, payload: WirePayload, *, now_s: float, repeated: bool) -> HeaderList:
        """All headers of one sending, Host and Authorization among them."""

    def query(self, params: Pairs) -> str:
        """The query as it goes out, without ``?``."""

    def answer_headers(self, headers: Headers) -> Headers:
        """The headers of an answer in COS spelling."""

    def copy_source(self, source: Target, bucket: str, key: str, version_id: Optional[str] = None) -> str:
        """The value of x-cos-copy-source."""


def encode_query(params: Pairs) -> str:
    """Encoded the same way as it is signed; a space is ``%20``, which all servers understand."""
    return "&".join(f"{percent_encode(name)}={percent_encode(value)}" for name, value in params)


class CosDialect:
    safe_dots = True
    plus_is_space = False

    def __init__(self, *, sign_host: bool = True, sign_params: bool = True) -> None:
        self._sign_host = sign_host
        self._sign_params = sign_params

    def signed_headers(self, credentials: Optional[Credentials], method: str, target: Target, params: Pairs,
                       headers: HeaderList, payload: WirePayload, *,  # noqa: ARG002 - of the protocol
                       now_s: float, repeated: bool) -> HeaderList:
        sent = [*headers]
        if repeated:
            sent.append(("x-cos-sdk-retry", "true"))
        if credentials is not None:
            if credentials.token:
                sent.append(("x-cos-security-token", credentials.token))
            start_s = int(now_s) - SIGNATURE_BACKDATED_S
            signed = [*sent, ("Host", target.host_name)] if self._sign_host else sent
            authorization = cos_authorization(
                credentials, method, target.path, params if self._sign_params else (), signed,
                start_s=start_s, end_s=start_s + SIGNATURE_LIFE_S)
            sent.append(("Authorization", authorization))
        sent.append(("Host", target.host))
        return sent

    def query(self, params: Pairs) -> str:
        return encode_query(params)

    def answer_headers(self, headers: Headers) -> Headers:
        return headers

    def copy_source(self, source: Target, bucket: str, key: str, version_id: Optional[str] = None) -> str:
        """``host/key``. With the bucket in the path the service's other form, ``/bucket/key``."""
        name = f"/{bucket}" if source.bucket_in_path else source.host
        version = f"?versionId={percent_encode(version_id)}" if version_id else ""
        return f"{name}/{encode_key(key, safe_dots=False)}{version}"


# Names whose spelling differs in more than the prefix, or that have no counterpart (None: not sent).
_S3_NAMES: Dict[str, Optional[str]] = {
    "x-cos-traffic-limit": None,
    "x-cos-server-side-encryption-cos-kms-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
}
_S3_DIRECTIVES = {"copy": "COPY", "replaced": "REPLACE"}


class S3Dialect:
    safe_dots = False
    plus_is_space = True

    def __init__(self, region: str, *, sign_payload: bool) -> None:
        """``sign_payload``: put the body's SHA-256 into the signature, as must be without TLS."""
        self._region = region
        self._sign_payload = sign_payload

    def signed_headers(self, credentials: Optional[Credentials], method: str, target: Target, params: Pairs,
                       headers: HeaderList, payload: WirePayload, *,
                       now_s: float, repeated: bool) -> HeaderList:  # noqa: ARG002 - of the protocol
        sent = self._s3_headers(headers)
        sent.append(("Host", target.host))
        if credentials is None:
            return sent
        amz_date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        payload_hash = UNSIGNED_PAYLOAD
        if self._sign_payload and payload is not None:
            digest = hashlib.sha256()
            for piece in payload:
                digest.update(piece)
            payload_hash = digest.hexdigest()
        sent += [("x-amz-date", amz_date), ("x-amz-content-sha256", payload_hash)]
        if credentials.token:
            sent.append(("x-amz-security-token", credentials.token))
        authorization = v4_authorization(credentials, method, target.raw_path, params, sent, amz_date=amz_date,
                                         region=self._region, payload_hash=payload_hash)
        sent.append(("Authorization", authorization))
        return sent

    def _s3_headers(self, headers: HeaderList) -> HeaderList:
        result: HeaderList = []
        for name, value in headers:
            lower = name.lower()
            if lower == "x-cos-forbid-overwrite":
                result.append(("If-None-Match", "*"))
                continue
            renamed = _S3_NAMES.get(lower, lower.replace("x-cos-", "x-amz-", 1) if lower.startswith("x-cos-") else name)
            if renamed is None:
                continue
            if lower.endswith("-directive"):
                value = _S3_DIRECTIVES.get(value.lower(), value)
            elif lower == "x-cos-server-side-encryption" and value == "cos/kms":
                value = "aws:kms"
            result.append((renamed, value))
        return result

    def query(self, params: Pairs) -> str:
        return encode_query(params)

    def answer_headers(self, headers: Headers) -> Headers:
        names = {theirs: ours for ours, theirs in _S3_NAMES.items() if theirs}
        result: HeaderList = []
        for name, value in headers.items():
            lower = name.lower()
            if lower.startswith("x-amz-"):
                name = names.get(lower, "x-cos-" + lower[len("x-amz-"):])
            if name == "x-cos-server-side-encryption" and value == "aws:kms":
                value = "cos/kms"
            result.append((name, value))
        return Headers(result)

    def copy_source(self, source: Target, bucket: str, key: str,  # noqa: ARG002 - of the protocol
                    version_id: Optional[str] = None) -> str:
        version = f"?versionId={percent_encode(version_id)}" if version_id else ""
        return f"/{bucket}/{encode_key(key, safe_dots=False)}{version}"
