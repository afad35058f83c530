"""Both signature schemes against known answers: 59 published or SDK-made ones (COS) and botocore (V4)."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from cosfs.cos import signing
from cosfs.cos.signing import Credentials

VECTORS_FILE = Path(__file__).parent.parent / "data" / "cos-signature-vectors.json"
VECTORS = json.loads(VECTORS_FILE.read_text("utf-8"))["vectors"]
SIGNED = [vector for vector in VECTORS if vector["authorization"]]
WITHOUT_HOST = ("V45", "V53")
WITHOUT_PARAMS = ("V24", "V46")


def ids(vectors):
    return [f"{vector['id']}-{vector['name']}" for vector in vectors]


def key_of(vector):
    return Credentials(vector["secret_id"], vector["secret_key"])


def path_of(vector):
    if vector.get("wire_path"):
        return unquote(vector["wire_path"])
    return "/" + vector["key"]


def params_of(vector):
    """The signed parameters: those of the request that are no part of the signature itself."""
    if vector["id"] in WITHOUT_PARAMS:
        return []
    if vector["kind"] == "get_auth":
        return list(vector["params"].items())
    pairs = parse_qsl(vector["wire_query"], keep_blank_values=True)
    return [(name, value) for name, value in pairs if not name.startswith("q-")]


def headers_of(vector):
    headers = list(vector["request_headers"].items())
    if vector["id"] not in WITHOUT_HOST and "Host" not in vector["request_headers"]:
        host = vector.get("wire_host") or "examplebucket-1250000000.cos.ap-beijing.myqcloud.com"
        headers.append(("Host", host.split(":")[0]))
    return headers


def test_all_vectors_are_there():
    assert len(VECTORS) == 59
    assert [vector["id"] for vector in VECTORS if not vector["authorization"]] == ["V49"]  # anonymous: nothing to sign


@pytest.mark.parametrize("vector", SIGNED, ids=ids(SIGNED))
def test_intermediate_strings_of_vector(vector):
    lists = dict(field.split("=", 1) for field in vector["authorization"].split("&"))
    names = lists["q-header-list"].split(";")
    headers = [(name, value) for name, value in headers_of(vector) if name.lower() in names]
    key_time = vector["q_sign_time"]

    http_string = signing.cos_http_string(vector["method"], path_of(vector), params_of(vector), headers)

    assert http_string == vector["http_string"]
    assert signing.cos_name_list(headers) == lists["q-header-list"]
    assert signing.cos_name_list(params_of(vector)) == lists["q-url-param-list"]
    assert signing.cos_string_to_sign(key_time, http_string) == vector["string_to_sign"]
    assert signing.cos_sign_key(vector["secret_key"], key_time) == vector["sign_key"]
    assert signing.cos_signature(vector["secret_key"], key_time, http_string) == vector["signature"]


SDK_MADE = [vector for vector in SIGNED if vector["kind"] != "published-by-tencent"]  # those also sign Date


@pytest.mark.parametrize("vector", SDK_MADE, ids=ids(SDK_MADE))
def test_authorization_of_vector(vector):
    start, end = vector["q_sign_time"].split(";")
    authorization = signing.cos_authorization(
        key_of(vector), vector["method"], path_of(vector), params_of(vector), headers_of(vector),
        start_s=int(start), end_s=int(end))
    assert authorization == vector["authorization"]


PRESIGNED = [vector for vector in VECTORS if vector["kind"] == "presigned-url"]


@pytest.mark.parametrize("vector", PRESIGNED, ids=ids(PRESIGNED))
def test_url_fields_of_presigned_vector(vector):
    start, end = vector["q_sign_time"].split(";")
    fields = signing.cos_auth_fields(key_of(vector), vector["method"], path_of(vector), params_of(vector),
                                     headers_of(vector), start_s=int(start), end_s=int(end))
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields)
    assert urlsplit(vector["presigned_url"]).query.startswith(query)


def test_key_that_is_not_utf8_is_signed_byte_for_byte():
    assert signing.percent_encode("a\udcff") == "a%FF"
    http_string = signing.cos_http_string("GET", "/a\udcff", [], [])
    assert len(signing.cos_signature("secret", "1;2", http_string)) == 40


def test_duplicate_parameters_are_ordered_by_value():
    assert signing.cos_http_string("GET", "/", [("a", "2"), ("A", "1")], []) == "get\n/\na=1&a=2\n\n"


def test_credentials_show_no_secret():
    credentials = Credentials("AKID", "very-secret", "the-token")
    for text in (repr(credentials), str(credentials), f"{credentials}"):
        assert "very-secret" not in text and "the-token" not in text


@pytest.mark.parametrize("method, path, params, token", [
    ("GET", "/bucket/key", [], None),
    ("GET", "/bucket", [("prefix", "a b/+ü"), ("marker", ""), ("uploads", "")], None),
    ("PUT", "/bucket/%E7%9B%AE/a%2Bb%20c//x", [], "session/token=="),
])
def test_v4_equals_botocore(method, path, params, token):
    amz_date, payload_hash = "20240102T030405Z", "UNSIGNED-PAYLOAD"
    headers = [("Host", "127.0.0.1:9000"), ("x-amz-date", amz_date), ("x-amz-content-sha256", payload_hash),
               ("Content-MD5", "mQ/fVh815F3k6TAUm8m0eg=="), ("x-amz-meta-a", "  two   words ")]
    if token:
        headers.append(("x-amz-security-token", token))
    theirs = S3SigV4Auth(BotoCredentials("AKID", "secret", token), "s3", "eu-west-1")
    request = AWSRequest(method, "http://127.0.0.1:9000" + path, dict(headers), params=dict(params))
    request.context["timestamp"] = amz_date
    canonical = theirs.canonical_request(request)
    signed = [name.lower() for name, _ in headers]

    assert signing.v4_canonical_request(method, path, params, headers, signed, payload_hash) == canonical
    authorization = signing.v4_authorization(
        Credentials("AKID", "secret", token), method, path, params, headers,
        amz_date=amz_date, region="eu-west-1", payload_hash=payload_hash)
    string_to_sign = theirs.string_to_sign(request, canonical)
    assert authorization == (
        "AWS4-HMAC-SHA256 Credential=AKID/20240102/eu-west-1/s3/aws4_request, "
        f"SignedHeaders={';'.join(sorted(signed))}, Signature={theirs.signature(string_to_sign, request)}")
