"""Verification of signatures against answers known from elsewhere, and against every tampering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple
from urllib.parse import quote, unquote, urlencode, urlsplit

import pytest

from cosfs.cos.signing import Credentials, v4_authorization
from cosfs.server.auth import Authenticator
from cosfs.server.errors import ApiError
from cosfs.server.wire import WireRequest, make_wire_request

_FILE = Path(__file__).resolve().parents[1] / "data" / "cos-signature-vectors.json"
_ALL: List[Dict[str, Any]] = json.loads(_FILE.read_text("utf-8"))["vectors"]
VECTORS = [vector for vector in _ALL if vector["signature"]]
"""All but the one that is about having no signature."""

_HOST = "examplebucket-1250000000.cos.ap-beijing.myqcloud.com"


def wire_of(vector: Dict[str, Any]) -> Tuple[WireRequest, float]:
    """The request of a vector as it stands on the wire, and the time at which it is valid."""
    headers = dict(vector["request_headers"])
    if "presigned_url" in vector:
        parts = urlsplit(vector["presigned_url"])
        target, host = f"{parts.path}?{parts.query}", parts.netloc
    else:
        path = vector.get("wire_path") or "/" + quote(vector["key"])
        query = vector.get("wire_query") or urlencode(vector.get("params") or {})
        target, host = f"{path}?{query}" if query else path, vector.get("wire_host") or _HOST
        headers["Authorization"] = vector["authorization"]
    if not any(name.lower() == "host" for name in headers):
        headers["Host"] = host
    start, end = map(int, vector["q_sign_time"].split(";"))
    return make_wire_request(vector["method"], target, list(headers.items())), vector.get("now") or (start + end) / 2


def check(vector: Dict[str, Any], wire: WireRequest, now_s: float) -> None:
    Authenticator({vector["secret_id"]: vector["secret_key"]}, None).check(wire, now_s)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_known_signatures_verify(vector: Dict[str, Any]) -> None:
    check(vector, *wire_of(vector))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_any_flipped_signed_byte_is_noticed(vector: Dict[str, Any]) -> None:
    wire, now_s = wire_of(vector)
    tampered = list(_tampered(wire, vector))
    assert len(tampered) >= 3
    for changed in tampered:
        with pytest.raises(ApiError) as caught:
            check(vector, changed, now_s)
        assert caught.value.code == "SignatureDoesNotMatch"


def _tampered(wire: WireRequest, vector: Dict[str, Any]) -> Any:
    """The request with one signed byte changed: in method, path, each signed parameter and header, signature."""
    def make(**changes: Any) -> WireRequest:
        return WireRequest(**{**vars(wire), **changes})

    yield make(method={"GET": "PUT"}.get(wire.method, "GET"))
    yield make(raw_path=wire.raw_path + "x")
    fields = dict(item.split("=", 1) for item in unquote(str(wire)).replace("'", "&").split("&") if "=" in item)
    signed = set(fields["q-header-list"].split(";") + fields["q-url-param-list"].split(";"))
    for kind, pairs in (("headers", wire.headers), ("params", wire.params)):
        for number, (name, value) in enumerate(pairs):
            if name.lower() in signed:
                yield make(**{kind: (*pairs[:number], (name, value + "x"), *pairs[number + 1:])})
                yield make(**{kind: (*pairs[:number], *pairs[number + 1:])})
    flipped = "0" if vector["signature"][-1] != "0" else "1"
    wrong = vector["signature"][:-1] + flipped
    for kind, pairs in (("headers", wire.headers), ("params", wire.params)):
        yield from (make(**{kind: tuple((n, v.replace(vector["signature"], wrong)) for n, v in pairs)})
                    for _ in range(any(vector["signature"] in value for _, value in pairs)))


def test_an_empty_authorization_is_nobody() -> None:
    vector, = (vector for vector in _ALL if not vector["signature"])
    wire = make_wire_request("GET", vector["wire_path"], [("Host", _HOST), ("Authorization", "")])
    assert Authenticator({}, None).check(wire, vector["now"]).secret_id is None


def test_unsigned_additions_do_not_matter() -> None:
    wire, now_s = wire_of(VECTORS[1])
    added = WireRequest(**{**vars(wire), "headers": (*wire.headers, ("X-Forwarded-For", "somebody"))})
    check(VECTORS[1], added, now_s)


@pytest.mark.parametrize("shift", [-1, +1], ids=["too early", "too late"])
def test_signatures_have_their_time(shift: int) -> None:
    vector = VECTORS[1]
    wire, _ = wire_of(vector)
    start, end = map(int, vector["q_sign_time"].split(";"))
    with pytest.raises(ApiError) as caught:
        check(vector, wire, start - 1 if shift < 0 else end + 1)
    assert (caught.value.code, caught.value.message) == ("AccessDenied", "Request has expired")
    assert caught.value.fields["ServerTime"]


def _v4_request(**changes: str) -> WireRequest:
    headers = [("Host", "127.0.0.1:9000"), ("x-amz-date", "20231114T221420Z"),
               ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]
    authorization = v4_authorization(
        Credentials("id", "key"), "GET", "/bucket-1/a%20b", [("list", "x y")], headers, amz_date="20231114T221420Z",
        region="anywhere", payload_hash="UNSIGNED-PAYLOAD")
    signed = {**dict(headers), "Authorization": authorization, **changes}
    return make_wire_request("GET", "/bucket-1/a%20b?list=x%20y", list(signed.items()))


V4_NOW_S = 1_700_000_060.0


def test_v4_signature_verifies_and_names_the_key() -> None:
    assert Authenticator({"id": "key"}, None).check(_v4_request(), V4_NOW_S).secret_id == "id"


@pytest.mark.parametrize("changes", [
    {"Host": "127.0.0.1"}, {"x-amz-content-sha256": "0" * 64}, {"x-amz-date": "20231114T221421Z"},
], ids=lambda changes: next(iter(changes)))
def test_v4_tampering_is_noticed(changes: Dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        Authenticator({"id": "key"}, None).check(_v4_request(**changes), V4_NOW_S)
    assert caught.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("skew_s", [-901, 901])
def test_v4_clock_skew_is_told(skew_s: int) -> None:
    with pytest.raises(ApiError) as caught:
        Authenticator({"id": "key"}, None).check(_v4_request(), V4_NOW_S + skew_s)
    assert caught.value.code == "RequestTimeTooSkewed"


def test_v2_is_refused_in_words() -> None:
    wire = make_wire_request("GET", "/b-1/a?AWSAccessKeyId=id&Signature=x&Expires=1", [("Host", "h")])
    with pytest.raises(ApiError, match="InvalidRequest"):
        Authenticator({"id": "key"}, None).check(wire, V4_NOW_S)
