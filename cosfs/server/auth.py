"""Verification of request signatures: the COS scheme and AWS Signature V4, in header or query.

The recipe is that of the official servers as far as known: the lists of signed names come from the
request, every listed name must be there, and ``host`` may have been signed with or without its port
(official SDKs differ).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Callable, Dict, List, Mapping, Optional, Tuple
from urllib.parse import quote, unquote

from cosfs.cos.signing import (
    UNSIGNED_PAYLOAD,
    V4_ALGORITHM,
    Pairs,
    cos_http_string,
    cos_signature,
    percent_encode,
    v4_canonical_request,
    v4_signature,
    v4_string_to_sign,
)
from cosfs.server.errors import ApiError
from cosfs.server.ids import parse_http_date, xml_date
from cosfs.server.wire import WireRequest
from cosfs.units import MAX_CLOCK_SKEW_S

_MAX_PRESIGNED_S = 7 * 86400
_TOKEN_NAMES = ("x-cos-security-token", "x-amz-security-token")


@dataclass(frozen=True)
class Grant:
    """Who asks. ``secret_id`` None: nobody known.

    ``payload_hash``: what V4 says of the body, "" in the COS scheme. ``sign_chunk(what, previous, text)``
    signs a piece of a signed stream, ``what`` being PAYLOAD or TRAILER; ``seed`` is the first ``previous``.
    """

    secret_id: Optional[str]
    payload_hash: str = ""
    seed: str = ""
    sign_chunk: Optional[Callable[[str, str, str], str]] = field(default=None, repr=False)


NOBODY = Grant(None)


@dataclass(frozen=True)
class Key:
    """One secret key that is accepted: with which session token, None for none, and until when, None for ever."""

    secret_key: str = field(repr=False)
    token: Optional[str] = field(default=None, repr=False)
    expires_s: Optional[float] = None


class Authenticator:
    """``keys``: secret keys by secret id. ``token``: what every signed request must carry."""

    def __init__(self, keys: Mapping[str, str], token: Optional[str]) -> None:
        self._keys = {secret_id: Key(secret_key, token) for secret_id, secret_key in keys.items()}

    def replace(self, keys: Mapping[str, Key]) -> None:
        """Accept these, and no others any more."""
        self._keys = dict(keys)

    def check(self, wire: WireRequest, now_s: float) -> Grant:
        """Raises: ApiError (AccessDenied, ExpiredToken, InvalidAccessKeyId, SignatureDoesNotMatch, ...)."""
        authorization = wire.header("authorization")
        query = dict(wire.params)
        if authorization.startswith(V4_ALGORITHM):
            grant = self._check_v4_header(wire, authorization, now_s)
        elif not authorization and "X-Amz-Algorithm" in query:
            grant = self._check_v4_query(wire, query, now_s)
        elif authorization.startswith("AWS ") or "AWSAccessKeyId" in query:
            raise ApiError("InvalidRequest", "AWS Signature V2 is not supported: sign with V4.")
        else:
            fields = _cos_fields(authorization, query)
            if not fields:
                return NOBODY
            grant = self._check_cos(wire, fields, now_s)
        self._check_token(wire, query, self._keys[grant.secret_id or ""], now_s)
        return grant

    def _secret_key(self, secret_id: str) -> str:
        try:
            return self._keys[secret_id].secret_key
        except KeyError:
            raise ApiError("InvalidAccessKeyId") from None

    @staticmethod
    def _check_token(wire: WireRequest, query: Mapping[str, str], key: Key, now_s: float) -> None:
        if key.expires_s is not None and now_s >= key.expires_s:
            raise ApiError("ExpiredToken")
        if key.token is None:
            return
        given = next(filter(None, (wire.header(name) for name in _TOKEN_NAMES)), "")
        given = given or query.get(_TOKEN_NAMES[0], "") or query.get("X-Amz-Security-Token", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.token.encode()):
            raise ApiError("AccessDenied", "The security token is missing or not valid.")

    def _check_cos(self, wire: WireRequest, fields: Mapping[str, str], now_s: float) -> Grant:
        if fields.get("q-sign-algorithm") != "sha1":
            raise ApiError("AccessDenied", "q-sign-algorithm must be sha1.")
        secret_key = self._secret_key(fields.get("q-ak", ""))
        for name in ("q-sign-time", "q-key-time"):
            if not _contains(fields.get(name, ""), now_s):
                raise ApiError("AccessDenied", "Request has expired", fields={"ServerTime": xml_date(now_s)})
        params = _listed(fields.get("q-url-param-list", ""),
                         [pair for pair in wire.params if pair[0] not in fields and pair[0] != "sign"])
        given = fields.get("q-signature", "")
        for headers in _host_forms(wire):
            signed = _listed(fields.get("q-header-list", ""), headers)
            if params is None or signed is None:
                break
            http_string = cos_http_string(wire.method, wire.path, params, signed)
            if _same(cos_signature(secret_key, fields["q-key-time"], http_string), given):
                return Grant(fields["q-ak"])
        raise ApiError("SignatureDoesNotMatch")

    def _check_v4_header(self, wire: WireRequest, authorization: str, now_s: float) -> Grant:
        fields = dict(re.findall(r"(Credential|SignedHeaders|Signature)=([^, ]+)", authorization))
        amz_date = wire.header("x-amz-date") or _basic_date(wire.header("date"))
        when = _v4_time(amz_date)
        payload_hash = wire.header("x-amz-content-sha256")
        if len(fields) != 3 or when is None or not payload_hash:
            raise ApiError("AccessDenied", "The Authorization header is not complete.")
        if abs(when - now_s) > MAX_CLOCK_SKEW_S:
            raise ApiError("RequestTimeTooSkewed", fields={"ServerTime": xml_date(now_s)})
        return self._check_v4(wire, fields, amz_date, wire.params, payload_hash)

    def _check_v4_query(self, wire: WireRequest, query: Mapping[str, str], now_s: float) -> Grant:
        fields = {name: query.get("X-Amz-" + name, "") for name in ("Credential", "SignedHeaders", "Signature")}
        when = _v4_time(query.get("X-Amz-Date", ""))
        expires = query.get("X-Amz-Expires", "")
        if when is None or not expires.isdecimal() or int(expires) > _MAX_PRESIGNED_S or not all(fields.values()):
            raise ApiError("AuthorizationQueryParametersError")
        if not when - MAX_CLOCK_SKEW_S <= now_s <= when + int(expires):
            raise ApiError("AccessDenied", "Request has expired", fields={"ServerTime": xml_date(now_s)})
        params = [pair for pair in wire.params if pair[0] != "X-Amz-Signature"]
        payload_hash = wire.header("x-amz-content-sha256") or UNSIGNED_PAYLOAD
        return self._check_v4(wire, fields, query["X-Amz-Date"], params, payload_hash)

    def _check_v4(self, wire: WireRequest, fields: Mapping[str, str], amz_date: str, params: Pairs,
                  payload_hash: str) -> Grant:
        secret_id, _, scope = fields["Credential"].partition("/")
        secret_key = self._secret_key(secret_id)
        date, region, service, ending = (scope.split("/") + [""] * 4)[:4]
        signed = fields["SignedHeaders"].split(";")
        if date != amz_date[:8] or ending != "aws4_request" or "host" not in signed:
            raise ApiError("SignatureDoesNotMatch")

        def sign(text: str) -> str:
            return v4_signature(secret_key, date, region, service, text)

        def sign_chunk(what: str, previous: str, text: str) -> str:
            return sign(f"{V4_ALGORITHM}-{what}\n{amz_date}\n{scope}\n{previous}\n{text}")

        headers = _merged(wire.headers)
        if not set(signed) <= set(headers):
            raise ApiError("SignatureDoesNotMatch")
        # S3 signs the path as it was sent, but some clients send less encoded than they sign
        for raw_path in (wire.raw_path, quote(unquote(wire.raw_path), safe="/-_.~")):
            canonical = v4_canonical_request(wire.method, raw_path, params, list(headers.items()), signed, payload_hash)
            if _same(sign(v4_string_to_sign(amz_date, scope, canonical)), fields["Signature"]):
                return Grant(secret_id, payload_hash, fields["Signature"], sign_chunk)
        raise ApiError("SignatureDoesNotMatch")


def _cos_fields(authorization: str, query: Mapping[str, str]) -> Dict[str, str]:
    """The ``q-…`` fields: of the header, else of the parameter ``sign``, else parameters themselves."""
    text = authorization or query.get("sign", "")
    if text:
        return {name: value for name, _, value in (item.partition("=") for item in text.split("&"))}
    return {name: value for name, value in query.items() if name.startswith("q-")} if "q-signature" in query else {}


def _contains(window: str, now_s: float) -> bool:
    match = re.fullmatch(r"(\d{1,12});(\d{1,12})", window)
    return match is not None and int(match.group(1)) <= now_s <= int(match.group(2))


def _listed(names: str, pairs: Pairs) -> Optional[Pairs]:
    """The pairs that a list of signed names means; None when one of them is absent."""
    wanted = set(names.split(";")) - {""}
    found = [(name, value) for name, value in pairs if percent_encode(name).lower() in wanted]
    return found if {percent_encode(name).lower() for name, _ in found} == wanted else None


def _host_forms(wire: WireRequest) -> List[List[Tuple[str, str]]]:
    """The headers as received and, where the host has a port, with the host as if it had none."""
    forms = [list(wire.headers)]
    bare = re.sub(r":\d+$", "", wire.header("host"))
    if bare != wire.header("host"):
        forms.append([(name, bare if name.lower() == "host" else value) for name, value in wire.headers])
    return forms


def _merged(pairs: Pairs) -> Dict[str, str]:
    """Headers by lower-case name; several values of one name joined by commas, as V4 signs them."""
    merged: Dict[str, str] = {}
    for name, value in pairs:
        lower = name.lower()
        merged[lower] = f"{merged[lower]},{value}" if lower in merged else value
    return merged


def _v4_time(amz_date: str) -> Optional[float]:
    try:
        return datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def _basic_date(text: str) -> str:
    when = parse_http_date(text)
    return "" if when is None else datetime.fromtimestamp(when, timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))
