"""Each fault of the wire: the exact error without retry, and success with it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import (
    AccessDenied,
    CosServiceError,
    IntegrityError,
    InvalidAnswer,
    InvalidParameter,
    NetworkError,
    ObjectNotFound,
    PreconditionFailed,
    RequestTimeout,
    ServiceUnavailable,
    TlsError,
)
from tests.client.answers import BODY, MODIFIED, NO_HEADERS, gateway, head_answer, range_answer
from tests.support.clients import NO_RETRY, Pauses, make_client
from tests.support.raw_server import RawServer, Reply, answer, error


def patience(fault):
    """A time-out that is short where it is what the test waits for."""
    return 0.3 if fault.then == "stall" else 20


FAULTS = [
    pytest.param(Reply(b"", "close"), NetworkError, id="closed-before-answer"),
    pytest.param(Reply(b"", "reset"), NetworkError, id="reset-before-answer"),
    pytest.param(Reply(b"HTTP/1.1 200 OK\r\nContent-Le", "close"), InvalidAnswer, id="cut-in-headers"),
    pytest.param(Reply(b"garbage\r\n\r\n", "close"), InvalidAnswer, id="not-http"),
    pytest.param(Reply(error(503, "SlowDown", "Reduce your request rate")), ServiceUnavailable, id="slow-down"),
    pytest.param(Reply(error(500, "InternalError")), ServiceUnavailable, id="internal-error"),
    pytest.param(Reply(gateway(502)), InvalidAnswer, id="gateway-502"),
    pytest.param(Reply(gateway(403)), InvalidAnswer, id="gateway-403"),
    pytest.param(Reply(answer(504, x_cos_request_id=None)), InvalidAnswer, id="gateway-504-without-body"),
    pytest.param(Reply(error(409, "PathConflict")), CosServiceError, id="path-conflict"),
    pytest.param(Reply(error(400, "RequestTimeout")), CosServiceError, id="upload-too-slow"),
    pytest.param(Reply(answer(429)), ServiceUnavailable, id="too-many-requests"),
    pytest.param(Reply(b"", "stall"), RequestTimeout, id="stalled"),
]


@pytest.mark.parametrize("fault, expected", FAULTS)
def test_put_without_retry_fails_exactly(fault, expected):
    with RawServer(fault) as server:
        client = make_client(server.url, retry=NO_RETRY, read_timeout_s=patience(fault))
        with pytest.raises(expected) as raised:
            client.put_object("key", b"body", headers=NO_HEADERS)
        assert type(raised.value) is expected
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault, expected", FAULTS)
def test_put_with_retry_succeeds(fault, expected):
    with RawServer(fault, answer(200, ETag='"abc"', x_cos_hash_crc64ecma=str(crc64(b"body")))) as server:
        client = make_client(server.url, read_timeout_s=patience(fault))
        assert client.put_object("key", memoryview(b"body"), headers=NO_HEADERS).etag == "abc"
        first, second = server.requests
        assert first.body == second.body == b"body"
        assert "x-cos-sdk-retry" not in first.headers
        assert second.headers["x-cos-sdk-retry"] == "true"
        assert "x-cos-sdk-retry" in second.headers["authorization"]


READ_FAULTS = [
    pytest.param(Reply(range_answer(body=BODY[:100]), "close"), NetworkError, "bytes=100-1023", id="cut-in-body"),
    pytest.param(Reply(range_answer(body=b""), "reset"), NetworkError, "bytes=0-1023", id="reset-before-body"),
    pytest.param(Reply(range_answer(body=b""), "stall"), RequestTimeout, "bytes=0-1023", id="stall-in-body"),
    pytest.param(Reply(range_answer(0, 512)), IntegrityError, "bytes=0-1023", id="shorter-range"),
    pytest.param(Reply(range_answer(1, 1024)), IntegrityError, "bytes=0-1023", id="other-range"),
    pytest.param(Reply(answer(200, BODY + b"x", ETag='"abc"', Last_Modified=MODIFIED)), IntegrityError, "bytes=0-1023",
                 id="range-ignored"),
    pytest.param(Reply(range_answer(Content_Range=None)), IntegrityError, "bytes=0-1023", id="no-content-range"),
    pytest.param(Reply(gateway(200)), IntegrityError, "bytes=0-1023", id="html-with-status-200"),
]


@pytest.mark.parametrize("fault, expected, _", READ_FAULTS)
def test_get_without_retry_fails_exactly(fault, expected, _):
    with RawServer(fault) as server:
        client = make_client(server.url, retry=NO_RETRY, read_timeout_s=patience(fault))
        with pytest.raises(expected) as raised:
            client.get_object("key", memoryview(bytearray(len(BODY))))
        assert type(raised.value) is expected


@pytest.mark.parametrize("fault, _, second_range", READ_FAULTS)
def test_get_with_retry_delivers_every_byte_once(fault, _, second_range):
    start = int(second_range[6:].split("-")[0])
    with RawServer(fault, range_answer(start)) as server:
        client = make_client(server.url, read_timeout_s=patience(fault))
        buffer, seen = bytearray(len(BODY)), []
        info = client.get_object("key", memoryview(buffer), on_progress=seen.append)
        assert bytes(buffer) == BODY
        assert seen == sorted(seen) and seen[-1] == len(BODY)
        assert info.etag == "abc" and info.size_bytes == len(BODY)
        assert server.requests[1].headers["range"] == second_range


def test_resumed_get_is_held_to_the_version_it_began_with():
    with RawServer(Reply(range_answer(body=BODY[:100]), "close"), error(412, "PreconditionFailed")) as server:
        with pytest.raises(PreconditionFailed):
            make_client(server.url).get_object("key", memoryview(bytearray(len(BODY))))
        assert "if-match" not in server.requests[0].headers
        assert server.requests[1].headers["if-match"] == '"abc"'


def test_server_that_ignores_if_match_cannot_mix_versions():
    with RawServer(Reply(range_answer(body=BODY[:100]), "close"), range_answer(100, etag="other")) as server, \
            pytest.raises(PreconditionFailed):
        make_client(server.url).get_object("key", memoryview(bytearray(len(BODY))))


def test_progress_of_a_get_starts_the_attempts_anew():
    replies = [Reply(range_answer(at, body=BODY[at:at + 100]), "close") for at in range(0, 1000, 100)]
    with RawServer(*replies, range_answer(1000)) as server:
        client = make_client(server.url, retry=Pauses().policy(attempts=2))
        buffer = bytearray(len(BODY))
        client.get_object("key", memoryview(buffer))
        assert bytes(buffer) == BODY


def test_attempts_end_when_nothing_arrives(expected_logs):
    expected_logs("attempt 3 of 4")
    pauses = Pauses()
    with RawServer(*[error(503, "ServiceUnavailable")] * 9) as server:
        with pytest.raises(ServiceUnavailable):
            make_client(server.url, retry=pauses.policy(attempts=4)).head_object("key")
        assert len(server.requests) == 4 and len(pauses.slept) == 3


@pytest.mark.parametrize("status, code, expected", [
    (403, "AccessDenied", AccessDenied), (404, "NoSuchKey", ObjectNotFound), (400, "InvalidArgument", CosServiceError)])
def test_answers_that_stay_the_same_are_not_asked_for_again(status, code, expected):
    with RawServer(error(status, code)) as server:
        with pytest.raises(expected):
            make_client(server.url).list_objects("")
        assert len(server.requests) == 1


def test_wrong_crc_of_a_put_is_an_integrity_error():
    wrong = answer(200, ETag='"abc"', x_cos_hash_crc64ecma="1")
    with RawServer(wrong) as server, pytest.raises(IntegrityError):
        make_client(server.url, retry=NO_RETRY).put_object("key", b"body", headers=NO_HEADERS)
    with RawServer(wrong, answer(200, ETag='"abc"', x_cos_hash_crc64ecma=str(crc64(b"body")))) as server:
        make_client(server.url).put_object("key", b"body", headers=NO_HEADERS)


def test_redirect_is_an_error_that_names_the_place_and_no_query():
    with RawServer(answer(301, Location="http://elsewhere.example/key?token=secret")) as server:
        with pytest.raises(CosServiceError, match=r"elsewhere\.example") as raised:
            make_client(server.url).list_objects("")
        assert "secret" not in repr(raised.value) + str(raised.value)
        assert len(server.requests) == 1


def test_refused_connection_is_a_network_error_and_sent_again():
    with RawServer() as server:
        url = server.url
    pauses = Pauses()
    with pytest.raises(NetworkError, match="refused"):
        make_client(url, retry=pauses.policy(attempts=3)).head_bucket()
    assert len(pauses.slept) == 2


def test_unknown_host_is_a_network_error():
    with pytest.raises(NetworkError, match="host name"):
        make_client("http://no-such-host.invalid", retry=NO_RETRY).head_bucket()


def test_server_without_tls_is_a_tls_error_under_https():
    with RawServer(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server, pytest.raises(TlsError):
        make_client(server.url.replace("http:", "https:"), retry=NO_RETRY).head_bucket()


CERTIFICATE = str(Path(__file__).parent.parent / "data" / "self-signed-other.example.pem")


def tls_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return RawServer(head_answer(), tls=context)


@pytest.mark.parametrize("fields", [{}, {"verify": CERTIFICATE}, {"verify_hostname": False}],
                         ids=["unknown-authority", "other-host", "unknown-authority-any-host"])
def test_certificate_that_is_not_right_is_refused_without_sending(fields):
    with tls_server() as server:
        with pytest.raises(TlsError, match="certificate"):
            make_client(server.url, **fields).head_object("key")
        assert server.requests == []


@pytest.mark.parametrize("fields", [{"verify": CERTIFICATE, "verify_hostname": False}, {"verify": False}])
def test_certificate_checks_can_be_narrowed(fields, recwarn):
    with tls_server() as server:
        assert make_client(server.url, **fields).head_object("key").etag == "abc"


@pytest.mark.parametrize("body", [
    b"", b"not xml", b"<html></html>", b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
    b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>"])
def test_listing_that_cannot_be_understood_is_an_invalid_answer(body):
    with RawServer(answer(200, body)) as server, pytest.raises(InvalidAnswer):
        make_client(server.url, retry=NO_RETRY).list_objects("")


def test_head_that_describes_nothing_is_an_invalid_answer():
    with RawServer(answer(200, b"")) as server, pytest.raises(InvalidAnswer):
        make_client(server.url, retry=NO_RETRY).head_object("key")


def test_head_404_of_a_gateway_does_not_prove_absence():
    with RawServer(answer(404, x_cos_request_id=None)) as server, pytest.raises(InvalidAnswer):
        make_client(server.url, retry=NO_RETRY).head_object("key")


def test_line_break_in_metadata_is_refused_before_sending():
    with RawServer() as server:
        with pytest.raises(InvalidParameter):
            make_client(server.url).put_object("key", b"", headers=ObjectHeaders(metadata={"a": "x\r\ny: z"}))
        assert server.requests == []


def test_keep_alive_connection_is_used_again_and_survives_errors():
    with RawServer(head_answer(), error(404, "NoSuchKey"), range_answer(), answer(204), head_answer()) as server:
        client = make_client(server.url)
        client.head_object("key")
        with pytest.raises(ObjectNotFound):
            client.list_objects("")
        client.get_object("key", memoryview(bytearray(len(BODY))))
        client.delete_object("key")
        client.head_object("key")
        assert server.connections == 1


def test_idle_connection_that_the_server_closed_is_replaced_without_a_retry():
    with RawServer(Reply(head_answer(), "close"), head_answer()) as server:
        client = make_client(server.url, retry=Pauses().policy(attempts=2))
        client.head_object("key")
        client.head_object("key")
        assert server.connections == 2
